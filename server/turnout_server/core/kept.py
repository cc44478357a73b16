"""What outlives the process, as plain values: the lines of a snapshot and of the journal after it.

A line is about one thing and says all that is kept of it, so that of several the last one counts. Nothing here is a
moment of the process's own clock: ages are seconds before, waits seconds after the moment the line was made. Rows are
used where there are thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from turnout_server.core.model import FailureKind

if TYPE_CHECKING:
    from turnout_server.core.fleet import TargetSpec

GAP_MAXIMUM_SECONDS = 10 * 366 * 86_400.0
"""However far the wall clock was moved, nothing is taken to be older than ten years: all of it has faded by then."""
ADDRESS_LENGTH = 16
ROWS_MAXIMUM = 250
"""Rows of one line, so that none takes long to make or to write; a budget's accounts are one line all the same."""
SUMS_ROWS_MAXIMUM = 50
"""The same for rows of sums, which hold two histograms each."""

HistogramRow = tuple[tuple[int, ...], float, float, float]
"""Bucket and count by turns; the sum of all, the lowest and the highest, in seconds."""
CountsRow = tuple[int, int, dict[str, int], HistogramRow, HistogramRow, int, int, int, float, int, int, int, float]
"""In the order of `statistics.Counts`: total, succeeded, failures, latency, first token, tokens in, out and timed,
output seconds, nano-USD, priced, feedback count and sum."""
SumsRow = tuple[int, int, float, float, int, CountsRow]
"""In the order of `chronicle.Sums`: decisions, unserved ones, sums of scores and confidences, calls moved on; attempts.
"""


@dataclass(frozen=True, slots=True)
class Since:
    """How the ages of a line come back: `now` is monotonic, `gap_seconds` what has passed since it was made."""

    now: float
    gap_seconds: float

    @classmethod
    def made(cls, at_wall: float, *, now: float, now_wall: float) -> Since:
        """Returns it for a line made at a wall-clock time; one made in the future was made just now."""
        return cls(now, min(GAP_MAXIMUM_SECONDS, max(0.0, now_wall - at_wall)))

    def past(self, age_seconds: float) -> float:
        """Returns the monotonic time of what was so old when the line was made."""
        return self.now - self.gap_seconds - max(0.0, age_seconds)

    def ahead(self, wait_seconds: float, longest_seconds: float) -> float:
        """Returns the monotonic time of what was so far ahead: not before now, and at most so far ahead."""
        return self.now + min(longest_seconds, max(0.0, wait_seconds - self.gap_seconds))

    def number(self, ago: int, seconds: float) -> int:
        """Returns the number of the bucket of `seconds` that was the `ago`th before the one of then."""
        return int((self.now - self.gap_seconds) // seconds) - max(0, ago)


@dataclass(frozen=True, slots=True)
class KeptName:
    """Which target: what is known holds as long as its name, wire and address stay. `address` is a digest."""

    provider: str
    model: str
    endpoint: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGate:
    """A breaker. Ages are None for what never was; `reopen_wait` means something only while it is not closed."""

    opened_age: float | None = None
    closed_age: float | None = None
    openings: int = 0
    busy: bool = False
    successes: int = 0
    opened_by: FailureKind | None = None
    by_silence: bool = False
    reopen_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class KeptFailure:
    """A failure that still counts against a breaker."""

    age: float
    kind: FailureKind
    model: str = ""


@dataclass(frozen=True, slots=True)
class BreakerLine:
    """One target's breaker. `recent` are rows of seconds: how long ago, all, failed, not connected."""

    name: KeptName
    gate: KeptGate
    streak: tuple[KeptFailure, ...] = ()
    disputed: bool = False
    recent: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointLine:
    """The breaker of an endpoint; `name.model` is empty."""

    name: KeptName
    gate: KeptGate
    failures: tuple[KeptFailure, ...] = ()
    recent: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class KeptCoolDown:
    """A pause that the provider asked for."""

    wait: float
    refused_wait: float
    next_seconds: float
    on_trial: bool


@dataclass(frozen=True, slots=True)
class KeptKeyOutage:
    """Why and for how long a key is out for all models."""

    wait: float
    count: int
    counted_age: float
    next_seconds: float
    quota: KeptCoolDown


@dataclass(frozen=True, slots=True)
class KeptModelOutage:
    """Why and for how long a key is out for one model."""

    model: str
    out_wait: float
    refusal: FailureKind | None
    cool_down: KeptCoolDown


@dataclass(frozen=True, slots=True)
class CredentialLine:
    """What is known against one of our keys, by its label; never the key. Labels of callers are not kept.

    `digest` is that of whoever writes the line: it tells a key from another one of the same label.
    """

    provider: str
    label: str
    key: KeptKeyOutage | None = None
    models: tuple[KeptModelOutage, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class KeptPeak:
    """A `latency.PeakRatio`."""

    mean: float
    weight: float
    excess: float
    half_life: float
    age: float | None


@dataclass(frozen=True, slots=True)
class KeptLatency:
    """A `latency.LatencyEstimate`."""

    first: KeptPeak
    token: KeptPeak
    first_recent: tuple[float, ...]
    recent: tuple[float, ...]
    ages: tuple[float, ...]
    sample_count: int


@dataclass(frozen=True, slots=True)
class KeptAverage:
    """Something that fades with time: two numbers as of so long ago."""

    value: float
    weight: float
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLine:
    """What is learned of one target, its breaker apart; None where that is nothing.

    `throttle` are rows of twentieths of its window: how long ago, sent, refused, spared. `usual` are rows of what its
    baseline knows: measure, kind of call, mean, count, how long ago; `failing` is the usual rate of failures. `uneven`
    are rows of how uneven it usually is: measure, seconds watched, mean squares of minutes and of calls, the highest;
    lines of before that was kept have none.
    """

    name: KeptName
    availability: KeptAverage
    latency: KeptLatency | None = None
    slowness: KeptAverage | None = None
    throttle: tuple[tuple[int, int, int, int], ...] = ()
    concurrency_limit: int | None = None
    concurrency_age: float = 0.0
    usual: tuple[tuple[str, int, float, int, float], ...] = ()
    failing: KeptAverage | None = None
    uneven: tuple[tuple[str, float, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsLine:
    """One target's last hour, by minutes: how long ago, and what ended. Ages are None for never."""

    name: KeptName
    minutes: tuple[tuple[int, CountsRow], ...] = ()
    average_latency: KeptAverage | None = None
    average_first_token: KeptAverage | None = None
    request_age: float | None = None
    success_age: float | None = None


@dataclass(frozen=True, slots=True)
class LearnedLine:
    """Tokens per byte by provider and model, and lengths of answers by task, provider and model."""

    ratios: tuple[tuple[str, str, float, float], ...] = ()
    lengths: tuple[tuple[str, str, str, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class AffinityLine:
    """Keys and targets that answered them last: tenant, sticky key, session, place in `names`, cached share, age."""

    names: tuple[KeptName, ...]
    rows: tuple[tuple[str, str, str, int, float, float], ...]


@dataclass(frozen=True, slots=True)
class KeptBudget:
    """Which budget, and which of its periods, in wall-clock seconds. None: the period never ends."""

    name: str
    scope: str
    period: str
    timezone: str
    starts_at: float
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """All accounts of one budget: value of the scope, nano-USD spent, shares alerted. `other` is the shared one's."""

    budget: KeptBudget
    since_wall: float
    accounts: tuple[tuple[str, int, tuple[float, ...]], ...] = ()
    other: tuple[int, tuple[float, ...]] | None = None


@dataclass(frozen=True, slots=True)
class SpentLine:
    """What one account has come to with a settlement: the sum, so that counting it twice changes nothing.

    `key` is None for the account that all further values share.
    """

    budget: KeptBudget
    key: str | None
    spent_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsLine:
    """A stretch of the chronicle of so many minutes that began so many minutes ago.

    Rows: provider, model and endpoint (None for no target), task, tier, tenant, and the sums. `failed_costs` are, row
    by row, the nano-USD that failed attempts cost; lines of before they were told apart have none.
    """

    ago: int
    minutes: int
    rows: tuple[tuple[tuple[str, str, str] | None, str, str, str, SumsRow], ...] = ()
    failed_costs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CostsLine:
    """What a day, by its number since the epoch, cost beside what the chronicle has of it.

    Rows: provider, model and endpoint (None for no target), task, tier, tenant; nano-USD, of them for failures,
    attempts whose cost is known and is not. A day may have several lines.
    """

    day: int
    rows: tuple[tuple[tuple[str, str, str] | None, str, str, str, int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AgesLine:
    """For how long targets, and the chronicle, have been watched."""

    watched: float
    chronicle: float


Line = (
    BreakerLine
    | EndpointLine
    | CredentialLine
    | TargetLine
    | StatisticsLine
    | LearnedLine
    | AffinityLine
    | BudgetLine
    | SpentLine
    | SumsLine
    | CostsLine
    | AgesLine
)


def kept_name(spec: TargetSpec) -> KeptName:
    """Returns the name that a target's state is kept under."""
    target = spec.target
    return KeptName(target.provider, target.model, target.endpoint, _address(spec.wire, spec.base_url))


def endpoint_name(spec: TargetSpec) -> KeptName:
    """Returns the name that the state of a target's endpoint is kept under."""
    return KeptName(spec.target.provider, "", spec.target.endpoint, _address(spec.wire, spec.base_url))


@lru_cache(maxsize=1024)
def _address(wire: str, base_url: str) -> str:
    return sha256(f"{wire}\0{base_url}".encode(errors="surrogatepass")).hexdigest()[:ADDRESS_LENGTH]
