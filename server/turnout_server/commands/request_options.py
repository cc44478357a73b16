"""Options of `route` and `ask` that say what the request is like and how it is to be routed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import click

from turnout.v1 import router_pb2 as pb
from turnout_server.commands.numbers import MAX_SECONDS, FiniteRange

Command = TypeVar("Command", bound=Callable[..., Any])


class Request(TypedDict):
    """What the options say; None and empty are not given."""

    task: str
    complexity: str | None
    effort: str | None
    capabilities: tuple[str, ...]
    custom_capabilities: tuple[str, ...]
    preferred_capabilities: tuple[str, ...]
    policy: str
    strategy: str | None
    priority: str | None
    max_cost: float | None
    max_latency: float | None
    max_first_token: float | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    regions: tuple[str, ...]
    target: str
    no_fallback: bool
    full: bool
    tenant: str
    user: str
    tier: str
    labels: tuple[str, ...]


def _words(enum: Any) -> list[str]:
    zero: str = enum.Name(0)
    prefix = zero.removesuffix("UNSPECIFIED")
    return [name.removeprefix(prefix) for name in enum.keys() if name != zero]  # noqa: SIM118 - no mapping, a wrapper


def _choice(enum: Any) -> click.Choice[str]:
    return click.Choice(_words(enum), case_sensitive=False)


_USD = FiniteRange(min=0)
_SECONDS = FiniteRange(min=0, max=MAX_SECONDS)

_OPTIONS = (
    click.option("--task", default="", help="What kind of work it is, for preference tables and learning."),
    click.option("--complexity", type=_choice(pb.Complexity), help="Absent: inferred."),
    click.option("--effort", type=_choice(pb.ReasoningEffort), help="Reasoning effort."),
    click.option(
        "--capability", "capabilities", multiple=True, type=_choice(pb.Capability), help="Needed; repeatable."
    ),
    click.option(
        "--custom-capability",
        "custom_capabilities",
        multiple=True,
        metavar="NAME",
        help="Needed, by your own naming; repeatable.",
    ),
    click.option(
        "--prefer-capability",
        "preferred_capabilities",
        multiple=True,
        metavar="NAME",
        help="Counts for those who have it, by your own naming; repeatable.",
    ),
    click.option("--policy", default="", help="Absent: chosen by the configuration."),
    click.option("--strategy", type=_choice(pb.Strategy), help="Absent: the policy's."),
    click.option("--priority", type=_choice(pb.Priority), help="Absent: NORMAL."),
    click.option("--max-cost", type=_USD, metavar="USD", help="Hard limit."),
    click.option("--max-latency", type=_SECONDS, metavar="SECONDS", help="Hard limit."),
    click.option("--max-first-token", type=_SECONDS, metavar="SECONDS", help="Hard limit."),
    click.option("--include", multiple=True, metavar="NAME", help="Only these providers or targets; repeatable."),
    click.option("--exclude", multiple=True, metavar="NAME", help="Not these; repeatable."),
    click.option("--region", "regions", multiple=True, help="Only in these regions, the first preferred; repeatable."),
    click.option("--target", default="", metavar="PROVIDER/MODEL", help="This target and no other."),
    click.option("--no-fallback", is_flag=True, help="Only the first choice."),
    click.option("--full", is_flag=True, help="All candidates and rejections, not the best five."),
    click.option("--tenant", default="", help="On whose behalf."),
    click.option("--user", default="", help="On whose behalf."),
    click.option("--tier", default="", help="The caller's tier."),
    click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="The caller's labels; repeatable."),
)


def request_options(command: Command) -> Command:
    """Adds the options; the command takes them as `**request: Unpack[Request]`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def profile_of(request: Request) -> pb.RequestProfile:
    """Returns what is said of the request itself."""
    return pb.RequestProfile(
        task=request["task"],
        complexity=_value(pb.Complexity, request["complexity"]),
        reasoning_effort=_value(pb.ReasoningEffort, request["effort"]) if request["effort"] else None,
        capabilities=[_value(pb.Capability, word) for word in request["capabilities"]],
        custom_capabilities=request["custom_capabilities"],
        preferred_capabilities=request["preferred_capabilities"],
    )


def options_of(request: Request) -> pb.RoutingOptions:
    """Returns how it is to be routed."""
    options = pb.RoutingOptions(
        policy=request["policy"],
        strategy=_value(pb.Strategy, request["strategy"]),
        priority=_value(pb.Priority, request["priority"]),
        max_cost_usd=request["max_cost"],
        include=request["include"],
        exclude=request["exclude"],
        regions=request["regions"],
        force_target=request["target"],
        allow_fallback=False if request["no_fallback"] else None,
        detail=pb.DECISION_DETAIL_FULL if request["full"] else pb.DECISION_DETAIL_UNSPECIFIED,
    )
    if request["max_latency"] is not None:
        options.max_latency.FromMicroseconds(round(request["max_latency"] * 1e6))
    if request["max_first_token"] is not None:
        options.max_time_to_first_token.FromMicroseconds(round(request["max_first_token"] * 1e6))
    return options


def caller_of(request: Request) -> pb.Caller:
    """Returns on whose behalf it is made. Raises BadParameter for a label without a value."""
    labels = {}
    for label in request["labels"]:
        key, given, value = label.partition("=")
        if not given or not key:
            raise click.BadParameter(f"{label!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return pb.Caller(tenant=request["tenant"], user=request["user"], tier=request["tier"], labels=labels)


def _value(enum: Any, word: str | None) -> Any:
    if word is None:
        return 0
    zero: str = enum.Name(0)
    return enum.Value(zero.removesuffix("UNSPECIFIED") + word.upper())
