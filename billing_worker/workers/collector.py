"""The collector: sends one attempt, learns what it can, and settles or leaves it to the reconciler.

It is the only place that meets both PortOne and Postgres about one attempt, and a pure rule stands between the two. The
attempt's intent has been acknowledged before anything here is called.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from billing_worker.billing import charging
from billing_worker.billing.charging import ChargingRules, Contradiction, Resend, Wait
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import (
    Absent,
    Booked,
    BookingOutcome,
    Declined,
    Look,
    NoVerdict,
    Outcome,
    Paid,
    RefusalScope,
    Refused,
    Unanswered,
)
from billing_worker.billing.states import Source
from billing_worker.clock import Clock
from billing_worker.portone import schedules
from billing_worker.portone.client import Answer, ChargeOrder, PortOneClient
from billing_worker.portone.schedules import BookingAnswer
from billing_worker.store import attempts
from billing_worker.store.attempts import ClaimedLook
from billing_worker.store.db import Pool
from billing_worker.telemetry import Metrics
from billing_worker.workers.booker import Booker
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.verdicts import Verdicts

log = structlog.get_logger()

_OUTCOME_LABELS: dict[type, str] = {
    Paid: "paid",
    Booked: "booked",
    Declined: "declined",
    Refused: "refused",
    NoVerdict: "no_verdict",
}


@dataclass(frozen=True, slots=True)
class CollectorLimits:
    """How long after the intent a send may still start, and how long it is ours before somebody else follows it."""

    send_window: timedelta
    attempt_lease: timedelta


class Collector:
    """Takes an open attempt as far as PortOne's answer allows."""

    def __init__(
        self,
        *,
        portone: PortOneClient,
        outcomes: Pool,
        verdicts: Verdicts,
        booker: Booker,
        gate: SendingGate,
        clock: Clock,
        metrics: Metrics,
        rules: ChargingRules,
        limits: CollectorLimits,
    ) -> None:
        self._portone = portone
        self._outcomes = outcomes
        self._verdicts = verdicts
        self._booker = booker
        self._gate = gate
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._limits = limits

    async def send_first(
        self,
        attempt: Attempt,
        *,
        sendable_from: datetime,
        opened: float,
        turns: asyncio.Semaphore,
        stopping: Callable[[], bool],
    ) -> None:
        """Send an attempt that this worker began to open at `opened`, by the clock's monotonic seconds.

        The turn is over with the answer: while its verdict is written, the next one is in flight. Where a database may
        have lost what was sent of the cycle, which can be from `sendable_from` on, the reconciler has the attempt: it
        asks PortOne before it sends.
        """
        async with turns:
            if stopping() or self._gate.closed() or self._gate.looks_first(sendable_from):
                await attempts.hand_over_attempts(self._outcomes, [attempt], now=self._clock.now())
                return
            answer = await self._post(attempt, began=opened)
        await self._conclude(attempt, answer, only_send=answer.sends == 1)

    async def send_again(self, claimed: ClaimedLook, *, decided: float) -> None:
        """Send the same bytes again under the same key, once that is written down.

        The window for the send opened when it was decided, by the clock's monotonic seconds.
        """
        now = self._clock.now()
        lease_until = now + self._limits.attempt_lease
        if await attempts.note_resend(self._outcomes, claimed, now=now, look_at=lease_until):
            self._metrics.resends.inc()
            attempt = replace(claimed.attempt, last_sent_at=now)
            answer = await self._post(attempt, began=decided)
            await self._conclude(attempt, answer, only_send=False)

    async def look(self, attempt: Attempt, *, answer: Outcome | None = None) -> Look:
        """Ask PortOne about the attempt, and about its single tries where the payment shows an older one.

        The answer that a send has just had helps to tell which try is the attempt's.
        """
        if attempt.store_id != self._rules.store_id:
            return Unanswered("the attempt is another store's, where this worker cannot look")
        found = await self._portone.find(attempt.payment_id)
        if charging.needs_transactions(attempt, found, self._rules, answer=answer):
            tries = await self._portone.transactions(attempt.payment_id)
            # Where the list is not to be had, nothing is known: the older try alone must never end in voiding ours.
            match tries:
                case Absent():
                    found = Unanswered("a payment without tries")
                case Unanswered():
                    found = tries
                case _:
                    found = charging.newest_of_attempt(attempt, tries, self._rules, answer=answer)
        self._metrics.looks.labels(result=type(found).__name__.lower()).inc()
        return found

    async def _post(self, attempt: Attempt, *, began: float) -> Answer | BookingAnswer:
        assert attempt.request_body is not None, "an open attempt has its request"
        self._gate.charge_begins()
        started = self._clock.monotonic()
        order = ChargeOrder(
            payment_id=attempt.payment_id,
            idempotency_key=attempt.idempotency_key,
            body=attempt.request_body,
            send_before=began + self._limits.send_window.total_seconds(),
        )
        book = attempt.time_to_pay is not None
        answer = await schedules.book(self._portone, order) if book else await self._portone.charge(order)
        seconds, count = (
            (self._metrics.booking_seconds, self._metrics.bookings)
            if book
            else (self._metrics.charge_seconds, self._metrics.charges)
        )
        seconds.observe(self._clock.monotonic() - started)
        count.labels(outcome=_OUTCOME_LABELS[type(answer.outcome)]).inc()
        self._note_channel(answer.outcome)
        return answer

    async def _conclude(self, attempt: Attempt, answer: Answer | BookingAnswer, *, only_send: bool) -> None:
        match answer:
            case BookingAnswer():
                await self._booker.conclude(attempt, answer.outcome, only_send=only_send)
            case Answer():
                await self._conclude_charge(attempt, answer.outcome, only_send=only_send)

    async def _conclude_charge(self, attempt: Attempt, outcome: Outcome, *, only_send: bool) -> None:
        verdict = charging.verdict_of_answer(outcome, only_send=only_send)
        if verdict is not None:
            await self._verdicts.settle(attempt, verdict, Source.ANSWER)
            return
        later = charging.next_look(attempt, now=self._clock.now(), rules=self._rules)
        if not charging.worth_a_look(outcome):
            await attempts.ask_again(self._outcomes, [(attempt, later)])
            log.info("attempt.without_verdict", payment_id=attempt.payment_id, reason=getattr(outcome, "reason", ""))
            return
        asked_at = self._clock.now()
        found = await self.look(attempt, answer=outcome)
        weighed = charging.weigh(attempt, outcome, found, asked_at=asked_at, now=self._clock.now(), rules=self._rules)
        match weighed:
            case Wait():
                await attempts.ask_again(self._outcomes, [(attempt, weighed.look_at)])
            case Resend():
                await attempts.ask_again(self._outcomes, [(attempt, later)])
            case Contradiction():
                await self._verdicts.contradict(attempt, weighed)
            case _:
                await self._verdicts.settle(
                    attempt, weighed, Source.ANSWER if type(weighed) is type(outcome) else Source.LOOK
                )

    def _note_channel(self, outcome: Outcome | BookingOutcome) -> None:
        match outcome:
            case Refused(scope=RefusalScope.CHANNEL):
                log.error("channel.refused", error_type=outcome.error_type)
                self._gate.channel_refused(outcome.error_type)
            case Paid() | Declined() | Refused() | Booked():
                self._gate.channel_answered()
