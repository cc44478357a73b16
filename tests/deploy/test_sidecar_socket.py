"""The socket that the library chart shares between containers: an application of another user calls through it, for it
is of Turnout's group, and nobody else does. Real processes of those users, in a folder such as a kubelet makes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.helm_chart import helm
from tests.deploy.sidecar_chart import Example, environment, example, named, pod_spec
from tests.tool_paths import working
from turnout_server.commands.exits import Exit

__all__ = ["example", "helm"]  # fixtures

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may start processes of other users"),
]

TURNOUT = 65532
APPLICATION = 1000
TURNOUT_COMMAND = (sys.executable, "-m", "turnout_server.main")
OF_THE_POD = 2000
"""An fsGroup, which a kubelet gives to every container and to the folder."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An emptyDir: everybody may write into it. Not pytest's own folder, which nobody else may enter."""
    with tempfile.TemporaryDirectory(prefix="turnout-") as made:
        outer = Path(made)
        outer.chmod(0o755)
        inner = outer / "run"
        inner.mkdir()
        inner.chmod(0o777)
        yield inner


@contextmanager
def sidecar(example: Example, folder: Path, groups: Sequence[int] = ()) -> Iterator[str]:
    """Starts Turnout as the chart does, but in this folder; gives the address that the chart tells the application."""
    spec = pod_spec(example.rendered({"listener": {"socket": {"enabled": True}}, "config": None}))
    container = named(spec["initContainers"], "turnout")
    security = container["securityContext"]
    environ = {key: value.replace("/run/turnout", str(folder)) for key, value in environment(container).items()}
    environ |= {"TURNOUT_HEALTH__ADDRESS": "127.0.0.1:0", "TURNOUT_METRICS__ADDRESS": ""}
    environ["TURNOUT_STATE__SNAPSHOT_FILE"] = str(folder / "snapshot")
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*_as(security["runAsUser"], security["runAsGroup"], groups), *TURNOUT_COMMAND, *container["args"]],
        env=_bare(environ),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert b'"listening"' in process.stdout.readline()
        address = environment(named(spec["containers"], "answers"))["TURNOUT_ADDRESS"]
        yield address.replace("/run/turnout", str(folder))
    finally:
        process.terminate()
        assert 0 == process.wait(60)
        process.stdout.close()


def call(address: str, groups: Sequence[int], *, first: Sequence[str] = ()) -> int:
    """Asks for the status as the application would; returns the exit code."""
    return subprocess.run(  # noqa: S603 - our own program
        [*first, *_as(APPLICATION, APPLICATION, groups), *TURNOUT_COMMAND, "status"],
        env=_bare({"TURNOUT_ADDRESS": address}),
        capture_output=True,
        check=False,
        timeout=120,
    ).returncode


def _read_only(folder: Path) -> list[str]:
    """Runs what follows where the folder is mounted read-only; ends with 99 where it could be written to."""
    unshare = str(working("unshare", "--mount", "true"))
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" || exit 99; exec "$@"'
    return [unshare, "--mount", "sh", "-c", script, str(folder)]


def _as(user: int, group: int, groups: Sequence[int]) -> list[str]:
    """Runs what follows as that user. It may read any file, for this Python may be in a folder of root's; connecting
    takes the right to write, which this does not give.
    """
    setpriv = str(working("setpriv", "--inh-caps=-all", "--bounding-set=-all", "true"))
    more = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
    only_reading = [f"--{each}-caps=-all,+dac_read_search" for each in ("inh", "ambient")]
    return [setpriv, f"--reuid={user}", f"--regid={group}", *more, *only_reading]


def _bare(environ: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ}


def test_another_user_calls_by_the_group_that_the_chart_gives_the_pod(example: Example, folder: Path) -> None:
    groups = pod_spec(example.rendered({"listener": {"socket": {"enabled": True}}}))["securityContext"]
    with sidecar(example, folder) as address:
        with_group = call(address, groups["supplementalGroups"])
        without = call(address, ())
        mode = (folder / "turnout.sock").stat()

    assert 0 == with_group
    assert Exit.UNREACHABLE == without
    assert (0o660, TURNOUT, TURNOUT) == (mode.st_mode & 0o777, mode.st_uid, mode.st_gid)


def test_an_fsgroup_does_as_well(example: Example, folder: Path) -> None:
    os.chown(folder, 0, OF_THE_POD)
    folder.chmod(0o2777)
    with sidecar(example, folder, [OF_THE_POD]) as address:
        with_group = call(address, [OF_THE_POD])
        without = call(address, ())
        mode = (folder / "turnout.sock").stat()

    assert 0 == with_group
    assert Exit.UNREACHABLE == without
    assert (0o660, OF_THE_POD) == (mode.st_mode & 0o777, mode.st_gid)


def test_who_mounts_it_read_only_may_connect_and_nothing_else(example: Example, folder: Path) -> None:
    with sidecar(example, folder) as address:
        ended = call(address, [TURNOUT], first=_read_only(folder))

    assert 0 == ended
