"""The demonstration's figures and verdict follow from records and states alone."""

from __future__ import annotations

from turnout.v1 import router_pb2 as pb
from turnout_server.demo.record import Act, Ledger, Mode, RequestRecord, SeenAttempt
from turnout_server.demo.report import report_lines
from turnout_server.demo.scene import Scene, Times
from turnout_server.demo.summary import Failure, Summary, returned, summarise
from turnout_server.demo.watch import StatusWatch

SCENE = Scene(times=Times.of(30.0))
FAILURE = Failure(provider="boreal", at_seconds=9.0, healed_at_seconds=18.0, cut_count=2)


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class FakeSidecar:
    """States of one target's breaker as ProviderStatus would tell them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.watch = StatusWatch(clock=self.clock)

    def tell(self, at_seconds: float, breaker: pb.BreakerState.ValueType) -> None:
        self.clock.seconds = at_seconds
        state = pb.TargetState(target=pb.Target(provider="boreal", model="small"), breaker=breaker)
        self.watch.take(pb.ProviderStatusResponse(providers=[pb.ProviderState(provider="boreal", targets=[state])]))

    def open_and_close(self) -> None:
        self.tell(1.0, pb.BREAKER_STATE_CLOSED)
        self.tell(10.0, pb.BREAKER_STATE_OPEN)
        self.tell(19.0, pb.BREAKER_STATE_HALF_OPEN)
        self.tell(20.0, pb.BREAKER_STATE_CLOSED)


def answered(number: int, at_seconds: float, target: str = "boreal/small", *, failed_first: str = "") -> RequestRecord:
    provider, _, model = target.partition("/")
    attempts = [SeenAttempt(target=failed_first, failure="OVERLOADED")] if failed_first else []
    return RequestRecord(
        number=number,
        at_seconds=at_seconds,
        act=Act.BEFORE if at_seconds < 9 else Act.DURING if at_seconds < 18 else Act.AFTER,
        mode=Mode.EXECUTE,
        ask="chat",
        latency_seconds=0.1,
        target=target,
        attempts=(*attempts, SeenAttempt(target=target)),
        input_tokens=1000,
        output_tokens=100,
        cost_usd=SCENE.cost_usd(provider, model, 1000, 100),
    )


def failed(number: int) -> RequestRecord:
    return RequestRecord(
        number=number,
        at_seconds=5.0,
        act=Act.BEFORE,
        mode=Mode.STREAM,
        ask="chat",
        latency_seconds=0.1,
        error="ATTEMPTS_EXHAUSTED: no target answered",
    )


def good_run() -> tuple[Ledger, StatusWatch]:
    sidecar = FakeSidecar()
    sidecar.open_and_close()
    records = [
        *(answered(i, float(i)) for i in range(1, 9)),
        answered(9, 9.5, "cirrus/medium", failed_first="boreal/small"),
        *(answered(i, 12.0, "cirrus/medium") for i in range(10, 14)),
        *(answered(i, 21.0) for i in range(14, 18)),
    ]
    return Ledger(records=records), sidecar.watch


def summary(ledger: Ledger, watch: StatusWatch, failure: Failure | None = FAILURE) -> Summary:
    return summarise(ledger, watch, SCENE, failure, seconds=30.0)


def test_run_in_which_everything_happened_has_no_problem() -> None:
    found = summary(*good_run())

    assert found.problems == []
    assert (found.requests, found.answered, found.failovers) == (17, 17, 1)
    assert (found.opened_after_seconds, found.closed_after_seconds) == (1.0, 2.0)


def test_requests_are_counted_by_target_and_act() -> None:
    found = summary(*good_run())

    assert found.by_target["boreal/small"] == {"before": 8, "during": 0, "after": 4}
    assert found.by_target["cirrus/medium"] == {"before": 0, "during": 5, "after": 0}


def test_spend_is_set_against_the_dearest_target_for_the_same_tokens() -> None:
    found = summary(Ledger(records=[answered(1, 1.0)]), FakeSidecar().watch)

    assert round(found.spend_usd, 9) == round((1000 * 0.15 + 100 * 0.6) / 1e6, 9)
    assert round(found.dearest_usd, 9) == round((1000 * 3.0 + 100 * 15.0) / 1e6, 9)


def test_failed_request_is_a_problem_that_says_why() -> None:
    ledger, watch = good_run()
    ledger.add(failed(99))
    found = summary(ledger, watch)

    assert len(found.problems) == 1
    assert "1 of 18 requests failed" in found.problems[0]
    assert "#99 (stream): ATTEMPTS_EXHAUSTED" in found.problems[0]


def test_breaker_that_never_opened_is_a_problem() -> None:
    ledger, _ = good_run()
    sidecar = FakeSidecar()
    sidecar.tell(1.0, pb.BREAKER_STATE_CLOSED)

    assert summary(ledger, sidecar.watch).problems == ["no breaker of boreal ever opened"]


def test_traffic_that_never_returned_is_a_problem() -> None:
    ledger, watch = good_run()
    ledger.records = [record for record in ledger.records if record.act is not Act.AFTER]

    assert not returned(ledger, watch, "boreal")
    assert summary(ledger, watch).problems == ["traffic never returned to boreal after it had recovered"]


def test_breaker_that_stayed_open_means_that_traffic_never_returned() -> None:
    ledger, _ = good_run()
    sidecar = FakeSidecar()
    sidecar.tell(10.0, pb.BREAKER_STATE_OPEN)

    assert not returned(ledger, sidecar.watch, "boreal")


def test_run_without_a_staged_failure_is_a_problem() -> None:
    ledger, watch = good_run()

    assert summary(ledger, watch, None).problems == ["no failure was staged"]


def test_empty_run_is_a_problem_and_no_division_by_zero() -> None:
    found = summary(Ledger(), FakeSidecar().watch, None)

    assert found.success_rate == 0.0
    assert "no request was made" in found.problems


def test_busiest_provider_counts_answers_only() -> None:
    ledger = Ledger(records=[failed(1), failed(2), answered(3, 1.0, "cirrus/medium")])

    assert ledger.busiest_provider() == "cirrus"
    assert Ledger().busiest_provider() == ""


def test_report_tells_every_problem_and_target() -> None:
    ledger, watch = good_run()
    ledger.add(failed(99))
    text = "\n".join(report_lines(summary(ledger, watch)))

    assert "PROBLEM     1 of 18" in text
    assert all(f"{provider.name}/{model.name}" in text for provider in SCENE.cast for model in provider.models)
