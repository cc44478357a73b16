"""Requests under way together may hold a quarter of the memory that the process may use."""

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded
from turnout_server.app import server_settings
from turnout_server.config.load import load
from turnout_server.config.memory_limit import memory_limit_bytes

MIB = 1024 * 1024


def test_requests_under_way_may_hold_a_quarter_of_the_memory() -> None:
    memory = memory_limit_bytes()

    assert memory is not None
    assert server_settings(load(None, {}).configuration).max_inflight_bytes == memory // 4


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
