"""Sound values for tests; a test names only what it is about."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.charging import ChargingRules
from billing_worker.billing.dunning import DunningPolicy
from billing_worker.billing.model import Attempt, ClaimedCycle, Customer, idempotency_key, payment_id, shard_of
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Payment
from billing_worker.billing.periods import Cadence, PeriodUnit
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import AttemptStatus, CycleStatus, SubscriptionStatus

T = TypeVar("T")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_cadence(
    unit: PeriodUnit = PeriodUnit.MONTH,
    *,
    count: int = 1,
    anchor_on: date = date(2026, 1, 31),
    zone: str = "Asia/Seoul",
    charge_at: time = time(10, 0),
) -> Cadence:
    """A monthly cadence of Seoul on the last day of January, unless told otherwise."""
    return Cadence(unit=unit, count=count, anchor_on=anchor_on, zone=zone, charge_at=charge_at)


class FakeClock:
    """A clock that moves only when told to. Its host's clock keeps the skew that it is given."""

    def __init__(self, now: datetime = NOON, *, skew_seconds: float = 0.0) -> None:
        self._now = now
        self._seconds = 0.0
        self.skew_seconds = skew_seconds

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, **span: float) -> datetime:
        """Let time pass, as timedelta's keywords say it, and give the new now."""
        passed = timedelta(**span)
        self._now += passed
        self._seconds += passed.total_seconds()
        return self._now

    def observe_primary(self, primary_now: datetime, *, asked_at: datetime, answered_at: datetime) -> None:
        error = primary_now - (asked_at + (answered_at - asked_at) / 2)
        self._now += error
        self.skew_seconds -= error.total_seconds()


A_CUSTOMER = Customer("customer-1", "홍길동", "010-1234-5678", "hong@example.com")
STORE_ID = "store-test"
A_PAYMENT_ID = payment_id(store_id=STORE_ID, business_key="sub-1", period_start_on=date(2026, 2, 28))


def some_rules(**changes: Any) -> ChargingRules:
    """The bounds of a practising worker: a TEST channel, and the waits of the defaults."""
    rules = ChargingRules(
        store_id=STORE_ID,
        live=False,
        fruitless_claims_max=5,
        clock_skew_max=timedelta(seconds=30),
        at_work_for=timedelta(seconds=80),
        resend_until=timedelta(hours=2, minutes=30),
        void_after=timedelta(hours=24),
        ask_first=timedelta(seconds=20),
        ask_widest=timedelta(hours=1),
        verify_after=timedelta(minutes=10),
        recheck_after=(timedelta(hours=1), timedelta(hours=6), timedelta(hours=24)),
        book_near=timedelta(minutes=10),
        book_grace=timedelta(minutes=1),
        book_lost_after=timedelta(hours=1),
    )
    return replace(rules, **changes)


def a_policy(*days: float) -> DunningPolicy:
    """A dunning policy of these days; 1, 3 and 5 unless told otherwise."""
    return DunningPolicy.of_days(days or (1, 3, 5))


def a_claimed_cycle(**changes: Any) -> ClaimedCycle:
    """A due cycle of an active subscription under our lease, never tried before."""
    cycle = ClaimedCycle(
        shard=shard_of("sub-1"),
        cycle_id=11,
        subscription_id=1,
        business_key="sub-1",
        subscription_status=SubscriptionStatus.ACTIVE,
        cycle_number=2,
        payment_id=A_PAYMENT_ID,
        price=Money(9900, "KRW"),
        order_name="월간 이용권",
        customer=A_CUSTOMER,
        billing_key=BillingKey("bk-ok-1"),
        due_at=NOON,
        claim_epoch=1,
        fruitless_claims=1,
        attempts_count=0,
    )
    return replace(cycle, **changes)


def an_attempt(**changes: Any) -> Attempt:
    """The first attempt of a cycle, open and just sent. A number given alone makes it the cycle's newest."""
    if "attempt_number" in changes:
        changes.setdefault("attempts_count", changes["attempt_number"])
        changes.setdefault("idempotency_key", idempotency_key(A_PAYMENT_ID, changes["attempt_number"]))
    attempt = Attempt(
        shard=shard_of("sub-1"),
        attempt_id=21,
        cycle_id=11,
        subscription_id=1,
        business_key="sub-1",
        cycle_number=2,
        cycle_status=CycleStatus.COLLECTING,
        attempt_number=1,
        store_id=STORE_ID,
        attempts_count=1,
        payment_id=A_PAYMENT_ID,
        idempotency_key=idempotency_key(A_PAYMENT_ID, 1),
        price=Money(9900, "KRW"),
        status=AttemptStatus.OPEN,
        opened_at=NOON,
        last_sent_at=NOON,
        looks=1,
        due_at=NOON,
        declines_count=0,
        first_declined_at=None,
        older_transaction_ids=frozenset(),
        request_body=b"{}",
    )
    return replace(attempt, **changes)


def a_payment(status: str = "PAID", **changes: Any) -> Payment:
    """What a look finds of an_attempt: paid a second after it was opened, unless told otherwise."""
    payment = Payment(
        status=status,
        transaction_id="tx-1",
        amount_minor=9900,
        currency="KRW",
        store_id=STORE_ID,
        is_test=True,
        requested_at=NOON,
        changed_at=NOON + timedelta(seconds=1),
        pg_tx_id="pg-1" if status == "PAID" else None,
        paid_at=NOON + timedelta(seconds=1) if status == "PAID" else None,
    )
    return replace(payment, **changes)


def a_plan(business_key: str = "sub-1", billing_key: str = "bk-ok-1", **changes: Any) -> PlannedSubscription:
    """A subscription as an import would bring it: 9,900 won a month."""
    plan = PlannedSubscription(
        business_key=business_key,
        customer=A_CUSTOMER,
        billing_key=BillingKey(billing_key),
        order_name="월간 이용권",
        price=Money(9900, "KRW"),
        cadence=a_cadence(),
        first_cycle_number=1,
    )
    return replace(plan, **changes)


async def eventually(condition: Callable[[], Awaitable[T]], *, seconds_max: float = 10.0) -> T:
    """The condition's answer as soon as it is truthy. Fails when it has not been within the bound."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds_max
    while not (answer := await condition()):
        assert loop.time() < until, f"not so within {seconds_max} s, last answer {answer!r}"
        await asyncio.sleep(0.01)
    return answer
