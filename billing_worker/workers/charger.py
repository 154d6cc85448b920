"""The charger: claims due cycles, writes their intents, and only then sends.

Nothing leaves before its intent is acknowledged. A commit that was not acknowledged is left alone, for the reconciler
finds the attempt if it was written; nobody finds a charge that was sent without one.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from billing_worker.billing import charging
from billing_worker.billing.charging import BookAttempt, ChargingRules, Hold, NotYet, OpenAttempt, Skip
from billing_worker.billing.model import Attempt, ClaimedCycle
from billing_worker.billing.states import CycleStatus, Mode
from billing_worker.clock import Clock
from billing_worker.portone.wire_schedules import schedule_body
from billing_worker.store import attempts, cycles
from billing_worker.store.attempts import Intent
from billing_worker.store.db import Pool, RowRefusedError, StatementRefusedError
from billing_worker.telemetry import Metrics
from billing_worker.workers.collector import Collector
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.sweep import Counts, Slots

log = structlog.get_logger()

# A pass waits this long for slots before it reports back, so that a hanging provider does not look like a dead sweep.
SLOT_WAIT_SECONDS = 1.0
# The limiter refills in steps of a request; a wait this short costs neither a send nor a processor.
REFILL_WAIT_SECONDS = 0.02
# The longest that a cycle is opened before it is due (BILLING_SCHEDULE_LEAD_SECONDS).
LEAD_MAX = timedelta(days=30)
# So many shards at a time: while one waits for its commit, the next one's rows are made ready.
SHARDS_AT_ONCE = 3
# A pass begins once this share of the slots is free: smaller batches cost more, larger ones leave slots idle.
SLOT_SHARE = 12


# An import of a million rows takes minutes, an operator's change milliseconds; a booking has days.
UNBOOKED_PAUSE = timedelta(seconds=30)

# One in so many attempts is opened ahead of its turn, so that a call that ends is followed at once and not after a
# claim and a commit. What waits too long for its turn is not sent, and the reconciler follows it.
AHEAD_SHARE = 2


def slots_for(in_flight_max: int) -> Slots:
    """Slots for the calls in flight and for the attempts that are opened ahead of their turn."""
    return Slots(in_flight_max + in_flight_max // AHEAD_SHARE)


@dataclass(frozen=True, slots=True)
class ChargerLimits:
    """How much one pass takes, and for how long."""

    in_flight_max: int
    batch_max: int
    claim_lease: timedelta
    attempt_lease: timedelta


class _Decided(NamedTuple):
    """What becomes of claimed cycles: opened, set aside with a reason, or given back until their time."""

    intents: list[Intent]
    aside: list[tuple[ClaimedCycle, CycleStatus, str]]
    later: dict[datetime, list[ClaimedCycle]]


class Charger:
    """Turns due cycles into charges, as many at once as there are slots."""

    def __init__(
        self,
        *,
        claims: Pool,
        collector: Collector,
        gate: SendingGate,
        clock: Clock,
        slots: Slots,
        metrics: Metrics,
        rules: ChargingRules,
        limits: ChargerLimits,
        request_body: Callable[[ClaimedCycle], bytes],
        sends_available: Callable[[], int],
        worker: str,
    ) -> None:
        self._claims = claims
        self._collector = collector
        self._gate = gate
        self._clock = clock
        self._slots = slots
        self._metrics = metrics
        self._rules = rules
        self._limits = limits
        self._request_body = request_body
        self._sends_available = sends_available
        self._worker = worker
        self._turns = asyncio.Semaphore(limits.in_flight_max)
        self._stopping = False

    def stop(self) -> None:
        """Claim no more, and give back what is claimed and not sent."""
        self._stopping = True
        # Whoever waits for a turn will not send, and hands over now instead of when a call in flight has ended.
        for _ in range(self._slots.busy):
            self._turns.release()

    def _is_stopping(self) -> bool:
        return self._stopping

    async def run_once(self, now: datetime) -> Counts:
        """Claim, open and send as many due cycles as there is room for."""
        if self._gate.closed() or self._stopping:
            return Counts()
        room = await self._room()
        due = await cycles.shards_due(self._claims, now, store_id=self._rules.store_id) if room else []
        taken = await self._take_suspects([each.shard for each in due if each.suspect], room)
        shards = [each.shard for each in due if not each.suspect]
        taken += await self._take_all(shards, room - taken)
        return Counts(taken, more=room == 0 or taken > 0)

    async def _room(self) -> int:
        if self._gate.probing:
            idle = await self._slots.wait_free(self._slots.limit, SLOT_WAIT_SECONDS) == self._slots.limit
            return int(idle)
        wanted = max(1, min(self._slots.limit // SLOT_SHARE, self._limits.batch_max))
        free = await self._slots.wait_free(wanted, SLOT_WAIT_SECONDS)
        if not self._sends_available():
            await asyncio.sleep(REFILL_WAIT_SECONDS)
        return min(free, self._limits.batch_max, self._sends_available())

    async def _take_suspects(self, shards: list[int], room: int) -> int:
        """Claim one suspect a shard, each when nothing else is claimed: should it kill us, it is counted alone."""
        taken = 0
        for shard in shards[:room]:
            if not self._stopping:
                taken += await self._take(shard, 1, self._clock.now(), suspects=True)
        return taken

    async def _take_all(self, shards: list[int], room: int) -> int:
        """Claim from one shard after the other, a few at a time, until the room is used up."""
        waiting, left = deque(shards), room
        share = max(room // SHARDS_AT_ONCE, 1)

        async def take_on() -> None:
            nonlocal left
            while waiting and left > 0 and not self._stopping:
                most = min(share, left)
                left -= most
                taken = await self._take(waiting.popleft(), most, self._clock.now())
                left += most - taken  # After the wait: the others have changed it meanwhile.

        # Each ends by itself: one that is cancelled half way would leave its rows to their lease.
        ended = await asyncio.gather(*(take_on() for _ in range(SHARDS_AT_ONCE)), return_exceptions=True)
        for failure in ended:
            if failure is not None:
                raise failure
        return room - left

    async def _take(self, shard: int, room: int, now: datetime, *, suspects: bool = False) -> int:
        lease_until = now + self._limits.claim_lease
        claimed = await cycles.claim_due_cycles(
            self._claims,
            shard,
            store_id=self._rules.store_id,
            now=now,
            lease_until=lease_until,
            limit=room,
            suspects=suspects,
        )
        if self._stopping:
            await cycles.release_cycles(self._claims, claimed, claimable_at=now)
            return 0
        self._metrics.claims.inc(len(claimed))
        decided = self._decide(claimed)
        if decided.aside:
            await cycles.set_aside_cycles(self._claims, decided.aside, actor=self._worker)
        for claimable_at, early in decided.later.items():
            await cycles.release_cycles(self._claims, early, claimable_at=claimable_at)
        # The window for the send opens before the intent is written: whoever is frozen in between has lost that time.
        opened = self._clock.monotonic()
        sendable_from = {intent.cycle.payment_id: _sendable_from(intent.cycle) for intent in decided.intents}
        for attempt in await self._open(decided.intents):
            send = self._collector.send_first(
                attempt,
                sendable_from=sendable_from[attempt.payment_id],
                opened=opened,
                turns=self._turns,
                stopping=self._is_stopping,
            )
            self._slots.start(send, payment_id=attempt.payment_id)
        return len(claimed)

    def _decide(self, claimed: list[ClaimedCycle]) -> _Decided:
        decided = _Decided([], [], defaultdict(list))
        for cycle in claimed:
            match charging.next_step(cycle, self._rules, self._clock.now()):
                case OpenAttempt() as step:
                    body = self._request_body(cycle)
                    decided.intents.append(Intent(cycle, step.attempt_number, step.idempotency_key, body))
                case BookAttempt(attempt_number=number, idempotency_key=key, time_to_pay=at):
                    body = schedule_body(payment=self._request_body(cycle), time_to_pay=at)
                    decided.intents.append(Intent(cycle, number, key, body, time_to_pay=at))
                case NotYet() as step:
                    decided.later[step.claimable_at].append(cycle)
                case Hold() as step:
                    decided.aside.append((cycle, CycleStatus.HELD, step.reason))
                    log.error("cycle.held", cycle_id=cycle.cycle_id, payment_id=cycle.payment_id, reason=step.reason)
                case Skip() as step:
                    decided.aside.append((cycle, CycleStatus.SKIPPED, step.reason))
        return decided

    async def _open(self, intents: list[Intent]) -> list[Attempt]:
        now = self._clock.now()
        look_at = now + self._limits.attempt_lease
        try:
            opened = await attempts.open_attempts(self._claims, intents, now=now, look_at=look_at, worker=self._worker)
        except StatementRefusedError:
            raise
        except RowRefusedError as error:
            if len(intents) == 1:
                # Its claims are counted, and past the bound it is set aside for a person.
                log.error("intent.refused", cycle_id=intents[0].cycle.cycle_id, reason=str(error))
                return []
            # One row that Postgres does not take must not keep the others from being collected.
            return [attempt for intent in intents for attempt in await self._open([intent])]
        await self._give_back_unbooked(intents, opened)
        return opened

    async def _give_back_unbooked(self, intents: list[Intent], opened: list[Attempt]) -> None:
        """Give back what was not booked because somebody is changing its subscription; no lease need run out for it."""
        there = {attempt.payment_id for attempt in opened}
        unbooked = [i.cycle for i in intents if i.time_to_pay is not None and i.cycle.payment_id not in there]
        if unbooked:
            later = self._clock.now() + UNBOOKED_PAUSE
            await cycles.release_cycles(self._claims, unbooked, claimable_at=later)


def _sendable_from(cycle: ClaimedCycle) -> datetime:
    """From when on something of it may have been sent, and lost with a database. A booking is sent ahead."""
    return cycle.due_at - LEAD_MAX if cycle.mode is Mode.SCHEDULE else cycle.due_at
