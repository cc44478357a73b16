"""What is not counted by `Metrics` but read, at each scrape, where it is kept: whoever keeps it says where that is."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from turnout_server.telemetry.metrics import instruments as known
from turnout_server.telemetry.metrics import scraped
from turnout_server.telemetry.metrics.recording import gauge

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from turnout_server.core.budget_book import BudgetReport
    from turnout_server.execution.answer_cache import AnswerCache
    from turnout_server.execution.once import Once
    from turnout_server.telemetry.logs.request_log import RequestLog
    from turnout_server.telemetry.metrics.scraped import FilesInUse


class Watched:
    """Everything that there is one of in a sidecar; nothing of what nobody gave a place to read from."""

    def __init__(self) -> None:
        self._policies: Callable[[], Container[str]] | None = None
        self._policy_version: Callable[[], str] = str
        self._shed: Callable[[], Mapping[str, int]] | None = None
        self._once: Once | None = None
        self._cache: AnswerCache | None = None
        self._request_log: Callable[[], RequestLog | None] = lambda: None
        self._keeping: Callable[[], tuple[float | None, int, int]] | None = None
        self._budgets: Callable[[], Iterable[BudgetReport]] | None = None
        self._retry_budget: Callable[[], float] | None = None
        self._refusals: Mapping[str, int] | None = None
        self._checks: Callable[[], Mapping[tuple[str, str], int]] = dict
        self._shadows_shed: Callable[[], Mapping[tuple[str, str], int]] = dict
        self._listener_files: FilesInUse | None = None
        self._dropped: dict[str, Callable[[], int]] = {}

    def watch_policies(self, read: Callable[[], Container[str]]) -> None:
        """Reads the names of the policies from here at each scrape; series of all others end."""
        self._policies = read

    def watch_shed(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Counts calls that were shed for overload from here, by the bound that they met."""
        self._shed = read

    def watch_answers(self, once: Once, cache: AnswerCache) -> None:
        """Reads from here at each scrape how many requests were answered by what was there already."""
        self._once, self._cache = once, cache

    def watch_request_log(self, read: Callable[[], RequestLog | None]) -> None:
        """Reads from here at each scrape how many lines were written and dropped; None: there is no log."""
        self._request_log = read

    def watch_keeping(self, read: Callable[[], tuple[float | None, int, int]]) -> None:
        """Reads from here at each scrape: age of the last snapshot in seconds, failures to write, journal's bytes."""
        self._keeping = read

    def watch_budgets(self, read: Callable[[], Iterable[BudgetReport]]) -> None:
        """Reads what remains of budgets from here at each scrape."""
        self._budgets = read

    def watch_routing(self, read: Callable[[], str]) -> None:
        """Reads from here at each scrape which version of the routing is in force."""
        self._policy_version = read

    def watch_retry_budget(self, read: Callable[[], float]) -> None:
        """Reads from here at each scrape how many retries may be made now."""
        self._retry_budget = read

    def watch_refusals(self, counts: Mapping[str, int]) -> None:
        """Reads from here at each scrape how many RPCs were refused for who asked, by reason."""
        self._refusals = counts

    def watch_shadows(self, read: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Reads from here at each scrape how many decisions shadows were not asked about, by policy and shadow."""
        self._shadows_shed = read

    def watch_checks(self, read: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Reads from here at each scrape how many active checks were made, by what was checked and the result."""
        self._checks = read

    def watch_listener_files(self, files: FilesInUse) -> None:
        """Reads from here at each scrape what became of changed certificates and tokens, and when one ends."""
        self._listener_files = files

    def watch_dropped(self, signal: str, read: Callable[[], int]) -> None:
        """Reads from here at each scrape how much of a signal ("traces", say) was given up so far."""
        self._dropped[signal] = read

    def watched(self) -> Iterator[Metric]:
        """Yields a family of each, read now."""
        if self._shed is not None:
            yield scraped.shed(self._shed())
        if self._once is not None and self._cache is not None:
            yield from scraped.answers(self._once, self._cache, None if self._policies is None else self._policies())
        request_log = self._request_log()
        if request_log is not None:
            yield scraped.lines(request_log)
        if self._keeping is not None:
            yield from scraped.kept(*self._keeping())
        if self._budgets is not None:
            yield from scraped.budgets(self._budgets())
        if self._retry_budget is not None:
            yield gauge(known.RETRY_BUDGET, self._retry_budget())
        yield from self._counted()
        if self._listener_files is not None:
            yield from scraped.listener(self._listener_files)
        if self._dropped:
            yield scraped.dropped(self._dropped)

    def _counted(self) -> Iterator[Metric]:
        """Yields what most sidecars have nothing of."""
        if self._refusals:
            yield scraped.refused(self._refusals)
        shadows_shed = self._shadows_shed()
        if shadows_shed:
            yield scraped.shadows_shed(shadows_shed)
        checks = self._checks()
        if checks:
            yield scraped.checks(checks)
