"""What commands print says what is known, and says so where nothing is."""

from __future__ import annotations

import pytest

from turnout.v1 import router_pb2 as pb
from turnout_server.commands.printing import tokens_text
from turnout_server.commands.trend import value_text


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (pb.Usage(input_tokens=18, output_tokens=48), "18+48"),
        (pb.Usage(input_tokens=18), "18+?"),
        (pb.Usage(output_tokens=0), "?+0"),
        (pb.Usage(), "-"),
        (None, "-"),
    ],
)
def test_unknown_token_counts_are_not_shown_as_zero(usage: pb.Usage | None, text: str) -> None:
    assert text == tokens_text(usage)


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [
        (0.25, "latency-p95", "250 ms"),
        (2.5, "time-to-first-token", "2.50 s"),
        (0.999, "availability", "99.9%"),
        (0.0125, "cost", "$0.0125"),
        (1.5, "request-rate", "1.5/s"),
    ],
)
def test_values_of_trends_are_shown_in_their_unit(value: float, measure: str, text: str) -> None:
    assert text == value_text(value, measure)
