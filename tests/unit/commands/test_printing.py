"""What commands print says what is known, and says so where nothing is."""

from __future__ import annotations

import pytest

from turnout.v1 import router_pb2 as pb
from turnout_server.commands.printing import tokens_text


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
