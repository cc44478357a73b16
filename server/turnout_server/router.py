"""The use cases put together: the one place that makes the state, and the parts that decide, record and tell over it.

`execution` makes calls between `attempts.begin` and `attempts.finish`; everybody else routes, reports and reads. Each
names the part that it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout_server.core.spending import Spending
from turnout_server.core.state import FleetState
from turnout_server.use_cases.administration import Administration
from turnout_server.use_cases.announcing import Announcing
from turnout_server.use_cases.attempts import Attempts
from turnout_server.use_cases.budgets import Budgets
from turnout_server.use_cases.checks import Checks
from turnout_server.use_cases.configured import Configured
from turnout_server.use_cases.deciding import Deciding
from turnout_server.use_cases.further_attempts import FurtherAttempts
from turnout_server.use_cases.looking_back import LookingBack
from turnout_server.use_cases.passing_time import PassingTime
from turnout_server.use_cases.reports import Reports
from turnout_server.use_cases.shadows import Shadows
from turnout_server.use_cases.state_transfer import StateTransfer
from turnout_server.use_cases.status import Status
from turnout_server.use_cases.targets import Targets

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from turnout_server.core.events import Event
    from turnout_server.core.fleet import Fleet
    from turnout_server.core.settings import Settings
    from turnout_server.core.state import Adopted
    from turnout_server.ports import Instruments


class Router:
    """All parts over one state. `clock` is monotonic, `wall` seconds since the epoch; `new_id` makes unique ids."""

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
        new_id: Callable[[], str],
        on_event: Callable[[Event], None],
        instruments: Instruments,
    ) -> None:
        self._wall = wall
        state = self.state = FleetState(fleet, settings, now=clock(), rng=rng)
        """What is known of the fleet now; to be read only."""
        state.past.costs.offset = wall() - clock()
        spending = self._spending = Spending(settings.budgets, state, wall())
        configured = self.configured = Configured(state, settings)
        announcing = self._announcing = Announcing(on_event, settings.alerts)
        tell = announcing.tell
        self.passing_time = PassingTime(state, spending, announcing, clock=clock, instruments=instruments)
        expire = self.passing_time.expire
        self.shadows = Shadows(state, rng=rng, count=instruments.shadow)
        self.shadows.follow(settings)
        self.targets = Targets(state, configured, clock=clock)
        self.deciding = Deciding(
            state,
            configured,
            spending,
            announcing,
            self.shadows,
            clock=clock,
            wall=wall,
            rng=rng,
            new_id=new_id,
            expire=expire,
            instruments=instruments,
        )
        self.attempts = Attempts(
            state, configured, spending, announcing, clock=clock, wall=wall, new_id=new_id, instruments=instruments
        )
        self.further_attempts = FurtherAttempts(state, configured, announcing, clock=clock, instruments=instruments)
        self.reports = Reports(state, configured, spending, announcing, clock=clock, wall=wall, instruments=instruments)
        self.status = Status(state, configured, clock=clock, wall=wall, expire=expire)
        self.looking_back = LookingBack(state, clock=clock, wall=wall)
        self.budgets = Budgets(spending, clock=clock, wall=wall, tell=tell)
        self.administration = Administration(state, clock=clock, tell=tell, expire=expire)
        self.checks = Checks(
            state,
            settings=lambda: configured.settings.checks,
            clock=clock,
            wall=wall,
            rng=rng,
            tell=tell,
            expire=expire,
        )
        self.state_transfer = StateTransfer(state, spending, announcing, clock=clock, wall=wall, expire=expire)

    def adopt(self, fleet: Fleet, settings: Settings) -> Adopted:
        """Takes another fleet and its settings, in one step: whatever begins from now on knows nothing else.

        What stays keeps its state (`FleetState.adopt`). Calls that run end under the configuration that they began
        with (`InForce`), hops to other targets included. Connections are the executor's: give it those of new
        providers in the same step (`Executor.adopt`). Returns the targets that are new and those that are gone.
        """
        self.passing_time.expire()
        adopted = self.configured.adopt(fleet, settings)
        fleet, settings = self.configured.fleet, self.configured.settings
        self._spending.adopt(settings.budgets, fleet, self._wall())
        self.shadows.follow(settings)
        self._announcing.troubles.adopt(settings.alerts, self.state.targets)
        return adopted
