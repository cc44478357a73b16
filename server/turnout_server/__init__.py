"""Turnout: a gRPC sidecar that routes LLM requests."""
