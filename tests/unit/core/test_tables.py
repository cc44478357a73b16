"""What a built-in row stands for in a fleet: the first of each line that is there and served."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.core.fleets import SetFleet, decided, names, spec
from turnout_server.core.fleet import Fleet
from turnout_server.core.model import Caller, RequestProfile
from turnout_server.core.settings import Policy, RoutingSettings
from turnout_server.core.tables import BuiltInRow, in_force, stand_ins

GOOD, BETTER = ("a/old", "a/new", "a/newest"), ("b/m",)
ANY = BuiltInRow((GOOD, BETTER))
TABLES = {"chat": {"any": ANY, "free": BuiltInRow((("c/m",),), otherwise=ANY)}}


def fleet(*wanted: str, retired: tuple[str, ...] = ()) -> Fleet:
    return Fleet(tuple(replace(spec(name), deprecated=name in retired) for name in wanted))


def shown(here: Fleet, row: BuiltInRow) -> list[str]:
    return [here.specs[place].name for place in in_force(here, row)]


def test_a_line_is_the_first_of_its_models_that_is_there() -> None:
    assert shown(fleet("b/m", "a/newest", "a/new"), ANY) == ["a/new", "b/m"]


def test_a_retired_model_gives_way_to_the_next() -> None:
    assert shown(fleet("a/old", "a/new", "b/m", retired=("a/old",)), ANY) == ["a/new", "b/m"]


def test_a_line_of_which_nothing_is_there_is_left_out() -> None:
    here = fleet("b/m", "a/old", retired=("a/old",))

    assert stand_ins(here, GOOD) == ()
    assert shown(here, ANY) == ["b/m"]


def test_all_endpoints_of_a_model_that_are_served_come_in_file_order() -> None:
    here = fleet("a/new@us", "a/new@eu", "a/new@old", retired=("a/new@old",))

    assert shown(here, ANY) == ["a/new@us", "a/new@eu"]


def test_two_lines_that_mean_one_target_name_it_once() -> None:
    assert shown(fleet("a/new", "b/m"), BuiltInRow((GOOD, ("a/new",), BETTER))) == ["a/new", "b/m"]


def test_a_tiers_row_of_which_nothing_is_there_gives_way_to_the_one_for_any() -> None:
    row = TABLES["chat"]["free"]

    assert shown(fleet("a/new", "b/m"), row) == ["a/new", "b/m"]
    assert shown(fleet("a/new", "c/m"), row) == ["c/m"]


def test_a_target_that_comes_while_it_runs_takes_its_place() -> None:
    settings = RoutingSettings(policies={"default": Policy(built_in_tables=TABLES)})
    chat, free = RequestProfile(task="chat", input_tokens=10), Caller(tier="free")

    def first(*wanted: str) -> str:
        specs = (spec(name, price=(1, 1)) for name in wanted)
        return names(decided(SetFleet(*specs), profile=chat, caller=free, settings=settings).candidates)[0]

    assert ["a/old", "c/m"] == [first("x/m", "a/old"), first("x/m", "a/old", "c/m")]


def test_a_decision_says_on_whose_word_each_comes_first() -> None:
    row = {"any": ("a/new", "b/m")}
    policy = Policy(tasks={"fix": {**row, "pro": ("b/m",)}, "plan": row}, preferences=("c/m",), built_in_tables=TABLES)
    settings = RoutingSettings(policies={"default": policy})
    here = SetFleet(*(spec(name, price=(1, 1)) for name in ("a/new", "b/m", "c/m", "d/m")))

    def told(task: str, tier: str, fleet: SetFleet = here) -> list[tuple[str, str]]:
        asked = RequestProfile(task=task, input_tokens=10)
        decision = decided(fleet, profile=asked, caller=Caller(tier=tier), settings=settings)
        assert not decision.candidates[0].reason or decision.candidates[0].reason in decision.reason
        return [(each.spec.name, each.reason) for each in decision.candidates if each.reason.startswith("preferred")]

    own, listed = "preferred by tasks.{}", ("c/m", "preferred by preferences")
    assert told("fix", "") == [("a/new", own.format("fix.any")), ("b/m", own.format("fix.any")), listed]
    assert told("fix", "pro") == [("b/m", own.format("fix.pro")), listed]
    # Two rows with the same names are two rows all the same.
    assert told("plan", "pro") == [("a/new", own.format("plan.any")), ("b/m", own.format("plan.any")), listed]
    built_in = "preferred by the built-in table for chat"
    assert told("chat", "") == [listed, ("a/new", built_in), ("b/m", built_in)]
    assert told("chat", "free") == [listed]
    assert told("other", "") == [listed]

    without_c = SetFleet(*(spec(name, price=(1, 1)) for name in ("a/new", "d/m")))
    assert told("chat", "free", without_c) == [("a/new", built_in)]

    bare = RoutingSettings(policies={"default": Policy(built_in_tables=TABLES)})
    free = decided(
        here, profile=RequestProfile(task="chat", input_tokens=10), caller=Caller(tier="free"), settings=bare
    )
    assert free.candidates[0].reason == f"{built_in}, tier free"
