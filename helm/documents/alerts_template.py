"""Makes the library chart's alerts of the application chart's: a library has no files for the chart that uses it."""

from __future__ import annotations

HEAD = """\
{{/*
Made from helm/turnout/files/alerts.yaml; `make generate` writes it anew. The alerts, with @…@ for what
turnout-sidecar.prometheusRule knows.
*/}}
{{- define "turnout-sidecar.alerts" -}}
"""
END = "{{- end -}}\n"


def alerts_template(alerts: str) -> str:
    """Returns the template that gives the text of alerts.yaml, in which {{ }} is Prometheus's and not Helm's."""
    return HEAD + alerts.replace("{{", '{{ "{{" }}') + END
