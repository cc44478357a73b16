"""Clients that examples need built: made ready by what the conformance suite has for it, once in a run of tests."""

from tests.conformance.conftest import prepare

__all__ = ["prepare"]
