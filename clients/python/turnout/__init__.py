"""Turnout's Python client."""
