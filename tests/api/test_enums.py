"""The enums of the contract and of the core mean the same."""

import pytest

from turnout_server.api import enums

MAPS = [value for value in vars(enums).values() if isinstance(value, enums.EnumMap)]


@pytest.mark.parametrize("mapping", MAPS)
def test_every_enum_goes_there_and_back(mapping: enums.EnumMap) -> None:  # type: ignore[type-arg]  # of any enum
    assert mapping.to_core == {number: member for member, number in mapping.to_wire.items()}
