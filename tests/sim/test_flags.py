"""Flags describe simulated providers, and wrong ones are told what would be right."""

from __future__ import annotations

import pytest

from turnout_server.providers.simulated.faults import FaultKind
from turnout_server.providers.simulated.flags import FlagError, providers_from_flags
from turnout_server.providers.simulated.provider import WireName


def test_no_flag_gives_one_provider_for_each_wire() -> None:
    providers = providers_from_flags([])

    assert {name: settings.wire for name, settings in providers.items()} == {wire.value: wire for wire in WireName}


def test_flags_set_latency_fault_and_models_of_one_provider() -> None:
    providers = providers_from_flags(
        ["north=openai", "south=anthropic"],
        latencies=["north:first_token_seconds=0.3,jitter=0"],
        faults=["north:error,status=503,share=0.5"],
        settings=["north:models=large+small"],
    )
    north = providers["north"]

    assert north.latency.first_token_seconds == 0.3
    assert north.fault is not None
    assert (north.fault.kind, north.fault.status, north.fault.share) == (FaultKind.ERROR, 503, 0.5)
    assert north.models == ("large", "small")
    assert providers["south"].fault is None


def test_star_means_every_provider() -> None:
    providers = providers_from_flags([], faults=["*:silence"])

    assert {settings.fault.kind for settings in providers.values() if settings.fault} == {FaultKind.SILENCE}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"names": ["north=telex"]}, "openai, anthropic"),
        ({"names": [], "faults": ["silence"]}, "name of a provider"),
        ({"names": [], "faults": ["nobody:silence"]}, "openai, anthropic"),
        ({"names": [], "faults": ["openai:explode"]}, "silent_stream"),
        ({"names": [], "faults": ["openai:error,share=2"]}, "fault.share"),
        ({"names": [], "latencies": ["openai:first_token_seconds"]}, "KEY=VALUE"),
        ({"names": [], "settings": ["openai:colour=red"]}, "colour"),
    ],
)
def test_wrong_flag_is_told_what_would_be_right(flags: dict[str, list[str]], told: str) -> None:
    with pytest.raises(FlagError, match=told):
        providers_from_flags(**flags)
