"""The JSON schema refuses in an editor what a start would refuse."""

from collections.abc import Iterator
from typing import Any

import pytest

from turnout_server.config.describe import json_schema


def keywords(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            # Below these stand names, not keywords; what belongs to a name is looked at all the same.
            if key in {"properties", "$defs"}:
                for named in value.values():
                    yield from keywords(named)
            elif key != "default":
                yield key
                yield from keywords(value)
    elif isinstance(node, list):
        for value in node:
            yield from keywords(value)


def test_bounds_are_written_as_json_schema_knows_them() -> None:
    assert set() == {"ge", "gt", "le", "lt", "allow_inf_nan"} & set(keywords(json_schema()))


@pytest.mark.parametrize(
    ("section", "key", "bounds"),
    [
        ("ProcessLimitsSection", "max_message_mib", {"minimum": 1, "maximum": 1024}),
        ("HistorySection", "max_mib", {"minimum": 1, "maximum": 4096}),
        ("AffinitySection", "ttl_seconds", {"exclusiveMinimum": 0}),
        ("AffinitySection", "advantage", {"minimum": 0, "maximum": 1}),
    ],
)
def test_a_number_has_the_bounds_of_its_kind(section: str, key: str, bounds: dict[str, float]) -> None:
    assert bounds.items() <= json_schema()["$defs"][section]["properties"][key].items()
