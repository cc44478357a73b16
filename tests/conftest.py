"""How much chance there is in property tests: none in `make test`, so that it says the same twice; else much.

`make test-full` sets HYPOTHESIS_PROFILE=long: new examples each time, many of them, and a failing one is printed so
that it can be replayed with @reproduce_failure.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", derandomize=True, deadline=None)
settings.register_profile(
    "long",
    max_examples=1000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
