"""Where plans come from: kept ones, the sidecar's answers, and what is left while it is away."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from turnout.answer import target_name
from turnout.asking import Asking
from turnout.errors import (
    AllTargetsUnavailableError,
    BudgetExhaustedError,
    DeadlineError,
    DrainingError,
    ErrorDetails,
    InvalidRequestError,
    NoEligibleTargetError,
    SidecarOverloadedError,
    TransportError,
    TurnoutError,
    UnauthenticatedError,
    UnreachableError,
)
from turnout.fallback import Fallback, StaticOrder
from turnout.last_plans import LastPlans
from turnout.planning import Choice, Planner
from turnout.seen_failures import SeenFailures
from turnout.v1 import router_pb2 as pb

AWAY = UnreachableError("refused", ErrorDetails(code=grpc.StatusCode.UNAVAILABLE))
TARGETS = ("a/m", "b/m", "c/m")


def planner(fallback: Fallback | None = None, *, caching: bool = True, max_count: int = 256) -> Planner:
    return Planner(caching=caching, fallback=StaticOrder(fallback), rng=random.Random(1), max_count=max_count)


def request(task: str = "chat", **options: Any) -> pb.RouteRequest:
    return pb.RouteRequest(profile=pb.RequestProfile(task=task), options=pb.RoutingOptions(**options))


def target(name: str) -> pb.Target:
    provider, _, model = name.partition("/")
    return pb.Target(provider=provider, model=model)


def plan(*names: str, decision_id: str = "d", reusable: bool = True, valid_seconds: int = 5) -> pb.Decision:
    made = pb.Decision(decision_id=decision_id, reusable=reusable)
    made.valid_for.FromSeconds(valid_seconds)
    for name in names:
        made.candidates.add(target=target(name), region=f"region-of-{name[0]}")
    return made


def failure(name: str, kind: pb.FailureKind.ValueType = pb.FAILURE_KIND_OVERLOADED, **more: Any) -> pb.Outcome:
    return pb.Outcome(target=target(name), failure=kind, **more)


def ask(planner: Planner, request: pb.RouteRequest, now: float, seconds: float = math.inf) -> Asking:
    found = planner.start(request, now, seconds)
    assert isinstance(found, Asking)
    found.sent_at = now
    return found


def answer(planner: Planner, request: pb.RouteRequest, made: pb.Decision, now: float) -> Choice:
    asking = ask(planner, request, now)
    choice = planner.answered(asking, made, now)
    planner.end(asking)
    return choice


def away(planner: Planner, request: pb.RouteRequest, now: float, error: TurnoutError = AWAY) -> Choice | None:
    asking = ask(planner, request, now)
    choice = planner.failed(asking, error, now)
    planner.end(asking)
    return choice


def names(choice: Choice | Asking | None) -> list[str]:
    assert isinstance(choice, Choice)
    return [target_name(candidate.target) for candidate in choice.candidates]


def test_the_first_use_has_the_order_as_answered_and_the_second_asks_nobody() -> None:
    plans = planner()

    fresh = answer(plans, request(), plan("a/m", "b/m"), 0.0)
    again = plans.start(request(), 1.0)

    assert (names(fresh), fresh.reused) == (["a/m", "b/m"], False)
    assert isinstance(again, Choice)
    assert (again.reused, again.stale_reason) == (True, "")


def test_without_a_cache_everybody_asks() -> None:
    plans = planner(caching=False)
    answer(plans, request(), plan("a/m"), 0.0)

    assert isinstance(plans.start(request(), 1.0), Asking)
    assert away(plans, request(), 1.0) is None


@pytest.mark.parametrize(
    ("outcome", "dropped"),
    [
        (failure("b/m"), True),
        (failure("b/m", pb.FAILURE_KIND_UNKNOWN, http_status=409), True),
        (failure("b/m", pb.FAILURE_KIND_UNKNOWN), False),
        (failure("b/m", pb.FAILURE_KIND_CANCELLED), False),
        (failure("b/m", pb.FAILURE_KIND_INVALID_REQUEST), False),
        (failure("b/m", pb.FAILURE_KIND_CONTENT_FILTERED), False),
        (failure("b/m", pb.FAILURE_KIND_CONTEXT_LENGTH), False),
        (pb.Outcome(target=target("b/m"), ok=True), False),
        (failure("c/m"), False),
    ],
    ids=["overloaded", "odd status", "mistake", "cancelled", "request", "filtered", "length", "success", "elsewhere"],
)
def test_a_failure_that_speaks_against_a_target_has_the_next_call_ask(outcome: pb.Outcome, *, dropped: bool) -> None:
    plans = planner()
    answer(plans, request(), plan("a/m", "b/m"), 0.0)

    plans.noted([outcome], 1.0)

    assert isinstance(plans.start(request(), 1.0), Asking) == dropped


def test_an_answer_from_before_a_failure_serves_once() -> None:
    plans = planner()
    asking = ask(plans, request(), 0.0)
    plans.noted([failure("a/m")], 0.5)

    plans.answered(asking, plan("a/m"), 1.0)

    assert isinstance(plans.start(request(), 1.0), Asking)


def test_an_answer_from_before_a_failure_of_somebody_else_is_kept() -> None:
    plans = planner()
    asking = ask(plans, request(), 0.0)
    plans.noted([failure("c/m")], 0.5)

    plans.answered(asking, plan("a/m"), 1.0)

    assert isinstance(plans.start(request(), 1.0), Choice)


def test_an_answer_of_a_sidecar_that_may_not_know_of_a_failure_serves_once() -> None:
    plans = planner()
    asking = ask(plans, request(), 0.0)
    asking.uninformed = True

    plans.answered(asking, plan("a/m"), 1.0)

    assert isinstance(plans.start(request(), 1.0), Asking)


@pytest.mark.parametrize(
    "error",
    [
        AWAY,
        DeadlineError("late", ErrorDetails(code=grpc.StatusCode.DEADLINE_EXCEEDED)),
        DrainingError("stopping", ErrorDetails(reason="DRAINING")),
        SidecarOverloadedError("full", ErrorDetails(reason="SIDECAR_OVERLOADED")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_sidecar_that_cannot_answer_leaves_the_last_plan(error: TurnoutError) -> None:
    plans = planner()
    answer(plans, request(), plan("a/m", "b/m"), 0.0)

    stale = away(plans, request(), 1000.0, error)

    assert names(stale) == ["a/m", "b/m"]
    assert stale is not None
    assert not stale.reused
    assert str(error) in stale.stale_reason
    assert "1000.0 s old" in stale.stale_reason


@pytest.mark.parametrize(
    "error",
    [
        NoEligibleTargetError("none", ErrorDetails(reason="NO_ELIGIBLE_TARGET")),
        AllTargetsUnavailableError("none now", ErrorDetails(reason="ALL_TARGETS_UNAVAILABLE")),
        BudgetExhaustedError("spent", ErrorDetails(reason="BUDGET_EXHAUSTED")),
        InvalidRequestError("wrong", ErrorDetails(reason="INVALID_REQUEST")),
        UnauthenticatedError("who?", ErrorDetails(reason="UNAUTHENTICATED")),
        TransportError("odd", ErrorDetails(code=grpc.StatusCode.INTERNAL)),
        UnreachableError("newer", ErrorDetails(code=grpc.StatusCode.UNAVAILABLE, reason="OF_A_NEWER_SIDECAR")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_is_an_answer(error: TurnoutError) -> None:
    plans = planner(["b/m"])
    answer(plans, request(), plan("a/m", reusable=False), 0.0)

    assert away(plans, request(), 1.0, error) is None


def test_after_the_sidecar_was_away_nobody_asks_for_a_second_and_then_one() -> None:
    plans = planner()
    answer(plans, request(), plan("a/m", reusable=False), 0.0)
    away(plans, request(), 10.0)

    during = plans.start(request(), 10.999)
    one = plans.start(request(), 11.0)
    others = plans.start(request(), 11.5)

    assert names(during) == names(others) == ["a/m"]
    assert isinstance(one, Asking)
    plans.end(one)
    assert isinstance(plans.start(request(), 12.0), Asking)


def test_whoever_has_nothing_to_fall_back_on_asks_all_the_same() -> None:
    plans = planner({"chat": ["a/m"]})
    away(plans, request(), 10.0)

    assert names(plans.start(request(), 10.5)) == ["a/m"]
    assert isinstance(plans.start(request("planning"), 10.5), Asking)


def test_an_answer_ends_the_pause() -> None:
    plans = planner(["a/m"])
    away(plans, request(), 10.0)
    answer(plans, request("planning"), plan("b/m", reusable=False), 11.5)

    assert isinstance(plans.start(request(), 11.6), Asking)


def test_a_question_with_something_to_fall_back_on_is_short_and_put_once() -> None:
    plans = planner({"chat": ["a/m"]})

    short, shorter = ask(plans, request(), 10.0, 2.0), ask(plans, request(), 10.0, 0.25)
    long = ask(plans, request("planning"), 10.0, 2.0)

    assert (short.ends_at, short.retry_count(3)) == (11.0, 0)
    assert (shorter.ends_at, shorter.retry_count(3)) == (10.25, 0)
    assert (long.ends_at, long.retry_count(3)) == (12.0, 3)


def test_what_is_left_is_taken_in_order_the_same_request_the_task_the_fallback() -> None:
    plans = planner({"": ["c/m"], "planning": ["c/m@eu", "a/m"]})
    answer(plans, request(min_quality=50), plan("a/m"), 0.0)
    answer(plans, request(min_quality=60), plan("b/m"), 1.0)

    found = [
        names(away(plans, wish, 10.0 * number))
        for number, wish in enumerate(
            (request(min_quality=50), request(min_quality=70), request("planning"), request("other")), start=1
        )
    ]

    assert found == [["a/m"], ["b/m"], ["c/m@eu", "a/m"], ["c/m"]]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"exclude": ["a"]}, ["b/m"]),
        ({"exclude": ["a/m"]}, ["b/m"]),
        ({"include": ["a"]}, ["a/m"]),
        ({"force_target": "b/m"}, ["b/m"]),
        ({"regions": ["region-of-b"]}, ["b/m"]),
    ],
    ids=["exclude", "exclude model", "include", "force_target", "regions"],
)
def test_a_plan_of_another_request_keeps_to_the_limits_of_this_one(options: dict[str, Any], left: list[str]) -> None:
    plans = planner()
    answer(plans, request(), plan("a/m", "b/m"), 0.0)

    assert names(away(plans, request(**options), 1.0)) == left


@pytest.mark.parametrize(
    "options",
    [{"regions": ["moon"]}, {"force_target": "c/m"}, {"include": ["c"]}, {"exclude": ["a", "b"]}],
    ids=lambda options: next(iter(options)),
)
def test_where_nothing_keeps_to_the_limits_the_error_comes_out(options: dict[str, Any]) -> None:
    plans = planner(["a/m", "b/m"])
    answer(plans, request(), plan("a/m", "b/m"), 0.0)

    assert away(plans, request(**options), 1.0) is None


def test_a_plan_made_for_one_tenant_is_none_for_another() -> None:
    plans = planner()
    wishes = [
        pb.RouteRequest(profile=pb.RequestProfile(task="chat"), caller=pb.Caller(tenant=tenant, user="u"))
        for tenant in ("blue", "red")
    ]
    answer(plans, wishes[0], plan("a/m"), 0.0)

    assert away(plans, wishes[1], 1.0) is None


def test_a_stale_plan_has_no_trials() -> None:
    made = plan("a/m", reusable=False)
    made.candidates[0].probe.probe_id = "p-1"
    plans = planner()
    fresh = answer(plans, request(), made, 0.0)

    stale = away(plans, request(), 1.0)

    assert fresh.candidates[0].probe.probe_id == "p-1"
    assert stale is not None
    assert not stale.candidates[0].HasField("probe")


def test_what_failed_lately_goes_last_in_a_stale_plan() -> None:
    plans = planner()
    answer(plans, request(), plan("a/m", "b/m", "c/m"), 0.0)
    plans.noted([failure("a/m")], 100.0)
    plans.noted([failure("b/m")], 110.0)

    assert names(away(plans, request(), 120.0)) == ["c/m", "a/m", "b/m"]
    assert names(plans.start(request(), 120.5)) == ["c/m", "a/m", "b/m"]
    assert names(away(plans, request(), 135.0)) == ["a/m", "c/m", "b/m"]
    assert names(away(plans, request(), 141.0)) == ["a/m", "b/m", "c/m"]


@pytest.mark.parametrize(
    ("fallback", "complaint"),
    [
        ("openai/gpt", "give a list"),
        (["openai"], r"fallback\[0\]: 'openai' names no target"),
        (["a/m", "a/m@"], r"fallback\[1\]: 'a/m@' names no target"),
        ({"chat": ["/m"]}, r"fallback\['chat'\]\[0\]"),
        ([pb.Target(provider="a")], "lacks its provider or model"),
        (["a/m"] * 257, "257 targets"),
    ],
    ids=["a string", "no model", "no endpoint", "no provider", "half a target", "too many"],
)
def test_a_fallback_that_is_none_is_refused_by_name(fallback: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        StaticOrder(fallback)


def test_a_model_with_an_at_sign_is_given_as_a_target() -> None:
    order = StaticOrder([pb.Target(provider="vertex", model="claude@2025"), "azure/gpt@east"])

    first, second = order.candidates(pb.RouteRequest())

    assert first.target.model == "claude@2025"
    assert (second.target.model, second.target.endpoint) == ("gpt", "east")


def test_a_refusal_ends_the_pause_too() -> None:
    plans = planner(["a/m"])
    first, second = ask(plans, request(), 0.0), ask(plans, request("planning"), 0.0)
    plans.failed(first, AWAY, 10.0)

    plans.failed(second, InvalidRequestError("wrong", ErrorDetails(reason="INVALID_REQUEST")), 10.1)

    assert isinstance(plans.start(request(), 10.2), Asking)


def test_a_failure_from_before_the_question_does_not_count_against_its_answer() -> None:
    plans = planner()
    plans.noted([failure("a/m")], 0.0)
    asking = ask(plans, request(), 1.0)
    plans.noted([failure("c/m")], 2.0)

    plans.answered(asking, plan("a/m"), 3.0)

    assert isinstance(plans.start(request(), 3.0), Choice)


def test_the_last_plan_longest_without_an_answer_goes() -> None:
    plans = LastPlans(max_count=2)
    for task in ("one", "two", "one", "three"):
        plans.keep(task.encode(), request(task), plan("a/m"), 0.0)

    assert len(plans) == 2
    assert plans.find(b"one", request("one")) is not None
    assert plans.find(b"two", request("two")) is None


def test_the_target_longest_without_a_failure_is_forgotten_first() -> None:
    seen = SeenFailures(max_count=2)
    for name in ("a", "b", "a", "c"):
        seen.add(name, 0.0)

    assert [seen.lately(name, 1.0) for name in ("a", "b", "c")] == [True, False, True]


class Model:
    """The rules of decision 58 in lists, with no thought of speed."""

    def __init__(self, max_count: int) -> None:
        self.max_count = max_count
        self.kept: list[dict[str, Any]] = []
        self.last: list[tuple[str, str, list[str]]] = []
        self.failures: list[tuple[str, float]] = []
        self.away_until: float | None = None
        self.alone = False

    def reused(self, key: str, tokens: tuple[Any, Any], now: float) -> str | None:
        for entry in self.kept:
            if entry["key"] == key:
                if now >= entry["ends_at"]:
                    self.kept.remove(entry)
                    return None
                for mine, plans in zip(tokens, entry["tokens"], strict=True):
                    if (mine is None) != (plans is None) or (mine is not None and mine > plans):
                        return None
                self.kept.remove(entry)
                self.kept.append(entry)
                return str(entry["id"])
        return None

    def stale(self, key: str, now: float) -> tuple[str, list[str]] | None:
        own = [entry for entry in self.last if entry[0] == key]
        # The keys of this machine differ in one option, and the task is the part before it.
        others = [entry for entry in self.last if entry[0].partition(":")[0] == key.partition(":")[0]]
        for entry in own or others[-1:]:
            late = {name for name, at in self.failures if now - at < 30}
            order = [name for name in entry[2] if name not in late] + [name for name in entry[2] if name in late]
            return entry[1], order
        return None

    def take(self, asking: dict[str, Any], made: pb.Decision) -> None:
        targets = [target_name(candidate.target) for candidate in made.candidates]
        self.away_until = None
        self.last = [entry for entry in self.last if entry[0] != asking["key"]]
        self.last = [*self.last, (asking["key"], made.decision_id, targets)][-self.max_count :]
        met = {name for name, _ in self.failures[asking["failures"] :]}
        if met.intersection(targets):
            return
        self.kept = [entry for entry in self.kept if entry["key"] != asking["key"]]
        if made.reusable and made.valid_for.seconds:
            entry = {
                "key": asking["key"],
                "id": made.decision_id,
                "tokens": asking["tokens"],
                "ends_at": asking["sent_at"] + made.valid_for.seconds,
                "targets": targets,
            }
            self.kept = [*self.kept, entry][-self.max_count :]

    def fail(self, name: str, now: float) -> None:
        self.failures.append((name, now))
        self.kept = [entry for entry in self.kept if name not in entry["targets"]]


TOKENS = st.none() | st.integers(1, 3)


class PlanningMachine(RuleBasedStateMachine):
    """Many callers at once: questions are open while others come, targets fail, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.planner = planner(max_count=3)
        self.model = Model(3)
        self.now = 0.0
        self.open: list[tuple[Asking, dict[str, Any]]] = []
        self.made_count = 0

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(task=st.sampled_from("xyz"), quality=st.integers(1, 2), tokens=st.tuples(TOKENS, TOKENS))
    def start(self, task: str, quality: int, tokens: tuple[int | None, int | None]) -> None:
        profile = pb.RequestProfile(task=task, input_tokens=tokens[0], max_output_tokens=tokens[1])
        wish = pb.RouteRequest(
            profile=profile, options=pb.RoutingOptions(min_quality=quality), request_id=str(self.now)
        )
        key = f"{task}:{quality}"
        expected, stale = self.model.reused(key, tokens, self.now), self.model.stale(key, self.now)

        found = self.planner.start(wish, self.now)

        if expected is not None:
            assert isinstance(found, Choice)
            assert (found.reused, found.decision.decision_id) == (True, expected)
            return
        waits = self.model.away_until is not None and (self.model.alone or self.now < self.model.away_until)
        if stale is not None and waits:
            assert isinstance(found, Choice)
            assert found.stale_reason
            assert (found.decision.decision_id, names(found)) == stale
            return
        assert isinstance(found, Asking)
        assert found.falls_back == (stale is not None)
        alone = self.model.away_until is not None and stale is not None
        self.model.alone = self.model.alone or alone
        found.sent_at = self.now
        self.open.append(
            (
                found,
                {
                    "key": key,
                    "tokens": tokens,
                    "sent_at": self.now,
                    "failures": len(self.model.failures),
                    "alone": alone,
                },
            )
        )

    def end(self, data: st.DataObject) -> tuple[Asking, dict[str, Any]]:
        asking, noted = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if noted["alone"]:
            self.model.alone = False
        return asking, noted

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        listed=st.lists(st.sampled_from(TARGETS), min_size=1, unique=True),
        reusable=st.booleans(),
        valid_seconds=st.integers(0, 5),
    )
    def answer(self, data: st.DataObject, listed: list[str], valid_seconds: int, *, reusable: bool) -> None:
        asking, noted = self.end(data)
        self.made_count += 1
        made = plan(*listed, decision_id=f"d{self.made_count}", reusable=reusable, valid_seconds=valid_seconds)

        choice = self.planner.answered(asking, made, self.now)
        self.planner.end(asking)

        assert names(choice) == listed
        assert not choice.reused
        assert not choice.stale_reason
        self.model.take(noted, made)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        asking, _ = self.end(data)

        assert self.planner.failed(asking, InvalidRequestError("wrong"), self.now) is None

        self.planner.end(asking)
        self.model.away_until = None

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        asking, noted = self.end(data)

        found = self.planner.failed(asking, AWAY, self.now)

        self.planner.end(asking)
        kept = self.model.reused(noted["key"], noted["tokens"], self.now)
        if kept is not None:
            # Another had an answer meanwhile, so the sidecar is not away.
            assert found is not None
            assert (found.reused, found.decision.decision_id) == (True, kept)
            return
        expected = self.model.stale(noted["key"], self.now)
        assert (found is None) == (expected is None)
        if found is not None:
            assert (found.decision.decision_id, names(found)) == expected
        self.model.away_until = self.now + 1.0

    @rule(name=st.sampled_from(TARGETS))
    def fail(self, name: str) -> None:
        self.planner.noted([failure(name)], self.now)
        self.model.fail(name, self.now)

    @rule(name=st.sampled_from(TARGETS), ok=st.booleans())
    def end_well_or_by_the_caller(self, name: str, *, ok: bool) -> None:
        kind = pb.FAILURE_KIND_UNSPECIFIED if ok else pb.FAILURE_KIND_CANCELLED
        self.planner.noted([pb.Outcome(target=target(name), ok=ok, failure=kind)], self.now)

    @invariant()
    def bounded(self) -> None:
        assert len(self.planner._cache) <= 3
        assert len(self.planner._last) <= 3


TestPlanning: Callable[..., Any] = PlanningMachine.TestCase
