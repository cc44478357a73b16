"""What is drained by the file and by command, in a whole sidecar whose file changes: the latest word holds."""

from __future__ import annotations

from pathlib import Path

from tests.reloading.following import Following, following, provider, written

NORTH = provider("north", "http://127.0.0.1:9/v1")
SOUTH = provider("south", "http://127.0.0.1:9/v1")


def file(drained: str, *, north: str = NORTH) -> str:
    return written(north, SOUTH, more=f", routing: {{drained: [{drained}]}}")


async def drained(sidecar: Following) -> list[str]:
    return [each.provider for each in (await sidecar.client.status()).providers if each.drained]


async def test_the_latest_word_holds_whoever_said_it(tmp_path: Path) -> None:
    async with following(tmp_path, file("north")) as sidecar:
        at_the_start = await drained(sidecar)
        await sidecar.client.undrain("north")
        await sidecar.client.drain("south/small")
        # Another address, and the same word about drains as before.
        moved = await sidecar.change(file("north", north=provider("north", "http://127.0.0.1:10/v1")))
        by_command = await drained(sidecar)
        told = await sidecar.change(file("south/small"))
        as_before = await drained(sidecar)
        await sidecar.change(file(""))
        taken_out = await drained(sidecar)
        await sidecar.change(file("north"))

        assert at_the_start == ["north"]
        assert moved["event"] == told["event"] == "config.reloaded"
        assert by_command == as_before == ["south"]
        assert told["changed"] == "providers.north.base_url, routing.drained"
        assert taken_out == []
        assert await drained(sidecar) == ["north"]


async def test_a_misspelt_drain_leaves_the_file_before_in_force(tmp_path: Path) -> None:
    async with following(tmp_path, file("north")) as sidecar:
        refused = await sidecar.change(file("north, suoth"))

        assert refused["event"] == "config.refused"
        assert 'did you mean "south"' in refused["faults"]
        assert await drained(sidecar) == ["north"]
