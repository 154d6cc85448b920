"""The booker: learns what became of a booking, and has PortOne take one back.

A booking is an attempt that PortOne charges by itself; who sends it is the collector, who follows it the reconciler.
Nothing here opens an attempt or charges, and a booking is taken back by its own id, never by its billing key.
"""

from datetime import datetime
from typing import assert_never

import structlog

from billing_worker.billing import booking, charging
from billing_worker.billing.booking import BookedAt, Revoke, WeighedBooking
from billing_worker.billing.charging import ChargingRules, Contradiction, Resend, Revoked, Voided, Wait
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    BookingOutcome,
    Declined,
    NoVerdict,
    Paid,
    RefusalScope,
    Refused,
    RevocationOutcome,
    ScheduleLook,
    Unanswered,
)
from billing_worker.billing.states import Source
from billing_worker.clock import Clock
from billing_worker.portone import schedules
from billing_worker.portone.client import PortOneClient
from billing_worker.store import attempts
from billing_worker.store.db import Pool
from billing_worker.telemetry import Metrics
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.verdicts import Verdicts

log = structlog.get_logger()


class Booker:
    """Follows bookings from PortOne's answer to their end."""

    def __init__(
        self,
        *,
        portone: PortOneClient,
        outcomes: Pool,
        verdicts: Verdicts,
        clock: Clock,
        metrics: Metrics,
        rules: ChargingRules,
        gate: SendingGate,
        actor: str,
    ) -> None:
        self._portone = portone
        self._gate = gate
        self._outcomes = outcomes
        self._verdicts = verdicts
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._actor = actor

    async def conclude(self, attempt: Attempt, outcome: BookingOutcome, *, only_send: bool) -> None:
        """Write down what the answer to a booking proves, after a look where it proves nothing by itself."""
        now = self._clock.now()
        verdict = booking.verdict_of_booking(attempt, outcome, only_send=only_send, now=now, rules=self._rules)
        if verdict is not None:
            await self.follow(attempt, verdict, Source.ANSWER)
        elif charging.worth_a_look(outcome):
            weighed = await self.weigh(attempt, answer=outcome)
            source = Source.ANSWER if isinstance(weighed, Refused) else Source.LOOK
            await self.follow(attempt, weighed, source)
        else:
            await self._ask_later(attempt, None)
            log.info("attempt.without_verdict", payment_id=attempt.payment_id, reason=getattr(outcome, "reason", ""))

    async def weigh(self, attempt: Attempt, *, answer: BookingOutcome | None = None) -> WeighedBooking:
        """Ask PortOne for the schedule and then for the payment: what has ended has left its payment by then."""
        asked_at = self._clock.now()
        schedule = await self._find(attempt)
        payment = await self._portone.find(attempt.payment_id)
        self._metrics.looks.labels(result=type(payment).__name__.lower()).inc()
        return booking.weigh_booking(
            attempt, schedule, payment, asked_at=asked_at, now=self._clock.now(), rules=self._rules, answer=answer
        )

    async def follow(self, attempt: Attempt, weighed: WeighedBooking, source: Source = Source.LOOK) -> None:
        """Write down what a booking has come to. What wants a request of ours is left for the next look to decide."""
        match weighed:
            case BookedAt():
                await self._note(attempt, weighed, source)
            case Wait():
                log.info("attempt.waits", payment_id=attempt.payment_id, reason=weighed.reason, looks=attempt.looks)
                await self._ask_later(attempt, weighed.look_at)
            case Contradiction():
                await self._verdicts.contradict(attempt, weighed)
            case Resend() | Revoke():
                await self._ask_later(attempt, None)
            case Paid() | Declined() | Refused() | Voided() | Revoked():
                await self._verdicts.settle(attempt, weighed, source)
            case _:
                assert_never(weighed)

    async def revoke(self, attempt: Attempt, wanted: Revoke, *, send_before: float) -> None:
        """Have PortOne take the booking back, and settle by what a look says then.

        Nothing is sent from send_before on, by the clock's monotonic seconds: somebody else may have followed the
        attempt by then, and have made another booking.

        Nothing is noted before: the wish stands in the row, and whoever repeats it is told that it is done.
        """
        outcome = await schedules.revoke(self._portone, wanted.schedule_id, send_before=send_before)
        refused = isinstance(outcome, Refused)
        self._metrics.revocations.labels(outcome=_label(outcome)).inc()
        if isinstance(outcome, Refused) and outcome.scope is RefusalScope.CHANNEL:
            # What refuses this refuses charges as well. That it is accepted says nothing of the channel.
            log.error("channel.refused", error_type=outcome.error_type)
            self._gate.channel_refused(outcome.error_type)
        # Whoever cancelled will be charged unless somebody mends what PortOne refuses.
        (log.error if refused else log.info)(
            "booking.not_taken_back" if refused else "booking.taken_back",
            payment_id=attempt.payment_id,
            schedule_id=wanted.schedule_id,
            why=attempt.revoke_reason,
            outcome=_word(outcome),
        )
        if isinstance(outcome, NoVerdict | Refused):
            await self._ask_later(attempt, None)
            return
        await self.follow(attempt, await self.weigh(attempt))

    async def _find(self, attempt: Attempt) -> ScheduleLook:
        if attempt.store_id != self._rules.store_id:
            return Unanswered("the attempt is another store's, where this worker cannot look")
        assert attempt.request_body is not None, "an open attempt has its request"
        assert attempt.time_to_pay is not None, "a booking has its time"
        if attempt.schedule_id is not None:
            return await schedules.find_schedule(self._portone, attempt.schedule_id, sent=attempt.request_body)
        listed = await schedules.schedules_of(
            self._portone, attempt.payment_id, time_to_pay=attempt.time_to_pay, sent=attempt.request_body
        )
        if isinstance(listed, Unanswered):
            return listed
        return booking.booked_one(attempt, listed, self._rules)

    async def _note(self, attempt: Attempt, booked: BookedAt, source: Source) -> None:
        noted = await attempts.note_booked(
            self._outcomes,
            attempt,
            schedule_id=booked.schedule_id,
            look_at=booked.look_at,
            source=source,
            actor=self._actor,
        )
        if noted:
            log.info(
                "attempt.booked",
                cycle_id=attempt.cycle_id,
                attempt_id=attempt.attempt_id,
                payment_id=attempt.payment_id,
                schedule_id=booked.schedule_id,
                time_to_pay=attempt.time_to_pay,
                source=source.value,
            )
        else:
            log.warning("attempt.overtaken", attempt_id=attempt.attempt_id, payment_id=attempt.payment_id)

    async def _ask_later(self, attempt: Attempt, look_at: datetime | None) -> None:
        later = look_at or charging.next_look(attempt, now=self._clock.now(), rules=self._rules)
        await attempts.ask_again(self._outcomes, [(attempt, later)])


def _label(outcome: RevocationOutcome) -> str:
    match outcome:
        case Refused():
            return "refused"
        case NoVerdict():
            return "no_verdict"
        case _:
            return outcome.value


def _word(outcome: object) -> str:
    return getattr(outcome, "value", "") or getattr(outcome, "reason", "") or getattr(outcome, "error_type", "")
