"""What holds where nobody says anything: an empty file is the core's own defaults, those of the documentation."""

from __future__ import annotations

from dataclasses import replace

from turnout_server.config.build import Parts, build
from turnout_server.config.built_in_tables import BUILT_IN_TABLES
from turnout_server.config.load import load
from turnout_server.core.settings import FailoverSettings, RoutingSettings, Settings
from turnout_server.listening import server_settings

KEYS = {"OPENAI_API_KEY": "planted", "ANTHROPIC_API_KEY": "planted"}


def built_from_nothing() -> Parts:
    return build(load(None, KEYS).configuration, KEYS)


def test_without_a_file_failures_are_dealt_with_by_the_cores_defaults() -> None:
    assert built_from_nothing().settings.failover == FailoverSettings()


def test_without_a_file_targets_are_ranked_by_the_cores_defaults() -> None:
    routing = built_from_nothing().settings.routing

    # Tables name models, and so they are no part of the core.
    plain = {name: replace(policy, built_in_tables={}) for name, policy in routing.policies.items()}
    assert replace(routing, policy_version="", policies=plain) == RoutingSettings()
    assert [BUILT_IN_TABLES] == [policy.built_in_tables for policy in routing.policies.values()]


def test_history_keeps_8_mib_of_decisions_unless_told_otherwise() -> None:
    assert built_from_nothing().settings.history_max_bytes == Settings().history_max_bytes == 8 * 1024 * 1024


def test_providers_have_two_seconds_to_be_connected_to() -> None:
    assert [connection.connect_timeout_seconds for connection in built_from_nothing().connections] == [2.0, 2.0]


def test_sidecar_takes_on_256_calls_64_waiting_ones_and_messages_of_32_mib_and_drains_for_25_seconds() -> None:
    settings = server_settings(load(None, {}).configuration)

    assert (256, 64, 32, 25.0) == (
        settings.max_concurrent_calls,
        settings.max_queue,
        settings.max_message_mib,
        settings.drain_seconds,
    )
