"""The use cases, and the one place that holds state: gathers what the core needs to know, asks it, keeps what it says.

Everything here returns at once. `execution` makes calls between `begin` and `finish`; everybody else routes, reports
and reads. All of it runs on one event loop, so that a decision and what follows from it are one step.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout_server.administration import Administration
from turnout_server.budget_changes import BudgetChanges
from turnout_server.checks import Checks
from turnout_server.core.attempt_need import AttemptNeed, attempt_need
from turnout_server.core.budget import Notices
from turnout_server.core.budget_book import BudgetReport
from turnout_server.core.call import AttemptRecord
from turnout_server.core.cost import settled_cost_nano_usd
from turnout_server.core.cost_cap import CostCap
from turnout_server.core.decide import Hop, decide, unavailable
from turnout_server.core.decision import Decision, kept_candidate
from turnout_server.core.errors import (
    AllTargetsUnavailableError,
    BudgetExhaustedError,
    TurnoutError,
    UnknownProviderError,
)
from turnout_server.core.events import Event, EventName
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.hedging import HedgeResult, Patience, may_be_second, patience
from turnout_server.core.in_force import Found, InForce
from turnout_server.core.model import (
    Caller,
    FailureKind,
    Feedback,
    Outcome,
    RejectionReason,
    RequestProfile,
    RouteQuery,
    Strategy,
    Target,
)
from turnout_server.core.permits import Permit, Wanted, breakers_closed, lease_first, take_permit
from turnout_server.core.preferences import cost_cap_nano_usd, select_policy
from turnout_server.core.settings import FailoverSettings, Policy, Settings
from turnout_server.core.spending import Spending
from turnout_server.core.state import LATE_CANCEL_FACTOR, Adopted, FleetState, Recorded, RecordResult, TargetState
from turnout_server.core.status import StatusReport, TargetGauges
from turnout_server.core.status_report import Steps, finished
from turnout_server.core.tokens import RATIO_MAXIMUM, estimate_input_tokens
from turnout_server.core.troubles import Troubles
from turnout_server.looking_back import LookingBack
from turnout_server.ports import Instruments

if TYPE_CHECKING:
    from turnout_server.core.budget import BudgetSpec
    from turnout_server.core.budget_ledger import Room
    from turnout_server.core.keeping import Memory
    from turnout_server.core.taking_over import Received, TakenOver
    from turnout_server.shadowing import Shadowing

PROBE_PROFILE = RequestProfile(input_tokens=64, max_output_tokens=1)
"""The most that a trial off every caller's path comes to, vendors' framing included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResults:
    """What became of each report, in the order given."""

    outcomes: tuple[Recorded, ...]
    feedback: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanges:
    """Which targets changed since a revision, by their place in the fleet, and the revision that this leads to."""

    revision: int
    changed: tuple[int, ...]
    removed: tuple[Target, ...] = ()
    """Targets that are gone since then."""


class Router:
    """Decides, records, tells. `clock` is monotonic, `wall` seconds since the epoch; `new_id` makes unique ids."""

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        new_id: Callable[[], str],
        on_event: Callable[[Event], None],
        instruments: Instruments,
    ) -> None:
        self.fleet = fleet
        self.settings = settings
        self._clock = clock
        self._wall = wall
        self._rng = rng
        self._new_id = new_id
        self._on_event = on_event
        self._instruments = instruments
        self._turn = 0
        self.shadowing: Shadowing | None = None
        """What the shadows of policies make of decisions; None where no policy has had one."""
        self.wake_shadows: Callable[[], None] = _stay_asleep
        """Called when a shadow is to be asked, by `shadowing.step`, once nobody waits for the decision any more."""
        self._trims = _any_trims(settings)
        self._state = FleetState(fleet, settings, now=clock(), rng=rng)
        self._state.past.costs.offset = wall() - clock()
        self._spending = Spending(settings.budgets, self._state, wall())
        self._in_force = InForce(self._state, settings)
        self._troubles = Troubles(settings.alerts)
        self.looking_back = LookingBack(self._state, clock=clock, wall=wall)
        self.administration = Administration(self._state, clock=clock, tell=self._tell, expire=self.expire)
        self.budget_changes = BudgetChanges(self._spending, clock=clock, wall=wall, tell=self._tell)
        self.checks = Checks(
            self._state,
            settings=lambda: self.settings.checks,
            clock=clock,
            wall=wall,
            rng=rng,
            tell=self._tell,
            expire=self.expire,
        )
        self._follow_shadows()

    @property
    def in_force(self) -> InForce:
        """The configuration that a call begins with now. Whoever makes a call keeps it until the call has ended."""
        return self._in_force

    def memory(self) -> Memory:
        """Returns what takes the state's lines to keep, and puts back what was kept; for one owner."""
        from turnout_server.core.keeping import Memory  # noqa: PLC0415 - needed only where state outlives the process

        return Memory(self._state, self._spending)

    def take_over(self, document: Received, *, by: str) -> Steps[TakenOver]:
        """Takes what a state says that was exported, as far as it is not known better here; tells who asked for it.

        Piece by piece: `taking_over.take_over`. Once it is begun it is to be gone through to its end.
        """
        from turnout_server.core.taking_over import take_over  # noqa: PLC0415 - seldom asked for

        self.expire()
        taken = yield from take_over(self._state, self._spending, document, now=self._clock(), now_wall=self._wall())
        fields: dict[str, str | int | float] = {
            "by": by,
            "target_count": len(taken.targets),
            "budget_count": len(taken.budgets),
            "warning_count": len(taken.warnings),
        }
        self._tell((Event(name=EventName.STATE_IMPORTED, at=self._clock(), fields=fields),))
        return taken

    @property
    def state(self) -> FleetState:
        """What is known of the fleet now; to be read only."""
        return self._state

    def adopt(self, fleet: Fleet, settings: Settings) -> Adopted:
        """Takes another fleet and its settings, in one step: whatever begins from now on knows nothing else.

        What stays keeps its state (`FleetState.adopt`). Calls that run end under the configuration that they began
        with (`in_force`), hops to other targets included. Connections are the executor's: give it those of new
        providers in the same step (`Executor.adopt`). Returns the targets that are new and those that are gone.
        """
        self.expire()
        self._in_force.retire()
        fleet = fleet.sharing(self.fleet)
        if settings.routing == self.settings.routing:
            # What was worked out, or kept, under the same rules stays valid.
            settings = dataclasses.replace(settings, routing=self.settings.routing)
        adopted = self._state.adopt(fleet, settings)
        self._spending.adopt(settings.budgets, fleet, self._wall())
        self.fleet = fleet
        self.settings = settings
        self._in_force = InForce(self._state, settings)
        self._trims = _any_trims(settings)
        self._follow_shadows()
        self._troubles.adopt(settings.alerts, self._state.targets)
        return adopted

    # For callers who make the call themselves, and for those who watch.

    def route(self, query: RouteQuery) -> Decision:
        """Decides for a caller who makes the call itself; a half-open first candidate comes with its trial's lease.

        Raises NoEligibleTargetError, AllTargetsUnavailableError, UnknownPolicyError, UnknownTargetError,
        InvalidRequestError or NotYetError.
        """
        now = self._clock()
        decision = lease_first(
            self._state,
            self._decide(query, now),
            plan_valid_seconds=self.settings.routing.plan_valid_seconds,
            new_id=self._new_id,
            now=now,
        )
        self._keep(decision, query)
        if not decision.candidates:
            raise self.unavailable(decision, query)
        if self._spending.active:
            valid_seconds = self.settings.routing.plan_valid_seconds
            self._spending.plan(decision, query, plan_valid_seconds=valid_seconds, now=now)
        return decision

    def notices(self, decision: Decision, query: RouteQuery, chosen: Target | None = None) -> Notices | None:
        """Returns what a caller may want to know beside an answer of `chosen`, the first without; None for nothing."""
        if not self._spending.active:
            return None
        return self._spending.notices(query, decision, chosen or decision.candidates[0].target, self._wall())

    def report(self, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]) -> ReportResults:
        """Records what callers did themselves; each report is accepted, a duplicate, or rejected with the reason."""
        now = self._clock()
        return ReportResults(
            outcomes=tuple(self._reported(outcome, now) for outcome in outcomes),
            feedback=tuple(self._state.feedback(judgement, now) for judgement in feedback),
        )

    def status(self, providers: Sequence[str] = (), window_seconds: float = 300.0) -> StatusReport:
        """Tells the state of the providers named, of all without names. Raises UnknownProviderError."""
        return finished(self.status_steps(providers, window_seconds))

    def status_steps(self, providers: Sequence[str] = (), window_seconds: float = 300.0) -> Steps[StatusReport]:
        """Does the same piece by piece, for whoever has others to let have their turn. Raises at once."""
        self.check_providers(providers)
        now = self._clock()
        self.expire()
        return self._state.status_steps(
            providers=tuple(providers), window_seconds=window_seconds, now=now, now_wall=self._wall()
        )

    def gauges(self) -> Iterator[TargetGauges]:
        """Tells what is measured of all targets, one by one, for whoever has others to let have their turn."""
        self.expire()
        return self._state.gauges(self._clock())

    def check_providers(self, names: Sequence[str]) -> None:
        """Raises UnknownProviderError for a name that no provider has."""
        for name in names:
            if name not in self.fleet.providers:
                known = ", ".join(self.fleet.providers) or "none"
                raise UnknownProviderError(f"there is no provider {name!r}; the providers are: {known}", name=name)

    def status_changes(self, revision: int) -> StatusChanges:
        """Tells which targets changed since `revision`; 0 is before everything."""
        self.expire()
        return StatusChanges(
            revision=self._state.revision,
            changed=tuple(self._state.changed_since(revision)),
            removed=tuple(self._state.removed_since(revision)),
        )

    def expire(self) -> None:
        """Lets lapsed leases and open times run out and tells of it; to be called about four times a second."""
        if self._spending.settles:
            self._spending.expire(self._clock())
        for event in self._state.expire(self._clock()):
            if event.name is EventName.PROBE_EXPIRED:
                self._instruments.outcome("missing")
            self._on_event(event)

    def tell_repeated(self) -> None:
        """Tells what went on happening since it was first told; to be called a few times a second, outside of calls."""
        self._tell(self._troubles.due(self._clock()))

    def alarms(self) -> Iterator[None]:
        """Looks for targets that answer slowly or fail often and tells of them; to be called every few seconds.

        Done piece by piece, for whoever has others to let have their turn.
        """
        for target in tuple(self._state.targets):
            self._tell(self._troubles.alarms.look(target, self._clock()))
            if target.baseline.drifting:
                self._tell(self._state.drift_over(target, self._clock()))
            yield

    def budgets(self) -> list[BudgetReport]:
        """Returns all budgets with what is spent, by name."""
        return self._spending.budgets(self._wall())

    def budget_specs(self) -> list[BudgetSpec]:
        """Returns all budgets without what is spent, by name; `budget` sums up thousands of accounts."""
        return self._spending.budget_specs()

    def budget(self, name: str) -> BudgetReport:
        """Returns one budget. Raises UnknownBudgetError."""
        return self._spending.budget(name, self._wall())

    def credential_changed(self, provider: str, label: str) -> None:
        """Tells that there is another secret behind a label of ours: whatever was held against the old one is over."""
        for event in self._state.credential_changed(provider, label, self._clock()):
            self._on_event(event)

    def looked_at_endpoint(self, provider: str, endpoint: str, unreachable: str) -> None:
        """Tells of a look whether an endpoint can be connected to: why it cannot, "" where it can. For the status only:
        what calls meet is what counts.
        """
        self._state.looked_at_endpoint(provider, endpoint, unreachable)

    # For `execution`.

    def policy(self, decision: Decision) -> Policy:
        """Returns the policy that the decision was made under."""
        return self.settings.routing.policies[decision.policy]

    def failover_settings(self, decision: Decision) -> FailoverSettings:
        """Returns how calls under this decision's policy are carried through failures."""
        return self.policy(decision).failover or self.settings.failover

    def decide_call(self, query: RouteQuery) -> Decision:
        """Decides for a call that the sidecar makes. Raises as `route` does; leases are taken by `begin`."""
        now = self._clock()
        decision = self._decide(query, now)
        self._keep(decision, query)
        self._state.retry_budget.request(now)
        return decision

    def trims(self, query: RouteQuery) -> bool:
        """Whether old turns may be left out for this request. Raises UnknownPolicyError."""
        return self._trims and select_policy(query, self.settings.routing).trim

    def fits_everywhere(self, query: RouteQuery) -> bool:
        """Whether no target can be too small or too dear for a request: at the most tokens that its bytes can be."""
        routing, profile = self.settings.routing, query.profile
        limits = (
            query.options.max_cost_usd,
            select_policy(query, routing).limits.max_cost_usd,
            routing.tiers.get(query.caller.tier),
        )
        most = estimate_input_tokens(profile.input_bytes or 0, RATIO_MAXIMUM) + profile.extra_input_tokens
        smallest = min(self._state.prepared.facts.windows, default=0)
        return limits == (None, None, None) and most + (profile.max_output_tokens or 1) <= smallest

    def look_ahead(self, query: RouteQuery) -> Decision:
        """Returns what would be decided now; nothing is kept, counted or told. Raises as `decide` does."""
        now, now_wall = self._clock(), self._wall()
        return self._decided(query, now, now_wall, room=self._room(query, now, now_wall), rng=self._rng)

    def answered_before(self, made: Decision, target: Target, query: RouteQuery, *, age_seconds: float) -> Decision:
        """Returns the decision that goes with an answer kept for `age_seconds`, and keeps it in the history.

        `made` is the one that the answer came of, `target` the one that gave it. Nothing is called and nothing counted
        as chosen. To be asked only while the target is known.
        """
        now, state = self._clock(), self._known(target)
        decision = dataclasses.replace(
            made,
            decision_id=self._new_id(),
            candidates=(kept_candidate(state.spec, state.health(now)),),
            rejections=(),
            reason=f"{target} answered an equal request {age_seconds:.0f} s ago; policy {made.policy} keeps answers",
            confidence=1.0,
            decided_at=now,
            decided_at_wall=self._wall(),
            valid_for_seconds=0.0,
            reusable=False,
            probes_wanted=(),
            max_candidates=query.options.max_candidates,
            shadow=None,
        )
        self._state.past.history.add(decision, dataclasses.replace(query, executing=True), cached=True)
        return decision

    def decide_hop(
        self, query: RouteQuery, first: Decision, hop: Hop, *, call_id: str, under: InForce | None = None
    ) -> Decision:
        """Ranks again for the next attempt of a call; no candidates when there is nowhere left to go. Never raises.

        The history and the caller keep the first decision; this one has the same id. `under` is the configuration that
        the call began with, None for the present one: what could be decided once under it can be again.
        """
        under = under or self._in_force
        now, now_wall = self._clock(), self._wall()
        decision = decide(
            query,
            under.reading,
            under.settings.routing,
            now=now,
            now_wall=now_wall,
            rng=self._rng,
            decision_id=first.decision_id,
            turn=self._turn,
            hop=hop,
            failover=under.settings.failover,
            room=under.room(self._spending.room(query, now=now, now_wall=now_wall, holder=call_id)),
        )
        if decision.spared:
            self._state.spared(decision.spared, now)
        return decision

    def unavailable(self, decision: Decision, query: RouteQuery, *, call_id: str = "") -> TurnoutError:
        """Returns the error for a decision without candidates, and tells of the budget that is used up, if one is."""
        now, now_wall = self._clock(), self._wall()
        error = unavailable(decision, now, self._spending.room(query, now=now, now_wall=now_wall, holder=call_id))
        if isinstance(error, BudgetExhaustedError):
            self._tell(self._spending.refused(query, error.budget, now=now, now_wall=now_wall))
        elif isinstance(error, AllTargetsUnavailableError):
            self._tell(self._troubles.nobody(decision, error.message, now))
        return error

    def begin(  # names and types say the rest
        self,
        spec: TargetSpec,
        decision: Decision,
        query: RouteQuery,
        *,
        call_id: str,
        lease_seconds: float,
        tried_credentials: frozenset[str] = frozenset(),
        cap: CostCap | None = None,
        under: InForce | None = None,
    ) -> Permit | None:
        """Takes what one attempt needs: the credential, the trial of a half-open target, a place in flight, money.

        `tried_credentials` are labels that already failed in this call; `cap` is what the call may cost, and whoever
        makes the attempt settles it there; `under` is the configuration that it began with, None for the present one.
        Returns None where the target cannot be called now after all; nothing is taken then.
        """
        wanted = Wanted(
            tenant=query.caller.tenant,
            call_id=call_id,
            decision_id=decision.decision_id,
            attempt_id=self._new_id(),
            probe_id=self._new_id(),
            lease_seconds=lease_seconds,
            needed_tokens=decision.input_tokens or 0,
            output_tokens=decision.expected_output_tokens or 1,
            tried_credentials=tried_credentials,
        )
        return self._permit((under or self._in_force).find(spec.target), wanted, query, cap)

    def begin_probe(
        self, target: Target, *, lease_seconds: float, tenant: str = "", trial_only: bool = True
    ) -> Permit | None:
        """Takes the trial of a half-open target for a request of our own, off every caller's path; None if taken.

        `tenant` is the one for whose call it is made: a target may have keys for its tenants only. Without `trial_only`
        a target whose breakers are closed will do as well.
        """
        wanted = Wanted(
            tenant=tenant,
            call_id=self._new_id(),
            decision_id="",
            attempt_id=self._new_id(),
            probe_id=self._new_id(),
            lease_seconds=lease_seconds,
            trial_only=trial_only,
        )
        query = RouteQuery(profile=PROBE_PROFILE, caller=Caller(tenant=tenant))
        return self._permit(self._in_force.find(target), wanted, query)

    def first_token(self, permit: Permit) -> None:
        """Tells that the first content of an attempt has come."""
        self._state.first_token(
            permit.attempt_id, self._clock(), began_at=permit.started_at, credential=permit.credential
        )

    def finish(self, permit: Permit, outcome: Outcome, record: AttemptRecord) -> None:
        """Records how a permitted attempt ended; to be called once for each permit, whatever happened."""
        now = self._clock()
        recorded = self._state.record(outcome, call_id=permit.call_id, now=now, in_flight=True)
        if outcome.failure is not None:
            self._tell(self._troubles.failed(outcome, now))
        self._tell(recorded.events)
        if self._spending.settles:
            cost, now_wall = record.cost_nano_usd, self._wall()
            self._tell(self._spending.settle(permit.call_id, permit.attempt_id, cost, now=now, now_wall=now_wall))
            if outcome.off_path:
                self._spending.end(permit.call_id)
        self._instruments.attempt(record)

    def end_call(self, call_id: str) -> None:
        """Tells that a call makes no further attempt: what it still holds of budgets is free. May be told twice."""
        self._spending.end(call_id)

    def cool_down_ends(self, spec: TargetSpec, query: RouteQuery) -> float | None:
        """Returns when a target whose credentials all cool can be used again, None where they do not cool."""
        verdict = self._state.credentials.verdict(spec, tenant=query.caller.tenant, executing=True, now=self._clock())
        return verdict.retry_at if verdict.reason is RejectionReason.COOLING_DOWN else None

    def free_at(self, target: Target, query: RouteQuery, under: InForce | None = None) -> float | None:
        """Returns when a target that is held back now can be called; None where it can be, or was removed."""
        found = (under or self._in_force).find(target)
        if found is None:
            return None
        now = self._clock()
        state, spec = found
        verdict = self._state.credentials.verdict(spec, tenant=query.caller.tenant, executing=True, now=now)
        times = (state.breaker.retry_at(now), state.endpoint.retry_at(now), verdict.retry_at)
        return max((at for at in times if at is not None), default=None)

    def try_retry(self, *, after_timeout: bool = False) -> bool:
        """Takes one same-target retry from the retry budget, if there is one."""
        return self._state.retry_budget.try_spend(self._clock(), after_timeout=after_timeout)

    def retries_remaining(self) -> float:
        """Returns how many same-target retries the retry budget allows now."""
        return self._state.retry_budget.remaining(self._clock())

    def failed_over(
        self, from_target: Target, to_target: Target, failure: FailureKind, *, decision_id: str = ""
    ) -> None:
        """Counts a call that moves on after a failure, and tells of it."""
        self._instruments.failover(from_target, to_target, failure)
        self._tell(self._troubles.switched(from_target, to_target, failure, decision_id, self._clock()))

    def hedgeable_call(self) -> None:
        """Counts a call that may be hedged: of so many a share may be."""
        self._state.hedge_budget.request(self._clock())

    def patience(
        self,
        permit: Permit,
        query: RouteQuery,
        *,
        input_tokens: int,
        predicted_seconds: float,
        streaming: bool,
        under: InForce | None = None,
    ) -> Patience | None:
        """Returns for how long to wait for an attempt alone before it is hedged, None for as long as it takes."""
        found = (under or self._in_force).find(permit.spec.target)
        if found is None:
            return None
        return patience(
            found.state.latency,
            permit.spec,
            input_tokens=input_tokens,
            predicted_seconds=predicted_seconds,
            effort=query.profile.reasoning_effort,
            streaming=streaming,
            trial=bool(permit.probe_id),
        )

    def may_hedge(self) -> bool:
        """Whether the budgets of hedges and of retries have one left."""
        now = self._clock()
        return min(self._state.hedge_budget.remaining(now), self._state.retry_budget.remaining(now)) >= 1.0

    def may_be_second(self, target: Target, under: InForce | None = None) -> bool:
        """Whether nothing speaks against a target as the second of a hedge."""
        found = (under or self._in_force).find(target)
        return found is not None and may_be_second(found.state, self._clock())

    def cost_cap(self, query: RouteQuery, policy: Policy) -> CostCap | None:
        """Returns what one call may cost, by its own limit, its policy's, and the cap of its tier; None for no cap."""
        limit = cost_cap_nano_usd(query, policy, self.settings.routing)
        return None if limit is None else CostCap(limit)

    def affords(self, target: Target, query: RouteQuery, cap: CostCap, under: InForce | None = None) -> bool:
        """Whether a call's cap leaves enough for another attempt at a target."""
        found = (under or self._in_force).find(target)
        return found is not None and cap.affords(found.spec, query.profile, self._need(found.spec, query))

    def hedged(self, first: Permit, second: Permit, waited: Patience) -> None:
        """Takes a hedge from both budgets, after `may_hedge`, and tells of it."""
        now, target = self._clock(), first.spec.target
        self._state.hedge_budget.take(now)
        self._state.retry_budget.take(now)
        fields: dict[str, str | float] = {
            "second": str(second.spec.target),
            "waited_seconds": round(waited.seconds, 3),
            "measure": waited.measure,
            "decision_id": first.decision_id,
        }
        self._on_event(
            Event(
                name=EventName.HEDGED,
                at=now,
                target=target,
                provider=target.provider,
                endpoint=target.endpoint,
                fields=fields,
            )
        )

    def hedge_ended(self, first: Target, result: HedgeResult) -> None:
        """Counts what became of a hedge, or that there was none although `first` was late."""
        self._instruments.hedge(first, result)

    def was_silent(
        self, target: Target, waited_seconds: float, *, streaming: bool, under: InForce | None = None
    ) -> bool:
        """Whether an attempt that brought nothing in so long was silent, and not merely slower than another."""
        found = (under or self._in_force).find(target)
        if found is None:
            return True
        latency = found.state.latency
        usual = latency.p95_time_to_first_token if streaming else latency.p95_latency
        return waited_seconds > LATE_CANCEL_FACTOR * usual

    def may_retry(self, target: Target, under: InForce | None = None) -> bool:
        """Whether a call may try a target again that has just failed it; false for one that was removed.

        The breakers of target and endpoint are closed, and no other call has failed to connect there meanwhile.
        """
        found = (under or self._in_force).find(target)
        if found is None:
            return False
        state = found.state
        return breakers_closed(state, self._clock()) and state.endpoint.connection_failures <= 1

    def spec(self, target: Target) -> TargetSpec:
        """Returns the static facts of a target that is known to exist."""
        return self._known(target).spec

    def predicted_first_token_seconds(self, target: Target) -> float:
        """Returns how soon the target should answer a request of a few tokens."""
        return self._known(target).latency.time_to_first_token(0, self._clock())

    def tokens_per_byte(self, target: Target) -> float:
        """Returns what the target's model makes of text, as far as reports have taught it."""
        return self._state.token_ratios.ratio(target.provider, target.model)

    def _known(self, target: Target) -> TargetState:
        index = self.fleet.index(target)
        assert index is not None
        return self._state.targets[index]

    def _decide(self, query: RouteQuery, now: float) -> Decision:
        self.expire()
        now_wall = self._wall()
        room, rng, shadowing = self._room(query, now, now_wall), self._rng, self.shadowing
        if shadowing is not None and shadowing.active:
            rng = shadowing.recorded
            rng.begin()
        decision = self._decided(query, now, now_wall, room=room, rng=rng)
        if shadowing is not None and shadowing.active:
            decision = shadowing.watch(decision, query, self.settings, room=room, turn=self._turn, now=now)
        if decision.spared:
            self._state.spared(decision.spared, now)
        if not decision.candidates:
            self._keep(decision, query)
            raise self.unavailable(decision, query)
        if decision.strategy is Strategy.ROUND_ROBIN:
            self._turn += 1
        return decision

    def _room(self, query: RouteQuery, now: float, now_wall: float) -> Room | None:
        return self._spending.room(query, now=now, now_wall=now_wall) if self._spending.active else None

    def _decided(
        self, query: RouteQuery, now: float, now_wall: float, *, room: Room | None, rng: random.Random
    ) -> Decision:
        return decide(
            query,
            self._state,
            self.settings.routing,
            now=now,
            now_wall=now_wall,
            rng=rng,
            decision_id=self._new_id(),
            turn=self._turn,
            failover=self.settings.failover,
            room=room,
        )

    def _permit(
        self, found: Found | None, wanted: Wanted, query: RouteQuery, cap: CostCap | None = None
    ) -> Permit | None:
        if found is None:
            return None
        if cap is None:
            return self._paid_permit(found, wanted, query)
        need = self._need(found.spec, query)
        claim = cap.claim(found.spec, query.profile, need, wanted.attempt_id)
        if claim is None:
            return None
        permit = self._paid_permit(found, wanted, query, at_most=claim.output_tokens)
        if permit is None:
            cap.release(wanted.attempt_id)
        return permit

    def _paid_permit(
        self, found: Found, wanted: Wanted, query: RouteQuery, *, at_most: int | None = None
    ) -> Permit | None:
        """Takes a permit where budgets leave enough for it; `at_most` is the output limit of the call's cap."""
        now, now_wall = self._clock(), self._wall()
        if not self._spending.active:
            permit = take_permit(self._state, found, wanted, now=now, now_wall=now_wall)
            if permit is None or at_most is None:
                return permit
            return dataclasses.replace(permit, max_output_tokens=at_most)
        holder, attempt_id = wanted.call_id, wanted.attempt_id
        claim = self._spending.reserve(
            found.spec, query, holder=holder, attempt_id=attempt_id, now=now, now_wall=now_wall, at_most=at_most
        )
        if claim is None:
            return None
        permit = take_permit(self._state, found, wanted, now=now, now_wall=now_wall)
        if permit is None:
            self._spending.release(holder, attempt_id, now_wall)
            if not wanted.decision_id:
                self._spending.end(holder)
            return None
        return dataclasses.replace(permit, max_output_tokens=claim.output_tokens)

    def _need(self, spec: TargetSpec, query: RouteQuery) -> AttemptNeed:
        return attempt_need(spec, query.profile, self._state.token_ratios, self._state.lengths)

    def _follow_shadows(self) -> None:
        """Has shadows decide beside the policies that have one now."""
        if self.shadowing is not None:
            self.shadowing.follow(self.settings)
        elif any(policy.shadow_policy for policy in self.settings.routing.policies.values()):
            from turnout_server.shadowing import Shadowing  # noqa: PLC0415 - needed only where a policy has a shadow

            self.shadowing = Shadowing(
                self._state,
                self.settings,
                rng=self._rng,
                count=self._instruments.shadow,
                # Whoever asks shadows may say so later.
                wake=lambda: self.wake_shadows(),  # noqa: PLW0108
            )

    def _keep(self, decision: Decision, query: RouteQuery) -> None:
        self._state.past.decided(decision, query)
        self._instruments.decision(decision)

    def _reported(self, outcome: Outcome, now: float) -> Recorded:
        spec = self._reported_spec(outcome)
        if spec is not None and (outcome.cost_nano_usd is None or spec.region):
            cost = outcome.cost_nano_usd
            if cost is None:
                cost = settled_cost_nano_usd(None, outcome.usage, spec.price) if outcome.possibly_billed else 0
            outcome = dataclasses.replace(outcome, cost_nano_usd=cost, region=spec.region)
        recorded = self._state.record(outcome, call_id=outcome.attempt_id, now=now, in_flight=False)
        if outcome.failure is not None and recorded.result is RecordResult.ACCEPTED:
            self._tell(self._troubles.failed(outcome, now))
        self._tell(recorded.events)
        self._instruments.outcome(recorded.result.value.lower())
        if recorded.result is RecordResult.ACCEPTED:
            if self._spending.settles:
                self._tell(self._spending.report(outcome, now=now, now_wall=self._wall()))
            self._instruments.attempt(_record_of(outcome, self._wall()))
        return recorded

    def _reported_spec(self, outcome: Outcome) -> TargetSpec | None:
        """Returns the facts of a target that a caller tells of; of one that was removed, those of its decision."""
        index = self.fleet.index(outcome.target)
        if index is not None:
            return self.fleet.specs[index]
        record = self._state.history.get(outcome.decision_id)
        candidates = () if record is None else record.decision.candidates
        return next((each.spec for each in candidates if each.target == outcome.target), None)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._on_event(event)
            for following in self._troubles.followed_by(event):
                self._on_event(following)


def _stay_asleep() -> None:
    """Nobody asks shadows by themselves: whoever wants comparisons calls `step`."""


def _any_trims(settings: Settings) -> bool:
    return any(policy.trim for policy in settings.routing.policies.values())


def _record_of(outcome: Outcome, now_wall: float) -> AttemptRecord:
    """A caller's own attempt, as those that are made here are told of."""
    finished_at = now_wall if outcome.finished_at_wall is None else outcome.finished_at_wall
    return AttemptRecord(
        target=outcome.target,
        attempt_id=outcome.attempt_id,
        started_at_wall=finished_at - (outcome.latency_seconds or 0.0),
        credential=outcome.credential,
        failure=outcome.failure,
        http_status=outcome.http_status,
        latency_seconds=outcome.latency_seconds,
        time_to_first_token_seconds=outcome.time_to_first_token_seconds,
        usage=outcome.usage,
        cost_nano_usd=outcome.cost_nano_usd,
        possibly_billed=outcome.possibly_billed,
        retry_reason=outcome.retry_reason,
        region=outcome.region,
        streamed=outcome.streamed,
    )
