"""Short-lived tokens on their way to a provider: from a file, from a command, and after one was refused."""

from __future__ import annotations

from pathlib import Path

from tests.egress.calling import SPEAKER, answers, egress
from tests.egress.test_certificates import Clock
from tests.wire.scripted_server import ScriptedServer, json_answer
from turnout_server.core.model import FailureKind
from turnout_server.providers.connection import SecretReference


def sent(server: ScriptedServer) -> list[str]:
    return [request.headers["authorization"] for request in server.requests]


async def test_token_of_a_file_is_replaced_with_the_file(server: ScriptedServer, tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "token"
    path.write_text("one\n")
    answers(server, 2)
    async with egress(credentials={"main": SecretReference(file=str(path), is_token=True)}, clock=clock) as out:
        await out.call(server.url)
        path.write_text("another\n")
        clock.pass_by()
        await out.call(server.url)

    assert sent(server) == ["Bearer one", "Bearer another"]


async def test_command_is_run_without_a_shell(server: ScriptedServer) -> None:
    arguments = ("printf", "%s", "$(id); `id` > x && $HOME*")
    answers(server)
    async with egress(credentials={"main": SecretReference(command=arguments, is_token=True)}) as out:
        await out.call(server.url)

    assert sent(server) == [f"Bearer {arguments[-1]}"]


async def test_token_that_the_provider_refuses_is_replaced_before_the_next_call(
    server: ScriptedServer, tmp_path: Path
) -> None:
    clock = Clock()
    script = f"echo x >> {tmp_path}/runs; echo token-$(wc -l < {tmp_path}/runs | tr -d ' ')"
    reference = SecretReference(command=("sh", "-c", script), is_token=True)
    answers(server)
    server.scripts.append(json_answer(SPEAKER.error_body("invalid_api_key", "expired"), status=401))
    answers(server)
    async with egress(credentials={"main": reference}, clock=clock) as out:
        await out.call(server.url)
        for _ in range(5):
            clock.pass_by()
        refused = await out.failure(server.url)
        await out.call(server.url)

    assert FailureKind.AUTHENTICATION is refused.kind
    assert sent(server) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
