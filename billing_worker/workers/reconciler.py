"""The reconciler: asks PortOne about every attempt whose look is due, until it knows.

An attempt without a verdict is asked about at widening intervals and, while PortOne remembers its key, sent again. A
closed one is looked at a few times more, since a decline can turn into a payment. It never opens an attempt.
"""

from datetime import datetime, timedelta

import structlog

from billing_worker.billing import charging
from billing_worker.billing.booking import Revoke
from billing_worker.billing.charging import ChargingRules, Contradiction, NothingMore, Resend, Verified, Voided, Wait
from billing_worker.billing.states import AttemptStatus, Source
from billing_worker.clock import Clock
from billing_worker.store import attempts
from billing_worker.store.attempts import ClaimedLook
from billing_worker.store.db import Pool
from billing_worker.workers.booker import Booker
from billing_worker.workers.collector import Collector
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.sweep import Counts, Slots
from billing_worker.workers.verdicts import Verdicts

log = structlog.get_logger()

SLOT_WAIT_SECONDS = 1.0


class Reconciler:
    """Follows attempts to their end."""

    def __init__(
        self,
        *,
        claims: Pool,
        outcomes: Pool,
        collector: Collector,
        verdicts: Verdicts,
        booker: Booker,
        gate: SendingGate,
        clock: Clock,
        slots: Slots,
        rules: ChargingRules,
        lease: timedelta,
    ) -> None:
        self._claims = claims
        self._outcomes = outcomes
        self._collector = collector
        self._verdicts = verdicts
        self._booker = booker
        self._gate = gate
        self._clock = clock
        self._slots = slots
        self._rules = rules
        self._lease = lease
        self._stopping = False

    def stop(self) -> None:
        """Begin no further look and no further resend."""
        self._stopping = True

    async def run_once(self, now: datetime) -> Counts:
        """Start a look at every attempt that is due for one, as far as there is room."""
        if self._stopping:
            return Counts()
        room = await self._slots.wait_free(1, SLOT_WAIT_SECONDS)
        taken = 0
        for shard in await attempts.shards_to_look(self._claims, now) if room > 0 else ():
            began = self._clock.monotonic()
            claimed = await attempts.claim_looks(
                self._claims, shard, now=now, lease_until=now + self._lease, limit=room - taken
            )
            for look in claimed:
                self._slots.start(self._follow(look, began), payment_id=look.attempt.payment_id)
            taken += len(claimed)
            if taken >= room or self._stopping:
                break
        return Counts(taken, more=room == 0 or taken >= room)

    async def _follow(self, claimed: ClaimedLook, began: float) -> None:
        if claimed.attempt.status is not AttemptStatus.OPEN:
            await self._review(claimed)
        elif claimed.attempt.time_to_pay is not None:
            await self._resolve_booking(claimed, began)
        else:
            await self._resolve(claimed)

    async def _resolve_booking(self, claimed: ClaimedLook, began: float) -> None:
        """Follow a booking that this worker began to claim at `began`, by the clock's monotonic seconds."""
        attempt = claimed.attempt
        weighed = await self._booker.weigh(attempt)
        decided = self._clock.monotonic()
        ours_until = began + self._lease.total_seconds()
        sends = isinstance(weighed, Resend | Voided)
        # Whoever slept past its lease may meet the booking that somebody has made anew since, and that is wanted.
        overslept = isinstance(weighed, Revoke) and decided >= ours_until
        stops = self._stopping and isinstance(weighed, Resend | Voided | Revoke)
        if overslept or stops or (sends and self._gate.closed()):
            await self._ask_later(claimed, charging.next_look(attempt, now=self._clock.now(), rules=self._rules))
            return
        match weighed:
            case Resend():
                await self._collector.send_again(claimed, decided=decided)
            # A halt stops charges, and this stops one more. What a database that is not ours says is not done.
            case Revoke() if not self._gate.by_database():
                await self._booker.revoke(attempt, weighed, send_before=ours_until)
            case _:
                await self._booker.follow(attempt, weighed)

    async def _resolve(self, claimed: ClaimedLook) -> None:
        attempt, now, asked_at = claimed.attempt, self._clock.now, self._clock.now()
        found = await self._collector.look(attempt)
        decided = self._clock.monotonic()
        weighed = charging.weigh(attempt, None, found, asked_at=asked_at, now=now(), rules=self._rules)
        match weighed:
            case Resend() | Voided():
                # Neither is decided while the clocks disagree or somebody has halted sending.
                if self._gate.closed() or self._stopping:
                    await self._ask_later(claimed, charging.next_look(attempt, now=now(), rules=self._rules))
                elif isinstance(weighed, Resend):
                    await self._collector.send_again(claimed, decided=decided)
                else:
                    await self._verdicts.settle(attempt, weighed, Source.LOOK)
            case Wait():
                log.info("attempt.waits", payment_id=attempt.payment_id, reason=weighed.reason, looks=attempt.looks)
                await self._ask_later(claimed, weighed.look_at)
            case Contradiction():
                await self._verdicts.contradict(attempt, weighed)
            case _:
                await self._verdicts.settle(attempt, weighed, Source.LOOK)

    async def _review(self, claimed: ClaimedLook) -> None:
        attempt, now = claimed.attempt, self._clock.now()
        reviewed = charging.review(attempt, await self._collector.look(attempt), now=now, rules=self._rules)
        match reviewed:
            case Verified():
                await self._verdicts.verify(attempt, reviewed)
            case NothingMore():
                await self._ask_later(claimed, None)
            case Wait():
                await self._ask_later(claimed, reviewed.look_at)
            case Contradiction():
                await self._verdicts.contradict(attempt, reviewed)
            case _:
                await self._verdicts.settle(attempt, reviewed, Source.LOOK)

    async def _ask_later(self, claimed: ClaimedLook, look_at: datetime | None) -> None:
        await attempts.ask_again(self._outcomes, [(claimed.attempt, look_at)])
