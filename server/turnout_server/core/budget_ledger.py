"""All budgets, and the only writer of what is spent: reserve before an attempt, settle after it, release the rest.

Everything here returns at once and happens as one step, so that calls at the same time cannot overspend together. What
a call holds belongs to the call: when an attempt fails, the next one takes it over, and nobody comes in between. A plan
of a caller who makes the call itself holds until its report comes, or until it expires.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.budget import BUDGETS_MAXIMUM, BudgetSpec, OnExceed, Remaining, budget_faults
from turnout_server.core.budget_book import Account, Alert, Book, BudgetReport
from turnout_server.core.budget_need import NO_RATES, FleetRates
from turnout_server.core.errors import (
    AlreadyExistsError,
    FieldViolation,
    InvalidRequestError,
    StaleEtagError,
    UnknownBudgetError,
)

if TYPE_CHECKING:
    from turnout_server.core.budget_book import Settled
    from turnout_server.core.keeping import SpentSums
    from turnout_server.core.model import Caller

PLANS_MAXIMUM = 10_000
"""Plans that hold something at once; beyond, the one that would expire first lets go early."""
RESTING_MAXIMUM = 16
"""Budgets remembered that were taken out; each may have 2 MB of accounts. The one longest out is forgotten first."""
LOOKED_AT_CLAIMS = 500
"""Calls and plans looked at, the oldest first, for when something comes free: a refusal must stay cheap."""
LISTED_ACCOUNTS = 100
"""Accounts listed of one budget, as the contract has it."""

Held = tuple[tuple[Book, Account], ...]


class Payer(NamedTuple):
    """For whom something is spent: what decides which accounts it goes to."""

    caller: Caller
    task: str


class Room(NamedTuple):
    """What the budgets in force leave one call, of the tightest one where there are several.

    `rates` are those of the fleet, in its order: where there is plenty for the dearest, nobody looks at each target.
    """

    left_nano_usd: int
    budget: str
    downgrades: bool
    retry_at: float | None
    """Monotonic seconds at which the tightest budget's period ends; None: never."""
    rates: FleetRates

    def holds_all(self, input_tokens: int, output_tokens: int) -> bool:
        """Whether even the dearest target fits, for so many tokens at worst."""
        return self.rates.dearest.need(input_tokens, output_tokens) <= self.left_nano_usd


class Reserved(NamedTuple):
    """What calls and plans hold of a budget besides the call that asks.

    `frees_at` is when a plan that nobody reports lets go of some of it, monotonic seconds; None: no plan holds any.
    """

    nano_usd: int
    frees_at: float | None


class _Claim:
    """What one call or plan holds: `spare`, and what its attempts under way have taken of it."""

    __slots__ = ("attempts", "expected", "expires_at", "held", "spare")

    def __init__(self, held: Held) -> None:
        self.held = held
        self.spare = 0
        self.attempts: dict[str, int] = {}
        self.expected: int | None = None
        self.expires_at: float | None = None

    @property
    def nano_usd(self) -> int:
        return self.spare + sum(self.attempts.values())


class Ledger:
    """The books by name. Times are wall-clock seconds, but expiries monotonic ones."""

    __slots__ = (
        "_absent",
        "_books",
        "_claims",
        "_deleted",
        "_expiries",
        "_plan_count",
        "_rates",
        "_resting",
        "_settled",
    )

    def __init__(self, specs: Sequence[BudgetSpec], now_wall: float, rates: FleetRates = NO_RATES) -> None:
        self._books: dict[str, Book] = {spec.name: Book(spec, now_wall) for spec in specs}
        self._resting: dict[tuple[str, str, str], Book] = {}
        """Budgets that were taken out, whose period still runs: one that comes back has spent what it has spent."""
        self._absent: dict[tuple[str, str, str], SpentSums] = {}
        """What was kept over a restart of budgets that are not in force: it is theirs when they come back."""
        self._deleted: dict[str, BudgetSpec] = {}
        """Budgets of the configuration that were deleted at run time, as it has them."""
        self._settled: list[Settled] | None = None
        self._claims: dict[str, _Claim] = {}
        self._expiries: list[tuple[float, str]] = []
        self._plan_count = 0
        self._rates = rates

    def adopt(self, specs: Sequence[BudgetSpec], now_wall: float, rates: FleetRates) -> None:
        """Takes the budgets of another configuration, and the rates of another fleet.

        A budget whose name, scope and period stay keeps what is spent; one whose values are as they were configured
        before keeps the changes made to it since, and stays deleted if it was. One that was created at run time stays
        until the configuration has one of its name. One that is taken out and comes back within its period is the same
        still: a configuration that is taken back does not grant its limit anew.
        """
        known = self._resting | {_kind(book.configured): book for book in self._books.values()}
        self._deleted = {spec.name: spec for spec in specs if self._deleted.get(spec.name) == spec}
        books: dict[str, Book] = {}
        for spec in specs:
            if spec.name not in self._deleted:
                books[spec.name] = self._taken(spec, known, now_wall, created=False)
        for name, book in self._books.items():
            if book.created and name not in books and known.pop(_kind(book.configured), None) is not None:
                books[name] = book
        self._books = books
        self._rest(known, now_wall)
        self._rates = rates

    def _taken(
        self, spec: BudgetSpec, known: dict[tuple[str, str, str], Book], now_wall: float, *, created: bool
    ) -> Book:
        """Returns the book of a budget: the one there was in this period, taken out of `known`, or a new one."""
        book = known.pop(_kind(spec), None)
        if book is None:
            book = Book(spec, now_wall)
            self._resume(book, now_wall)
        elif book.configured != spec or (created and book.spec != spec):
            # What was spent in a period that nobody has asked about since it ended is of none that is to come.
            book.roll(now_wall)
            book.configured = spec
            book.change(spec, now_wall)
        book.created = created
        book.settled = self._settled
        return book

    def _rest(self, known: Mapping[tuple[str, str, str], Book], now_wall: float) -> None:
        resting = [(kind, book) for kind, book in known.items() if not book.over(now_wall)]
        self._resting = dict(resting[-RESTING_MAXIMUM:])

    def note_settled(self, settled: list[Settled]) -> None:
        """Notes every charge from now on in this list, for whoever keeps a journal and empties it."""
        self._settled = settled
        for book in (*self._books.values(), *self._resting.values()):
            book.settled = settled

    @property
    def books(self) -> tuple[Book, ...]:
        """All budgets in force, for whoever keeps what is spent."""
        return tuple(self._books.values())

    def resting(self, now_wall: float) -> tuple[Book, ...]:
        """Returns the budgets that were taken out, as far as their period still runs."""
        return tuple(book for book in self._resting.values() if not book.over(now_wall))

    def resume(self, kept: Mapping[tuple[str, str, str], SpentSums], now_wall: float) -> list[str]:
        """Takes what was kept over a restart by name, scope and period, to be called before anything is spent.

        Returns the names of the budgets that it was of. What is of budgets that are not in force waits until they come
        back within their period.
        """
        self._absent = {kind: sums for kind, sums in kept.items() if sums.runs(now_wall)}
        resumed = [book.spec.name for book in self._books.values() if self._resume(book, now_wall)]
        self._absent = dict(list(self._absent.items())[-RESTING_MAXIMUM:])
        return resumed

    def take_over(self, sums: SpentSums, now_wall: float) -> bool:
        """Takes what a budget has come to elsewhere, while it runs: of each account the larger sum counts.

        Tells whether there is such a budget, and the period is the one under way.
        """
        kind = (sums.budget.name, sums.budget.scope, sums.budget.period)
        book = next((each for each in self._books.values() if _kind(each.configured) == kind), None)
        if book is None or not sums.runs(now_wall):
            return False
        book.roll(now_wall)
        book.take_over(tuple(sums.accounts.values()), sums.other, sums.since_wall)
        return True

    def absent(self, now_wall: float) -> tuple[SpentSums, ...]:
        """Returns what was kept of budgets that are not in force, as far as their period still runs."""
        return tuple(sums for sums in self._absent.values() if sums.runs(now_wall))

    def _resume(self, book: Book, now_wall: float) -> bool:
        """Gives a budget what was kept of it; tells whether there was anything."""
        sums = self._absent.pop(_kind(book.configured), None) if self._absent else None
        if sums is None or not sums.runs(now_wall):
            return False
        book.resume(sums.accounts.values(), sums.other, sums.since_wall)
        return True

    @property
    def owes(self) -> bool:
        """Whether any call or plan holds something."""
        return bool(self._claims)

    # Before an attempt.

    def room(self, payer: Payer, *, now: float, now_wall: float, holder: str = "") -> Room | None:
        """Returns what is left for a call, with what `holder` (itself) holds already; None where no budget applies."""
        if not self._books:
            return None
        tightest: Book | None = None
        least = 0
        for book in self._books.values():
            book.roll(now_wall)
            left = book.left(book.find(book.spec.key(*payer)))
            if tightest is None or left < least:
                tightest, least = book, left
        assert tightest is not None
        claim = self._claims.get(holder) if holder else None
        ends_at = tightest.span.ends_at
        return Room(
            least + (0 if claim is None else claim.spare),
            tightest.spec.name,
            tightest.spec.on_exceed is OnExceed.DOWNGRADE,
            None if ends_at is None else now + ends_at - now_wall,
            self._rates,
        )

    def reserved(self, budget: str, payer: Payer, *, holder: str = "") -> Reserved | None:
        """Returns what others than `holder` hold of a budget where the payer's spending counts; None for nothing."""
        book = self._books.get(budget)
        account = None if book is None else book.find(book.spec.key(*payer))
        if account is None:
            return None
        own = self._claims.get(holder)
        mine = own.nano_usd if own is not None and _holds(own, account) else 0
        if account.reserved <= mine:
            return None
        expiries = (
            claim.expires_at
            for claim in itertools.islice(self._claims.values(), LOOKED_AT_CLAIMS)
            if claim.expires_at is not None and claim.spare and claim is not own and _holds(claim, account)
        )
        return Reserved(account.reserved - mine, min(expiries, default=None))

    def reserve(self, holder: str, attempt_id: str, nano_usd: int, payer: Payer, now_wall: float) -> bool:
        """Takes what an attempt needs from every budget that applies; false, and nothing, where one has too little.

        What `holder` holds already is used first.
        """
        claim = self._claims.get(holder)
        held = self._open(payer, now_wall) if claim is None else claim.held
        missing = nano_usd if claim is None else max(0, nano_usd - claim.spare)
        if any(book.left(account) < missing for book, account in held):
            return False
        if claim is None:
            claim = self._begin(holder, held)
        _hold(held, missing)
        claim.spare += missing - nano_usd
        claim.attempts[attempt_id] = nano_usd
        return True

    def reserve_plan(
        self, decision_id: str, nano_usd: int, payer: Payer, *, expected: int | None, expires_at: float, now_wall: float
    ) -> bool:
        """Holds the cost of a plan until it is reported or expires; false where a budget has too little.

        `expected` is charged where a report does not tell the cost.
        """
        held = self._open(payer, now_wall)
        if any(book.left(account) < nano_usd for book, account in held):
            return False
        while self._plan_count >= PLANS_MAXIMUM:
            self._expire_first()
        claim = self._begin(decision_id, held)
        _hold(held, nano_usd)
        claim.spare = nano_usd
        claim.expected = expected
        claim.expires_at = expires_at
        self._plan_count += 1
        heapq.heappush(self._expiries, (expires_at, decision_id))
        if len(self._expiries) > 2 * PLANS_MAXIMUM:
            self._forget_ended()
        return True

    # After it.

    def settle(self, holder: str, attempt_id: str, cost: int | None, now_wall: float) -> list[Alert]:
        """Charges what an attempt cost; the rest of what it held stays with the call. Unknown costs what was held."""
        claim = self._claims.get(holder)
        taken = None if claim is None else claim.attempts.pop(attempt_id, None)
        if claim is None or taken is None:
            return []
        claim.spare += taken
        return self._charge(claim, taken if cost is None else cost, now_wall)

    def end(self, holder: str) -> None:
        """Releases what a call still holds: it makes no further attempt."""
        claim = self._claims.pop(holder, None)
        if claim is None:
            return
        if claim.expires_at is not None:
            self._plan_count -= 1
        _hold(claim.held, -claim.nano_usd)
        for _, account in claim.held:
            account.claims -= 1

    def report(self, decision_id: str, cost: int | None, payer: Payer, now_wall: float, *, ok: bool) -> list[Alert]:
        """Charges what a caller's own call cost, in full: to its plan's accounts, else to the payer's.

        A success ends the plan; after a failure it may be followed by another attempt. Without plan and cost nothing is
        known to charge.
        """
        claim = self._claims.get(decision_id)
        if claim is None or claim.expires_at is None:
            if not cost:
                return []
            held = self._open(payer, now_wall)
            return [alert for book, account in held for alert in book.spend(account, cost)]
        if cost is None:
            cost = claim.spare if claim.expected is None else claim.expected
        alerts = self._charge(claim, cost, now_wall)
        if ok:
            self.end(decision_id)
        return alerts

    def expire(self, now: float) -> None:
        """Releases plans that nobody reported in time; cheap where there are none."""
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            self._expire_first()

    def refused(self, budget: str, payer: Payer, now_wall: float) -> list[Alert]:
        """Takes note that a call was refused for a budget's sake."""
        book = self._books.get(budget)
        if book is None:
            return []
        book.roll(now_wall)
        return book.refused(book.open(book.spec.key(*payer)))

    # For operators and callers.

    def remaining(self, payer: Payer, now_wall: float) -> tuple[Remaining, ...]:
        """Returns what remains of each budget that applies."""
        for book in self._books.values():
            book.roll(now_wall)
        return tuple(book.remaining(book.spec.key(*payer)) for book in self._books.values())

    def reports(self, now_wall: float) -> list[BudgetReport]:
        """Returns all budgets, by name."""
        return [self.budget(name, now_wall) for name in sorted(self._books)]

    def specs(self) -> list[BudgetSpec]:
        """Returns the budgets in force, by name."""
        return [self._books[name].spec for name in sorted(self._books)]

    def budget(self, name: str, now_wall: float) -> BudgetReport:
        """Returns one budget. Raises UnknownBudgetError."""
        book = self._book(name)
        book.roll(now_wall)
        return book.report(now_wall, LISTED_ACCOUNTS)

    def change(self, spec: BudgetSpec, etag: str, now_wall: float) -> BudgetReport:
        """Changes the budget of that name; what is spent stays spent.

        `etag` is that of the budget that was read, "" to change in any case. Raises UnknownBudgetError, StaleEtagError
        or InvalidRequestError.
        """
        book = self._book(spec.name)
        book.roll(now_wall)
        _check_etag(book, etag)
        faults = list(budget_faults(spec))
        if faults:
            raise InvalidRequestError(faults)
        if _kind(spec) != _kind(book.spec):
            raise ValueError("scope and period of a budget cannot be changed")
        book.change(spec, now_wall)
        return self.budget(spec.name, now_wall)

    def create(self, spec: BudgetSpec, now_wall: float) -> BudgetReport:
        """Adds a budget; one that was deleted within its period has spent what it had spent.

        Raises InvalidRequestError, or AlreadyExistsError where the name is taken.
        """
        faults = list(budget_faults(spec))
        if len(self._books) >= BUDGETS_MAXIMUM:
            description = f"there are {len(self._books)} budgets, and there can be no more: delete one"
            faults.append(FieldViolation(field="name", description=description))
        if faults:
            raise InvalidRequestError(faults)
        if spec.name in self._books:
            raise AlreadyExistsError(f"there is a budget {spec.name!r} already; change it, or take another name")
        self._books[spec.name] = self._taken(spec, self._resting, now_wall, created=True)
        return self.budget(spec.name, now_wall)

    def delete(self, name: str, etag: str, now_wall: float) -> None:
        """Takes a budget out; calls under way that hold something of it end with it.

        One of the configuration comes back with the next start, or when the configuration has other values for it.
        `etag` is that of the budget that was read, "" to delete in any case. Raises UnknownBudgetError or
        StaleEtagError.
        """
        book = self._book(name)
        book.roll(now_wall)
        _check_etag(book, etag)
        del self._books[name]
        if not book.created:
            self._deleted[name] = book.configured
        self._rest({**self._resting, _kind(book.configured): book}, now_wall)

    def _book(self, name: str) -> Book:
        book = self._books.get(name)
        if book is None:
            known = ", ".join(sorted(self._books)) or "none"
            raise UnknownBudgetError(f"there is no budget {name!r}; the budgets are: {known}", name=name)
        return book

    def _open(self, payer: Payer, now_wall: float) -> Held:
        held = []
        for book in self._books.values():
            book.roll(now_wall)
            held.append((book, book.open(book.spec.key(*payer))))
        return tuple(held)

    def _begin(self, holder: str, held: Held) -> _Claim:
        self.end(holder)
        for _, account in held:
            account.claims += 1
        claim = self._claims[holder] = _Claim(held)
        return claim

    def _charge(self, claim: _Claim, cost: int, now_wall: float) -> list[Alert]:
        used = min(claim.spare, cost)
        claim.spare -= used
        alerts: list[Alert] = []
        for book, account in claim.held:
            book.roll(now_wall)
            account.reserved -= used
            alerts += book.spend(account, cost)
        return alerts

    def _expire_first(self) -> None:
        expiry = heapq.heappop(self._expiries)
        if self._holds(expiry):
            self.end(expiry[1])

    def _forget_ended(self) -> None:
        # Plans that were reported leave their expiry behind.
        self._expiries = list(filter(self._holds, self._expiries))
        heapq.heapify(self._expiries)

    def _holds(self, expiry: tuple[float, str]) -> bool:
        claim = self._claims.get(expiry[1])
        return claim is not None and claim.expires_at == expiry[0]


def _holds(claim: _Claim, account: Account) -> bool:
    return any(each is account for _, each in claim.held)


def _hold(held: Iterable[tuple[Book, Account]], nano_usd: int) -> None:
    for _, account in held:
        account.reserved += nano_usd


def _check_etag(book: Book, etag: str) -> None:
    if etag and etag != book.etag:
        raise StaleEtagError(f"budget {book.spec.name!r} was changed since it was read; read it again, then change it")


def _kind(spec: BudgetSpec) -> tuple[str, str, str]:
    return (spec.name, spec.scope, spec.calendar.period)
