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
