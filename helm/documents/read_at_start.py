"""Makes the list of keys whose change replaces the Pods: those that a running Turnout does not take."""

from __future__ import annotations

from turnout_server.config.taking import WHEN, Taken

_HEAD = """\
# Keys of turnout.yaml that a running Turnout does not take anew: a change of them replaces the Pods.
# Made from the product's own table; `make generate` writes it anew.
"""


def read_at_start() -> str:
    """Returns the file: a key or block in each line."""
    return _HEAD + "".join(f"{key}\n" for key, how in WHEN.items() if how is Taken.RESTART)
