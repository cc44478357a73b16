"""The options that show who we are: the same for every command, before what the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from turnout_server.commands.decisions import decisions
from turnout_server.commands.status import status


def usage(result: Result) -> str:
    assert result.exit_code != 0
    return result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token-file", "/nonexistent/token"], "token file /nonexistent/token cannot be read: No such file"),
        (["--ca-file", "/nonexistent/ca"], "CA file /nonexistent/ca cannot be read: No such file"),
        (["--cert-file", "/dev/null"], "tls has one of certificate and key: mutual TLS needs both"),
        (
            ["--address", "unix:/run/t.sock", "--ca-file", "/c"],
            "is a Unix socket, which has no TLS: leave --ca-file out",
        ),
    ],
)
def test_options_that_cannot_work_are_told_in_one_line(options: list[str], said: str) -> None:
    for command in (status, decisions):
        output = usage(CliRunner().invoke(command, ["--address", "127.0.0.1:1", *options]))

        assert said in output
        assert len(output.splitlines()) == 1


def test_a_token_is_never_sent_to_another_machine_in_the_clear(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("planted-0123456789abcdef")
    output = usage(CliRunner().invoke(status, ["--address", "192.0.2.1:1", "--token-file", str(file)]))

    assert "in plain text: switch TLS on" in output
    assert "planted" not in output
