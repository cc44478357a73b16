"""What a real server tells of shadows in metrics and spans."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.administration.administered import ENVIRON, written
from tests.api.sidecar import HELLO, SPECS, Sidecar, running
from tests.api.traced_sidecar import attributes, named, traced
from turnout.v1 import router_pb2 as pb
from turnout_server import app
from turnout_server.config.load import load
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import RouteQuery, Strategy
from turnout_server.core.settings import Policy, RoutingSettings, Settings
from turnout_server.use_cases.shadowing import WAITING_MAXIMUM

LONG_SECONDS = 60
OWN = Policy(strategy=Strategy.PRIORITY, shadow_policy="other")
OTHER = Policy(name="other", strategy=Strategy.PRIORITY, preferences=("beta/large",))
WATCHED = Settings(routing=RoutingSettings(policies={"default": OWN, "other": OTHER}))
PLAIN = Settings(routing=RoutingSettings(policies={"default": Policy(), "other": OTHER}))
ALPHA = pb.RoutingOptions(force_target="alpha/large")


def sampled(sidecar: Sidecar, name: str) -> dict[tuple[str, ...], float]:
    """A counter by the values of policy, shadow and, where it has that, agreed."""
    page, _ = sidecar.metrics.render("text/plain")
    return {
        tuple(sample.labels[label] for label in ("policy", "shadow", "agreed") if label in sample.labels): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == name
    }


def counted(sidecar: Sidecar) -> dict[tuple[str, ...], float]:
    return sampled(sidecar, "turnout_shadow_decisions_total")


async def asked(sidecar: Sidecar) -> None:
    """Waits until every shadow has been asked."""
    async with asyncio.timeout(LONG_SECONDS):
        while sidecar.router.shadows.shadowing is not None and sidecar.router.shadows.shadowing.waiting_count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_decisions_are_counted_by_whether_the_shadow_agreed() -> None:
    async with running(core=WATCHED) as sidecar:
        for options in (None, None, ALPHA):
            await sidecar.stub.Route(pb.RouteRequest(options=options), timeout=LONG_SECONDS)
        await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)
        await asked(sidecar)
        before = counted(sidecar)
        sidecar.router.adopt(Fleet(SPECS), Settings())
        after = counted(sidecar)

    assert {("default", "other", "false"): 3, ("default", "other", "true"): 1} == before
    # The series end with the policy.
    assert {} == after


async def test_decisions_that_no_shadow_was_asked_about_are_counted() -> None:
    async with running(core=WATCHED) as sidecar:
        # All before the event loop has its turn, so that no shadow has its.
        for _ in range(WAITING_MAXIMUM + 6):
            sidecar.router.deciding.route(RouteQuery())
        sidecar.metrics.watch_shadows(sidecar.shadows.shed_counts)
        shed = sampled(sidecar, "turnout_shadow_shed_total")
        await asked(sidecar)

    assert {("default", "other"): 6} == shed
    assert {("default", "other", "false"): WAITING_MAXIMUM} == counted(sidecar)


async def test_a_whole_sidecar_counts_them_from_the_start(tmp_path: Path) -> None:
    more = ", routing: {policies: {default: {shadow_policy: other}, other: {strategy: COST}}}"
    file = tmp_path / "turnout.yaml"
    file.write_text(written(more=more).replace("metrics: {address: ''}", "metrics: {address: '127.0.0.1:0'}"))
    async with (
        app.running(load(str(file), ENVIRON), ENVIRON) as listening,
        httpx.AsyncClient(timeout=LONG_SECONDS) as client,
    ):
        page = (await client.get(f"http://{listening.metrics}/metrics")).text

    assert 'turnout_shadow_shed_total{policy="default",shadow="other"} 0.0' in page


async def test_the_span_of_a_decision_says_what_its_shadow_would_have_chosen() -> None:
    async with traced(core=WATCHED) as traces:
        await traces.sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO), timeout=LONG_SECONDS)
        found = attributes(named(await traces.spans(3), "turnout.decide"))

    assert found["turnout.decision.chosen"] == "alpha/large"
    assert found["turnout.decision.policy_rule"] == "routing.default_policy"
    assert found["turnout.decision.shadow.policy"] == "other"
    # Shadows are asked 2 ms after the decision, spans made 10 ms after the call: in this order, however late both come.
    assert found["turnout.decision.shadow.agreed"] is False
    assert found["turnout.decision.shadow.chosen"] == "beta/large"


async def test_the_spans_of_a_policy_without_a_shadow_say_nothing_of_one() -> None:
    async with traced(core=PLAIN) as traces:
        await traces.sidecar.stub.Route(pb.RouteRequest(), timeout=LONG_SECONDS)
        found = attributes(named(await traces.spans(2), "turnout.decide"))

    assert [] == [name for name in found if "shadow" in name]
