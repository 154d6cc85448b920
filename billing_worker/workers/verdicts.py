"""Verdicts: writes down what PortOne has said of an attempt, and says so in one line of the log.

What is written was decided by a pure rule. A verdict that somebody else's has overtaken is left unwritten; money that
is overtaken is looked at again. Nothing here asks PortOne anything.
"""

from dataclasses import replace

import structlog

from billing_worker.billing import charging, settlement
from billing_worker.billing.charging import ChargingRules, Contradiction, Verdict, Verified, Voided
from billing_worker.billing.dunning import DunningPolicy
from billing_worker.billing.model import Attempt
from billing_worker.billing.outcomes import Declined, Paid, Refused
from billing_worker.billing.refunding import given_back
from billing_worker.billing.states import Source
from billing_worker.clock import Clock
from billing_worker.portone.fields import billing_key_of
from billing_worker.store import attempts, refunds
from billing_worker.store.db import Pool, RowRefusedError
from billing_worker.telemetry import Metrics
from billing_worker.workers.settler import Settler

log = structlog.get_logger()


class Verdicts:
    """The way from what is known of an attempt to its row."""

    def __init__(
        self,
        *,
        outcomes: Pool,
        settler: Settler,
        clock: Clock,
        metrics: Metrics,
        rules: ChargingRules,
        policy: DunningPolicy,
        actor: str,
    ) -> None:
        self._outcomes = outcomes
        self._settler = settler
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._policy = policy
        self._actor = actor

    async def settle(self, attempt: Attempt, verdict: Verdict, source: Source) -> None:
        """Write a verdict and all that follows from it; say so in one line."""
        decided = settlement.settle(
            attempt,
            without_key(verdict, attempt),
            source,
            now=self._clock.now(),
            rules=self._rules,
            policy=self._policy,
        )
        try:
            settled = await self._settler.settle(decided)
        except RowRefusedError as error:
            # Tried again it would be refused again, so a person is told, and the attempt stays open.
            await self.contradict(attempt, Contradiction(f"the verdict {decided.attempt_status} is refused: {error}"))
            return
        if settled:
            self._tell(decided)
            if isinstance(verdict, Voided) and verdict.contradiction:
                log.error("attempt.contradicted", payment_id=attempt.payment_id, what=verdict.contradiction)
            return
        log.warning("attempt.overtaken", attempt_id=attempt.attempt_id, payment_id=attempt.payment_id)
        if isinstance(verdict, Paid):
            # Somebody wrote another verdict first, and PortOne has the money: a look puts that right, by name. Later
            # each time, lest what cannot be put right is asked about without end.
            soon = charging.next_look(attempt, now=self._clock.now(), rules=self._rules)
            await attempts.ask_again(self._outcomes, [(attempt, soon)])

    async def verify(self, attempt: Attempt, verified: Verified) -> None:
        """Write down that PortOne's record of a paid attempt agrees with ours, and what was given back of it since."""
        if verified.refunded_minor or verified.disputed:
            await self._give_back(attempt, verified)
        await attempts.verify_attempt(
            self._outcomes,
            attempt,
            now=self._clock.now(),
            transaction_id=verified.transaction_id,
            refunded_minor=verified.refunded_minor,
            actor=self._actor,
        )

    async def contradict(self, attempt: Attempt, contradiction: Contradiction) -> None:
        """Put a payment that is not what we asked for before a person."""
        later = self._clock.now() + self._rules.ask_widest
        new = await attempts.contradict_attempt(
            self._outcomes, attempt, what=contradiction.what, look_at=later, actor=self._actor
        )
        if new:
            log.error("attempt.contradicted", payment_id=attempt.payment_id, what=contradiction.what)

    async def _give_back(self, attempt: Attempt, verified: Verified) -> None:
        parts = given_back(verified.refunded_minor, verified.cancellations)
        entered = await refunds.enter_given_back(
            self._outcomes, attempt, parts, disputed=verified.disputed, actor=self._actor
        )
        for kind, amount_minor, code in entered:
            log.warning(
                "attempt.taken_back", payment_id=attempt.payment_id, kind=kind, amount_minor=amount_minor, code=code
            )

    def _tell(self, done: settlement.Settlement) -> None:
        attempt = done.attempt
        self._metrics.settled.labels(verdict=done.attempt_status.value, source=done.source.value).inc()
        if done.pg_tx_id:
            self._metrics.amount_minor.labels(currency=attempt.price.currency).inc(attempt.price.amount_minor)
        log.info(
            "attempt.settled",
            cycle_id=attempt.cycle_id,
            attempt_id=attempt.attempt_id,
            payment_id=attempt.payment_id,
            outcome=done.attempt_status.value,
            cycle=done.cycle_status.value,
            source=done.source.value,
            decline_code=done.decline_code,
            elapsed_ms=round((self._clock.now() - attempt.opened_at).total_seconds() * 1000),
        )


def without_key(verdict: Verdict, attempt: Attempt) -> Verdict:
    """The verdict with the billing key cut out of its words, should PortOne's record of the payment quote it."""
    # A payment has no words, and most verdicts are payments: the request is read only where something can be cut.
    if not isinstance(verdict, Declined | Refused) or attempt.request_body is None:
        return verdict
    billing_key = billing_key_of(attempt.request_body)
    if not billing_key:
        return verdict
    if isinstance(verdict, Refused):
        return replace(verdict, message=_cut(verdict.message, billing_key))
    return replace(verdict, code=_cut(verdict.code, billing_key), message=_cut(verdict.message, billing_key))


def _cut(text: str, billing_key: str) -> str:
    return text.replace(billing_key, "(billing key)")
