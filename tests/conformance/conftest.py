"""Clients that are set up, built and tested once, however many processes pytest has; a house for the cases of each."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.languages import CommandFailed, Language, NotRun
from tests.conformance.stage import House
from tests.conformance.suite import own_tests_of

Prepare = Callable[[Language], str]


@pytest.fixture(scope="session")
def prepared_house() -> Iterator[House]:
    with House() as running:
        yield running


@pytest.fixture(scope="session")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Makes a client ready and returns what its own tests said, "" for nothing but good.

    The first who asks builds and tests it, the others wait: what is built must not change under a running driver.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if own.name.startswith("popen-") else own

    def once(language: Language) -> str:
        file = shared / f"client-{language.name}.json"
        with (shared / f"client-{language.name}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not file.exists():
                file.write_text(json.dumps(_made(language)))
        made = json.loads(file.read_text())
        if made["not_run"]:
            pytest.skip(f"the {language.name} client is not run: {made['not_run']}")
        if made["failed"]:
            pytest.fail(f"the {language.name} client cannot be built: {made['failed']}")
        said: str = made["own_tests"]
        return said

    return once


def _made(language: Language) -> dict[str, str]:
    made = {"not_run": "", "failed": "", "own_tests": ""}
    try:
        language.prepare()
    except NotRun as missing:
        made["not_run"] = str(missing)
    except CommandFailed as failed:
        made["failed"] = str(failed)
    else:
        made["own_tests"] = own_tests_of(language).why
    return made
