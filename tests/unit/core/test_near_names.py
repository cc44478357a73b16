"""What an unknown name was meant to be: the nearest one, at a bounded price."""

from __future__ import annotations

import pytest

from tests.unit.core.fleets import SetFleet, spec
from turnout_server.core import near_names
from turnout_server.core.near_names import COMPARED_MAXIMUM, near_name, near_target


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openai/gpt-4oo", "openai/gpt-4o"),
        ("opnai/gpt-4o", "openai/gpt-4o"),
        ("gpt-4o", "openai/gpt-4o"),
        ("openai/gpt-4o@uk", "openai/gpt-4o@us"),
        ("opnai", "openai"),
        ("something else", ""),
    ],
)
def test_nearest_target_has_an_endpoint_only_where_the_name_has_one(name: str, meant: str) -> None:
    fleet = SetFleet(spec("openai/gpt-4o@eu"), spec("openai/gpt-4o@us"), spec("mistral/codestral-latest"))

    assert meant == near_target(name, fleet.fleet)


def test_of_many_names_only_those_that_begin_and_end_alike_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counting(_: str, known: list[str], **_facts: int) -> list[str]:
        compared.append(len(known))
        return [known[0]]

    monkeypatch.setattr(near_names, "get_close_matches", counting)
    known = [f"provider-{number % 20}/model-{number}-large" for number in range(2000)]

    assert near_name("provider-7/model-1007-lrge", known) == "provider-7/model-1007-large"
    assert compared == [COMPARED_MAXIMUM]
