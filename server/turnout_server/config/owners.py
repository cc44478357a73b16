"""Where a value of a policy comes from: the policy itself, or the nearest of those that it inherits from."""

from __future__ import annotations

from collections.abc import Mapping

from turnout_server.config.fields import Section
from turnout_server.config.policies import lineage
from turnout_server.config.schema_routing import PolicySection


def owner_of(name: str, keys: tuple[str, ...], policies: Mapping[str, PolicySection]) -> str:
    """Returns the policy that says the value of `keys` for policy `name`: `name` itself where nobody does."""
    line = lineage(name, policies) or (name,)
    return next((each for each in line if is_said(policies[each], keys)), name)


def is_said(section: Section, keys: tuple[str, ...]) -> bool:
    """Returns whether a block gives the value of `keys` itself."""
    first, *rest = keys
    if first not in section.model_fields_set:
        return False
    below = getattr(section, first)
    return not rest or (isinstance(below, Section) and is_said(below, tuple(rest)))
