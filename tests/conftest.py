"""How much chance there is in property tests: none in `make test` and `make test-full`, so that a gate says the same
twice of the same tree; much in `make explore`.

HYPOTHESIS_PROFILE names the profile. `long`, which `make test-full` sets, tries many more of the fixed examples;
`explore` draws new ones each time, and prints a failing one so that it can be replayed with @reproduce_failure.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=40, derandomize=True, deadline=None)
MANY = settings(max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", MANY, derandomize=True)
settings.register_profile("explore", MANY)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
