"""What keys do, and what is shown where nobody answers or not everything may be seen; over real connections."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import Any

import grpc
import pytest
from textual.events import Key
from textual.widgets import Input

from tests.api.live_screen import watching
from tests.api.sidecar import HELLO, LOCAL, Sidecar, failing, running, spec
from tests.api.test_access import ACME, ADMIN, CALL, tokens
from turnout.v1 import admin_pb2
from turnout.v1 import router_pb2 as pb
from turnout_server.commands.live.tables import Table
from turnout_server.core.model import FailureKind, Strategy
from turnout_server.core.settings import Policy, RoutingSettings, Settings

IN_ORDER = Settings(routing=RoutingSettings(policies={"default": Policy(strategy=Strategy.PRIORITY)}))
DOWN = failing(FailureKind.SERVER_ERROR, status=503)


async def execute(sidecar: Sidecar, count: int, task: str = "") -> None:
    for _ in range(count):
        try:
            await sidecar.stub.Execute(pb.ExecuteRequest(input=HELLO, profile=pb.RequestProfile(task=task)))
        except grpc.aio.AioRpcError as error:
            assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}, error


def drained(sidecar: Sidecar) -> set[str]:
    state = sidecar.router.administration
    return {str(target) for name in ("alpha", "beta") for target in state.provider(name).drained.targets}


async def test_drain_is_asked_about_done_and_taken_back(sidecar: Sidecar) -> None:
    await sidecar.admin.UpdateProvider(
        admin_pb2.UpdateProviderRequest(
            provider=admin_pb2.RegisteredProvider(provider="alpha", drained_targets=["alpha/small"])
        )
    )
    async with watching(sidecar.bound.address) as top:
        await top.choose("alpha/large")
        await top.pilot.press("d")
        await top.shows("Drain alpha/large?")
        await top.pilot.press("n", "d")
        await top.shows("Drain alpha/large?")
        assert {"alpha/small"} == drained(sidecar)

        await top.pilot.press("y")
        await top.shows("alpha/large is drained")
        assert {"alpha/small", "alpha/large"} == drained(sidecar)

        await top.until(lambda text: any("alpha/large" in line and " drained" in line for line in text.splitlines()))
        await top.pilot.press("d")
        await top.shows("alpha/large is drained already")
        await top.pilot.press("u")
        await top.shows("Undrain alpha/large?")
        await top.pilot.press("y")
        await top.shows("alpha/large takes calls again")
        assert {"alpha/small"} == drained(sidecar)


async def test_drain_that_somebody_else_makes_while_it_is_asked_is_not_undone(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.choose("alpha/large")
        await top.pilot.press("d")
        await top.shows("Drain alpha/large?")
        theirs = admin_pb2.RegisteredProvider(provider="alpha", drained_targets=["alpha/small"])
        await sidecar.admin.UpdateProvider(admin_pb2.UpdateProviderRequest(provider=theirs))
        await top.pilot.press("y")
        await top.shows("STALE_ETAG")

        assert {"alpha/small"} == drained(sidecar)


async def test_target_of_a_drained_provider_comes_back_with_the_provider(sidecar: Sidecar) -> None:
    await sidecar.admin.UpdateProvider(
        admin_pb2.UpdateProviderRequest(provider=admin_pb2.RegisteredProvider(provider="beta", drained=True))
    )
    async with watching(sidecar.bound.address) as top:
        await top.choose("beta/large")
        await top.pilot.press("u")
        await top.shows("beta is drained as a whole. Undrain all of it?")
        await top.pilot.press("y")
        await top.shows("beta takes calls again")

        assert not sidecar.router.administration.provider("beta").drained.whole


async def test_reset_closes_the_breaker() -> None:
    async with running(core=IN_ORDER, scripts={"alpha/large": [DOWN]}) as sidecar:
        await execute(sidecar, 12)
        async with watching(sidecar.bound.address) as top:
            await top.shows("breaker.opened")
            await top.choose("alpha/large")
            await top.pilot.press("r")
            await top.shows("Forget the health of alpha/large?")
            await top.pilot.press("y")
            await top.shows("the health of alpha/large is forgotten", "health.reset")

            assert (
                pb.BREAKER_STATE_CLOSED
                == (await sidecar.stub.ProviderStatus(pb.ProviderStatusRequest())).providers[0].targets[0].breaker
            )


async def test_who_may_not_change_anything_is_told_so_before_the_question() -> None:
    async with running(settings=dataclasses.replace(LOCAL, tokens=tokens())) as sidecar:
        async with watching(sidecar.bound.address, token=CALL) as top:
            for key in "dur":
                await top.pilot.press(key)
                text = await top.shows("PERMISSION_DENIED", "admin")
                assert "Drain" not in text
                top.view.clear_notifications()
                await top.until(lambda text: "PERMISSION_DENIED" not in text)
        async with watching(sidecar.bound.address, token=ADMIN) as top:
            await top.pilot.press("d")
            await top.shows("Drain alpha/large?")


async def test_tables_that_may_not_be_read_say_so_and_the_rest_is_shown() -> None:
    async with (
        running(settings=dataclasses.replace(LOCAL, tokens=tokens())) as sidecar,
        watching(sidecar.bound.address, token=ACME) as top,
    ):
        await top.until(lambda text: text.count("PERMISSION_DENIED") >= 2 and "alpha/large" in text)


async def test_last_values_stay_greyed_with_their_age_while_nobody_answers_and_come_back() -> None:
    async with running() as first:
        await execute(first, 3)
        address = first.bound.address
        async with watching(address) as top:
            await top.shows("alpha/large", "3 of 3 targets available")
            await first.server.stop()
            text = await top.shows("NO ANSWER", f"  {address}  values of ")
            assert "alpha/large" in text
            assert "s old: " in text
            place = top.view.query_one("#place")
            assert place.has_class("lost")
            assert {"grey58"} == {str(cell.style) for cell in top.view.query_one("#targets", Table).get_row_at(0)}

            async with running(settings=dataclasses.replace(LOCAL, address=address)) as second:
                await top.shows("3 of 3 targets available")
                assert not place.has_class("lost")
                # Events are followed again, those of the other run included.
                second.router.administration.reset_health([0], by="the test")
                await top.shows("health.reset")


async def test_decision_is_shown_with_scores_and_rejections() -> None:
    async with running(core=IN_ORDER, scripts={"alpha/large": [DOWN]}) as sidecar:
        await execute(sidecar, 12, task="review")
        async with watching(sidecar.bound.address) as top:
            await top.shows("not alpha/large BREAKER_OPEN")
            await top.pilot.press("tab", "enter")
            await top.shows("CANDIDATE", "SCORE", "REJECTED", "BREAKER_OPEN", "task review")
            # There is nothing to be drained here.
            await top.pilot.press("d", "q")
            await top.shows("TARGET")
            assert top.view.is_running
            assert "Drain" not in top.text


async def test_decision_on_the_screen_is_shown_though_the_sidecar_has_forgotten_it() -> None:
    async with running(core=IN_ORDER) as sidecar:
        await execute(sidecar, 1, task="review")
        async with watching(sidecar.bound.address) as top:
            await top.shows("PRIORITY")
            await sidecar.admin.ClearHistory(admin_pb2.ClearHistoryRequest())
            await top.pilot.press("tab", "enter")
            await top.shows("CANDIDATE", "task review")


async def test_event_leads_to_its_decision() -> None:
    async with running(core=IN_ORDER, scripts={"alpha/large": [DOWN]}) as sidecar:
        await execute(sidecar, 1)
        async with watching(sidecar.bound.address) as top:
            await top.shows("switch")
            await top.pilot.press("shift+tab", "enter")
            await top.shows("ATTEMPT", "SERVER_ERROR")


async def test_detail_of_a_target_goes_on_and_has_its_keys(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.choose("beta/large")
        await top.pilot.press("enter")
        await top.shows("target beta/large", "calls       0 in the last")
        await execute(sidecar, 2)
        sidecar.router.administration.reset_health([2], by="the test")
        await top.shows("latest events of it")
        # It is about this one, whatever is chosen behind it.
        top.view.screen_stack[0].query_one("#targets", Table).move_cursor(row=0)
        await top.pilot.press("d")
        await top.shows("Drain beta/large?")
        await top.pilot.press("y")
        await top.shows("target beta/large", "now         drained")


async def test_filter_leaves_what_it_names_until_it_is_forgotten(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.shows("alpha/large", "beta/large")
        await top.pilot.press("slash", *"BETA", "enter")
        text = await top.until(lambda text: "alpha/large" not in text)
        assert "beta/large" in text
        assert "only what names BETA" in text

        await top.pilot.press("d")
        await top.shows("Drain beta/large?")
        await top.pilot.press("n", "escape")
        await top.shows("alpha/large", "beta/large")


async def test_filter_that_is_typed_fast_is_written_and_not_taken_for_other_keys(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.shows("alpha/large")
        for char in "/sud/r":
            top.view.post_message(Key("slash" if char == "/" else char, char))
        await top.until(lambda _text: "sud/r" == top.view.query_one("#filter", Input).value)

        assert "by state" not in top.text
        assert "Drain" not in top.text


async def test_filter_that_names_nothing_says_so(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.pilot.press("slash", *"zzz", "enter")
        await top.shows("no target has this in its name or state", "no decision names this", "no event names this")
        await top.pilot.press("enter", "d")

        assert top.view.is_running


async def test_chosen_target_stays_chosen_when_the_order_changes() -> None:
    async with running(core=IN_ORDER, scripts={"alpha/large": [DOWN]}) as sidecar:
        await execute(sidecar, 12)
        async with watching(sidecar.bound.address) as top:
            await top.choose("beta/large")
            # By state, by calls.
            await top.pilot.press("s", "s")
            await top.shows("by calls")
            names = [line.split()[0] for line in top.lines if line.startswith(("alpha/", "beta/"))]
            assert "beta/large" == names[0]

            await top.pilot.press("enter")
            await top.shows("target beta/large")


async def test_home_and_end_choose_the_first_and_the_last_row(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.shows("beta/large")
        table = top.view.query_one("#targets", Table)
        await top.pilot.press("end")
        assert "beta/large" == table.chosen

        await top.pilot.press("home")
        assert "alpha/large" == table.chosen


async def test_whoever_has_not_chosen_a_row_sees_the_first_ones_of_another_order() -> None:
    async with running(core=IN_ORDER, scripts={"alpha/large": [DOWN]}) as sidecar:
        await execute(sidecar, 12)
        async with watching(sidecar.bound.address) as top:
            await top.shows("open ")
            await top.pilot.press("s", "s")
            await top.shows("by calls")

            assert "beta/large" == top.view.query_one("#targets", Table).chosen


async def test_question_that_comes_late_does_not_take_what_is_typed_for_a_yes(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.shows("alpha/large")
        link, answers = top.view._link, asyncio.Event()
        call = link.call

        async def slow(method: Any, request: Any) -> Any:
            await answers.wait()
            return await call(method, request)

        monkeypatch.setattr(link, "call", slow)
        await top.pilot.press("d", "slash", "a")
        answers.set()
        await top.shows("not asked")
        await top.pilot.press("y")

        await top.until(lambda _text: "ay" == top.view.query_one("#filter", Input).value)
        assert set() == drained(sidecar)


async def test_question_can_be_read_in_60_columns(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address, size=(60, 20)) as top:
        await top.shows("alpha/large")
        await top.pilot.press("d")
        text = await top.shows("y yes")
        words = " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())

        assert "Drain alpha/large? Calls under way go on to their end, no new ones begin." in words


async def test_long_name_stands_whole_above_what_is_known_of_its_target() -> None:
    async with (
        running(specs=(spec("alpha", "m" * 120), spec("beta", "large"))) as sidecar,
        watching(sidecar.bound.address) as top,
    ):
        await top.shows("beta/large")
        await top.pilot.press("enter")
        text = await top.shows("esc back", "health")

        assert f"alpha/{'m' * 120}" in text.replace("\n", "")


async def test_screen_works_in_a_small_terminal_and_grows_with_it(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address, size=(40, 10)) as top:
        await top.shows("d drain", "alpha/large", "DECIDED", "HAPPENED")
        assert 10 == len(top.lines)
        assert all(len(line) <= 40 for line in top.lines)
        await top.pilot.resize_terminal(200, 60)
        await top.shows("BREAKER", "SCORE", "w window")

        assert 60 == len(top.lines)


async def test_help_explains_keys_and_columns_in_80_columns(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.pilot.press("question_mark")
        text = await top.shows("drain the target", "Figures look back over the time that the second line names.")

        # All of it at once, with every word that stands on the screen behind it.
        words = (
            "STATE",
            "FLT",
            "P50",
            "BY MIN",
            "TTFT",
            "/S",
            "ERR",
            "SPEND",
            "RESULT",
            "WHY",
            "before",
            "after",
            "not",
        )
        assert all(word in text for word in (*words, "P95", "TOK/S", "SCORE", "$/H", "esc back"))


async def test_window_is_looked_back_over_another_time(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address, window_minutes=60) as top:
        await top.pilot.press("w")
        await top.until(lambda _text: top.view._feed.window_minutes == 1)


async def test_what_is_unknown_of_a_target_is_not_shown_as_nothing(sidecar: Sidecar) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.shows("beta/large")
        (row,) = [line.split() for line in top.lines if line.startswith("beta/large")]

        assert ["beta/large", "healthy", "0", "-", "-", "0", "-", "$0"] == row[:8]


@pytest.mark.parametrize(
    "keys", [("q",), ("ctrl+c",), ("slash", "ctrl+c"), ("question_mark", "ctrl+c"), ("d", "ctrl+c")]
)
async def test_it_can_be_left_from_everywhere(sidecar: Sidecar, keys: tuple[str, ...]) -> None:
    async with watching(sidecar.bound.address) as top:
        await top.shows("alpha/large")
        for key in keys[:-1]:
            await top.pilot.press(key)
            await top.until(lambda text: any(word in text for word in ("y yes", "show only", "esc back")))
        await top.pilot.press(keys[-1])
        await top.ended()
