"""What a call does after a failure, carried out: who is asked next, when, and with which of our keys."""

import asyncio
import contextlib
import dataclasses
import itertools

import pytest

from tests.unit.execution.scripted import (
    HELLO,
    World,
    answer,
    asking,
    fail,
    refused,
    spec,
)
from tests.virtual_time import in_virtual_time
from turnout_server.core.call import CallResult
from turnout_server.core.errors import (
    AllAttemptsRefusedError,
    AllTargetsUnavailableError,
    AttemptsExhaustedError,
    CallError,
    ContentFilteredError,
    ProviderRejectedRequestError,
)
from turnout_server.core.fleet import CredentialSpec
from turnout_server.core.model import Caller, FailureKind, Priority
from turnout_server.core.settings import BreakerSettings, FailoverSettings, HealthSettings, Policy

K = FailureKind
UNBREAKABLE = FailoverSettings(
    breaker=BreakerSettings(consecutive_failures=1_000_000, ratio_minimum_count=1_000_000),
    health=HealthSettings(endpoint_failures=1_000_000),
)
TWO_KEYS = (CredentialSpec(label="first"), CredentialSpec(label="second", weight=0.0))


async def tried(world: World, **options: object) -> list[str]:
    """Makes one unary call, however it ends, and returns the targets called."""
    with contextlib.suppress(CallError):
        await world.executor.execute(asking(**options), HELLO)  # type: ignore[arg-type]  # tests name options
    return world.names()


@pytest.mark.parametrize("failure", [K.SERVER_ERROR, K.CONNECTION])
@in_virtual_time
async def test_server_error_and_broken_connection_get_one_quick_retry_on_the_same_target(failure: FailureKind) -> None:
    world = World({"a/m": [[fail(failure)]], "b/m": [answer("fine")]})

    assert await tried(world) == ["a/m", "a/m", "b/m"]
    pause = world.upstream.played[1].began_at
    assert 0.05 <= pause <= 0.2
    assert world.upstream.played[2].began_at == pause


@pytest.mark.parametrize("options", [{}, {"allow_fallback": False}])
@in_virtual_time
async def test_target_that_nobody_can_connect_to_in_time_is_not_asked_again(options: dict[str, bool]) -> None:
    world = World({"a/m": [[2.0, fail(K.CONNECTION)]], "b/m": [[fail(K.OVERLOADED)]]})

    assert (await tried(world, **options)).count("a/m") == 1


@in_virtual_time
async def test_a_call_makes_one_trial_of_a_half_open_target_while_a_closed_one_can_be_asked() -> None:
    touchy = FailoverSettings(breaker=BreakerSettings(consecutive_failures=1, consecutive_span_seconds=0.0))
    dead = [[fail(K.OVERLOADED)]]
    world = World({"a/m": dead, "b/m": dead, "c/m": dead, "d/m": dead, "e/m": [answer("fine")]}, failover=touchy)
    await tried(world)
    # Longer than any open time: all four are on trial now.
    await asyncio.sleep(60)
    world.upstream.played.clear()

    assert await tried(world) == ["a/m", "e/m"]


@in_virtual_time
async def test_a_call_makes_further_trials_where_no_closed_target_is_left() -> None:
    touchy = FailoverSettings(breaker=BreakerSettings(consecutive_failures=1, consecutive_span_seconds=0.0))
    dead = [[fail(K.OVERLOADED)]]
    world = World({"a/m": dead, "b/m": [*dead, answer("fine")]}, failover=touchy)
    await tried(world)
    await asyncio.sleep(60)
    world.upstream.played.clear()

    assert await tried(world) == ["a/m", "b/m"]


@in_virtual_time
async def test_quick_retry_that_works_ends_the_call() -> None:
    world = World({"a/m": [[fail(K.CONNECTION)], answer("fine")], "b/m": [answer("other")]})

    assert await tried(world) == ["a/m", "a/m"]


@pytest.mark.parametrize("failure", [K.OVERLOADED, K.TIMEOUT, K.STALLED, K.TRUNCATED, K.PROTOCOL, K.UNKNOWN])
@in_virtual_time
async def test_other_faults_of_the_provider_go_to_the_next_target_at_once(failure: FailureKind) -> None:
    world = World({"a/m": [[fail(failure)]], "b/m": [answer("fine", first_after=0.0)]})

    assert await tried(world) == ["a/m", "b/m"]
    assert world.now == 0.0


@in_virtual_time
async def test_another_provider_comes_before_another_model_of_the_same() -> None:
    world = World({"a/m": [[fail(K.OVERLOADED)]], "a/n": [answer("same")], "b/m": [answer("other")]})

    assert await tried(world) == ["a/m", "b/m"]


@in_virtual_time
async def test_every_provider_is_asked_before_a_second_model_of_any_that_failed() -> None:
    bad = [[fail(K.OVERLOADED)]]
    world = World({"a/m1": bad, "a/m2": bad, "b/m1": bad, "b/m2": bad, "c/m": [answer("fine")]})

    assert await tried(world) == ["a/m1", "b/m1", "c/m"]


@in_virtual_time
async def test_another_model_of_the_same_provider_is_asked_where_there_is_no_other_provider() -> None:
    world = World({"a/m": [[fail(K.OVERLOADED)]], "a/n": [answer("same")]})

    assert await tried(world) == ["a/m", "a/n"]


@pytest.mark.parametrize(
    ("failure", "error"),
    [(K.INVALID_REQUEST, ProviderRejectedRequestError), (K.CONTENT_FILTERED, ContentFilteredError)],
)
@in_virtual_time
async def test_callers_own_fault_stops_the_call_and_says_why(failure: FailureKind, error: type[CallError]) -> None:
    world = World({"a/m": [[fail(failure)]], "b/m": [answer("fine")]})
    with pytest.raises(error, match="as the script says"):
        await world.executor.execute(asking(), HELLO)

    assert ["a/m"] == world.names()


@in_virtual_time
async def test_prompt_too_long_goes_to_a_larger_window_only() -> None:
    world = World(
        {
            spec("a/m", context_window_tokens=50_000): [[fail(K.CONTEXT_LENGTH)]],
            spec("b/same", context_window_tokens=50_000): [answer("no")],
            spec("c/unknown", context_window_tokens=None): [answer("no")],
            spec("d/larger", context_window_tokens=50_001): [answer("fine")],
        }
    )

    assert await tried(world) == ["a/m", "d/larger"]


@in_virtual_time
async def test_window_that_was_too_small_is_remembered_for_the_hops_after() -> None:
    world = World(
        {
            spec("a/m", context_window_tokens=50_000): [[fail(K.CONTEXT_LENGTH)]],
            spec("b/larger", context_window_tokens=60_000): [[fail(K.OVERLOADED)]],
            spec("c/small", context_window_tokens=40_000): [answer("no")],
            spec("d/large", context_window_tokens=70_000): [answer("fine")],
        }
    )

    assert await tried(world) == ["a/m", "b/larger", "d/large"]


@in_virtual_time
async def test_prompt_too_long_for_every_window_is_told_as_the_request_being_wrong() -> None:
    world = World({"a/m": [[fail(K.CONTEXT_LENGTH)]], "b/m": [answer("no")]})
    with pytest.raises(ProviderRejectedRequestError, match="shorten the request"):
        await world.executor.execute(asking(), HELLO)

    assert ["a/m"] == world.names()


@pytest.mark.parametrize("failure", [K.AUTHENTICATION, K.QUOTA_EXHAUSTED, K.PERMISSION_DENIED, K.MODEL_NOT_FOUND])
@in_virtual_time
async def test_failing_key_is_followed_by_the_next_key_and_then_by_the_next_target(failure: FailureKind) -> None:
    world = World(
        {
            spec("a/m", credentials=TWO_KEYS, needs_credential=True): [[refused(failure)]],
            "b/m": [answer("fine")],
        }
    )

    assert await tried(world) == ["a/m", "a/m", "b/m"]
    assert [played.call.credential for played in world.upstream.played] == ["first", "second", ""]


@in_virtual_time
async def test_attempts_name_the_key_they_used_and_why_they_were_made() -> None:
    world = World(
        {
            spec("a/m", credentials=TWO_KEYS, needs_credential=True): [
                [refused(K.AUTHENTICATION, http_status=401)],
                answer("fine"),
            ]
        }
    )
    result = await world.executor.execute(asking(), HELLO)

    assert [(a.credential, a.http_status, a.retry_reason) for a in result.attempts] == [
        ("first", 401, ""),
        ("second", 200, "next credential after AUTHENTICATION"),
    ]


@in_virtual_time
async def test_call_makes_at_most_four_attempts() -> None:
    world = World({f"{name}/m": [[fail(K.OVERLOADED)]] for name in "abcdef"})

    assert await tried(world) == ["a/m", "b/m", "c/m", "d/m"]


@in_virtual_time
async def test_last_attempt_is_kept_for_an_untried_target() -> None:
    world = World({"a/m": [[fail(K.SERVER_ERROR)]], "b/m": [[fail(K.SERVER_ERROR)]], "c/m": [answer("fine")]})

    assert await tried(world) == ["a/m", "a/m", "b/m", "c/m"]


@in_virtual_time
async def test_only_target_is_used_again_after_a_growing_jittered_back_off() -> None:
    world = World({"a/m": [[fail(K.OVERLOADED)]]})

    assert await tried(world) == ["a/m"] * 4
    starts = [played.began_at for played in world.upstream.played]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(0.0 < pause <= ceiling for pause, ceiling in zip(pauses, [0.2, 0.4, 0.8], strict=True))


@in_virtual_time
async def test_caller_who_allows_no_fallback_stays_with_the_first_target() -> None:
    world = World({"a/m": [[fail(K.SERVER_ERROR)]], "b/m": [answer("fine")]})

    assert set(await tried(world, allow_fallback=False)) == {"a/m"}


@in_virtual_time
async def test_same_target_retries_are_a_fifth_of_the_requests() -> None:
    world = World({"a/m": [[fail(K.SERVER_ERROR)]], "b/m": [answer("fine", first_after=0.0)]}, failover=UNBREAKABLE)
    await asyncio.gather(*(tried(world) for _ in range(100)))

    assert world.names().count("a/m") == 100 + 20
    assert world.names().count("b/m") == 100


@in_virtual_time
async def test_quiet_sidecar_has_three_same_target_retries_in_ten_seconds() -> None:
    world = World({"a/m": [[fail(K.SERVER_ERROR)]], "b/m": [answer("fine", first_after=0.0)]}, failover=UNBREAKABLE)
    for _ in range(5):
        await world.executor.execute(asking(), HELLO)

    assert world.names().count("a/m") == 5 + 3


@in_virtual_time
async def test_quick_retry_is_left_out_where_the_breaker_has_opened_meanwhile() -> None:
    world = World({"a/m": [[0.1, fail(K.SERVER_ERROR)]], "b/m": [answer("fine", first_after=0.0)]})
    await asyncio.gather(*(tried(world) for _ in range(100)))

    moved_at_once = [played for played in world.upstream.played if played.name == "b/m" and played.began_at == 0.1]
    assert len(moved_at_once) > 80
    assert world.names().count("b/m") == 100


@in_virtual_time
async def test_failover_takes_nothing_from_the_retry_budget() -> None:
    world = World({"a/m": [[fail(K.OVERLOADED)]], "b/m": [answer("fine", first_after=0.0)]})
    before = world.router.state.retry_budget.remaining(world.now)
    await tried(world)

    assert world.router.state.retry_budget.remaining(world.now) == before


@in_virtual_time
async def test_full_target_is_passed_over_at_the_hop() -> None:
    world = World(
        {
            "a/m": [[1.0, fail(K.OVERLOADED)]],
            spec("b/m", max_concurrency=1): [[60.0, *answer("slow")]],
            "c/m": [answer("fine")],
        }
    )
    holder = asyncio.create_task(world.executor.execute(asking(force_target="b/m"), HELLO))
    await asyncio.sleep(0.5)
    result = await world.executor.execute(asking(), HELLO)
    holder.cancel()

    assert str(result.target) == "c/m"


@in_virtual_time
async def test_failover_is_counted_from_where_to_where_and_why() -> None:
    world = World({"a/m": [[fail(K.OVERLOADED)]], "b/m": [answer("fine")]})
    await tried(world)

    assert world.instruments.failovers == [("a/m", "b/m", K.OVERLOADED)]


@in_virtual_time
async def test_stream_whose_target_filled_up_since_the_decision_goes_elsewhere() -> None:
    world = World({spec("a/m", max_concurrency=1): [answer("fine")], "b/m": [answer("other")]})
    first, second = (world.executor.execute_stream(asking(), HELLO) for _ in range(2))
    await anext(first)
    await anext(second)
    await anext(first)
    await anext(second)
    await first.aclose()
    await second.aclose()

    assert [str(attempt.target) for attempt in world.instruments.attempts] == ["a/m", "b/m"]


@in_virtual_time
async def test_stream_whose_only_target_filled_up_since_the_decision_is_told_to_come_again() -> None:
    world = World({spec("a/m", max_concurrency=1): [answer("fine")]})
    first, second = (world.executor.execute_stream(asking(), HELLO) for _ in range(2))
    await anext(first)
    await anext(second)
    await anext(first)
    with pytest.raises(AllTargetsUnavailableError):
        await anext(second)
    await first.aclose()


@in_virtual_time
async def test_stream_looks_again_at_everybody_when_its_choice_has_filled_up() -> None:
    world = World({spec("a/m", max_concurrency=1): [answer("fine")], spec("b/m", max_concurrency=1): [answer("other")]})
    holder = asyncio.create_task(world.executor.execute(asking(force_target="b/m"), HELLO))
    await asyncio.sleep(0.1)
    late, other = (world.executor.execute_stream(asking(), HELLO) for _ in range(2))
    await anext(late)
    await anext(other)
    await anext(other)
    await holder
    await anext(late)
    await late.aclose()
    await other.aclose()

    assert [str(attempt.target) for attempt in world.instruments.attempts] == ["b/m", "b/m", "a/m"]


# Rate limits.


@in_virtual_time
async def test_rate_limited_call_goes_to_the_next_target() -> None:
    world = World({"a/m": [[refused(retry_after_seconds=2.0)]], "b/m": [answer("fine")]})

    assert await tried(world) == ["a/m", "b/m"]


@in_virtual_time
async def test_rate_limited_call_takes_the_next_key_before_the_next_target() -> None:
    pool = spec("a/m", credentials=TWO_KEYS, needs_credential=True)
    world = World({pool: [[refused(retry_after_seconds=2.0)], answer("fine")], "b/m": [answer("other")]})
    result = await world.executor.execute(asking(), HELLO)

    assert [attempt.credential for attempt in result.attempts] == ["first", "second"]
    assert world.now < 2.0


@in_virtual_time
async def test_pool_of_bad_keys_leaves_an_attempt_for_another_target() -> None:
    keys = tuple(CredentialSpec(label=f"k{n}") for n in range(9))
    pool = spec("a/m", credentials=keys, needs_credential=True)
    world = World({pool: [[refused()]], "b/m": [answer("fine")]})

    assert await tried(world) == ["a/m", "a/m", "a/m", "b/m"]
    assert len({played.call.credential for played in world.upstream.played[:3]}) == 3


@in_virtual_time
async def test_key_that_was_refused_is_not_tried_for_the_providers_other_models() -> None:
    key = (CredentialSpec(label="wrong"),)
    world = World(
        {
            spec("a/m", credentials=key, needs_credential=True): [[refused(K.AUTHENTICATION)]],
            spec("a/n", credentials=key, needs_credential=True): [answer("no")],
            "b/m": [answer("fine")],
        }
    )

    assert await tried(world) == ["a/m", "b/m"]


@in_virtual_time
async def test_trial_off_the_path_uses_a_key_of_the_caller_it_is_made_for() -> None:
    bound = (CredentialSpec(label="acme's", tenants=frozenset({"acme"})),)
    silent = spec("a/m", credentials=bound, needs_credential=True)
    world = World(
        {silent: [[fail(K.TIMEOUT)], [fail(K.TIMEOUT)], [fail(K.TIMEOUT)], answer("pong")], "b/m": [answer("b")]}
    )
    acme = dataclasses.replace(asking(), caller=Caller(tenant="acme"))
    for _ in range(3):
        await world.executor.execute(acme, HELLO)
        await asyncio.sleep(1.0)
    await asyncio.sleep(6.0)
    await world.executor.execute(asking(), HELLO)
    await asyncio.sleep(1.0)

    assert world.names().count("a/m") == 3

    await world.executor.execute(acme, HELLO)
    await asyncio.sleep(1.0)

    assert [p.call.credential for p in world.upstream.played if p.name == "a/m"] == ["acme's"] * 5


@in_virtual_time
async def test_only_target_is_waited_for_until_its_cool_down_ends() -> None:
    world = World({"a/m": [[refused(retry_after_seconds=30.0)], answer("fine")]})
    result = await world.executor.execute(asking(deadline_seconds=100.0), HELLO)

    assert len(result.attempts) == 2
    assert 30.0 <= world.upstream.played[1].began_at <= 36.1


@in_virtual_time
async def test_only_target_is_not_waited_for_beyond_the_deadline() -> None:
    world = World({"a/m": [[refused(retry_after_seconds=30.0)], answer("fine")]})
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(deadline_seconds=20.0), HELLO)

    assert 30.0 <= caught.value.retry_after_seconds <= 36.0
    assert world.now == 0.0


@in_virtual_time
async def test_one_call_waits_for_a_target_and_the_others_are_told_to_come_again() -> None:
    world = World(
        {"a/m": [[0.1, refused(retry_after_seconds=5.0)], [0.1, refused(retry_after_seconds=5.0)], answer("fine")]}
    )
    results = await asyncio.gather(*(world.executor.execute(asking(), HELLO) for _ in range(2)), return_exceptions=True)

    assert [type(result) for result in results] == [CallResult, AllAttemptsRefusedError]


@pytest.mark.parametrize(
    ("priority", "names"),
    [
        (Priority.LOW, ["a/m", "a/m"]),
        (Priority.NORMAL, ["a/m", "a/m"]),
        (Priority.HIGH, ["a/m", "b/m"]),
        (Priority.CRITICAL, ["a/m", "b/m"]),
    ],
)
@in_virtual_time
async def test_patient_calls_wait_for_the_preferred_target_where_the_policy_lets_them(
    priority: Priority, names: list[str]
) -> None:
    world = World(
        {"a/m": [[refused(retry_after_seconds=2.0)], answer("fine")], "b/m": [answer("other")]},
        policy=Policy(wait_for_preferred_seconds=5.0),
    )

    assert names == await tried(world, priority=priority)


@in_virtual_time
async def test_preferred_target_is_not_waited_for_longer_than_the_policy_says() -> None:
    world = World(
        {"a/m": [[refused(retry_after_seconds=20.0)], answer("fine")], "b/m": [answer("other")]},
        policy=Policy(wait_for_preferred_seconds=5.0),
    )

    assert await tried(world) == ["a/m", "b/m"]


# How a call that found no answer ends.


@in_virtual_time
async def test_call_whose_attempts_cannot_have_been_billed_may_be_tried_again() -> None:
    world = World({"a/m": [[refused(K.OVERLOADED)]], "b/m": [[refused(K.RATE_LIMITED, retry_after_seconds=90.0)]]})
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(deadline_seconds=30.0), HELLO)

    assert caught.value.report.cost_nano_usd == 0
    assert all(not attempt.possibly_billed for attempt in caught.value.report.attempts)


@in_virtual_time
async def test_refused_call_is_told_when_the_first_of_the_targets_is_free_again() -> None:
    world = World(
        {"a/m": [[refused(retry_after_seconds=20.0)]], "b/m": [[refused(retry_after_seconds=90.0)]]},
        failover=FailoverSettings(health=HealthSettings(cooldown_jitter=0.0)),
    )
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(deadline_seconds=10.0), HELLO)

    assert caught.value.retry_after_seconds == 20.0


@in_virtual_time
async def test_refused_call_is_told_when_a_target_that_could_not_be_asked_is_free_again() -> None:
    world = World(
        {"a/m": [[refused(retry_after_seconds=5.0)]], "b/m": [[refused(retry_after_seconds=90.0)]]},
        failover=FailoverSettings(health=HealthSettings(cooldown_jitter=0.0), max_attempts=1),
    )
    with pytest.raises(AllAttemptsRefusedError):
        await world.executor.execute(asking(), HELLO)
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(), HELLO)

    assert world.names() == ["a/m", "b/m"]
    assert caught.value.retry_after_seconds == 5.0


@in_virtual_time
async def test_refused_call_goes_by_what_an_overloaded_target_asked_for() -> None:
    world = World(
        {"a/m": [[refused(K.OVERLOADED, retry_after_seconds=7.0)]]}, failover=FailoverSettings(max_attempts=1)
    )
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(), HELLO)

    assert caught.value.retry_after_seconds == 7.0


@in_virtual_time
async def test_refused_call_with_a_target_that_nothing_holds_back_may_come_again_soon() -> None:
    world = World({"a/m": [[refused(K.OVERLOADED)]], "b/m": [[refused(retry_after_seconds=90.0)]]})
    with pytest.raises(AllAttemptsRefusedError) as caught:
        await world.executor.execute(asking(deadline_seconds=30.0), HELLO)

    assert caught.value.retry_after_seconds == 1.0


@in_virtual_time
async def test_call_with_one_attempt_that_may_have_been_billed_must_not_be_repeated_blindly() -> None:
    world = World(
        {"a/m": [[refused(K.OVERLOADED)]], "b/m": [[fail(K.TRUNCATED)]]}, failover=FailoverSettings(max_attempts=2)
    )
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.executor.execute(asking(), HELLO)

    assert [False, True] == [attempt.possibly_billed for attempt in caught.value.report.attempts]


@in_virtual_time
async def test_failed_call_reports_why_the_other_targets_were_not_asked() -> None:
    world = World({"a/m": [[fail(K.TIMEOUT)]], spec("b/m", capabilities=frozenset()): [answer("no")]})
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.stream()

    assert {str(r.target): r.reasons[0].value for r in caught.value.report.rejections} == {
        "a/m": "EXCLUDED",
        "b/m": "CAPABILITY",
    }


@in_virtual_time
async def test_error_message_names_the_failure_and_no_content() -> None:
    world = World({"a/m": [[fail(K.TIMEOUT)]]})
    with pytest.raises(AttemptsExhaustedError) as caught:
        await world.executor.execute(asking(), HELLO)

    assert "a/m answered TIMEOUT" in caught.value.message
    assert "hello" not in caught.value.message
