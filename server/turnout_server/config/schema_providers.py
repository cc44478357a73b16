"""The `providers` block: which vendors and endpoints there are, how to reach them, and where their keys are found."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr

from turnout_server.config.fields import (
    LOWER,
    UPPER,
    Count,
    Names,
    Percent,
    Seconds,
    Section,
    Tokens,
    Usd,
    Weight,
)
from turnout_server.core.model import Capability


class WireName(StrEnum):
    """Wire formats of providers."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OLLAMA = "ollama"


class PriceSection(Section):
    """What a million tokens cost."""

    input_per_million_usd: Usd = Field(description="USD for a million input tokens.")
    output_per_million_usd: Usd = Field(description="USD for a million output tokens.")
    cached_input_per_million_usd: Usd | None = Field(
        default=None, description="USD for a million input tokens read from the cache; null: as input."
    )
    cache_write_per_million_usd: Usd | None = Field(
        default=None, description="USD for a million input tokens written to the cache; null: as input."
    )
    cache_write_1h_per_million_usd: Usd | None = Field(
        default=None, description="USD for a million input tokens written to the cache for an hour; null: as written."
    )
    audio_input_per_million_usd: Usd | None = Field(
        default=None, description="USD for a million input tokens of sound; null: as input."
    )
    cached_audio_input_per_million_usd: Usd | None = Field(
        default=None, description="USD for a million input tokens of sound read from the cache; null: as cached input."
    )
    reasoning_per_million_usd: Usd | None = Field(
        default=None, description="USD for a million output tokens of reasoning; null: as output."
    )


class TieredPriceSection(PriceSection):
    """What a million tokens cost in requests whose input is longer than so many tokens."""

    above_input_tokens: Tokens = Field(description="Holds for all tokens of requests with more input than this.")


class WholePriceSection(PriceSection):
    """What a million tokens cost, and what they cost in long requests."""

    tiers: tuple[TieredPriceSection, ...] = Field(
        default=(), description="Other prices for longer requests; empty: length makes no difference."
    )


class ModelSection(Section):
    """One model of a provider: a row of the catalog of your own, or one laid over the catalog's row of that name."""

    name: str = Field(min_length=1, description="The name that the provider knows the model by.")
    context_window_tokens: Tokens | None = Field(
        default=None, description="Input and output together, in tokens; null: unknown, any request is taken to fit."
    )
    max_output_tokens: Tokens | None = Field(default=None, description="The longest answer, in tokens; null: unknown.")
    price: WholePriceSection | None = Field(
        default=None, description="Null: unknown; then the model is left out wherever a cost limit is in force."
    )
    silent_thinking: bool = Field(
        default=False, description="The model may think for minutes before its first token: it gets 180 s for it."
    )
    capabilities: tuple[Annotated[Capability, UPPER], ...] = Field(
        default=(Capability.STREAMING,), description="What the model can do; requests that need more pass it by."
    )
    custom_capabilities: Names = Field(default=(), description="Capabilities of your own naming.")
    quality: Percent | None = Field(default=None, description="0 to 100, your judgement; null: unknown.")
    latency_prior_seconds: Seconds | None = Field(
        default=None, description="Time to the first token expected before anything was measured; null: 1 s."
    )
    seconds_per_output_token: Seconds | None = Field(
        default=None, description="Time for each further token expected before it was measured; null: 0.015 s."
    )
    deprecated: bool = Field(default=False, description="Never chosen, unless a request or a table names it.")
    retires_on: date | None = Field(
        default=None, description="The day, as in 2027-01-14, from which it counts as deprecated; null: none is known."
    )


class EndpointSection(Section):
    """One of several regions or deployments of a provider."""

    name: str = Field(min_length=1, pattern=r"^[^/@\s]+$", description='As in "openai/gpt-4o@NAME".')
    region: str = Field(default="", description="The region that requests may ask for.")
    base_url: str = Field(default="", description="Empty: the vendor's in that region, else the provider's.")


class CredentialSection(Section):
    """One key of a pool."""

    name: str = Field(min_length=1, description="The label that status and attempts show.")
    api_key_file: str = Field(default="", description="File that holds the key; read again when it changes.")
    api_key_env: str = Field(default="", description="Environment variable that holds the key.")
    weight: Weight = Field(
        default=1.0, description="Share of the calls among the usable keys; 0: a spare, used when no other can be."
    )
    tenants: Names = Field(default=(), description="Only for these tenants, and before the others; empty: for all.")
    models: Names = Field(default=(), description="Only for these models; empty: for all.")


class TokenSection(Section):
    """A short-lived token in place of a key, sent as `Authorization: Bearer`."""

    file: str = Field(default="", description="File that holds the token; read again when it changes.")
    command: Names = Field(
        default=(), description="Program and arguments, run without a shell; it prints the token, within 10 s."
    )
    refresh_seconds: Seconds = Field(default=300, description="How long until the command is run again.")


class ProviderSection(Section):
    """One provider. For those of the catalog everything has a default; any other name is a custom provider."""

    wire: Annotated[WireName, LOWER] | None = Field(
        default=None, description="The wire format; of the known providers by themselves."
    )
    base_url: str = Field(default="", description="Where calls go, up to and without the call's own path.")
    api_key_file: str = Field(default="", description="File that holds the key; read again when it changes.")
    api_key_env: str = Field(default="", description="Environment variable that holds the key.")
    credentials: tuple[CredentialSection, ...] = Field(default=(), description="Keys used before the single ones.")
    enabled_models: Names = Field(default=(), description="Only these models; empty: all that are known.")
    models: tuple[ModelSection, ...] = Field(default=(), description="Models of your own, laid over the catalog's.")
    endpoints: tuple[EndpointSection, ...] = Field(
        default=(), description="Several regions or deployments, in place of the one base URL."
    )
    region: str = Field(
        default="", description="Region of the one endpoint, where there is no list; brings the vendor's address there."
    )
    max_concurrency: Count | None = Field(default=None, description="Calls at once to each target; null: no limit.")
    first_token_timeout_seconds: Seconds | None = Field(default=None, description="Null: from the prediction.")
    allow_insecure: bool = Field(default=False, description="Allow http.")
    allow_private: bool = Field(default=False, description="Allow private, loopback and link-local addresses.")
    proxy_url: SecretStr = Field(
        default=SecretStr(""),
        description="Proxy for all calls, http:// or https://; it is then trusted in place of address checks.",
    )
    ca_file: str = Field(
        default="",
        description="PEM file of certificate authorities, in place of Mozilla's list; read again when it changes.",
    )
    client_cert_file: str = Field(
        default="", description="PEM file with a client certificate and its key; read again when it changes."
    )
    headers_from_file: str = Field(
        default="", description="File of `Name: value` lines, sent with every call; read again when it changes."
    )
    propagate_trace: bool = Field(default=False, description="Pass trace headers on to the provider.")
    token: TokenSection = Field(default_factory=TokenSection, description="A short-lived token in place of a key.")
