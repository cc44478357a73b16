"""Every way a file can be wrong: a fixture is named for its fault and begins with the lines it must be told."""

from pathlib import Path

import pytest

from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load

FIXTURES = sorted((Path(__file__).parent / "faults").glob("*.yaml"))


def expected_lines(fixture: Path) -> list[str]:
    lines = fixture.read_text().splitlines()
    return [line.removeprefix("# ") for line in lines if line.startswith("# ")]


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_faulty_file_is_answered_with_each_fault_its_place_and_path(fixture: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(str(fixture), {})

    found = [str(fault).removeprefix(f"{fixture}:").strip() for fault in caught.value.faults]

    assert expected_lines(fixture) == found


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_no_fault_repeats_a_secret(fixture: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(str(fixture), {})

    assert "planted" not in str(caught.value)
