"""Whose telemetry it is: one resource for spans and metrics, as OpenTelemetry's variables say."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

SCOPE_NAME = "turnout"


def own_resource(environ: Mapping[str, str]) -> Resource:
    """Returns the resource: what the environment says of it, and what it leaves out.

    `service.instance.id` is the SDK's where the environment has none: one random id for each process, so that sums of
    several sidecars do not overwrite each other, and spans and metrics of one are known for each other's.
    """
    own = {SERVICE_VERSION: turnout_version()}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own[SERVICE_NAME] = "turnout"
    return Resource.create(own)


def own_scope() -> InstrumentationScope:
    """Returns what says which library made a span or a metric."""
    return InstrumentationScope(SCOPE_NAME, turnout_version())


def turnout_version() -> str:
    """Returns the version that is installed, "" where none is."""
    try:
        return version("turnout")
    except PackageNotFoundError:
        return ""
