"""Findings: writes down in what PortOne's books and ours differ, and has a look put right what a look can.

A difference changes no verdict: it is named, shown and counted. What is wrong is put right by the looks that it
orders, or by a person.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum

import structlog

from billing_worker.billing.comparison import ADOPTABLE, STRANGERS, WORTH_A_LOOK, Difference, DifferenceClass
from billing_worker.clock import Clock
from billing_worker.store import differences, positions
from billing_worker.store.db import Executor
from billing_worker.store.positions import OrderResult
from billing_worker.telemetry import Metrics

log = structlog.get_logger()

# How often what stands is counted for the gauge.
TALLY_SECONDS = 30.0


class Passed(Enum):
    """How far a pass of a comparison has come."""

    WHOLE = "whole"  # all of the window was compared
    IN_PART = "in part"  # to its end, but not from its beginning, or not all of it could be read
    MORE = "more"
    STOPPED = "stopped"  # PortOne does not answer, or somebody has overtaken us


class Findings:
    """What comparisons have found."""

    def __init__(
        self, claims: Executor, clock: Clock, metrics: Metrics, *, ring: Callable[[], None], actor: str
    ) -> None:
        self._claims = claims
        self._clock = clock
        self._metrics = metrics
        self._ring = ring
        self._actor = actor
        self._tallied_at = float("-inf")

    async def note(self, found: Sequence[Difference]) -> None:
        """Have put right what can be, and write the differences; somebody is woken for each new one of ours."""
        # The looks first: a kill between the two has them ordered again by the next comparison.
        await self._adopt({each.payment_id: each.schedule_id for each in found if each.difference_class in ADOPTABLE})
        await self._order_looks({each.payment_id for each in found if each.difference_class in WORTH_A_LOOK})
        new = await differences.note_differences(self._claims, found, now=self._clock.now(), actor=self._actor)
        for each in new:
            tell = log.info if each.difference_class in STRANGERS else log.error
            tell(
                "difference.found",
                difference_class=each.difference_class.value,
                payment_id=each.payment_id,
                schedule_id=each.schedule_id or None,
                what=each.what,
            )

    async def end(self, *, of_schedules: bool, not_seen_since: datetime) -> None:
        """A comparison was whole: what it has not seen is over."""
        ended = await differences.end_differences(
            self._claims, of_schedules=of_schedules, not_seen_since=not_seen_since, now=self._clock.now()
        )
        of = "schedules" if of_schedules else "payments"
        self._metrics.comparisons.labels(of=of).inc()
        log.info("comparison.ended", of=of, differences_ended=ended)

    async def tally(self) -> None:
        """Count what stands, now and then."""
        if self._clock.monotonic() - self._tallied_at < TALLY_SECONDS:
            return
        self._tallied_at = self._clock.monotonic()
        counts = await differences.count_differences(self._claims)
        for each in DifferenceClass:
            self._metrics.differences.labels(each.value).set(counts.get(each, 0))

    async def _adopt(self, schedule_ids: Mapping[str, str]) -> None:
        """Give what PortOne has of ours, and nothing here follows, somebody who does. By payment id."""
        if not schedule_ids:
            return
        now = self._clock.now()
        await differences.adopt_orphans(self._claims, schedule_ids, now=now)
        ours = await differences.our_cycles(self._claims, schedule_ids)
        forgotten = [(each, schedule_ids[each.payment_id]) for each in ours.values() if each.forgotten]
        for payment_id in await differences.adopt_skipped(self._claims, forgotten, now=now, actor=self._actor):
            log.error("attempt.adopted", payment_id=payment_id)
            self._ring()

    async def _order_looks(self, payment_ids: set[str]) -> None:
        if not payment_ids:
            return
        results = await positions.look_anyway(self._claims, payment_ids, now=self._clock.now())
        if OrderResult.ORDERED in results.values():
            self._ring()
