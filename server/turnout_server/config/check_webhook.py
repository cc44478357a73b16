"""Faults of where alarms go that no single value shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from turnout_server.config.addresses import base_url_fault

if TYPE_CHECKING:
    from turnout_server.config.faults import Finding
    from turnout_server.config.schema import AlertsSection


def webhook_findings(alerts: AlertsSection, *, files: bool) -> Iterator[Finding]:
    """Yields what is wrong, each with its path; with `files`, also a key that cannot be used."""
    if not alerts.webhook_url:
        if alerts.webhook_secret_file:
            yield ("alerts", "webhook_secret_file"), "signs nothing: webhook_url is empty"
        return
    fault = base_url_fault(alerts.webhook_url, allow_insecure=True, allow_private=alerts.webhook_allow_private)
    if not fault and alerts.webhook_url.startswith("http:") and not alerts.webhook_allow_insecure:
        fault = "http sends alarms in the clear; use https or set webhook_allow_insecure: true"
    if fault:
        yield ("alerts", "webhook_url"), fault.replace(" allow_private", " webhook_allow_private")
    if files and alerts.webhook_secret_file:
        fault = _key_fault(alerts.webhook_secret_file)
        if fault:
            yield ("alerts", "webhook_secret_file"), fault


def _key_fault(file: str) -> str:
    """Returns what is wrong with a key, "" for nothing; never any of it."""
    # Loaded by those alone who have one.
    from turnout_server.telemetry.webhook import WebhookKeyError, signing_key  # noqa: PLC0415

    try:
        signing_key(FilePath(file).read_text(encoding="utf-8").strip())
    except UnicodeDecodeError:
        return f"{file} is not UTF-8 text"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror or type(error).__name__}"
    except WebhookKeyError as error:
        return f"{file}: {error}"
    return ""
