"""The moment between bind and chmod: a socket that is to be private is never open to others."""

import socket
import stat
from pathlib import Path

from turnout_server.api.sockets import UnixSocket, bind_unix


def test_nobody_else_may_connect_before_the_socket_has_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "t.sock"
    modes: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:

        def bind(where: str) -> None:
            server.bind(where)
            modes.append(stat.S_IMODE(Path(where).stat().st_mode))

        bind_unix(UnixSocket(path=str(path), mode=0o666), bind)

        assert [mode & 0o077 for mode in modes] == [0]
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
