"""Requests under way together may hold a quarter of the memory that the sidecar itself leaves of its limit."""

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded
from turnout_server.config.load import load
from turnout_server.config.memory_limit import inflight_limit_bytes, memory_limit_bytes
from turnout_server.listening import server_settings

MIB = 1024 * 1024


def test_requests_under_way_may_hold_a_quarter_of_what_the_sidecar_leaves() -> None:
    memory = memory_limit_bytes()

    assert memory is not None
    assert server_settings(load(None, {}).configuration).max_inflight_bytes == (memory - 72 * MIB) // 4


@pytest.mark.parametrize(
    ("memory_mib", "inflight_mib"),
    [(32, 4), (72, 4), (96, 6), (128, 14), (256, 46), (1096, 256)],
)
def test_small_container_keeps_room_for_the_sidecar_itself(memory_mib: int, inflight_mib: int) -> None:
    assert inflight_limit_bytes(memory_mib * MIB) == inflight_mib * MIB


def test_operators_own_bound_takes_the_place_of_the_quarter(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, "limits: {max_inflight_mib: 7}").configuration

    assert server_settings(configuration).max_inflight_bytes == 7 * MIB


def test_containers_limit_counts_where_it_is_below_the_machines_memory(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{64 * MIB}\n")

    assert memory_limit_bytes((str(limit),)) == 64 * MIB


@pytest.mark.parametrize("text", ["max\n", "", str(2**63)])
def test_container_without_a_limit_has_the_machines_memory(tmp_path: Path, text: str) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(text)

    assert memory_limit_bytes((str(limit),)) == memory_limit_bytes(())
