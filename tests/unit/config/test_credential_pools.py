"""Keys of a provider as they come out of configuration: shares, spares, tokens, and the order among them."""

from __future__ import annotations

from pathlib import Path

from tests.unit.config.loading import loaded, parts
from turnout_server.config.build import Parts
from turnout_server.providers.connection import SecretReference


def built(folder: Path, keys: str, environ: dict[str, str]) -> Parts:
    return parts(folder, f"providers:\n  openai:\n    enabled_models: [gpt-4o]\n    {keys}\n", environ)


def weights(found: Parts) -> dict[str, float]:
    return {credential.label: credential.weight for credential in found.fleet.specs[0].credentials}


def test_keys_of_a_pool_have_their_weights_and_single_ones_are_spares_in_order(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    pool = "[{name: a, api_key_env: A, weight: 3}, {name: b, api_key_env: B}, {name: c, api_key_env: C, weight: 0}]"
    keys = f"credentials: {pool}\n    api_key_file: {tmp_path}/key\n    api_key_env: MINE"
    environ = dict.fromkeys(("A", "B", "C", "MINE", "OPENAI_API_KEY"), "x")

    assert list(weights(built(tmp_path, keys, environ)).items()) == [
        ("a", 3.0),
        ("b", 1.0),
        ("c", 0.0),
        ("api_key_file", 0.0),
        ("MINE", 0.0),
        ("OPENAI_API_KEY", 0.0),
    ]


def test_token_from_a_command_becomes_a_key_before_the_single_ones(tmp_path: Path) -> None:
    keys = "token: {command: [print-token, --for, openai], refresh_seconds: 60}"
    found = built(tmp_path, keys, {"OPENAI_API_KEY": "x"})

    assert list(weights(found)) == ["token", "OPENAI_API_KEY"]
    assert found.connections[0].credentials["token"] == SecretReference(
        command=("print-token", "--for", "openai"), refresh_seconds=60.0, is_token=True
    )


def test_token_from_a_file_is_read_like_a_key_but_sent_as_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    found = built(tmp_path, f"token: {{file: {tmp_path}/token}}", {})

    assert found.connections[0].credentials == {"token": SecretReference(file=str(tmp_path / "token"), is_token=True)}


def test_provider_with_a_token_needs_its_credential(tmp_path: Path) -> None:
    text = """
providers:
  house:
    wire: openai
    base_url: https://llm.example.com/v1
    models: [{name: small}]
    token: {command: [print-token]}
"""

    assert parts(tmp_path, text).fleet.specs[0].needs_credential


def test_weights_and_tokens_are_no_longer_warned_of(tmp_path: Path) -> None:
    text = """
providers:
  openai:
    credentials: [{name: a, api_key_env: A, weight: 3}]
    token: {command: [print-token]}
"""

    assert loaded(tmp_path, text, {"A": "x"}).warnings == ()
