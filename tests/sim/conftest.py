"""A simulated server on a free port for each test, and a plain HTTP client that speaks to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from turnout_server.providers.simulated.server import SimulatedServer


@pytest.fixture
async def sim() -> AsyncGenerator[SimulatedServer]:
    async with SimulatedServer(seed=7) as server:
        yield server


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
        yield client
