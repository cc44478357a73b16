"""The accounts of one budget: for each value of its scope, what is spent and reserved in the period under way.

How many values are followed is bounded. Beyond, they share one account with the limit of a single one until the period
ends: spending is never forgotten, and those who share are held tighter than they need be, never looser.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from turnout_server.core.budget import BudgetSpec, Remaining

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from turnout_server.core.budget import Span

KEYS_MAXIMUM = 10_000
"""Values of a scope with an account of their own, in each budget; an account takes some 200 bytes."""
OTHER = "_OTHER"
"""What the account of all further values is called."""
EARLY_SHARE = 0.05
"""A forecast is unknown before so much of the period was seen: one call at its beginning would decide it."""
USED_UP_SHARE = 0.8
"""From this share of the limit on, spent, a request that finds no room is taken to mean that there is none."""
ETAG_LENGTH = 12
WHOLE = 1.0


class Account:
    """What one value of the scope has spent, and what is reserved for calls under way; nano-USD.

    `claims` counts the calls that hold or may still charge it: until they are over it stays. `told` are the shares of
    the limit that were alerted in this period.
    """

    __slots__ = ("claims", "key", "reserved", "spent", "told")

    def __init__(self, key: str) -> None:
        self.key = key
        self.spent = 0
        self.reserved = 0
        self.claims = 0
        self.told: set[float] = set()


class AccountReport(NamedTuple):
    """One account as it stands; `forecast` is unknown (None) too early in the period, and where it never ends."""

    key: str
    spent: int
    reserved: int
    left: int
    forecast: int | None


class BudgetReport(NamedTuple):
    """One budget as it stands: the accounts most used first, and how many there are in all."""

    spec: BudgetSpec
    etag: str
    span: Span
    accounts: tuple[AccountReport, ...]
    account_count: int
    created: bool = False


class Kept(NamedTuple):
    """What an account had spent when it was kept, and which shares of the limit had been alerted."""

    key: str
    spent: int
    told: tuple[float, ...] = ()


class Alert(NamedTuple):
    """A share of the limit that an account has reached for the first time in its period."""

    spec: BudgetSpec
    key: str
    share: float
    spent: int
    reserved: int


Settled = tuple["Book", str | None, "Span", int]
"""A charge: the budget, the account's key (None for the shared one), the period, and what the account comes to."""


class Book:
    """One budget. Wall-clock times; a clock that is set back changes nothing, the period goes on until its end."""

    __slots__ = ("_accounts", "_since", "change_count", "configured", "created", "other", "settled", "span", "spec")

    def __init__(self, spec: BudgetSpec, now_wall: float) -> None:
        self.configured = spec
        """As the configuration has it; `spec` may have been changed since."""
        self.spec = spec
        self.created = False
        """Whether it came at run time rather than from the configuration."""
        self.change_count = 0
        self.span = spec.calendar.span(now_wall)
        self._since = now_wall
        self._accounts: dict[str, Account] = {}
        self.other: Account | None = None
        self.settled: list[Settled] | None = None
        """Where each charge is noted, with what the account has come to by it; None where nobody keeps a journal."""

    @property
    def etag(self) -> str:
        """Changes with every change of the budget, and not with its spending."""
        spec = self.spec
        values = (self.change_count, spec.limit_nano_usd, spec.on_exceed, spec.alert_at, spec.calendar.timezone)
        return sha256(repr((*values, spec.per_pod, spec.replicas)).encode()).hexdigest()[:ETAG_LENGTH]

    def change(self, spec: BudgetSpec, now_wall: float) -> None:
        """Takes other values for the same name, scope and period. What is spent stays spent."""
        if spec.calendar != self.spec.calendar:
            self.span = spec.calendar.span(now_wall)
            # What was spent is of another period now, which ends when the journal would not know.
            for account in self._every():
                self._note(account)
        self.spec = spec
        self.change_count += 1
        limit = spec.own_limit_nano_usd
        for account in self._every():
            # What is no longer reached is told when it is reached again.
            account.told = {share for share in account.told if account.spent >= share * limit}

    def roll(self, now_wall: float) -> None:
        """Begins the next period where the present one has ended: nothing is spent, what is reserved stays so.

        What a call reserved before and costs after the change counts in the period in which it ends.
        """
        ends_at = self.span.ends_at
        if ends_at is None or now_wall < ends_at:
            return
        self.span = self.spec.calendar.span(now_wall)
        kept = [account for account in self._every() if account.claims]
        for account in kept:
            account.spent = 0
            account.told.clear()
        self._accounts = {account.key: account for account in kept if account is not self.other}
        if self.other not in kept:
            self.other = None

    def over(self, now_wall: float) -> bool:
        """Whether its period has ended, so that nothing of what was spent counts any more."""
        return self.span.ends_at is not None and now_wall >= self.span.ends_at

    def keep(self) -> tuple[list[Kept], Kept | None]:
        """Returns all accounts with their own value, and the shared one. What is reserved is not kept."""
        accounts = [Kept(each.key, each.spent, tuple(each.told)) for each in self._accounts.values() if each.spent]
        other = self.other
        return accounts, None if other is None else Kept(other.key, other.spent, tuple(other.told))

    def resume(self, accounts: Iterable[Kept], other: Kept | None, since_wall: float) -> None:
        """Takes what was kept of the period under way; it has counted since `since_wall`."""
        for kept in accounts:
            _resume(self.open(kept.key), kept)
        if other is not None:
            if self.other is None:
                self.other = Account(OTHER)
            _resume(self.other, other)
        limit = self.spec.own_limit_nano_usd
        for account in self._every():
            # The limit may be another one than when it was told of.
            account.told = {share for share in account.told if account.spent >= share * limit}
        self._since = min(self._since, since_wall)

    def take_over(self, accounts: Sequence[Kept], other: Kept | None, since_wall: float) -> None:
        """Takes the same while it counts, and notes it: what came from elsewhere is kept like what was spent here."""
        self.resume(accounts, other, since_wall)
        for account in {self.open(kept.key) for kept in accounts}:
            self._note(account)
        if other is not None and self.other is not None:
            self._note(self.other)

    @property
    def since_wall(self) -> float:
        """From when on it has counted, wall-clock seconds."""
        return self._since

    def find(self, key: str) -> Account | None:
        """Returns the account of a value; None where it has not spent anything yet."""
        account = self._accounts.get(key)
        return self.other if account is None else account

    def open(self, key: str) -> Account:
        """Returns the account of a value, beginning one where there is none; the shared one where there is no room."""
        account = self._accounts.get(key)
        if account is not None:
            return account
        if self.other is None and len(self._accounts) >= KEYS_MAXIMUM:
            self._drop_unused()
        if self.other is not None:
            # Once it is used, a value that is in it must not begin anew beside it.
            return self.other
        account = self._accounts[key] = Account(key)
        return account

    def left(self, account: Account | None) -> int:
        """Returns what is neither spent nor reserved, at least 0."""
        limit = self.spec.own_limit_nano_usd
        return limit if account is None else max(0, limit - account.spent - account.reserved)

    def spend(self, account: Account, nano_usd: int) -> list[Alert]:
        """Charges an account; returns the shares of the limit that it reaches by that."""
        account.spent += nano_usd
        self._note(account)
        limit = self.spec.own_limit_nano_usd
        reached = [
            share
            for share in (*self.spec.alert_at, WHOLE)
            if share not in account.told and account.spent >= share * limit
        ]
        return [self._tell(account, share) for share in dict.fromkeys(reached)]

    def refused(self, account: Account) -> list[Alert]:
        """Takes note that something did not fit, and tells once where that means that the budget is used up.

        So it is where most of it is spent and nothing is reserved that could come back: else the request was too large.
        """
        spent_most = account.spent >= USED_UP_SHARE * self.spec.own_limit_nano_usd
        used_up = spent_most and not account.reserved and WHOLE not in account.told
        return [self._tell(account, WHOLE)] if used_up else []

    def remaining(self, key: str) -> Remaining:
        """Returns what remains for a value of the scope."""
        limit, account = self.spec.own_limit_nano_usd, self.find(key)
        left = self.left(account)
        return Remaining(self.spec.name, limit, left, 1.0 if limit <= 0 else 1.0 - left / limit, self.span.ends_at)

    def report(self, now_wall: float, most: int) -> BudgetReport:
        """Returns the budget with at most so many accounts, those with the most spent and reserved first."""
        every = sorted(self._every(), key=lambda account: (-account.spent - account.reserved, account.key))
        listed = tuple(
            AccountReport(
                account.key,
                account.spent,
                account.reserved,
                self.left(account),
                self._forecast(account.spent, now_wall),
            )
            for account in every[:most]
        )
        return BudgetReport(self.spec, self.etag, self.span, listed, len(every), self.created)

    def _forecast(self, spent: int, now_wall: float) -> int | None:
        """Returns what will be spent at the end of the period if it goes on as so far.

        spent + spent / seconds seen of the period x seconds left of it. Seen is what has passed of the period, or
        since this sidecar began to count if that is later.
        """
        starts_at, ends_at = self.span
        if ends_at is None:
            return None
        seen = now_wall - max(starts_at, self._since)
        left = ends_at - now_wall
        if seen < EARLY_SHARE * (ends_at - starts_at) or left < 0:
            return None
        return spent + round(spent / seen * left)

    def _note(self, account: Account) -> None:
        if self.settled is not None:
            self.settled.append((self, None if account is self.other else account.key, self.span, account.spent))

    def _tell(self, account: Account, share: float) -> Alert:
        account.told.add(share)
        return Alert(self.spec, account.key, share, account.spent, account.reserved)

    def _drop_unused(self) -> None:
        self._accounts = {key: each for key, each in self._accounts.items() if each.spent or each.claims}
        if len(self._accounts) >= KEYS_MAXIMUM:
            self.other = Account(OTHER)

    def _every(self) -> Iterator[Account]:
        yield from self._accounts.values()
        if self.other is not None:
            yield self.other


def _resume(account: Account, kept: Kept) -> None:
    account.spent = max(account.spent, kept.spent)
    account.told.update(kept.told)
