"""The whole configuration as one type: what `turnout.yaml` may say, with defaults, bounds and descriptions.

The JSON schema and docs/configuration.md are made from it. Operators rely on the names: none may be renamed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from turnout_server.config.fields import (
    LOWER,
    NUMBER,
    TABLE,
    YEAR_SECONDS,
    Count,
    CountOr0,
    Mebibytes,
    Names,
    Seconds,
    SecondsOr0,
    Section,
    Share,
    Usd,
    later,
)
from turnout_server.config.schema_budgets import BudgetSection
from turnout_server.config.schema_providers import ModelSection, ProviderSection
from turnout_server.config.schema_routing import FailoverSection, RoutingSection
from turnout_server.core.budget import BUDGETS_MAXIMUM

DEFAULT_ADDRESS = "127.0.0.1:50151"
TOKENS_MAXIMUM = 1000
CREDENTIALS_MAXIMUM = 1000


class TlsSection(Section):
    """Certificates of the listener; the files are read again when they change."""

    cert_file: str = Field(default="", description='PEM file with the server\'s certificate, or "" for no TLS.')
    key_file: str = Field(default="", description="PEM file with its key.")
    client_ca_file: str = Field(
        default="", description='PEM file of the authorities of client certificates, or "" for asking for none.'
    )


class AuthTokenSection(Section):
    """One bearer token, by reference."""

    token_file: str = Field(default="", description="File with it, read again when it changes.")
    token_env: str = Field(default="", description="Environment variable with it, instead.")
    role: Annotated[Literal["call", "admin"], LOWER] = Field(
        default="call", description="call: make calls and look. admin: change things, too."
    )
    tenant: str = Field(
        default="", max_length=128, description='The tenant that all its requests are of; "": the one they say.'
    )


class AuthSection(Section):
    """Who may call."""

    tokens: Annotated[tuple[AuthTokenSection, ...], Field(max_length=TOKENS_MAXIMUM)] = Field(
        default=(), description="Bearer tokens; every call needs one then. docs/listening.md says what each may."
    )


class ListenSection(Section):
    """Where calls come in."""

    address: str = Field(default=DEFAULT_ADDRESS, description='host:port, port 0 for any free one, or "" for none.')
    socket: str = Field(default="", description='Path of a Unix socket, or "" for none.')
    socket_mode: str = Field(default="0660", description="Its mode, octal, in quotes.")
    socket_group: str = Field(default="", description='Its group, by name or number, or "" for the process\'s own.')
    insecure_listen: bool = Field(default=False, description="Listen beyond this machine without TLS.")
    tls: TlsSection = Field(default_factory=TlsSection, description="Certificates.")
    auth: AuthSection = Field(default_factory=AuthSection, description="Who may call.")
    reflection: bool = Field(default=True, description="Serve gRPC reflection.")

    @field_validator("socket_mode", mode="before")
    @classmethod
    def _octal(cls, value: object) -> object:
        if not isinstance(value, str) or not 3 <= len(value) <= 5 or set(value) - set("01234567"):  # noqa: PLR2004 - 660 to 00660
            raise ValueError('write the mode as octal digits in quotes, as in "0660"')
        return value


class HealthSection(Section):
    """grpc.health.v1 on a port of its own."""

    address: str = Field(default="0.0.0.0:50152", description='host:port, or "" for none.')


class MetricsSection(Section):
    """GET /metrics on a port of its own."""

    address: str = Field(default="0.0.0.0:9464", description='host:port, or "" for none.')


class CatalogSection(Section):
    """The table of known models."""

    overlay_files: Names = Field(
        default=(), description="Files with the key `models`, as here, laid over the catalog one after the other."
    )
    models: dict[str, tuple[ModelSection, ...]] = Field(
        default_factory=dict, description="Rows laid over the catalog, by provider; `providers.NAME.models` over these."
    )


class ChecksSection(Section):
    """Active checks of targets that are open or silent; docs/checks.md."""

    enabled: bool = Field(default=True, description="Check open and silent targets.")
    interval_seconds: Annotated[float, Field(ge=1, le=YEAR_SECONDS, allow_inf_nan=False), NUMBER] = Field(
        default=30.0, description="Time between checks of one endpoint."
    )
    max_usd_per_day: Usd = Field(
        default=0.05, description="What checks may cost on one day (UTC); 0: only what costs nothing."
    )


class StateSection(Section):
    """What outlives the process."""

    snapshot_file: str = Field(
        default="", description='File that state is kept in over a restart, or "" for none; docs/restart.md.'
    )
    snapshot_interval_seconds: Annotated[float, Field(ge=1, le=YEAR_SECONDS, allow_inf_nan=False), NUMBER] = Field(
        default=30.0, description="Time between snapshots; what is spent is kept within a tenth of a second."
    )
    url: str = later("", "Redis or Valkey for state shared by all pods.")


class ProcessLimitsSection(Section):
    """What one sidecar takes on."""

    max_concurrent_calls: Count = Field(default=256, description="Executed calls at once.")
    max_queue: CountOr0 = Field(default=64, description="Calls that may wait, for at most 100 ms.")
    max_message_mib: Annotated[int, Field(ge=1, le=1024), NUMBER] = Field(
        default=32, description="The largest message."
    )
    max_inflight_mib: Mebibytes | None = Field(
        default=None, description="Requests under way together; null: a quarter of the memory limit beyond 72 MiB."
    )


class HistorySection(Section):
    """Decisions that can be looked up."""

    max_mib: Annotated[int, Field(ge=1, le=4096), NUMBER] = Field(
        default=8, description="Memory, a quarter of it for sums."
    )


class AdminCredentialSection(Section):
    """A key for registered providers; whoever registers one knows its name and no more."""

    name: str = Field(min_length=1, max_length=128, description="The name that a registration gives.")
    api_key_file: str = Field(default="", description="File that holds the key; read again when it changes.")
    api_key_env: str = Field(default="", description="Environment variable that holds the key.")


class AdminSection(Section):
    """What may be changed at run time."""

    allow_register: bool = Field(default=False, description="Let callers of role admin register providers.")
    allowed_hosts: Names = Field(
        default=(), description="Hosts that registered providers may have, each with a port or without: then any."
    )
    credentials: Annotated[tuple[AdminCredentialSection, ...], Field(max_length=CREDENTIALS_MAXIMUM)] = Field(
        default=(), description="Keys that registered providers may use, by name."
    )
    allow_private: bool = Field(
        default=False, description="Whether their addresses may be private, loopback or link-local."
    )
    allow_insecure: bool = Field(default=False, description="Whether their addresses may be http.")


class AlertsSection(Section):
    """When and where alarm is raised."""

    high_latency_seconds: Seconds = Field(
        default=5.0, description="A target of whose answers in the last minute half take longer raises one."
    )
    high_error_rate: Share = Field(
        default=0.05, description="A target of whose calls in the last minute more fail than this raises one."
    )
    webhook_url: str = Field(default="", description='Where alarms are posted to; docs/events.md. "": nowhere.')
    webhook_secret_file: str = Field(
        default="",
        description='File with the key that signs them, read again when it changes; "": they are not signed.',
    )
    webhook_allow_private: bool = Field(default=False, description="Whether that may be a private address.")
    webhook_allow_insecure: bool = Field(default=False, description="Whether it may be http.")


class RequestLogSection(Section):
    """A file with a line of JSON for each executed call; docs/request-log.md says what is in it."""

    file: str = Field(default="", description='Its path; the one before it is PATH.1. "": calls are not logged.')
    max_mib: Mebibytes = Field(default=50, description="What both may take together.")
    content: bool = Field(default=False, description="With prompts and answers, credentials taken out.")


class TelemetrySection(Section):
    """What is told of the running sidecar."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER] = Field(
        default="info", description="The least level that is logged."
    )
    log_format: Annotated[Literal["auto", "json", "text"], LOWER] = Field(
        default="auto", description="auto: text on a terminal, JSON elsewhere."
    )
    access_log: Annotated[Literal["problems", "sampled", "all"], LOWER] = Field(
        default="problems",
        description="Which calls get a line in the log: those that go wrong, also one in a hundred others, or all.",
    )
    metrics_profile: Annotated[Literal["small", "full"], LOWER] = Field(
        default="full", description="How many metrics there are: small sums up what is for a closer look."
    )
    request_log: RequestLogSection = Field(default_factory=RequestLogSection, description="A file of requests.")


class Configuration(Section):
    """turnout.yaml: every key is optional. Durations are seconds, money is USD."""

    listen: ListenSection = Field(default_factory=ListenSection, description="Where calls come in.")
    health: HealthSection = Field(default_factory=HealthSection, description="The health service.")
    metrics: MetricsSection = Field(default_factory=MetricsSection, description="The metrics page.")
    providers: Annotated[dict[str, ProviderSection], TABLE] = Field(
        default_factory=dict,
        description="By name. Without this block: every known provider whose usual key variable is set.",
    )
    catalog: CatalogSection = Field(default_factory=CatalogSection, description="The table of known models.")
    routing: RoutingSection = Field(default_factory=RoutingSection, description="How targets are chosen.")
    failover: FailoverSection = Field(default_factory=FailoverSection, description="How failures are dealt with.")
    checks: ChecksSection = Field(default_factory=ChecksSection, description="Active checks.")
    budgets: Annotated[tuple[BudgetSection, ...], Field(max_length=BUDGETS_MAXIMUM)] = Field(
        default=(), description="Limits on spending; docs/budgets.md says how they are held."
    )
    state: StateSection = Field(default_factory=StateSection, description="What outlives the process.")
    limits: ProcessLimitsSection = Field(default_factory=ProcessLimitsSection, description="What it takes on.")
    history: HistorySection = Field(default_factory=HistorySection, description="Decisions kept.")
    admin: AdminSection = Field(default_factory=AdminSection, description="Changes at run time.")
    alerts: AlertsSection = Field(default_factory=AlertsSection, description="Alarms.")
    telemetry: TelemetrySection = Field(default_factory=TelemetrySection, description="Logs.")
    drain_seconds: SecondsOr0 = Field(default=25.0, description="Time for running calls to end when stopping.")
