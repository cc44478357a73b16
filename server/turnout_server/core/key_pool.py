"""The keys that calls to one target may use, in the order of their turns: prepared once, so that judging is cheap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from turnout_server.core.fleet import CredentialSpec, TargetSpec
from turnout_server.core.model import RejectionReason
from turnout_server.core.outage import Key, ModelKey

NO_KEY = CredentialSpec(label="")


class Verdict(NamedTuple):
    """Whether a call can be made: with `label` ("" for none needed), or not, for `reason`, until `retry_at`.

    `retry_at` is monotonic seconds, None where nothing is in the way or no waiting helps.
    """

    label: str | None
    reason: RejectionReason | None = None
    retry_at: float | None = None
    detail: str = ""


class Choice(NamedTuple):
    """One of our credentials as one target would use it, with the keys that its state is found by."""

    spec: CredentialSpec
    key: Key
    model_key: ModelKey
    verdict: Verdict

    @property
    def turn(self) -> int:
        """When its turn is, 0 first: bound ones before those for all, and of either those with a weight first."""
        return (0 if self.spec.tenants else 2) + (0 if self.spec.weight > 0.0 else 1)


class Pool(NamedTuple):
    """Our credentials for one target, by turn: those for everybody, and those of tenants that some are bound to."""

    target: TargetSpec
    for_all: tuple[Choice, ...]
    for_tenant: Mapping[str, tuple[Choice, ...]]


def pool_of(spec: TargetSpec) -> Pool:
    """Returns the keys that calls to a target may use; without a key where it has and needs none."""
    if not spec.credentials and not spec.needs_credential:
        return Pool(spec, (choice_of(spec, NO_KEY),), {})
    made = [choice_of(spec, each) for each in spec.credentials if not each.models or spec.target.model in each.models]
    by_turn = sorted(made, key=lambda choice: choice.turn)
    tenants = frozenset[str]().union(*(choice.spec.tenants for choice in made))
    for_tenant = {
        tenant: tuple(choice for choice in by_turn if not choice.spec.tenants or tenant in choice.spec.tenants)
        for tenant in tenants
    }
    return Pool(spec, tuple(choice for choice in by_turn if not choice.spec.tenants), for_tenant)


def choice_of(target: TargetSpec, spec: CredentialSpec, *, reported: bool = False) -> Choice:
    """Returns a key as the target would use it; `reported` tells a caller's from ours."""
    provider, model, label = target.target.provider, target.target.model, spec.label
    return Choice(spec, Key(provider, label, reported), ModelKey(provider, label, reported, model), Verdict(label))
