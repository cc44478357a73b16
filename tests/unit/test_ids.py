"""Ids are random UUIDs, as `uuid` reads them."""

from __future__ import annotations

import uuid

from turnout_server.ids import new_id


def test_an_id_is_a_random_uuid() -> None:
    made = [new_id() for _ in range(256)]
    read = [uuid.UUID(each) for each in made]
    assert [str(each) for each in read] == made
    assert {(each.version, each.variant) for each in read} == {(4, uuid.RFC_4122)}
    assert len(set(made)) == len(made)


def test_every_free_bit_is_drawn() -> None:
    seen_set = seen_clear = 0
    for _ in range(256):
        number = uuid.UUID(new_id()).int
        seen_set |= number
        seen_clear |= ~number
    # All but the four bits of the version and the two of the variant.
    assert (seen_set & seen_clear & (1 << 128) - 1).bit_count() == 122
