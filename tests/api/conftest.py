"""One running sidecar for each test that asks for it."""

from collections.abc import AsyncIterator

import pytest

from tests.api.sidecar import Sidecar, running


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with running() as started:
        yield started
