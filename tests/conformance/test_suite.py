"""Every case with the client of every language: one test each. Clients whose toolchain is missing are skipped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.cases import Case, cases
from tests.conformance.languages import Language, languages
from tests.conformance.playing import play
from tests.conformance.stage import House

# The first test of a language waits for its build and its own tests.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
ALL = languages()


def test_the_suite_has_a_driver_for_each_of_the_four_languages() -> None:
    assert {"python", "go", "typescript", "java"} <= {language.name for language in ALL}


@pytest.mark.parametrize("language", ALL, ids=lambda language: language.name)
def test_own_tests_of_client(language: Language, prepare: Callable[[Language], str]) -> None:
    why = prepare(language)

    assert not why, why


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
@pytest.mark.parametrize("language", ALL, ids=lambda language: language.name)
def test_client(language: Language, case: Case, prepared_house: House, prepare: Callable[[Language], str]) -> None:
    prepare(language)

    result = play(prepared_house, language, case)

    assert result.ok, f"{case.about}\n{result.why}"
