"""A policy's regions arrive at what decides, and what they rule out by mistake is warned of."""

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded, parts

PROVIDERS = """
providers:
  openai: {api_key_env: KEY, endpoints: [{name: eu, region: eu}, {name: us, region: us}]}
  mistral: {api_key_env: KEY, region: eu}
  groq: {api_key_env: KEY}
"""


def warned(folder: Path, policies: str) -> list[str]:
    told = loaded(folder, f"{PROVIDERS}\nrouting: {{policies: {{{policies}}}}}", {"KEY": "k"}).warnings
    return [warning for warning in told if warning.startswith("routing.policies")]


def test_regions_of_a_policy_arrive_and_are_inherited_unless_it_has_its_own(tmp_path: Path) -> None:
    text = "parent: {regions: [eu, us]}, child: {inherits: parent}, own: {inherits: parent, regions: [us]}"
    policies = parts(tmp_path, f"{PROVIDERS}\nrouting: {{policies: {{{text}}}}}").settings.routing.policies

    found = {name: policy.regions for name, policy in policies.items()}
    assert {"default": (), "parent": ("eu", "us"), "child": ("eu", "us"), "own": ("us",)} == found


def test_regions_change_the_version_of_the_policies(tmp_path: Path) -> None:
    versions = {
        parts(
            tmp_path, f"{PROVIDERS}\nrouting: {{policies: {{default: {{regions: {regions}}}}}}}"
        ).settings.routing.policy_version
        for regions in ("[]", "[eu]", "[eu, us]", "[us, eu]")
    }

    assert len(versions) == 4


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ("default: {regions: [eu, us]}", []),
        ("default: {regions: [eu-west]}", ["default.regions: no endpoint of any provider is in region eu-west"]),
        ("default: {regions: [eu], preferences: [openai/gpt-4o, mistral, mistral/mistral-small-latest]}", []),
        ("default: {regions: [eu], preferences: [openai/gpt-4o@us]}", ["default: openai/gpt-4o@us is never used"]),
        ("default: {regions: [us], tasks: {chat: {any: [mistral/mistral-small-latest]}}}", ["is never used, since"]),
        ("default: {regions: [us], preferences: [groq/openai/gpt-oss-120b]}", ["is never used, since it is not in us"]),
        ("p: {regions: [us]}, q: {inherits: p, preferences: [mistral/codestral-latest]}", ["policies.q: mistral/code"]),
    ],
)
def test_what_a_policys_regions_rule_out_by_mistake_is_warned_of(
    tmp_path: Path, policies: str, told: list[str]
) -> None:
    warnings = warned(tmp_path, policies)

    assert len(told) == len(warnings)
    assert all(words in warning for words, warning in zip(told, warnings, strict=True))


def test_unknown_region_is_answered_with_the_nearest_known_one(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, "default: {regions: [eu, uss]}")

    assert warning.endswith('no endpoint of any provider is in region uss; did you mean "us"?')


def test_many_targets_that_are_ruled_out_are_counted(tmp_path: Path) -> None:
    names = ["codestral-latest", "mistral-large-latest", "mistral-small-latest", "mistral-medium-latest"]
    names += ["ministral-3b-2512", "ministral-8b-2512", "ministral-14b-2512"]
    known = {spec.target.model for spec in parts(tmp_path, PROVIDERS).fleet.specs if spec.target.provider == "mistral"}
    listed = ", ".join(f"mistral/{name}" for name in names if name in known)
    warnings = warned(tmp_path, f"default: {{regions: [us], preferences: [{listed}]}}")

    assert len(warnings) == 6
    assert "more targets are never used for the same reason" in warnings[-1]
