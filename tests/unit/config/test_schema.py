"""The schema keeps the names and defaults that operators rely on, and its documentation is in step with it."""

from pathlib import Path

import pytest
import yaml

from turnout_server.config.describe import json_schema
from turnout_server.config.document import markdown
from turnout_server.config.load import load
from turnout_server.config.schema import Configuration

ROOT = Path(__file__).parents[3]

DEFAULTS = """
listen: {address: "127.0.0.1:50151", socket: "", socket_mode: "0660", socket_group: "", insecure_listen: false,
  tls: {cert_file: "", key_file: "", client_ca_file: ""}, auth: {tokens: []}, reflection: true}
health: {address: "0.0.0.0:50152"}
metrics: {address: "0.0.0.0:9464"}
catalog: {overlay_files: [], models: {}}
routing:
  default_policy: default
  provider_order: []
  near_equal: {margin: 0.05, cold_margin: 0.15, cold_samples: 20}
  affinity: {ttl_seconds: 3600, advantage: 0.2, max_entries: 10000}
  plan_valid_seconds: 5
  select: []
  policies:
    default:
      inherits: null
      shadow_policy: null
      strategy: HYBRID
      weights: {cost: 0.4, latency: 0.3, availability: 0.3, quality: 0, priority: 0, capability: null}
      preferences: []
      regions: []
      shares: {}
      tasks: {}
      built_in_tables: true
      limits: {max_cost_usd: null, max_latency_seconds: null, min_availability: null, min_quality: null}
      hedge: {enabled: false}
      cache: {enabled: false, max_entries: 1000, ttl_seconds: 300, any_temperature: false}
      trim: {enabled: false}
      failover_on_refusal: false
      wait_for_preferred_seconds: 0
      quality_floor: auto
      failover: {}
      mid_stream: FAIL
  tiers: {free: {max_cost_usd: 0.01}, pro: {max_cost_usd: 0.10}, ultimate: {max_cost_usd: 1.00}}
  drained: []
  metrics_window: 100
failover:
  preset: balanced
  consecutive_failures: null
  open_seconds: null
  open_max_seconds: null
  recovery_successes: null
  failure_ratio: 0.5
  ramp_seconds: 30
  suspect: {attempts: 5, seconds: 2}
  max_attempts: 4
  retry_budget_ratio: 0.2
  throttle_multiplier: 2
  adaptive_concurrency: true
  backoff: {kind: exponential, base_seconds: 0.2, max_seconds: 5}
  first_token_timeout_seconds: null
  idle_timeout_seconds: 20
  connect_timeout_seconds: 2
  request_timeout_seconds: 600
  stream_max_seconds: 1800
checks: {enabled: true, interval_seconds: 30, max_usd_per_day: 0.05}
budgets: []
state: {snapshot_file: "", snapshot_interval_seconds: 30, url: ""}
limits: {max_concurrent_calls: 256, max_queue: 64, max_message_mib: 32, max_inflight_mib: null}
history: {max_mib: 8}
admin: {allow_register: false, allowed_hosts: [], credentials: [], allow_private: false, allow_insecure: false}
alerts: {high_latency_seconds: 5, high_error_rate: 0.05, webhook_url: "", webhook_secret_file: "",
  webhook_allow_private: false, webhook_allow_insecure: false}
telemetry: {log_level: info, log_format: auto, access_log: problems, metrics_profile: full,
  request_log: {file: "", max_mib: 50, content: false}}
drain_seconds: 25
"""


def test_defaults_written_out_are_accepted_and_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(DEFAULTS)

    found = load(str(file), {}).configuration

    assert Configuration() == found


def test_every_default_is_as_documented() -> None:
    document = yaml.safe_load(DEFAULTS)
    document["routing"]["policies"]["default"]["failover"] = document["failover"]

    assert {"providers": {}, **document} == Configuration().model_dump(mode="json")


def test_json_schema_refuses_unknown_keys_and_marks_what_is_not_there_yet() -> None:
    schema = json_schema()

    assert schema["additionalProperties"] is False
    assert schema["$defs"]["StateSection"]["properties"]["url"]["x-not-yet"] == "refused"
    assert "x-not-yet" not in schema["$defs"]["ChecksSection"]["properties"]["interval_seconds"]


def test_documentation_in_the_repository_is_what_the_schema_makes() -> None:
    file = ROOT / "docs" / "configuration.md"

    assert file.read_text() == markdown()


@pytest.mark.parametrize("key", ["providers.NAME.credentials[].tenants", "routing.policies.NAME.limits.max_cost_usd"])
def test_documentation_names_keys_within_tables_and_lists(key: str) -> None:
    assert f"| `{key}` |" in markdown()
