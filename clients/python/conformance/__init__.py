"""The Python client as the conformance suite drives it."""
