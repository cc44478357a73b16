"""Commands that print short-lived tokens: real processes, small and quick."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from turnout_server.providers.connection import ProviderConnection, SecretReference
from turnout_server.providers.dialects import ANTHROPIC
from turnout_server.providers.secrets import Secrets, SecretUnavailableError
from turnout_server.providers.token_commands import CommandError, TokenCommands

PLANTED = "planted-token-0123456789"


def shell(script: str, refresh_seconds: float = 300.0) -> SecretReference:
    return SecretReference(command=("sh", "-c", script), refresh_seconds=refresh_seconds, is_token=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counting(folder: Path) -> str:
    """A script that prints how often it was run."""
    return f"echo x >> {folder}/runs; wc -l < {folder}/runs"


async def ended(commands: TokenCommands) -> None:
    """Waits for what runs, without ending it."""
    await asyncio.gather(*(token.running for token in commands._tokens.values() if token.running is not None))


async def test_token_is_what_the_command_prints_without_white_space() -> None:
    assert await TokenCommands().text(shell(f"echo '  {PLANTED} '")) == PLANTED


async def test_command_runs_once_for_calls_that_come_together(tmp_path: Path) -> None:
    commands = TokenCommands()
    reference = shell(counting(tmp_path))

    assert set(await asyncio.gather(*(commands.text(reference) for _ in range(20)))) == {"1"}
    assert await commands.text(reference) == "1"


async def test_token_is_refreshed_beside_the_calls_when_it_is_old_enough(tmp_path: Path) -> None:
    clock = Clock()
    commands = TokenCommands(clock=clock)
    reference = shell(counting(tmp_path), refresh_seconds=60.0)
    await commands.text(reference)
    clock.now += 59.0
    commands.start_due([reference])
    await ended(commands)

    assert commands.known(reference) == "1"

    clock.now += 1.0
    commands.start_due([reference])

    assert await commands.text(reference) == "1"

    await ended(commands)

    assert await commands.text(reference) == "2"


async def test_old_token_stays_where_its_refresh_fails(tmp_path: Path) -> None:
    clock, faults = Clock(), list[str]()
    commands = TokenCommands(clock=clock, on_fault=faults.append)
    reference = shell(f"test ! -e {tmp_path}/broken && echo {PLANTED}", refresh_seconds=60.0)
    await commands.text(reference)
    (tmp_path / "broken").touch()
    clock.now += 60.0
    commands.start_due([reference])
    await ended(commands)

    assert await commands.text(reference) == PLANTED
    assert faults == ["command sh ended with status 1; run it by hand to see why"]


async def test_refused_token_is_replaced_before_the_next_call(tmp_path: Path) -> None:
    clock = Clock()
    commands = TokenCommands(clock=clock)
    reference = shell(counting(tmp_path))
    await commands.text(reference)
    clock.now += 10.0
    commands.refused(reference, "1")

    assert await commands.text(reference) == "2"


async def test_late_refusal_of_an_older_token_changes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    commands = TokenCommands(clock=clock)
    reference = shell(counting(tmp_path))
    await commands.text(reference)
    clock.now += 10.0
    commands.refused(reference, "0")

    assert await commands.text(reference) == "1"


async def test_token_that_is_refused_at_once_does_not_start_a_command_for_every_call(tmp_path: Path) -> None:
    clock = Clock()
    commands = TokenCommands(clock=clock)
    reference = shell(counting(tmp_path))
    await commands.text(reference)
    clock.now += 1.0
    commands.refused(reference, "1")

    assert await commands.text(reference) == "1"


async def test_command_that_failed_is_not_run_again_for_every_call(tmp_path: Path) -> None:
    clock = Clock()
    commands = TokenCommands(clock=clock)
    reference = shell(f"echo x >> {tmp_path}/runs; exit 3")
    for _ in range(5):
        with pytest.raises(CommandError, match="status 3"):
            await commands.text(reference)

    assert (tmp_path / "runs").read_text() == "x\n"

    clock.now += 5.0
    with pytest.raises(CommandError):
        await commands.text(reference)

    assert (tmp_path / "runs").read_text() == "x\nx\n"


async def test_command_that_does_not_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    written = tmp_path / "child"
    # Long enough for a shell to come as far as to write; a busy machine may need more than the first.
    for limit_seconds in (0.3, 3.0, 30.0):
        commands = TokenCommands(limit_seconds=limit_seconds)
        with pytest.raises(CommandError, match="not ended within"):
            await commands.text(shell(f"sleep 600 & echo $! > {written}.new; mv {written}.new {written}; wait"))
        if written.exists():
            break
    child = int(written.read_text())
    for _ in range(2000):
        if not runs(child):
            break
        await asyncio.sleep(0.02)

    assert not runs(child)


def runs(pid: int) -> bool:
    """Whether a process runs; one that waits for somebody to take note of its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


async def test_command_that_prints_without_end_is_ended() -> None:
    with pytest.raises(CommandError, match="more than 16384 bytes"):
        await TokenCommands().text(shell(f"yes {PLANTED}"))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (shell("true"), "prints nothing"),
        (shell("printf '\\377\\376'"), "not UTF-8"),
        (SecretReference(command=("/nowhere/at-all", PLANTED)), "command /nowhere/at-all cannot be started"),
        (SecretReference(command=("sh", "\0" + PLANTED)), "cannot be passed"),
        (shell(f"echo {PLANTED}; echo {PLANTED} >&2; exit 1"), "status 1"),
    ],
)
async def test_fault_names_the_command_and_neither_argument_nor_output(reference: SecretReference, words: str) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        await TokenCommands().text(reference)

    assert PLANTED not in f"{caught.value!r} {reference} {reference!r}"


async def test_caller_who_gives_up_does_not_end_the_command_for_others() -> None:
    commands = TokenCommands()
    reference = shell(f"sleep 0.3; echo {PLANTED}")
    hasty = asyncio.create_task(commands.text(reference))
    patient = asyncio.create_task(commands.text(reference))
    await asyncio.sleep(0.05)
    hasty.cancel()

    assert await patient == PLANTED


async def test_closing_ends_commands_that_run() -> None:
    commands = TokenCommands()
    reference = shell("sleep 600")
    commands.start_due([reference])
    await asyncio.sleep(0.05)
    await commands.aclose()

    assert commands.known(reference) == ""


# Among the other secrets.


def secrets_of(reference: SecretReference) -> Secrets:
    connection = ProviderConnection(provider="p", wire="anthropic", dialect=ANTHROPIC, credentials={"token": reference})
    return Secrets([connection], environ={})


async def test_secret_from_a_command_is_fetched_when_it_is_first_needed() -> None:
    secrets = secrets_of(shell(f"echo {PLANTED}"))
    with pytest.raises(SecretUnavailableError, match="not brought a token yet"):
        secrets.get("p", "token")

    assert await secrets.fetch("p", "token") == PLANTED
    assert secrets.get("p", "token") == PLANTED
    assert secrets.is_token("p", "token")


async def test_failing_command_makes_its_secret_unavailable() -> None:
    with pytest.raises(SecretUnavailableError, match="status 1"):
        await secrets_of(shell("exit 1")).fetch("p", "token")


async def test_new_token_is_seen_as_a_changed_secret() -> None:
    secrets = secrets_of(shell(f"echo {PLANTED}"))
    secrets.start_commands()
    await secrets.fetch("p", "token")

    assert secrets.changed() == (("p", "token"),)
    assert secrets.changed() == ()


async def test_secret_that_cannot_be_had_is_not_another_one(tmp_path: Path) -> None:
    path, now = tmp_path / "key", [0.0]
    path.write_text("one")
    reference = SecretReference(file=str(path))
    connection = ProviderConnection(provider="p", wire="anthropic", dialect=ANTHROPIC, credentials={"file": reference})
    secrets = Secrets([connection], environ={}, clock=lambda: now[0])
    path.unlink()
    now[0] += 2.0

    assert secrets.changed() == ()

    path.write_text("two")

    assert secrets.changed() == (("p", "file"),)
