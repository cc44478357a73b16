"""Fault traces as data: what each provider did, minute by minute, what traffic came, and where the numbers are from.

A trace is one YAML file; times in it are minutes, prices USD per million tokens, as people write them. What is wrong
with one is told by pydantic, with the path of the field.
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

TRACES = Path(__file__).parent / "traces"
FLEET = Path(__file__).parent / "fleet.yaml"
MINUTE = 60.0

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Data(BaseModel):
    """Data of a file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class What(StrEnum):
    """What a provider can do wrong, or differently."""

    REFUSED = "refused"
    """Connections are refused at once."""
    BLACK_HOLE = "black_hole"
    """Connections are not answered: whoever calls waits for its own time-out."""
    SILENT = "silent"
    """Requests are taken and nothing comes back."""
    ERRORS = "errors"
    """A share of the requests ends with status 500 after a while."""
    OVERLOADED = "overloaded"
    """A share of the requests is turned away at once with status 529."""
    LIMIT = "limit"
    """At most so many requests a minute are served for each model, whatever its endpoint; the rest gets 429."""
    CUT = "cut"
    """A share of the answers breaks off on the way."""
    SLOW = "slow"
    """Everything takes so many times as long, and the first token so many seconds more."""
    PRICE = "price"
    """The price is multiplied; the operators' tables follow some time later."""


class Target(Data):
    """One target of the fleet and what it is like when it is well; `prior` is what the catalog says of its speed."""

    name: str
    input_usd_per_million: Positive
    output_usd_per_million: Positive
    quality: Annotated[float, Field(ge=0, le=100)]
    first_token_seconds: Positive
    seconds_per_token: Positive
    prior_first_token_seconds: Positive
    prior_seconds_per_token: Positive

    @property
    def provider(self) -> str:
        """The vendor's name."""
        return self.name.split("/")[0]


class Fleet(Data):
    """The targets, best preferred first, and what holds of all: errors on good days, and how much answers scatter."""

    targets: Annotated[tuple[Target, ...], Field(min_length=2)]
    background_error_share: Share
    first_token_spread: NotNegative
    token_spread: NotNegative


class Traffic(Data):
    """How many calls each sidecar gets from some minute on."""

    at: NotNegative
    calls_per_minute: NotNegative


class Fault(Data):
    """What targets whose names fit `where` (`north/*`, `*@us`) do from one minute to another.

    `repeat_every_minutes` lets it come again, `times` in all. `share` is that of the requests hit; `factor` is for
    `slow` and `price`, `delay_seconds` for `slow`, `after_seconds` for `errors`; `requests_per_minute` (for
    each sidecar that shares the limit) and `tells` (how long to wait) for `limit`; `known_after_minutes` for `price`.
    """

    what: What
    where: str
    at: NotNegative
    until: Positive
    share: Share = 1.0
    factor: Positive = 1.0
    delay_seconds: NotNegative = 0.0
    after_seconds: NotNegative = 0.3
    requests_per_minute: Positive = 60.0
    tells: bool = True
    known_after_minutes: NotNegative = 0.0
    repeat_every_minutes: Positive | None = None
    times: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until <= self.at:
            raise ValueError(f"until ({self.until:g}) must be later than at ({self.at:g})")
        if self.repeat_every_minutes is None:
            if self.times > 1:
                raise ValueError("times needs repeat_every_minutes")
        elif self.repeat_every_minutes < self.until - self.at:
            raise ValueError("repeat_every_minutes must be at least as long as the fault")
        return self

    @property
    def kills(self) -> bool:
        """Whether no request at all is answered while it holds."""
        never = self.what in {What.REFUSED, What.BLACK_HOLE, What.SILENT}
        return never or (self.what in {What.ERRORS, What.OVERLOADED, What.CUT} and self.share == 1.0)

    def fits(self, target: str) -> bool:
        """Whether it is about a target."""
        return fnmatchcase(target, self.where)

    def holds(self, now: float) -> bool:
        """Whether it holds at a moment in seconds."""
        since = now / MINUTE - self.at
        if since < 0.0:
            return False
        if self.repeat_every_minutes is not None:
            if since >= self.repeat_every_minutes * self.times:
                return False
            since %= self.repeat_every_minutes
        return since < self.until - self.at


class Trace(Data):
    """One day as it was, or as days are: see `source`. `calm` says that nothing is wrong in it."""

    name: str
    source: str
    minutes: Positive
    sidecars: Annotated[int, Field(ge=1)]
    calm: bool = False
    traffic: Annotated[tuple[Traffic, ...], Field(min_length=1)]
    faults: tuple[Fault, ...] = ()

    @model_validator(mode="after")
    def _begins_at_once(self) -> Self:
        if self.traffic[0].at != 0:
            raise ValueError("traffic must begin at minute 0")
        if any(later.at <= earlier.at for earlier, later in zip(self.traffic, self.traffic[1:], strict=False)):
            raise ValueError("traffic must be in the order of time")
        known = [target.name for target in fleet().targets]
        for fault in self.faults:
            if not any(map(fault.fits, known)):
                raise ValueError(f"faults: nothing in the fleet fits {fault.where!r}; there are {', '.join(known)}")
        return self

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.minutes * MINUTE

    def rate(self, now: float) -> float:
        """Returns the calls per second that one sidecar gets at a moment in seconds."""
        held = [part.calls_per_minute for part in self.traffic if part.at * MINUTE <= now]
        return held[-1] / MINUTE


@cache
def fleet() -> Fleet:
    """Returns the fleet that all traces are played with."""
    return Fleet.model_validate(yaml.safe_load(FLEET.read_text(encoding="utf-8")))


def load(path: Path) -> Trace:
    """Reads one trace. Raises pydantic's ValidationError, which names the field, or OSError."""
    return Trace.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def all_traces() -> list[Trace]:
    """Returns every trace there is, in the order of the files' names."""
    return [load(path) for path in sorted(TRACES.glob("*.yaml"))]
