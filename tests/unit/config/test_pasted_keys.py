"""A key pasted where its reference belongs is a fault, and one that does not carry the key into a log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load

PASTED = "sk-proj-abcdefghijklmnop0123456789"
NO_VARIABLES: Mapping[str, str] = {}


def said(folder: Path, text: str) -> str:
    """Everything that is said of a configuration, faults and warnings."""
    file = folder / "turnout.yaml"
    file.write_text(text)
    try:
        return "\n".join(load(str(file), NO_VARIABLES).warnings)
    except ConfigurationError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"providers: {{openai: {{api_key_file: {PASTED}}}}}", "providers.openai.api_key_file"),
        (f"providers: {{openai: {{api_key_env: {PASTED}}}}}", "providers.openai.api_key_env"),
        (
            f"providers: {{openai: {{credentials: [{{name: main, api_key_env: {PASTED}}}]}}}}",
            "providers.openai.credentials",
        ),
        (
            f"providers: {{openai: {{credentials: [{{name: main, api_key_file: {PASTED}}}]}}}}",
            "providers.openai.credentials[0].api_key_file",
        ),
        (f"providers: {{openai: {{api_key: {PASTED}}}}}", "providers.openai.api_key"),
        (f"providers: {{openai: {{headers_from_file: {PASTED}}}}}", "providers.openai.headers_from_file"),
        (f"providers: {{openai: {{api_key:{PASTED}}}}}", "providers.openai: unknown key, not repeated"),
        (f"providers: {{openai: {{{PASTED}: }}}}", "providers.openai: unknown key, not repeated"),
    ],
)
def test_pasted_key_is_told_by_its_place_and_never_repeated(tmp_path: Path, text: str, path: str) -> None:
    told = said(tmp_path, text)

    assert path in told
    assert PASTED not in told


def test_missing_file_is_named_where_the_name_is_a_path(tmp_path: Path) -> None:
    told = said(tmp_path, "providers: {openai: {api_key_file: ./openai.key}}")

    assert "file ./openai.key cannot be read" in told


def test_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    told = said(tmp_path, "providers: {openai: {api_key_env: HOUSE_KEY}}")

    assert "environment variable HOUSE_KEY is not set" in told
