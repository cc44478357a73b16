"""Every instrument there is, once: its name for OpenTelemetry and for Prometheus, its unit, its labels, what it says.

`/metrics`, OTLP and docs/metrics.md all read this table. Names for Prometheus follow OpenTelemetry's rules for it: dots
become underscores, a unit of seconds or bytes is spelled out at the end, braces are left out, counters end in `_total`.
An amount of money alone has its currency in the name (`spelled`), so that nobody adds up two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from turnout_server.telemetry.genai import DURATION_BUCKETS, RPC_BUCKETS, TOKEN_BUCKETS

OVERHEAD_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds in seconds: overhead is tenths of a millisecond, and worth a look from 10 ms on."""
LOOP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds in seconds: timers are exact to a millisecond, and calls feel some ten."""

TARGET_LABELS = frozenset({"target", "chosen", "from", "to"})
"""Labels whose values are targets, so that series end with the target."""
POLICY_LABEL, SHADOW_LABEL, PROVIDER_LABEL = "policy", "shadow", "gen_ai.provider.name"
"""Labels whose series end with the policy, the first two, and with a provider's last target."""

_UNITS = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}


class Kind(Enum):
    """What an instrument is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Profile(Enum):
    """How many series there are: SMALL sums up what is for a closer look."""

    SMALL = "small"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One instrument. `labels` are OpenTelemetry's attributes; Prometheus has underscores for their dots.

    `small` are the labels that the small profile keeps, None for all of them; `in_small` says whether it has the
    instrument at all. `buckets` are upper bounds, of histograms alone.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    small: tuple[str, ...] | None = None
    in_small: bool = True
    buckets: tuple[float, ...] = ()
    spelled: str = ""

    @property
    def prometheus_name(self) -> str:
        """Its name on `/metrics`, without the `_total` of a counter."""
        return self.spelled or self.name.replace(".", "_") + _UNITS.get(self.unit, "")

    def labels_in(self, profile: Profile) -> tuple[str, ...]:
        """Returns its labels in a profile."""
        return self.labels if self.small is None or profile is Profile.FULL else self.small


def prometheus_label(attribute: str) -> str:
    """Returns the label for an attribute."""
    return attribute.replace(".", "_")


def _counter(name: str, unit: str, text: str, *labels: str, small: tuple[str, ...] | None = None) -> Instrument:
    return Instrument(name=name, kind=Kind.COUNTER, unit=unit, help=text, labels=labels, small=small)


def _gauge(name: str, unit: str, text: str, *labels: str, in_small: bool = True) -> Instrument:
    return Instrument(name=name, kind=Kind.GAUGE, unit=unit, help=text, labels=labels, in_small=in_small)


_GEN_AI = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "target")
_PROVIDER = ("gen_ai.operation.name", "gen_ai.provider.name")

OPERATION_DURATION = Instrument(
    name="gen_ai.client.operation.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    help="Duration of attempts, made here or reported.",
    labels=(*_GEN_AI, "error.type"),
    small=_PROVIDER,
    buckets=DURATION_BUCKETS,
)
TIME_TO_FIRST_CHUNK = Instrument(
    name="gen_ai.client.operation.time_to_first_chunk",
    kind=Kind.HISTOGRAM,
    unit="s",
    help="Time to the first content of attempts that streamed.",
    labels=_GEN_AI,
    small=_PROVIDER,
    buckets=DURATION_BUCKETS,
)
TOKEN_USAGE = Instrument(
    name="gen_ai.client.token.usage",
    kind=Kind.HISTOGRAM,
    unit="{token}",
    help="Tokens of attempts as providers reported them; estimates are left out.",
    labels=(*_GEN_AI, "gen_ai.token.type"),
    small=(*_PROVIDER, "gen_ai.token.type"),
    buckets=TOKEN_BUCKETS,
)
CALL_DURATION = Instrument(
    name="rpc.server.call.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    help="Duration of RPCs, from the request's arrival to the end of the answer.",
    labels=("rpc.system.name", "rpc.method", "rpc.status_code"),
    buckets=RPC_BUCKETS,
)
OVERHEAD = Instrument(
    name="turnout.overhead.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    help="Time of a call not spent waiting for providers.",
    buckets=OVERHEAD_BUCKETS,
)
LOOP_DELAY = Instrument(
    name="turnout.loop.delay",
    kind=Kind.HISTOGRAM,
    unit="s",
    help="How late the sidecar comes to what is due, looked at four times a second.",
    buckets=LOOP_BUCKETS,
)

DECISIONS = _counter("turnout.decisions", "{decision}", "Decisions made.", "strategy", "chosen", "policy")
REJECTIONS = _counter(
    "turnout.rejections", "{rejection}", "Targets rejected, by first reason.", "target", "reason", small=("reason",)
)
ATTEMPTS = _counter("turnout.attempts", "{attempt}", "Attempts that ended.", "target", "outcome")
FAILOVERS = _counter(
    "turnout.failovers", "{failover}", "Calls moved to another target.", "from", "to", "failure", small=("failure",)
)
HEDGES = _counter(
    "turnout.hedges",
    "{hedge}",
    "Hedges by the slow target and what became of them.",
    "target",
    "result",
    small=("result",),
)
SHADOW_DECISIONS = _counter(
    "turnout.shadow.decisions",
    "{decision}",
    "Decisions that the shadow of a policy was asked about, by whether it would have chosen the same.",
    "policy",
    "shadow",
    "agreed",
)
SHADOW_SHED = _counter(
    "turnout.shadow.shed",
    "{decision}",
    "Decisions that the shadow of a policy was not asked about, since too many waited.",
    "policy",
    "shadow",
)
COST = Instrument(
    name="turnout.cost",
    kind=Kind.COUNTER,
    unit="{USD}",
    help="What attempts cost, as far as known.",
    labels=("target", "outcome"),
    small=("target",),
    spelled="turnout_cost_usd",
)
PRICE_UNKNOWN = _counter("turnout.price.unknown", "{attempt}", "Attempts whose cost is not known.", "target")
OUTCOMES = _counter("turnout.outcomes", "{report}", "Reports of outcomes, by what became of them.", "result")
OUTCOMES_MISSING = _counter("turnout.outcomes.missing", "{report}", "Reports of trials that never came.")
OUTCOMES_DUPLICATE = _counter("turnout.outcomes.duplicate", "{report}", "Reports that came once more.")
EVENTS = _counter("turnout.events", "{event}", "Events.", "name")
CONFIG_RELOADS = _counter(
    "turnout.config.reloads", "{look}", "Looks at a changed configuration, by what came of them.", "result"
)
CONFIG_TAKEN = _gauge("turnout.config.taken.timestamp", "s", "When the configuration in force was taken, Unix time.")
CONFIG_INFO = _gauge("turnout.config.info", "", "1, for the routing in force, as decisions name it.", "policy_version")
BUILD_INFO = _gauge("turnout.build.info", "", "1, for the version of Turnout that runs.", "version")
START = _gauge("turnout.start.timestamp", "s", "When it began to serve, Unix time.")
# Named as OpenTelemetry's conventions do, and on `/metrics` as everybody's rules and dashboards ask for them.
MEMORY = Instrument(
    name="process.memory.usage",
    kind=Kind.GAUGE,
    unit="By",
    help="Memory of the process that is resident; Linux only.",
    spelled="process_resident_memory_bytes",
)
CPU = Instrument(
    name="process.cpu.time",
    kind=Kind.COUNTER,
    unit="s",
    help="CPU time of the process, of all threads.",
    spelled="process_cpu_seconds",
)
CONFIG_REFUSED = _gauge(
    "turnout.config.refused",
    "",
    "1 while the configuration in force is not the one of the file, which has faults.",
)
SHED = _counter("turnout.overload.shed", "{call}", "Calls shed for overload, by the bound that they met.", "bound")
JOINED = _counter("turnout.requests.joined", "{request}", "Requests that got the answer of an earlier one of their id.")
CACHE_REQUESTS = _counter(
    "turnout.cache.requests", "{request}", "Requests that an answer might be kept for.", "policy", "result"
)
ANSWERS_KEPT = _gauge("turnout.answers.kept", "By", "What answers that are kept take.", "what")
REQUEST_LOG_LINES = _counter(
    "turnout.request_log.lines", "{line}", "Lines of the request log, by what became of them.", "result"
)
SNAPSHOT_AGE = _gauge("turnout.snapshot.age", "s", "Time since the last snapshot.")
SNAPSHOT_FAILURES = _counter("turnout.snapshot.failures", "{failure}", "Times that state could not be written to disk.")
JOURNAL = _gauge("turnout.journal", "By", "Size of the journal since the snapshot.")
BUDGET_REMAINING = Instrument(
    name="turnout.budget.remaining",
    kind=Kind.GAUGE,
    unit="{USD}",
    help="What remains of a budget, of the value of its scope that has used the most.",
    labels=("budget",),
    spelled="turnout_budget_remaining_usd",
)
BUDGET_LIMIT = Instrument(
    name="turnout.budget.limit",
    kind=Kind.GAUGE,
    unit="{USD}",
    help="What each value of a budget's scope may spend here in a period.",
    labels=("budget",),
    spelled="turnout_budget_limit_usd",
)
RETRY_BUDGET = _gauge(
    "turnout.retry_budget.remaining", "{retry}", "Retries and hedges that the retry budget still allows."
)
CHECKS = _counter("turnout.checks", "{check}", "Active checks, by what was checked and the result.", "target", "result")
REFUSED = _counter("turnout.listener.refused", "{call}", "RPCs refused for who asked, by reason.", "reason")
LISTENER_RELOADS = _counter(
    "turnout.listener.reloads", "{change}", "Changed files of the listener, by what became of them.", "what", "result"
)
CERTIFICATE_EXPIRY = _gauge(
    "turnout.listener.certificate_expiry.timestamp",
    "s",
    "When the listener's certificate ends, seconds since the epoch.",
)
TELEMETRY_DROPPED = _counter(
    "turnout.telemetry.dropped",
    "{item}",
    "Telemetry that was given up rather than waited for: spans, lines, data points, events.",
    "signal",
)
TARGET_HEALTH = _gauge("turnout.target.health", "{score}", "Health score, 0 to 100.", "target")
TARGET_BREAKER = _gauge("turnout.target.breaker", "", "1 for the state the breaker is in.", "target", "state")
IN_FLIGHT = _gauge("turnout.target.in_flight", "{call}", "Calls under way.", "target")
THROTTLE = _gauge(
    "turnout.target.throttle",
    "1",
    "Share of its calls that go elsewhere since it refuses many.",
    "target",
    in_small=False,
)
CONCURRENCY_LIMIT = _gauge(
    "turnout.target.concurrency_limit",
    "{call}",
    "Calls that may be under way; absent without a limit.",
    "target",
    in_small=False,
)

INSTRUMENTS = (
    OPERATION_DURATION,
    TIME_TO_FIRST_CHUNK,
    TOKEN_USAGE,
    CALL_DURATION,
    OVERHEAD,
    LOOP_DELAY,
    DECISIONS,
    REJECTIONS,
    ATTEMPTS,
    FAILOVERS,
    HEDGES,
    SHADOW_DECISIONS,
    SHADOW_SHED,
    COST,
    PRICE_UNKNOWN,
    RETRY_BUDGET,
    BUDGET_REMAINING,
    BUDGET_LIMIT,
    TARGET_HEALTH,
    TARGET_BREAKER,
    IN_FLIGHT,
    THROTTLE,
    CONCURRENCY_LIMIT,
    OUTCOMES,
    OUTCOMES_MISSING,
    OUTCOMES_DUPLICATE,
    EVENTS,
    CHECKS,
    SHED,
    JOINED,
    CACHE_REQUESTS,
    ANSWERS_KEPT,
    CONFIG_RELOADS,
    CONFIG_TAKEN,
    CONFIG_REFUSED,
    CONFIG_INFO,
    BUILD_INFO,
    START,
    MEMORY,
    CPU,
    REFUSED,
    LISTENER_RELOADS,
    CERTIFICATE_EXPIRY,
    SNAPSHOT_AGE,
    SNAPSHOT_FAILURES,
    JOURNAL,
    REQUEST_LOG_LINES,
    TELEMETRY_DROPPED,
)
