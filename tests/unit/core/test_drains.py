"""What is drained, by the configuration and by people, and what of it outlives another configuration."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.core.fleets import spec
from tests.unit.core.live_fleet import EXACT, LiveFleet
from turnout_server.core.drains import Drained, Drains
from turnout_server.core.fleet import Fleet, TargetSpec
from turnout_server.core.model import Capability, Target

NOTHING = Drained(whole=False, targets=frozenset())
SMALL = Target("a", "small")


def fleet(*names: str | TargetSpec) -> Fleet:
    return Fleet(tuple(spec(name) if isinstance(name, str) else name for name in names))


USUAL = fleet("a/large", "a/small", "b/large", "c/m@eu", "c/m@us")


def drained(drains: Drains, among: Fleet = USUAL) -> list[str]:
    return [str(each.target) for each in among.specs if drains.hold(each.target)]


@pytest.mark.parametrize(
    ("names", "held"),
    [
        ((), []),
        (("a",), ["a/large", "a/small"]),
        (("a/small", "b"), ["a/small", "b/large"]),
        (("c/m",), ["c/m@eu", "c/m@us"]),
        (("c/m@us",), ["c/m@us"]),
        (("nobody", "a/nothing"), []),
    ],
)
def test_names_of_the_configuration_stand_for_providers_models_and_targets(
    names: tuple[str, ...], held: list[str]
) -> None:
    assert drained(Drains(USUAL, names)) == held


def test_a_change_says_all_of_one_provider_and_nothing_of_others() -> None:
    drains = Drains(USUAL, ("b", "a/large"))
    drains.change("a", Drained(whole=False, targets=frozenset({SMALL})))

    assert drained(drains) == ["a/small", "b/large"]
    assert drains.of("a") == Drained(whole=False, targets=frozenset({SMALL}))
    assert drains.of("b") == Drained(whole=True, targets=frozenset())


def test_another_configuration_that_says_the_same_leaves_what_was_changed() -> None:
    drains = Drains(USUAL, ("a", "b"))
    drains.change("a", NOTHING)
    drains.change("c", Drained(whole=True, targets=frozenset()))
    drains.adopt(fleet("d/m", *USUAL.specs), ("a", "b"))

    assert drained(drains) == ["b/large", "c/m@eu", "c/m@us"]


def test_what_the_configuration_says_anew_holds_in_either_direction() -> None:
    drains = Drains(USUAL, ("a",))
    drains.change("c", Drained(whole=True, targets=frozenset()))
    drains.adopt(USUAL, ("b",))

    assert drained(drains) == ["b/large", "c/m@eu", "c/m@us"]


def test_a_model_that_a_drained_provider_is_given_later_is_drained() -> None:
    drains = Drains(USUAL)
    drains.change("a", Drained(whole=True, targets=frozenset()))
    later = fleet("a/new", "b/new")
    drains.adopt(later, ())

    assert drained(drains, later) == ["a/new"]


def test_a_drain_ends_with_its_name_and_does_not_come_back_with_it() -> None:
    drains = Drains(USUAL)
    drains.change("a", Drained(whole=True, targets=frozenset({SMALL})))
    drains.adopt(fleet("b/large"), ())
    drains.adopt(USUAL, ())

    assert drained(drains) == []


def test_a_model_that_is_found_later_is_drained_where_the_configuration_names_it() -> None:
    drains = Drains(fleet("b/large"), ("a/small",))
    drains.adopt(USUAL, ("a/small",))

    assert drained(drains) == ["a/small"]


def test_etag_differs_between_what_can_be_told_apart_and_is_the_same_in_every_process() -> None:
    drains = Drains(USUAL)
    etags = [drains.etag("a"), drains.etag("b")]
    for change in (
        Drained(whole=True, targets=frozenset()),
        Drained(whole=True, targets=frozenset({SMALL})),
        Drained(whole=False, targets=frozenset({SMALL})),
    ):
        drains.change("a", change)
        etags.append(drains.etag("a"))
    dearer = Drains(fleet(spec("a/large", price=(9, 9)), "a/small"))
    etags.append(dearer.etag("a"))

    assert len(set(etags)) == len(etags)
    drains.change("a", NOTHING)
    assert drains.etag("a") == etags[0]
    one = spec("a/m", capabilities=frozenset(Capability))
    other = spec("a/m", capabilities=frozenset(reversed(list(Capability))))
    assert Drains(fleet(one)).etag("a") == Drains(fleet(other)).etag("a")


def test_targets_know_whether_they_are_drained_at_another_address_too() -> None:
    live = LiveFleet("a/m", "b/m")
    live.state.change_drains("a", Drained(whole=False, targets=frozenset({Target("a", "m")})))
    before = live.at("a/m")
    live.state.adopt(fleet(spec("a/m", base_url="https://elsewhere.example"), "b/m"), EXACT)

    assert live.at("a/m") is not before
    assert (live.at("a/m").drained, live.at("b/m").drained) == (True, False)


def test_the_configuration_drains_from_the_start() -> None:
    live = LiveFleet("a/m", "b/m", settings=dataclasses.replace(EXACT, drained=("b",)))

    assert [live.at(name).drained for name in ("a/m", "b/m")] == [False, True]


def test_only_what_changed_is_told_to_those_who_watch() -> None:
    live = LiveFleet("a/m", "a/n", "b/m")
    revision = live.state.revision
    live.state.change_drains("a", Drained(whole=False, targets=frozenset({Target("a", "n")})))

    assert live.state.changed_since(revision) == [1]
