"""The lines above the tables: which sidecar, whether it answers, and how it is doing as a whole."""

from __future__ import annotations

from turnout_server.commands.live.budget_rows import budget_texts
from turnout_server.commands.live.figures import count, lasting, money, one_line, share
from turnout_server.commands.live.seen import Part, Seen


def place_line(seen: Seen) -> str:
    """Returns who is watched and when this was true; where it does not answer, for how long, and why."""
    time = f"{seen.now:%H:%M:%S} UTC"
    if seen.lost:
        # The address stands here already.
        cause = one_line(seen.lost).removeprefix(f"the sidecar at {seen.address} ").rpartition(f"{seen.address}: ")[2]
        return f"NO ANSWER  {seen.address}  values of {time}, {lasting(seen.age_seconds)} old: {cause}"
    total = seen.status.aggregate
    return f"{seen.address}  {time}  {total.available_target_count} of {total.target_count} targets available"


def total_line(seen: Seen) -> str:
    """Returns the figures of all targets together, of the window."""
    total = seen.status.aggregate
    window = max(seen.window_seconds, 1.0)
    succeeded = f"{share(total.success_rate)} ok" if total.HasField("success_rate") else "no calls"
    return "  ".join(
        (
            f"{count(total.request_count / window)} calls/s",
            succeeded,
            f"{total.in_flight} in flight",
            f"{count(total.output_tokens / window)} tok/s",
            f"{money(total.cost_usd / window * 3600.0)}/h",
            f"last {lasting(window)}",
        )
    )


def budget_line(seen: Seen) -> str:
    """Returns the budgets in one line, those nearest to their end first; "" where there is none."""
    if Part.BUDGETS in seen.refused:
        return f"budgets: {one_line(seen.refused[Part.BUDGETS])}"
    texts = [one.text for one in budget_texts(seen)]
    return f"spent   {'   '.join(texts)}" if texts else ""


def missing(seen: Seen, part: Part, *, nothing: str) -> str:
    """Returns what stands where a part has no rows: why it cannot be read, or that there is nothing."""
    return one_line(seen.refused[part]) if part in seen.refused else nothing
