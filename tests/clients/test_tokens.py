"""A token from a file is read again when the sidecar no longer takes it, and the call is made once more for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from tests.clients.driving import AsyncDriver, BlockingDriver, Driver, Streamed
from tests.clients.scripted_sidecar import Refusal, ScriptedSidecar, Serving
from turnout import AsyncClient, Client
from turnout.errors import UnauthenticatedError
from turnout.tokens import TokenSource
from turnout.v1 import router_pb2 as pb

OLD, NEW = "planted-old-token", "planted-new-token"
REFUSED = Refusal(code=grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED")
STREAM = (
    pb.ExecuteStreamResponse(decision=pb.Decision(decision_id="d-1")),
    pb.ExecuteStreamResponse(completion=pb.Completion(finish_reason=pb.FINISH_REASON_STOP)),
)


@pytest.fixture
def sidecar() -> Iterator[ScriptedSidecar]:
    scripted = ScriptedSidecar()
    with Serving(scripted):
        yield scripted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{OLD}\n")
    return file


@pytest.fixture(params=["blocking", "asyncio"])
async def client(request: pytest.FixtureRequest, sidecar: ScriptedSidecar, file: Path) -> AsyncIterator[Driver]:
    driver: Driver
    # Not even where no retries are asked for: this is none, since nothing was looked at.
    if request.param == "blocking":
        driver = BlockingDriver(Client(sidecar.address, token_file=str(file), max_retry_count=0))
    else:
        driver = AsyncDriver(AsyncClient(sidecar.address, token_file=str(file), max_retry_count=0))
    yield driver
    await driver.close()


def put(file: Path, text: str) -> None:
    file.write_text(text)


def sent(sidecar: ScriptedSidecar) -> list[str | bytes]:
    return [call.metadata["authorization"] for call in sidecar.calls]


async def test_a_replaced_token_is_used_in_the_same_call(sidecar: ScriptedSidecar, client: Driver, file: Path) -> None:
    sidecar.will("ProviderStatus", REFUSED, pb.ProviderStatusResponse(), pb.ProviderStatusResponse())
    put(file, NEW)

    await client.status()
    await client.status()

    assert sent(sidecar) == [f"Bearer {OLD}", f"Bearer {NEW}", f"Bearer {NEW}"]


async def test_a_stream_and_a_watch_begin_again_with_a_replaced_token(
    sidecar: ScriptedSidecar, client: Driver, file: Path
) -> None:
    sidecar.will("ExecuteStream", REFUSED, STREAM)
    sidecar.will("WatchProviderStatus", REFUSED, [pb.WatchProviderStatusResponse(revision=8)])
    put(file, NEW)
    seen = Streamed()

    await client.stream("Hi", seen)
    put(file, OLD)
    (change,) = await client.watch(1)

    assert seen.answer is not None
    assert change.revision == 8
    assert sent(sidecar) == [f"Bearer {OLD}", f"Bearer {NEW}", f"Bearer {NEW}", f"Bearer {OLD}"]


async def test_a_token_that_is_still_the_same_is_not_sent_twice(sidecar: ScriptedSidecar, client: Driver) -> None:
    sidecar.will("ProviderStatus", REFUSED)

    with pytest.raises(UnauthenticatedError) as caught:
        await client.status()

    assert len(sidecar.calls) == 1
    assert "planted" not in str(caught.value)


async def test_a_replaced_token_that_is_refused_too_is_the_end(
    sidecar: ScriptedSidecar, client: Driver, file: Path
) -> None:
    sidecar.will("ProviderStatus", REFUSED, REFUSED)
    put(file, NEW)

    with pytest.raises(UnauthenticatedError):
        await client.status()

    assert len(sidecar.calls) == 2


async def test_a_file_without_a_token_leaves_the_refusal_as_it_is(
    sidecar: ScriptedSidecar, client: Driver, file: Path
) -> None:
    sidecar.will("ProviderStatus", REFUSED)
    put(file, "")

    with pytest.raises(UnauthenticatedError):
        await client.status()


def test_whoever_was_refused_with_an_older_token_tries_the_one_that_somebody_else_has_read(file: Path) -> None:
    source = TokenSource(file=str(file))
    first, second = source.use(), source.use()
    first.metadata()
    second.metadata()
    file.write_text(NEW)

    assert first.renewed()
    assert second.renewed()
    assert second.metadata() == (("authorization", f"Bearer {NEW}"),)
    assert not second.renewed()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"planted-one\nplanted-two\n", "holds no token: a token is one line"),
        ("pl\u00e4nted".encode(), "holds no token: a token is one line"),
    ],
)
def test_a_file_without_a_token_is_told_when_the_client_is_made(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ValueError, match=f"token file {file} {said}"):
        Client("127.0.0.1:1", token_file=str(file))


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("text", ["planted one", "planted\n", "pl\u00e4nted", "planted\x00"])
def test_a_text_that_is_no_token_is_told_when_the_client_is_made_and_never_quoted(
    client: type[Client | AsyncClient], text: str
) -> None:
    with pytest.raises(ValueError, match="a token is one line of ASCII characters without spaces") as caught:
        client("127.0.0.1:1", token=text)

    assert "planted" not in str(caught.value)


def test_a_file_that_became_wrong_meanwhile_leaves_the_token_before(file: Path) -> None:
    source = TokenSource(file=str(file))
    use = source.use()
    use.metadata()
    file.write_text(f"{NEW}\n{NEW}\n")

    assert not use.renewed()
    assert use.metadata() == (("authorization", f"Bearer {OLD}"),)


def test_secrets_are_not_in_the_repr(file: Path) -> None:
    source = TokenSource(file=str(file))

    assert "planted" not in repr(source) + repr(source.use())
