"""The books as the auditor reads them: how far the run is, what became of every period, what the ledger says.

Everything here runs as a login that can write nothing. The statements are in sql/queries/demo.sql and the demo shows
them, so nothing may be counted in Python that SQL can count.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from billing_worker.billing.model import SHARDS
from billing_worker.demo.bookings import Booking
from billing_worker.demo.practice import Payment
from billing_worker.store import db, ledger
from billing_worker.store.db import PoolLimits

_LIMITS = PoolLimits(claims_max=1, outcomes_max=1, command_seconds=60.0)

LEARNT = ("by_answer", "by_webhook", "by_asking")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is. What PortOne has a booking of is open too, and counted apart until its time."""

    unopened: int
    settled: int
    collecting: int
    waiting: int
    untried: int
    open_attempts: int
    booked: int
    open_of_worker: int
    open_bookings_of_worker: int
    looks_left: int

    @property
    def is_over(self) -> bool:
        """Whether nothing is open and nothing is left to ask."""
        return not (self.unopened or self.collecting or self.waiting or self.open_attempts or self.looks_left)


class Books:
    """A connection as the auditor, for a program that is not asynchronous."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        try:
            self._database = self._runner.run(db.connect(url, _LIMITS, application_name="billing-worker demo"))
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        self._runner.run(self._database.close())
        self._runner.close()

    def progress(self, worker: str) -> Progress:
        """How far the run is, and how many attempts of a worker are open."""
        return Progress(**self._rows("demo_progress", worker)[0])

    def not_booked(self, business_keys: Sequence[str]) -> list[str]:
        """Those of the subscriptions of which PortOne has no booking that we know of."""
        return [row["business_key"] for row in self._rows("demo_not_booked", list(business_keys))]

    def outcomes(self) -> list[Mapping[str, Any]]:
        """How many periods of either mode ended how, and what they are worth."""
        return self._rows("demo_outcomes")

    def payments_figures(self) -> Mapping[str, Any]:
        """The ledger's payments: how many, how much, and the fingerprint of all of them."""
        return self._rows("demo_payments")[0]

    def attempt_figures(self) -> Mapping[str, int]:
        """How the attempts ended."""
        return self._rows("demo_attempt_figures")[0]

    def bookings(self) -> list[Booking]:
        """Every booking, those that never reached PortOne too."""
        return [
            Booking(row["schedule_id"], row["payment_id"], row["amount_minor"], row["status"], row["revoke_reason"])
            for row in self._rows("demo_bookings")
        ]

    def booking_figures(self) -> Mapping[str, int]:
        """What became of the bookings."""
        return self._rows("demo_booking_figures")[0]

    def learnt(self, grace: timedelta) -> Mapping[str, Mapping[str, int]]:
        """How outcomes were learnt, of charges and of bookings."""
        rows = self._rows("demo_learnt", grace)
        return {row["tried_by"]: {name: row[name] for name in LEARNT} for row in rows}

    def hints(self) -> Mapping[str, int]:
        """How many webhooks were kept, and how many of them ordered a look."""
        return self._rows("demo_hints")[0]

    def too_early(self) -> list[str]:
        """The business keys of those who were charged before they owed."""
        return [row["business_key"] for row in self._rows("demo_too_early")]

    def paid_twice(self) -> list[str]:
        """The payment ids of periods with more than one paid entry."""
        return [row["payment_id"] for row in self._rows("demo_paid_twice")]

    def missed(self, due_by: datetime) -> list[str]:
        """The business keys of those who owed by then and have no end yet."""
        return [row["business_key"] for row in self._rows("demo_missed", due_by)]

    def payments(self) -> list[Payment]:
        """Every payment of the ledger."""
        rows = self._rows("demo_paid_entries")
        return [Payment(row["payment_id"], row["amount_minor"], row["pg_tx_id"] or "") for row in rows]

    def cycle_ends(self) -> list[tuple[str, str, int]]:
        """Business key, status and amount of every cycle."""
        return [(row["business_key"], row["status"], row["amount_minor"]) for row in self._rows("demo_cycle_ends")]

    def verify(self) -> tuple[int, list[str]]:
        """Recompute every chain: how many entries there are, and what is wrong."""
        return self._run(self._verify())

    def _rows(self, query: str, *arguments: object) -> list[Mapping[str, Any]]:
        return [dict(row) for row in self._run(self._database.claims.fetch(query, *arguments))]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _verify(self) -> tuple[int, list[str]]:
        entries, faults = 0, []
        async with self._database.claims.snapshot() as moment:
            for shard in range(SHARDS):
                read, wrong = await ledger.verify_shard(moment, shard)
                entries += read
                faults += wrong
        return entries, faults
