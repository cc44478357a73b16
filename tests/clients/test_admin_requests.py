"""What operators may mistake in an argument of `client.admin` is told before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from turnout import admin_requests
from turnout.v1 import admin_pb2 as pb


@pytest.mark.parametrize("name", ["preferences", "provider_order"])
def test_one_name_where_a_list_belongs_is_not_taken_for_its_letters(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 'openai/gpt-4o': give a list of names"):
        admin_requests.routing_request("", {name: "openai/gpt-4o"}, (), "")


def test_one_name_to_be_undone_is_not_taken_for_its_letters() -> None:
    with pytest.raises(ValueError, match="undo is 'strategy': give a list of names"):
        admin_requests.routing_request("", {}, "strategy", "")


@pytest.mark.parametrize("start", [3600, 0.5, "an hour ago"])
def test_a_time_that_is_none_is_answered_with_what_would_be_one(start: Any) -> None:
    with pytest.raises(
        ValueError, match=r"is no time: give a datetime with a time zone, or a timedelta for so long ago"
    ):
        admin_requests.spend_request(pb.DIMENSION_UNSPECIFIED, start, None, None, "")


@pytest.mark.parametrize("step", [900, "15m"])
def test_a_length_that_is_none_is_answered_with_what_would_be_one(step: Any) -> None:
    with pytest.raises(ValueError, match=r"is no length of time: give a timedelta"):
        admin_requests.trend_request("openai", pb.TREND_MEASURE_COST, None, step)


def test_times_and_lengths_are_carried_as_given() -> None:
    at = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    request = admin_requests.spend_request(pb.DIMENSION_UNSPECIFIED, at, None, timedelta(minutes=15), "")

    assert (request.start_time.seconds, request.step.seconds) == (int(at.timestamp()), 900)
