"""Measures Turnout against the least that could do the same job, side by side in one run; see docs/performance.md."""
