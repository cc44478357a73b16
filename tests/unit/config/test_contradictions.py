"""What of a policy works against itself is told, with where each side comes from; what does not is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.loading import loaded

PROVIDERS = """
providers:
  anthropic: {enabled_models: [claude-opus-5-5, claude-haiku-5-5], region: eu}
  openai: {enabled_models: [gpt-4o, gpt-4o-mini]}
"""


def told(folder: Path, policies: str, *, failover: str = "{}") -> list[str]:
    text = f"{PROVIDERS}\nrouting: {{policies: {{{policies}}}}}\nfailover: {failover}"
    return [
        warning.removeprefix("routing.policies.")
        for warning in loaded(folder, text).warnings
        if warning.startswith("routing.policies") and "is never used, since its quality" not in warning
    ]


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        # A limit and a row, one of them inherited or both its own.
        (
            (
                "base: {limits: {min_quality: 90}}, "
                "quick: {inherits: base, tasks: {chat: {pro: [openai/gpt-4o-mini, anthropic/claude-haiku-5-5]}}}"
            ),
            [
                (
                    "quick: tasks.chat.pro has nobody that limits.min_quality (of policy base) 90 leaves: "
                    "openai/gpt-4o-mini, anthropic/claude-haiku-5-5 can never be used"
                )
            ],
        ),
        (
            "base: {preferences: [openai/gpt-4o-mini]}, strict: {inherits: base, limits: {min_quality: 90}}",
            [
                (
                    "strict: preferences (of policy base) has nobody that limits.min_quality 90 leaves: "
                    "openai/gpt-4o-mini can never be used"
                )
            ],
        ),
        (
            "free: {limits: {max_cost_usd: 0}, tasks: {chat: {any: [openai]}}}",
            ["free: limits.max_cost_usd 0 leaves nobody: of no target it is known that it costs nothing"],
        ),
        (
            "quick: {limits: {max_latency_seconds: 0.7}, tasks: {chat: {any: [anthropic, openai/gpt-4o-mini]}}}",
            [],
        ),
        (
            "quick: {limits: {max_latency_seconds: 0.7}, tasks: {chat: {any: [anthropic]}}}",
            [
                (
                    "quick: tasks.chat.any has nobody that limits.max_latency_seconds 0.7 leaves: anthropic begin "
                    "as too slow, and are never called to show otherwise"
                )
            ],
        ),
        # A limit that leaves nobody at all.
        (
            "base: {limits: {max_latency_seconds: 0.1}}, heir: {inherits: base, preferences: [openai/gpt-4o]}",
            [
                (
                    "base: limits.max_latency_seconds 0.1 leaves nobody: the first token of the quickest, "
                    "openai/gpt-4o-mini, is expected after 0.6 s, and who is never called never shows otherwise"
                )
            ],
        ),
        (
            "free: {limits: {max_cost_usd: 0}}",
            ["free: limits.max_cost_usd 0 leaves nobody: of no target it is known that it costs nothing"],
        ),
        (
            "sure: {limits: {min_availability: 0.997}}",
            [
                (
                    "sure: limits.min_availability 0.997 leaves nobody: a target that no call of late is known of "
                    "counts as 0.996, and gets none to show more"
                )
            ],
        ),
        # Shares for what a limit rejects.
        (
            (
                "base: {strategy: WEIGHTED, shares: {openai/gpt-4o-mini: 1, openai/gpt-4o: 9}}, "
                "strict: {inherits: base, limits: {min_quality: 90}}"
            ),
            [
                (
                    "strict: shares.openai/gpt-4o-mini (of policy base) is never drawn, since "
                    "limits.min_quality 90 rejects it"
                )
            ],
        ),
        # Tables before shares.
        (
            "split: {strategy: WEIGHTED, shares: {openai/gpt-4o: 1}, preferences: [anthropic/claude-opus-5-5]}",
            [("split: preferences comes before the shares: they are drawn for only where none of it can be used")],
        ),
        (
            "split: {strategy: WEIGHTED, shares: {xai/grok-4.7: 3, openai/gpt-4o: 0}}",
            [
                "split: xai/grok-4.7 is passed over: no provider xai is configured",
                "split: shares name nobody that is configured: no call is dealt by them",
            ],
        ),
        (
            "turns: {strategy: ROUND_ROBIN, tasks: {chat: {any: [openai]}}}",
            ["turns: tasks.chat.any comes before the turns: they are taken only where none of it can be used"],
        ),
        # Regions of the one, a row of the other.
        (
            "base: {tasks: {chat: {any: [openai, openai/gpt-4o]}}}, here: {inherits: base, regions: [eu]}",
            [
                (
                    "here: tasks.chat.any (of policy base) has nobody that regions eu leave: openai, openai/gpt-4o "
                    "can never be used"
                )
            ],
        ),
        (
            "base: {failover: {max_attempts: 1}}, again: {inherits: base, mid_stream: RESTART}",
            ["again: mid_stream RESTART has no effect: it takes a second attempt, and max_attempts is 1"],
        ),
        # Hedging.
        (
            "split: {strategy: WEIGHTED, shares: {openai/gpt-4o: 1, openai/gpt-4o-mini: 1}, hedge: {enabled: true}}",
            [
                (
                    "split: hedge.enabled asks a second target, beside the one that strategy WEIGHTED has "
                    "dealt the call to: sides get mixed"
                )
            ],
        ),
        (
            "base: {hedge: {enabled: true}}, turns: {inherits: base, strategy: ROUND_ROBIN}",
            [
                (
                    "turns: hedge.enabled (of policy base) asks a second target, beside the one that "
                    "strategy ROUND_ROBIN has dealt the call to: sides get mixed"
                )
            ],
        ),
        (
            "once: {hedge: {enabled: true}, failover: {max_attempts: 1}}",
            [
                "once: hedge.enabled has no effect: a hedge is a second attempt, and max_attempts is 1",
            ],
        ),
        # Ranking.
        (
            "cheap: {strategy: COST, weights: {cost: 1}}",
            [("cheap: weights are for HYBRID, and count under strategy COST only where a request asks for HYBRID")],
        ),
        (
            "order: {strategy: PRIORITY, quality_floor: 70}",
            [("order: quality_floor has no effect under strategy PRIORITY, which minds quality or means its order")],
        ),
        (
            "base: {quality_floor: 70}, strict: {inherits: base, limits: {min_quality: 80}}",
            [
                (
                    "strict: quality_floor (of policy base) 70 has no effect: limits.min_quality 80 rejects "
                    "all that it would rank last"
                )
            ],
        ),
    ],
)
def test_rules_that_work_against_each_other_are_told(tmp_path: Path, policies: str, expected: list[str]) -> None:
    assert expected == told(tmp_path, policies)


@pytest.mark.parametrize(
    "policies",
    [
        # One of a row is left.
        "a: {limits: {min_quality: 90}, tasks: {chat: {pro: [openai/gpt-4o-mini, openai/gpt-4o]}}}",
        # What is not known here may be anything.
        "a: {limits: {min_quality: 90}, preferences: [ollama/any]}",
        "a: {limits: {max_cost_usd: 0.001}, preferences: [openai]}",
        "a: {strategy: WEIGHTED, shares: {openai/gpt-4o: 1, openai/gpt-4o-mini: 0}, limits: {max_cost_usd: 1}}",
        "a: {strategy: WEIGHTED, shares: {openai/gpt-4o: 1}}",
        "a: {hedge: {enabled: true}, failover: {max_attempts: 2}}",
        "a: {strategy: HYBRID, weights: {cost: 1}, quality_floor: 70}",
        "a: {strategy: COST, quality_floor: 70, limits: {min_quality: 60}}",
        "a: {strategy: PRIORITY}",
        "a: {limits: {min_availability: 0.996}}",
        "a: {tasks: {chat: {any: [openai, anthropic]}}}, b: {inherits: a, regions: [eu]}",
        "a: {strategy: WEIGHTED, shares: {xai/grok-4.7: 3, openai/gpt-4o: 1}}",
        "a: {mid_stream: RESTART}",
    ],
)
def test_rules_that_go_together_are_not_told(tmp_path: Path, policies: str) -> None:
    assert [] == [each for each in told(tmp_path, policies) if "is passed over" not in each]


def test_a_provider_whose_models_are_not_known_yet_may_have_somebody_left(tmp_path: Path) -> None:
    policy = "a: {limits: {max_latency_seconds: 0.1, max_cost_usd: 0}}"
    text = f"{PROVIDERS}  ollama: {{}}\nrouting: {{policies: {{{policy}}}}}"

    assert len(told(tmp_path, policy)) == 2
    assert [] == [each for each in loaded(tmp_path, text).warnings if "leaves nobody" in each]


def test_what_a_policy_inherits_whole_is_told_once(tmp_path: Path) -> None:
    policies = (
        "base: {strategy: WEIGHTED, shares: {openai/gpt-4o: 1}, preferences: [openai], hedge: {enabled: true}}, "
        "heir: {inherits: base, trim: {enabled: true}}"
    )

    assert [each.split(":")[0] for each in told(tmp_path, policies)] == ["base"] * 2


def test_a_hedge_that_the_global_block_leaves_no_attempt_for_is_told(tmp_path: Path) -> None:
    (only,) = told(tmp_path, "a: {hedge: {enabled: true}}", failover="{max_attempts: 1}")

    assert "max_attempts is 1" in only
