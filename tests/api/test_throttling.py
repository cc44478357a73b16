"""What callers and operators are told of a target that refuses many of its calls."""

import time

from tests.api.sidecar import HELLO, Sidecar, running
from turnout.v1 import router_pb2 as pb

FULL = pb.RoutingOptions(strategy=pb.STRATEGY_QUALITY, detail=pb.DECISION_DETAIL_FULL)


def press(sidecar: Sidecar, *, sent: int, refused: int) -> None:
    """Has the best target, alpha/large, refuse calls as if they had been made; its breaker knows nothing of it."""
    throttle = sidecar.router.state.targets[0].throttle
    for _ in range(sent):
        throttle.sent(time.monotonic())
    for _ in range(refused):
        throttle.refused(time.monotonic())


async def test_plans_status_and_metrics_tell_of_a_target_that_is_spared() -> None:
    async with running() as sidecar:
        press(sidecar, sent=1000, refused=1000)
        plan = await sidecar.stub.Route(pb.RouteRequest(options=FULL), timeout=60)
        press(sidecar, sent=1, refused=1)
        again = await sidecar.stub.Route(pb.RouteRequest(options=FULL), timeout=60)
        status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(), timeout=60)
        text = sidecar.metrics.render("")[0].decode()
        counted = sidecar.router.state.targets[0].throttle._spared

    (rejection,) = plan.decision.rejections
    pressed = status.providers[0].targets[0]

    assert (rejection.target.provider, rejection.target.model) == ("alpha", "large")
    assert list(rejection.reasons) == [pb.REJECTION_REASON_THROTTLED]
    assert dict(plan.decision.rejection_counts) == {"THROTTLED": 1}
    assert not plan.decision.reusable
    assert again.decision.rejections
    assert counted == 2
    assert (pressed.target.provider, pressed.target.model) == ("alpha", "large")
    assert pressed.throttle > 0.99
    assert 'turnout_target_throttle_ratio{target="alpha/large"} 0.99' in text
    assert 'turnout_rejections_total{reason="THROTTLED",target="alpha/large"} 2.0' in text


async def test_executed_calls_go_to_another_target_and_to_the_only_one_all_the_same() -> None:
    async with running() as sidecar:
        press(sidecar, sent=1000, refused=1000)
        others = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=FULL), timeout=60)
        forced = pb.RoutingOptions(force_target="alpha/large")
        press(sidecar, sent=1, refused=1)
        only = await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, options=forced), timeout=60)

    assert (others.target.provider, others.target.model) != ("alpha", "large")
    assert (only.target.provider, only.target.model) == ("alpha", "large")


async def test_a_learned_limit_stands_in_the_status() -> None:
    async with running() as sidecar:
        now = time.monotonic()
        limit = sidecar.router.state.targets[0].concurrency
        for n in range(20):
            limit.sent(n + 1, now)
        for _ in range(5):
            limit.refused(now, now)
        status = await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest(), timeout=60)

    found = [each for provider in status.providers for each in provider.targets]

    assert [each.concurrency_limit for each in found if each.HasField("concurrency_limit")] == [14]
