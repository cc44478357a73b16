"""What asked for it is told that calls are taken, at either kind of socket, and nobody else."""

import socket
from pathlib import Path

import pytest

from turnout_server.commands.service_manager import tell_ready


@pytest.mark.parametrize("abstract", ["", "@"], ids=["path", "abstract"])
def test_a_service_manager_is_told_once(tmp_path: Path, abstract: str) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path if abstract else path)
        manager.settimeout(0)

        said = tell_ready({"NOTIFY_SOCKET": abstract + path})

        assert (said, manager.recv(100)) == ("", b"READY=1")
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_where_nobody_asks_nothing_is_said() -> None:
    assert tell_ready({}) == ""
    assert tell_ready({"NOTIFY_SOCKET": ""}) == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/nowhere/at/all", "was not told that calls are taken: "),
        ("vsock:2:1", "neither a path nor an abstract"),
    ],
)
def test_a_manager_that_cannot_be_told_is_no_reason_to_stop(address: str, words: str) -> None:
    assert words in tell_ready({"NOTIFY_SOCKET": address})
