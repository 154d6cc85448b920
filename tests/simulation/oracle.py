"""The judgement when everything is at rest: PortOne's truth against the ledger against what the rows say.

It reads and decides nothing else. What may still be under way at that moment is only what the rules say must wait.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from billing_worker.billing.audit import AttemptFacts, CycleFacts, disagreements
from tests.simulation import oracle_asking
from tests.simulation.oracle_dates import first_day, owed_from
from tests.simulation.portone_books import Payment, PortOneBooks
from tests.simulation.scenario import Plan
from tests.simulation.store_twin import StoreTwin

# A sweep that has nothing else to do takes seconds; what has waited so long has been forgotten.
FORGOTTEN = timedelta(hours=1)
# A booking is asked about a minute after its time.
FIRED_LATE_MAX = timedelta(minutes=1)
# An attempt is resent for two and a half hours and voided after a day of silence.
OPEN_MAX = timedelta(hours=30)

Row = dict[str, Any]


def faults(twin: StoreTwin, portone: PortOneBooks, plan: Plan, now: datetime) -> Iterator[str]:
    """Everything that is wrong, in words."""
    cycles, attempts, ledger = twin.table("cycles"), twin.table("attempts"), twin.table("ledger")
    rows_lost = twin.timeline > 1
    yield from _money(portone, cycles, attempts, ledger, now, rows_lost=rows_lost)
    yield from _taken_back(portone, attempts, rows_lost=rows_lost)
    # A decline that a failover took from us, or that PortOne dated by a wrong clock, may cost one more try: whose it
    # was is told by times. Money is judged all the same.
    if twin.timeline == 1 and not plan.portone_clock:
        yield from oracle_asking.faults(portone, plan.dunning)
    yield from _missed(twin.table("subscriptions"), plan, cycles, now)
    yield from _forgotten(cycles, attempts, portone, now)
    yield from _stories(cycles, attempts, ledger)
    yield from _told(cycles, ledger, twin.table("outbox"))


def _taken_back(portone: PortOneBooks, attempts: list[Row], *, rows_lost: bool) -> Iterator[str]:
    """What was settled as taken back is paid by nobody; a booking pays what its attempt says, unless it was edited.

    A sum that only a lost row had asked for is the money's to judge.
    """
    for attempt in attempts:
        key = attempt["idempotency_key"]
        if attempt["status"] == "revoked" and (portone.has_paid(key) or portone.lives(key)):
            yield f"taken back: {key} is revoked, and PortOne has its money or is going to"
        payment = portone.payments.get(attempt["payment_id"])
        if payment is None or (rows_lost and _was_asked_for_by_a_lost_row(payment, attempts)):
            continue
        for one in payment.paid():
            if one.key == key and not one.differs and one.amount_minor != attempt["amount_minor"]:
                yield f"amount: {key} is for {attempt['amount_minor']} and was paid with {one.amount_minor}"


def _money(
    portone: PortOneBooks, cycles: list[Row], attempts: list[Row], ledger: list[Row], now: datetime, *, rows_lost: bool
) -> Iterator[str]:
    """Every charge that PortOne has is in the ledger, and none that it has not."""
    entered: dict[str, list[Row]] = defaultdict(list)
    for entry in ledger:
        if entry["kind"] == "paid":
            entered[entry["payment_id"]].append(entry)
    known = {cycle["payment_id"] for cycle in cycles}
    for payment_id, payment in portone.payments.items():
        entries = entered.pop(payment_id, [])
        if payment.tries and payment_id not in known:
            yield f"phantom: {payment_id} is at PortOne and no cycle has it"
        elif any(one.differs for one in payment.paid()):
            yield from _differs(payment, cycles, ledger)
        elif rows_lost and _was_asked_for_by_a_lost_row(payment, attempts):
            yield from _told_of_a_lost_price(payment, cycles, ledger)
        elif entries or not _was_charged_just_now(payment, attempts, now):
            yield from _entered(payment, entries)
    yield from (f"phantom: {payment_id} is in the ledger and unknown to PortOne" for payment_id in entered)


def _was_charged_just_now(payment: Payment, attempts: list[Row], now: datetime) -> bool:
    """A booking whose first look after its time is still to come when the run ends."""
    mine = [each for each in attempts if each["payment_id"] == payment.payment_id and each["status"] == "open"]
    return len(payment.paid()) == 1 and any(
        each["time_to_pay"] and now - FIRED_LATE_MAX < each["time_to_pay"] and each["look_at"] > now for each in mine
    )


def _was_asked_for_by_a_lost_row(payment: Payment, attempts: list[Row]) -> bool:
    """A server was lost with a change of price: PortOne has charged what no row asks for any more."""
    asked = {each["amount_minor"] for each in attempts if each["payment_id"] == payment.payment_id}
    return any(one.amount_minor not in asked for one in payment.paid())


def _told_of_a_lost_price(payment: Payment, cycles: list[Row], ledger: list[Row]) -> Iterator[str]:
    """It is a person's to decide, once, and never charged again meanwhile."""
    payment_id = payment.payment_id
    [cycle] = [cycle for cycle in cycles if cycle["payment_id"] == payment_id]
    kinds = Counter(entry["kind"] for entry in ledger if entry["payment_id"] == payment_id)
    if len(payment.paid()) > 1 or kinds["paid"]:
        yield f"paid twice: {payment_id}, and once at a price that a lost row had asked for"
    # Where its booking was lost with its row, nothing here follows it. The comparisons find it: they are not simulated.
    followed = (
        cycle["status"] != "skipped" or cycle["attempts_count"] or not all(one.schedule_id for one in payment.paid())
    )
    if followed and (cycle["status"] != "held" or not kinds["mismatch"]):
        yield f"unseen: {payment_id} is paid at a price that a lost row had asked for ({cycle['status']})"


def _entered(payment: Payment, entries: list[Row]) -> Iterator[str]:
    """What was paid is entered once, and as it was paid."""
    payment_id, paid = payment.payment_id, payment.paid()
    if len(paid) > 1 or len(entries) > 1:
        yield f"paid twice: {payment_id} is paid {len(paid)} times at PortOne, {len(entries)} times in the ledger"
    if paid and not entries:
        yield f"lost: {payment_id} is paid at PortOne and not in the ledger"
    if entries and not paid:
        yield f"phantom: {payment_id} is paid in the ledger and not at PortOne"
    for one, entry in zip(paid, entries, strict=False):
        if (one.amount_minor, one.currency, one.pg_tx_id) != (
            entry["amount_minor"], entry["currency"], entry["pg_tx_id"],
        ):  # fmt: skip
            yield f"differs: {payment_id} is {one} at PortOne and {entry} in the ledger"


def _differs(payment: Payment, cycles: list[Row], ledger: list[Row]) -> Iterator[str]:
    """A payment that is not what was asked for is never taken for ours, and a person is told."""
    payment_id = payment.payment_id
    wrong = next(one for one in payment.paid() if one.differs)
    cycle = next(cycle for cycle in cycles if cycle["payment_id"] == payment_id)
    kinds = Counter(entry["kind"] for entry in ledger if entry["payment_id"] == payment_id)
    if len(payment.paid()) > 1 or kinds["paid"] > 1:
        yield f"paid twice: {payment_id}, and once by somebody else"
    if not kinds["mismatch"]:
        yield f"unseen: {payment_id} has another {wrong.differs} at PortOne, and nobody was told ({cycle['status']})"
    # What PortOne has answered to our own charge is believed until a look compares it.
    answered = wrong.key and wrong.schedule_id is None
    allowed = {"held", "skipped", "paid"} if answered else {"held", "skipped"}
    if cycle["status"] not in allowed or (kinds["paid"] and not answered):
        yield f"believed: {payment_id} has another {wrong.differs} at PortOne, and its cycle is {cycle['status']}"


def _missed(subscriptions: list[Row], plan: Plan, cycles: list[Row], now: datetime) -> Iterator[str]:
    """Every period that has come is a cycle with its own dates, and none that has not."""
    numbers: dict[int, dict[int, Row]] = defaultdict(dict)
    for cycle in cycles:
        numbers[cycle["subscription_id"]][cycle["cycle_number"]] = cycle
    planned = {each.plan.business_key: each.plan for each in plan.subscriptions}
    for subscription in subscriptions:
        one, mine = planned[subscription["business_key"]], numbers[subscription["subscription_id"]]
        number = one.first_cycle_number
        ended_at = subscription["changed_at"] if subscription["status"] == "cancelled" else now
        while (due := owed_from(one.cadence, number)) <= min(now, ended_at) - FORGOTTEN:
            cycle = mine.get(number)
            if cycle is None and _was_never_opened(subscription, number):
                break
            if cycle is None:
                yield f"missed: {one.business_key} owes period {number} since {due} and there is no cycle"
            else:
                dates = (first_day(one.cadence, number), first_day(one.cadence, number + 1), due)
                told = (cycle["period_start_on"], cycle["period_end_on"], cycle["due_at"])
                if dates != told:
                    yield f"missed: {one.business_key} owes {_words(dates)} as period {number}, not {_words(told)}"
            number += 1
        last = number
        while plan.schedules and owed_from(one.cadence, last) <= now + timedelta(seconds=plan.lead_seconds) + FORGOTTEN:
            last += 1
        early = [other for other in mine if other > last]
        if early or min(mine, default=one.first_cycle_number) < one.first_cycle_number:
            yield f"out of order: {one.business_key} has periods {sorted(mine)} and owes {number - 1}"


def _was_never_opened(subscription: Row, number: int) -> bool:
    """Whoever cancels while every worker is away owes nothing for what was due since; the row says from when on."""
    return bool(subscription["status"] == "cancelled" and subscription["next_cycle_number"] == number)


def _words(dates: tuple[object, ...]) -> str:
    return f"{dates[0]} to {dates[1]} from {dates[2]} on"


def _forgotten(cycles: list[Row], attempts: list[Row], portone: PortOneBooks, now: datetime) -> Iterator[str]:
    """What has not ended waits for a moment that is still to come."""
    open_on = {attempt["cycle_id"]: attempt for attempt in attempts if attempt["status"] == "open"}
    for cycle in cycles:
        attempt = open_on.get(cycle["cycle_id"])
        name = f"{cycle['payment_id']} ({cycle['status']})"
        if cycle["status"] == "due" and cycle["claimable_at"] < now - FORGOTTEN:
            yield f"forgotten: {name} could be claimed since {cycle['claimable_at']}"
        if (cycle["status"] == "collecting") != (attempt is not None) and cycle["status"] != "held":
            yield f"forgotten: {name} has {'an' if attempt else 'no'} open attempt"
        if cycle["status"] == "held" and not cycle["held_reason"]:
            yield f"forgotten: {name} without a reason"
        since = _open_since(attempt, portone) if attempt is not None else now
        if cycle["status"] == "collecting" and since < now - OPEN_MAX:
            yield f"forgotten: {name} has an attempt that is open since {since}"
    for attempt in attempts:
        if attempt["look_at"] is not None and attempt["look_at"] < now - FORGOTTEN:
            yield f"forgotten: {attempt['idempotency_key']} was to be looked at {attempt['look_at']}"


def _open_since(attempt: Row, portone: PortOneBooks) -> datetime:
    """A booking waits for its time, and for the time that somebody has given it at PortOne."""
    times = [one.time_to_pay for one in portone.bookings.values() if one.key == attempt["idempotency_key"]]
    return max([attempt["opened_at"], attempt["time_to_pay"] or attempt["opened_at"], *times])


def _stories(cycles: list[Row], attempts: list[Row], ledger: list[Row]) -> Iterator[str]:
    """Cycles, attempts and entries tell one story, by the product's own audit."""
    facts = [CycleFacts(**{name: row[name] for name in CycleFacts.__dataclass_fields__}) for row in cycles]
    shown = [row | {"booking": row["time_to_pay"] is not None} for row in attempts]
    tries = [AttemptFacts(**{name: row[name] for name in AttemptFacts.__dataclass_fields__}) for row in shown]
    yield from disagreements(facts, tries, [SimpleNamespace(**row) for row in ledger])  # type: ignore[misc]


def _told(cycles: list[Row], ledger: list[Row], outbox: list[Row]) -> Iterator[str]:
    """Each paid cycle is announced once, and each that was given up has its entry."""
    told = Counter(_payment_of(event) for event in outbox if event["event_type"] == "charge.succeeded")
    given_up = {entry["payment_id"] for entry in ledger if entry["kind"] == "given_up"}
    for cycle in cycles:
        if cycle["status"] == "paid" and told[cycle["payment_id"]] != 1:
            yield f"told: {cycle['payment_id']} is paid and was announced {told[cycle['payment_id']]} times"
        if cycle["status"] == "given_up" and cycle["payment_id"] not in given_up:
            yield f"told: {cycle['payment_id']} was given up without an entry"


def _payment_of(event: Row) -> str:
    payload = event["payload"]
    if isinstance(payload, str):
        import json  # noqa: PLC0415

        payload = json.loads(payload)
    return str(payload["payment_id"])
