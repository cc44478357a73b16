"""Our own network's fault is told from the providers'."""

from __future__ import annotations

from turnout_server.core.local_network import Blame, LocalNetwork
from turnout_server.core.settings import HealthSettings

T = 1000.0


def network() -> LocalNetwork[int]:
    return LocalNetwork(HealthSettings())


def test_one_provider_out_of_reach_is_its_own_fault() -> None:
    local = network()

    assert [local.failure("a", 0, T + n) for n in range(20)] == [Blame.PROVIDER] * 20


def test_two_providers_out_of_reach_within_five_seconds_are_our_fault() -> None:
    local = network()

    assert [local.failure("a", 0, T), local.failure("b", 1, T + 5.0)] == [Blame.PROVIDER, Blame.LOCAL_BEGINS]


def test_two_providers_out_of_reach_further_apart_are_theirs() -> None:
    local = network()

    assert [local.failure("a", 0, T), local.failure("b", 1, T + 5.1)] == [Blame.PROVIDER, Blame.PROVIDER]


def test_success_of_any_provider_between_clears_us() -> None:
    local = network()
    local.failure("a", 0, T)
    local.success()

    assert local.failure("b", 1, T + 1.0) is Blame.PROVIDER


def test_it_begins_once_and_goes_on_while_failures_keep_coming() -> None:
    local = network()
    local.failure("a", 0, T)
    local.failure("b", 1, T)

    assert [local.failure(p, 0, T + at) for p, at in (("a", 4.9), ("a", 9.7), ("c", 14.6))] == [Blame.LOCAL] * 3


def test_it_ends_with_a_success() -> None:
    local = network()
    local.failure("a", 0, T)
    local.failure("b", 1, T)
    local.success()

    assert local.failure("a", 0, T + 0.1) is Blame.PROVIDER


def test_it_ends_after_five_quiet_seconds() -> None:
    local = network()
    local.failure("a", 0, T)
    local.failure("b", 1, T)

    assert local.failure("a", 0, T + 5.0) is Blame.PROVIDER


def test_failures_of_the_window_are_forgiven_once_each() -> None:
    local = network()
    local.failure("a", 7, T)
    local.failure("a", 0, T + 6.0)
    local.failure("a", 2, T + 7.0)
    local.failure("b", 1, T + 8.0)

    assert local.take_forgiven(T + 8.0) == [0, 2]
    assert local.take_forgiven(T + 8.0) == []
