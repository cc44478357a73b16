"""A region is more than a word: a vendor that answers from within it is called there, at the price there."""

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded
from turnout_server.config.build import build
from turnout_server.config.catalog import built_in
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import NANO_USD

EU = "https://eu.api.openai.com/v1"
USUAL = "https://api.openai.com/v1"


def specs(folder: Path, text: str) -> dict[str, TargetSpec]:
    return {spec.name: spec for spec in build(loaded(folder, text).configuration, {}).fleet.specs}


def input_price(spec: TargetSpec) -> int:
    assert spec.price is not None
    return spec.price.input_per_million


@pytest.mark.parametrize(
    ("section", "address"),
    [
        ("{region: eu}", EU),
        ("{}", USUAL),
        ("{region: moon}", USUAL),
        ("{region: eu, base_url: 'https://proxy.example.com/v1'}", "https://proxy.example.com/v1"),
    ],
)
def test_region_brings_the_vendors_address_there_unless_one_is_given(
    tmp_path: Path, section: str, address: str
) -> None:
    found = specs(tmp_path, f"providers: {{openai: {section}}}")

    assert address == found["openai/gpt-4o"].base_url


def test_endpoints_in_several_regions_need_no_addresses(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        """
        providers:
          openai:
            enabled_models: [gpt-4o]
            endpoints:
              - {name: eu, region: eu}
              - {name: own, region: eu, base_url: "https://eu.example.com/v1/"}
              - {name: rest}
        """,
    )

    assert [("eu", EU), ("eu", "https://eu.example.com/v1"), ("", USUAL)] == [
        (spec.region, spec.base_url) for spec in found.values()
    ]


def test_price_in_the_region_is_the_vendors_there(tmp_path: Path) -> None:
    usual, regional = (
        specs(tmp_path, f"providers: {{mistral: {{region: '{region}'}}, openai: {{region: '{region}'}}}}")
        for region in ("", "eu")
    )

    for name in ("mistral/codestral-latest", "openai/gpt-5.5"):
        assert input_price(usual[name]) * 11 == input_price(regional[name]) * 10
    assert input_price(usual["openai/gpt-4o"]) == input_price(regional["openai/gpt-4o"])
    long, dear = (found["openai/gpt-5.5"].price for found in (usual, regional))
    assert long is not None
    assert dear is not None
    assert [tier.price.output_per_million * 11 for tier in long.tiers] == [
        tier.price.output_per_million * 10 for tier in dear.tiers
    ]
    assert long.tiers


def test_price_of_the_operators_own_is_the_price_in_every_region(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        """
        providers:
          mistral:
            region: eu
            models:
              - {name: codestral-latest, price: {input_per_million_usd: 2, output_per_million_usd: 3}}
              - {name: codestral-2508, quality: 50}
        """,
    )
    known = next(row for row in built_in()["mistral"].models if row.name == "codestral-2508")

    assert 2 * NANO_USD == input_price(found["mistral/codestral-latest"])
    assert known.regional_price == found["mistral/codestral-2508"].price
    assert known.price != known.regional_price


def test_own_address_is_never_taken_for_the_vendors_in_the_region(tmp_path: Path) -> None:
    usual, own = (
        specs(tmp_path, f"providers: {{mistral: {{region: eu, base_url: '{address}', api_key_env: KEY}}}}")
        for address in ("", "https://llm.example.com/v1")
    )

    assert input_price(own["mistral/codestral-latest"]) < input_price(usual["mistral/codestral-latest"])


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("openai: {region: moon}", "no address of its own in region moon is known (only in ae, au, eu, in, jp, us)"),
        ("anthropic: {region: eu}", "no address of its own in region eu is known, so its calls go to"),
        ("openai: {region: eu}", ""),
        ("anthropic: {region: eu, base_url: 'https://eu.example.com'}", ""),
        ("anthropic: {endpoints: [{name: eu, region: eu, base_url: 'https://eu.example.com'}]}", ""),
        ("ollama: {region: desk}", ""),
    ],
)
def test_region_that_is_only_a_word_is_warned_of(tmp_path: Path, section: str, told: str) -> None:
    warnings = [one for one in loaded(tmp_path, f"providers: {{{section}}}").warnings if "region" in one]

    assert bool(told) == bool(warnings)
    assert all(told in one for one in warnings)


def test_every_address_of_a_region_is_a_vendors_https_address() -> None:
    for row in built_in().values():
        domain = ".".join(row.base_url.split("/")[2].split(".")[-2:])
        for address in row.regions.values():
            assert address.startswith("https://")
            assert address.split("/")[2].endswith(f".{domain}")
            assert address.split("/")[3:] == row.base_url.split("/")[3:]
