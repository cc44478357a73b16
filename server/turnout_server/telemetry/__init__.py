"""How a running sidecar is seen from outside: logs, metrics, trace context."""
