"""Operators lay their own rows over the catalog: in the configuration, or in files of their own."""

from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest

from turnout_server.config.build import build
from turnout_server.config.catalog import ModelRow
from turnout_server.config.faults import ConfigurationError
from turnout_server.config.load import load
from turnout_server.core.fleet import Price, TargetSpec
from turnout_server.core.model import NANO_USD, Capability

KEYS = {"GROQ_API_KEY": "planted", "OPENAI_API_KEY": "planted"}
TODAY = date(2026, 11, 21)


def specs(folder: Path, text: str, environ: dict[str, str] = KEYS) -> dict[str, TargetSpec]:
    file = folder / "turnout.yaml"
    file.write_text(text)
    return {s.name: s for s in build(load(str(file), environ).configuration, environ, today=TODAY).fleet.specs}


def test_row_of_a_file_is_laid_over_the_catalog_and_the_rest_of_the_row_stays(tmp_path: Path) -> None:
    overlay = tmp_path / "models.yaml"
    overlay.write_text("models: {openai: [{name: gpt-4o, quality: 12}, {name: house-model, quality: 50}]}")
    found = specs(tmp_path, f"catalog: {{overlay_files: [{overlay}]}}")

    assert (12.0, 128_000) == (found["openai/gpt-4o"].quality, found["openai/gpt-4o"].context_window_tokens)
    assert 50.0 == found["openai/house-model"].quality


def test_later_file_wins_over_an_earlier_and_the_configuration_over_both(tmp_path: Path) -> None:
    names = []
    for quality in (1, 2):
        overlay = tmp_path / f"models-{quality}.yaml"
        overlay.write_text(
            f"models: {{openai: [{{name: gpt-4o, quality: {quality}}}, {{name: gpt-4.1, quality: {quality}}}]}}"
        )
        names.append(str(overlay))
    found = specs(
        tmp_path,
        f"catalog: {{overlay_files: {names}, models: {{openai: [{{name: gpt-4o, quality: 3}}]}}}}",
    )

    assert (3.0, 2.0) == (found["openai/gpt-4o"].quality, found["openai/gpt-4.1"].quality)


def test_rows_of_a_provider_itself_win_over_the_catalogs_rows(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        """
        catalog: {models: {groq: [{name: llama-3.1-8b-instant, quality: 1}]}}
        providers: {groq: {models: [{name: llama-3.1-8b-instant, quality: 2}]}}
        """,
    )

    assert 2.0 == found["groq/llama-3.1-8b-instant"].quality


def test_row_can_retire_a_model_and_bring_one_back(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        """
        catalog:
          models:
            openai: [{name: gpt-4o, deprecated: true}, {name: gpt-4-turbo}, {name: gpt-4.1, retires_on: 2026-11-21}]
        """,
    )

    assert [True, False, True] == [found[f"openai/{name}"].deprecated for name in ("gpt-4o", "gpt-4-turbo", "gpt-4.1")]


def test_price_of_a_row_has_tiers_in_rising_order(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        """
        providers:
          openai:
            models:
              - name: gpt-4o
                price:
                  input_per_million_usd: 1
                  output_per_million_usd: 2
                  cache_write_1h_per_million_usd: 3
                  tiers:
                    - {above_input_tokens: 200, input_per_million_usd: 5, output_per_million_usd: 6}
                    - {above_input_tokens: 100, input_per_million_usd: 3, output_per_million_usd: 4}
        """,
    )
    price = found["openai/gpt-4o"].price
    assert price is not None

    assert 3 * NANO_USD == price.cache_write_1h_per_million
    assert [(100, 3 * NANO_USD), (200, 5 * NANO_USD)] == [
        (tier.above_input_tokens, tier.price.input_per_million) for tier in price.tiers
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: {openai: [{name: x, qualty: 1}]}", 'models.openai[0].qualty: unknown key; did you mean "quality"?'),
        ("model: {}", 'model: unknown key; did you mean "models"?'),
        ("models: [", "not valid YAML"),
        ("overlay_files: [x.yaml]", "overlay_files: an overlay file has the one key models"),
    ],
)
def test_fault_in_an_overlay_file_names_the_file_and_the_place(tmp_path: Path, text: str, told: str) -> None:
    overlay = tmp_path / "models.yaml"
    overlay.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        specs(tmp_path, f"catalog: {{overlay_files: [{overlay}]}}")

    assert all(str(overlay) in str(fault) for fault in caught.value.faults)
    assert any(told in str(fault) for fault in caught.value.faults)


def test_models_that_a_server_was_found_to_have_lie_below_the_operators_rows(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("providers: {ollama: {models: [{name: small, quality: 44}]}}")
    configuration = load(str(file), {}).configuration
    found = (
        ModelRow(name="small", context_window_tokens=8192, capabilities=frozenset({Capability.STREAMING})),
        ModelRow(name="large", context_window_tokens=32_768),
    )
    made = {s.name: s for s in build(configuration, {}, found={"ollama": found}).fleet.specs}

    assert {"ollama/small", "ollama/large"} == set(made)
    assert (44.0, 8192) == (made["ollama/small"].quality, made["ollama/small"].context_window_tokens)
    assert not made["ollama/large"].needs_credential


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://localhost:11434"),
        ("box", "http://box:11434"),
        ("box:9000", "http://box:9000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://box:8443/ollama/", "https://box:8443/ollama"),
        ("[::1]:9000", "http://[::1]:9000"),
        (":9000", "http://127.0.0.1:9000"),
        ("box:port", "http://localhost:11434"),
    ],
)
def test_ollama_host_is_read_as_ollamas_own_tools_read_it(tmp_path: Path, host: str, url: str) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("providers: {ollama: {models: [{name: m}]}}")
    environ = {"OLLAMA_HOST": host}
    parts = build(load(str(file), environ).configuration, environ)

    assert url == parts.fleet.specs[0].base_url
    assert parts.connections[0].allow_private


def test_every_class_of_tokens_can_have_a_price_of_its_own(tmp_path: Path) -> None:
    usd = {field.name: place for place, field in enumerate(fields(Price), start=1) if field.name != "tiers"}
    keys = ", ".join(f"{name}_usd: {value}" for name, value in usd.items())
    found = specs(tmp_path, f"providers: {{openai: {{models: [{{name: gpt-4o, price: {{{keys}}}}}]}}}}")
    price = found["openai/gpt-4o"].price
    assert price is not None

    assert {name: value * NANO_USD for name, value in usd.items()} == {name: getattr(price, name) for name in usd}
