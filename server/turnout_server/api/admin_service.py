"""AdminService: in this version the history of decisions; the server refuses the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from turnout.v1 import admin_pb2 as pb
from turnout_server.api.answers import Answers
from turnout_server.api.decision_records import decision_filter, decision_record, page_size, wanted_decision

if TYPE_CHECKING:
    from turnout_server.api.failing import Failing
    from turnout_server.router import Router


class AdminService:
    """Answers the methods named in `answered`."""

    answered = frozenset({"ListDecisions", "GetDecision"})

    def __init__(self, router: Router, *, failing: Failing) -> None:
        self._router = router
        self._failing = failing
        self._answers = Answers()

    async def ListDecisions(  # noqa: N802  # gRPC's name
        self, request: pb.ListDecisionsRequest, context: Any
    ) -> pb.ListDecisionsResponse:
        """Lists past decisions, newest first."""
        try:
            wanted = decision_filter(request, self._router.fleet)
            page = self._router.decisions(wanted, page_size=page_size(request), page_token=request.page_token)
            return pb.ListDecisionsResponse(
                decisions=[decision_record(record, self._answers) for record in page.records],
                next_page_token=page.next_page_token,
            )
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)

    async def GetDecision(  # noqa: N802  # gRPC's name
        self, request: pb.GetDecisionRequest, context: Any
    ) -> pb.GetDecisionResponse:
        """Returns one past decision in full."""
        try:
            record = self._router.decision(wanted_decision(request))
            return pb.GetDecisionResponse(decision=decision_record(record, self._answers))
        except Exception as error:  # noqa: BLE001  # the outermost edge
            await self._failing.fail(context, error)
