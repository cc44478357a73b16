"""How uneven a target usually is: learned from its own days, so that its moods are not taken for drifts.

Two things are kept of how far the average of the last minutes was off: its mean square over a day, less the chance of
few calls, which knows of moods that come all the time; and the highest that it went and came back from by itself, which
knows of what comes a few times a day, such as a rush of calls or a morning. Neither needs a window. The constants were
simulated: docs/decisions/0057, `tests/simulation/drift`.
"""

from __future__ import annotations

from math import log, sqrt

SLACK, SLACK_MAXIMUM = log(1.35), 2.0
"""Of logarithms: what is less than a third slower than usual is weather, and not summed up; of a target whose minutes
are uneven, what is up to seven times as slow."""
SWINGS = 3.4
"""The slack is so many times what the last minutes usually are off, within these limits."""
HIGHEST = 1.45
"""And no less than so many times the highest that they went and came back from."""
EARLY_SHARE, EARLY_SECONDS = 0.15, 7200.0
"""At first the slack is wider by this share; the half of it once the target was watched for so long."""

SQUARE_HALF_LIFE_SECONDS = 86_400.0
HIGHEST_HALF_LIFE_SECONDS = 4 * 86_400.0
"""Long enough that a week-end does not make a target forget its mornings."""
FIRST_SECONDS = 3600.0
"""For so long the prior is taken to have been watched: until a day is known, all that was seen weighs alike."""
WATCHED_MAXIMUM_SECONDS = 30 * 86_400.0
GAP_MAXIMUM_SECONDS = 60.0
"""Calls further apart tell of no more time than this."""
SHARE_MAXIMUM = 0.01
"""The most that one call changes of how far calls and minutes usually are off."""
PRIOR, SPREAD_PRIOR = 0.1, 0.5
"""Of logarithms: how far minutes and single calls are taken to be off at first."""
SQUARE_GROWTH = 9.0
"""A shift must not hide itself: no moment counts as more than three times as uneven as is known."""
HIGHEST_GROWTH = 1.7
"""Nor does what is over widen the slack by more than this at once."""
CHANCE = 2.0
"""So many standard errors of an average of few calls are chance, and no height."""
OVER_SHARE = 0.5
"""What has fallen to the half of its height has come back."""

_LN_2 = log(2.0)


class Swing:
    """What is known of one measure of one target. All is of logarithms of latencies."""

    __slots__ = ("_height", "highest", "seconds", "slack", "spread", "square")

    def __init__(self) -> None:
        self.square = PRIOR * PRIOR
        """The mean square of how far the average of the last minutes was off, chance taken out."""
        self.spread = SPREAD_PRIOR * SPREAD_PRIOR
        """The same of single calls, chance and all."""
        self.highest = 0.0
        """The highest that the average went and came back from; it fades."""
        self.seconds = 0.0
        """For how long the target was watched."""
        self._height = 0.0
        """How high the average is that has not come back yet."""
        self.slack = self._slack()
        """What is taken for chance."""

    def learn(self, off: float, present: float, noise: float, passed: float, *, slowly: bool) -> None:
        """Takes how far one call was off, and the average of the last minutes with it.

        `noise` is the variance of that average as a share of a call's own, 0 to 1; `passed` the seconds since the call
        before; `slowly` says that the target drifts.
        """
        passed = min(passed, GAP_MAXIMUM_SECONDS)
        known = self.seconds
        share = max(passed / (known + FIRST_SECONDS), passed * (_LN_2 / SQUARE_HALF_LIFE_SECONDS))
        if slowly:
            share /= 4.0
        elif known < WATCHED_MAXIMUM_SECONDS:
            self.seconds = known + passed
        share = min(share, SHARE_MAXIMUM)
        spread = self.spread
        self.spread = spread + (off * off - spread) * min(SHARE_MAXIMUM, passed / 180.0)
        by_chance = spread * noise
        most = SQUARE_GROWTH * max(PRIOR * PRIOR, self.square)
        self.square += (min(present * present, most) - by_chance - self.square) * share
        self.highest *= 1.0 - passed * (_LN_2 / HIGHEST_HALF_LIFE_SECONDS)
        height = present - CHANCE * sqrt(by_chance)
        if height > self._height:
            self._height = height
        elif height < OVER_SHARE * self._height:
            self.highest = max(self.highest, min(self._height, HIGHEST_GROWTH / HIGHEST * self.slack))
            self._height = 0.0
        self.slack = self._slack()

    def resume(self, seconds: float, square: float, spread: float, highest: float) -> None:
        """Takes what was kept; what makes no sense is taken as far as it does."""
        self.seconds = _within(seconds, WATCHED_MAXIMUM_SECONDS)
        self.square = _within(square, SLACK_MAXIMUM * SLACK_MAXIMUM)
        self.spread = _within(spread, SLACK_MAXIMUM * SLACK_MAXIMUM)
        self.highest = _within(highest, SLACK_MAXIMUM)
        self.slack = self._slack()

    def forget_height(self) -> None:
        """Forgets how high the average is: it begins anew."""
        self._height = 0.0

    def _slack(self) -> float:
        wider = SWINGS * (1.0 + EARLY_SHARE * EARLY_SECONDS / (EARLY_SECONDS + self.seconds))
        slack = max(SLACK, HIGHEST * self.highest)
        if self.square > 0.0:
            slack = max(slack, wider * sqrt(self.square))
        return min(SLACK_MAXIMUM, slack)


def _within(value: float, most: float) -> float:
    return value if 0.0 <= value <= most else most if value > most else 0.0
