"""Carries out what was decided: calls providers, watches their time, and goes on when one fails."""
