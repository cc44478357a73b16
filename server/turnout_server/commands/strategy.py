"""`turnout strategy`: the routing rules in force, and with options others, until the sidecar starts anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from turnout.v1 import admin_pb2 as pb
from turnout.v1 import router_pb2
from turnout_server.commands.printing import as_dict, enum_word, print_columns, print_json
from turnout_server.commands.sidecar import CALL_SECONDS, EPILOG, calling, sidecar_options

if TYPE_CHECKING:
    from turnout.admin import Admin

WEIGHTS = tuple(router_pb2.Weights.DESCRIPTOR.fields_by_name)
STRATEGIES = tuple(
    name.removeprefix("STRATEGY_").lower().replace("_", "-") for name, number in router_pb2.Strategy.items() if number
)
PRESETS = ("aggressive", "balanced", "conservative")
UNDO = ("strategy", "weights", "preset", "default-policy", "order", "prefer")
"""What --undo may name, the options' own names."""
FIELDS = {
    "preset": "failover_preset",
    "default-policy": "default_policy",
    "order": "provider_order",
    "prefer": "preferences",
}
ALL = "all"


@click.command("strategy", epilog=EPILOG)
@click.argument("strategy", metavar="[STRATEGY]", type=click.Choice(STRATEGIES, case_sensitive=False), required=False)
@click.option("--policy", default="", metavar="NAME", help="Whose strategy and weights; default the default policy's.")
@click.option(
    "--weight", "weights", multiple=True, metavar="NAME=NUMBER", help="As in cost=0.5; may be given several times."
)
@click.option("--preset", type=click.Choice(PRESETS), help="When breakers open and close, for all policies.")
@click.option("--default-policy", metavar="NAME", help="The policy of requests that nothing else selects.")
@click.option("--order", metavar="A,B,...", help="Providers that come first under PRIORITY; the others follow.")
@click.option(
    "--prefer", metavar="A,B,...", help="Targets that come first whatever the strategy says, such as openai/gpt-4o."
)
@click.option("--undo", multiple=True, type=click.Choice((*UNDO, ALL)), help="Is to be as in the configuration again.")
@click.option("--etag", default="", help="Change it only if it is still as it was then.")
@sidecar_options
def strategy(
    *,
    address: str | None,
    timeout_seconds: float | None,
    as_json: bool,
    strategy: str | None,
    policy: str,
    weights: tuple[str, ...],
    preset: str | None,
    default_policy: str | None,
    order: str | None,
    prefer: str | None,
    undo: tuple[str, ...],
    etag: str,
) -> None:
    """Show how candidates are ranked, or change it until the sidecar starts anew.

    What a policy says that inherits from the changed one stays. The next start has what the configuration says.
    """
    seconds = timeout_seconds or CALL_SECONDS
    changes = bool(strategy or weights or preset or default_policy or order or prefer or undo)
    with calling(address) as client:
        admin = client.admin
        if changes:
            routing = admin.update_routing(
                policy,
                strategy=None if strategy is None else _strategy(strategy),
                weights=dict(map(_weight, weights)) or None,
                failover_preset=None
                if preset is None
                else pb.FailoverPreset.Value(f"FAILOVER_PRESET_{preset.upper()}"),
                default_policy=default_policy or None,
                provider_order=_names(order),
                preferences=_names(prefer),
                undo=[FIELDS.get(name, name) for name in (UNDO if ALL in undo else dict.fromkeys(undo))],
                etag=etag,
                timeout_seconds=seconds,
            )
            policies: list[str] = []
        else:
            routing, policies = _read(admin, policy, seconds)
    if as_json:
        print_json({"routing": as_dict(routing), **({} if changes else {"policies": policies})})
        return
    print_columns(_rows(routing))
    others = [name for name in policies if name != routing.policy]
    if others:
        click.echo(f"other policies: {', '.join(others)} (--policy NAME)")


def _read(admin: Admin, policy: str, seconds: float) -> tuple[pb.Routing, list[str]]:
    answer = admin.routing(policy, timeout_seconds=seconds)
    return answer.routing, list(answer.policies)


def _strategy(word: str) -> router_pb2.Strategy.ValueType:
    return router_pb2.Strategy.Value(f"STRATEGY_{word.upper().replace('-', '_')}")


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] or None if text else None


def _weight(text: str) -> tuple[str, float]:
    """Reads `cost=0.5`."""
    name, given, number = text.partition("=")
    if not given or name not in WEIGHTS:
        raise click.BadParameter(f'"{text}" is no weight: write one of {", ".join(WEIGHTS)} as in cost=0.5')
    try:
        return name, float(number)
    except ValueError:
        raise click.BadParameter(f'"{number}" is no number: write {name}=0.5') from None


def _rows(routing: pb.Routing) -> list[tuple[str, str]]:
    weights = " ".join(
        f"{name}={value:g}" for name in WEIGHTS if (value := getattr(routing.weights, name)) or name in WEIGHTS[:3]
    )
    preset = enum_word(pb.FailoverPreset, routing.failover_preset)
    return [
        ("policy", routing.policy + (" (the default one)" if routing.policy == routing.default_policy else "")),
        ("strategy", enum_word(router_pb2.Strategy, routing.strategy)),
        ("weights", weights),
        ("preset", "values of its own" if preset == "-" else preset),
        ("default policy", routing.default_policy),
        ("provider order", ", ".join(routing.provider_order)),
        ("preferences", ", ".join(routing.preferences) or "none"),
        ("version", routing.policy_version),
        ("etag", routing.etag),
    ]
