"""What the catalog knows of a model is what its target is: nothing is lost on the way, retirement least of all."""

import pytest

from turnout_server.config.build import build
from turnout_server.config.catalog import ModelRow, built_in
from turnout_server.config.load import load
from turnout_server.core.fleet import TargetSpec
from turnout_server.core.model import Capability
from turnout_server.providers.dialects import dialect_of
from turnout_server.providers.forms import lacking_capabilities

KEYS = {variable: "planted" for row in built_in().values() for variable in row.key_variables}
ROWS = [(provider, model) for provider, row in built_in().items() for model in row.models]


@pytest.fixture(scope="module")
def specs() -> dict[str, TargetSpec]:
    return {spec.name: spec for spec in build(load(None, KEYS).configuration, KEYS).fleet.specs}


@pytest.mark.parametrize(("provider", "row"), ROWS, ids=[f"{provider}-{row.name}" for provider, row in ROWS])
def test_target_is_what_the_catalog_says(specs: dict[str, TargetSpec], provider: str, row: ModelRow) -> None:
    spec = specs[f"{provider}/{row.name}"]

    assert (row.context_window_tokens, row.max_output_tokens, row.price, row.quality) == (
        spec.context_window_tokens,
        spec.max_output_tokens,
        spec.price,
        spec.quality,
    )
    assert (row.latency_prior_seconds, row.seconds_per_output_token) == (
        spec.latency_prior_seconds,
        spec.seconds_per_output_token_prior,
    )
    assert (row.silent_thinking, row.deprecated) == (spec.silent_thinking, spec.deprecated)
    media = frozenset({Capability.VISION, Capability.AUDIO, Capability.DOCUMENTS})
    unasked = lacking_capabilities(spec, dialect_of(provider, spec.wire))
    assert row.capabilities - spec.capabilities <= media | unasked
    assert spec.capabilities - row.capabilities <= {Capability.LONG_CONTEXT}


def test_catalog_has_models_that_are_no_longer_served() -> None:
    assert any(row.deprecated for _, row in ROWS)
    assert not all(row.deprecated for _, row in ROWS)
