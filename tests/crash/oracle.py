"""The oracle: compares what PortOne really did with what our rows say, one by one. It believes neither side's sums.

Every fault is named; a run without faults is an empty answer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import pairwise

from tests.crash.books import CLOCKS_DIFFER_MAX, Attempt, Books, Cycle, Schedule

# How long a request may be on its way between the last look at its deadline and its arrival, on two cores that a dozen
# programs share. A worker that slept past its lease and sends all the same is later than that.
ARRIVES_AFTER_MAX = timedelta(seconds=3)

# What says of a booking that PortOne has charged by it, or has tried to.
_CHARGED = frozenset({"paid", "declined"})


def faults(books: Books) -> dict[str, list[str]]:
    """Everything that is wrong, by name; empty when nothing is."""
    found = {
        "paid twice": _paid_twice(books),
        "lost": _lost(books),
        "phantom": _phantom(books),
        "missed": _missed(books),
        "overlaps": _overlaps(books),
        "violations": [str(violation) for violation in books.violations],
        "other bytes under one key": _other_bytes(books),
        "sent without intent": _without_intent(books),
        "sent too late": _too_late(books),
        "sent when paid": _when_paid(books),
        "next key before proof": _unproven(books),
        "charged beside a booking": _beside_a_booking(books),
        "ended while booked": _ended_while_booked(books),
        "fired unknown": _fired_unknown(books),
        "left to fire": _left_to_fire(books),
        "told otherwise": _told_otherwise(books),
        "chain": iter(books.chain_faults),
    }
    return {name: listed for name, each in found.items() if (listed := list(each))}


def payments_in(books: Books, fault: str) -> set[str]:
    """The payments that a fault names, by themselves or by one of their keys."""
    return {one.payment_id for one in (*books.posts, *books.attempts) if one.payment_id in fault}


def known_of(books: Books, fault: str) -> list[str]:
    """All that the books have on the payments of a fault: what a person needs to judge it."""
    payments = payments_in(books, fault)
    known: list[object] = [attempt for attempt in books.attempts if attempt.payment_id in payments]
    known += sorted((post for post in books.posts if post.payment_id in payments), key=lambda post: post.arrived_at)
    known += [schedule for schedule in books.schedules if schedule.payment_id in payments]
    known += [f"{payment_id} paid at {books.paid_at.get(payment_id)}" for payment_id in sorted(payments)]
    if books.history_lost_at is not None:
        lost = sorted(key for key in books.keys_lost if any(key.startswith(payment_id) for payment_id in payments))
        known.append(f"history lost until {books.history_lost_at}, of these keys: {', '.join(lost) or 'none'}")
    return [str(one) for one in known]


def _paid_twice(books: Books) -> Iterator[str]:
    for side, charges in (("PortOne", books.charges), ("ledger", books.paid)):
        for payment_id, times in Counter(charge.payment_id for charge in charges).items():
            if times > 1:
                yield f"{payment_id}: {times} times in {side}"


def _lost(books: Books) -> Iterator[str]:
    paid = set(books.paid)
    yield from (f"{charge}: not in the ledger" for charge in books.charges if charge not in paid)


def _phantom(books: Books) -> Iterator[str]:
    charged = set(books.charges)
    yield from (f"{entry}: not at PortOne" for entry in books.paid if entry not in charged)


def _missed(books: Books) -> Iterator[str]:
    yield from (f"{business_key}: its next period was not opened" for business_key in books.subscriptions_overdue)
    yield from (f"{cycle}: not ended" for cycle in books.cycles if cycle.status in ("due", "collecting"))
    of_subscription: dict[str, list[Cycle]] = defaultdict(list)
    for cycle in books.cycles:
        of_subscription[cycle.business_key].append(cycle)
    for cycles in of_subscription.values():
        cycles.sort(key=lambda cycle: cycle.number)
        if cycles[0].number != 1:
            yield f"{cycles[0]}: not the first period"
        for one, other in pairwise(cycles):
            if (other.number, other.period_start_on) != (one.number + 1, one.period_end_on):
                yield f"{other}: does not follow {one}"


def _other_bytes(books: Books) -> Iterator[str]:
    written = {attempt.key: attempt.body_sha256 for attempt in books.attempts}
    for post in books.posts:
        # Of a key whose row is gone the first bytes that arrived are what all others must be.
        if written.setdefault(post.key, post.body_sha256) != post.body_sha256:
            yield f"{post.key}: its bytes are not the intent's"


def _without_intent(books: Books) -> Iterator[str]:
    if books.posts_without_key:
        yield f"{books.posts_without_key} requests had no key"
    opened = {attempt.key: attempt.opened_at for attempt in books.attempts}
    for post in books.posts_in_history():
        if post.key not in opened:
            yield f"{post.key}: no attempt has this key"
        elif post.arrived_at < opened[post.key] - CLOCKS_DIFFER_MAX:
            yield f"{post.key}: arrived {opened[post.key] - post.arrived_at} before its intent"


def _too_late(books: Books) -> Iterator[str]:
    """Requests that arrived when neither the intent nor a noted resend still allowed them."""
    if books.bounds is None:
        return
    attempts = {attempt.key: attempt for attempt in books.attempts}
    for post in books.posts_in_history():
        if (attempt := attempts.get(post.key)) is None:
            continue
        allowed = [at for at in (attempt.opened_at, *attempt.resent_at) if at <= post.arrived_at + CLOCKS_DIFFER_MAX]
        late = post.arrived_at - max(allowed, default=attempt.opened_at) - books.bounds.send_window
        if late > ARRIVES_AFTER_MAX:
            yield f"{post.key}: arrived {late} after its time to send"
        if (
            post.arrived_at - attempt.opened_at
            > books.bounds.resend_until + books.bounds.send_window + ARRIVES_AFTER_MAX
        ):
            yield f"{post.key}: arrived {post.arrived_at - attempt.opened_at} after its intent"


def _when_paid(books: Books) -> Iterator[str]:
    for post in books.posts_in_history():
        paid_at = books.paid_at.get(post.payment_id)
        if paid_at is not None and post.arrived_at > paid_at + CLOCKS_DIFFER_MAX:
            yield f"{post.key}: arrived {post.arrived_at - paid_at} after the cycle was paid"


def _unproven(books: Books) -> Iterator[str]:
    """Keys that followed another on the same payment while that one had no verdict yet, or was still being sent."""
    last_arrival = {post.key: post.arrived_at for post in books.posts_in_history()}
    by_payment: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in books.attempts:
        by_payment[attempt.payment_id].append(attempt)
    for attempts in by_payment.values():
        attempts.sort(key=lambda attempt: attempt.number)
        for older, newer in pairwise(attempts):
            if older.settled_at is None or older.settled_at > newer.opened_at:
                yield f"{newer.key}: opened before {older.key} was settled"
            if last_arrival.get(older.key, newer.opened_at) > newer.opened_at + CLOCKS_DIFFER_MAX:
                yield f"{older.key}: sent after {newer.key} was opened"


def _overlaps(books: Books) -> Iterator[str]:
    """Two executions at a time. A booking whose row is lost fires while those who came after charge its period."""
    booked = {schedule.payment_id for schedule in books.schedules if schedule.fired_at} & books.payments_lost
    yield from (str(overlap) for overlap in books.overlaps if overlap.get("paymentId") not in booked)


def _beside_a_booking(books: Books) -> Iterator[str]:
    """Direct charges that arrived while a booking of the same payment was waiting or under way."""
    living = _by_payment(books.schedules)
    for post in books.posts_in_history():
        if post.books or post.payment_id in books.payments_lost:
            continue
        for schedule in living[post.payment_id]:
            if schedule.lives_at(post.arrived_at):
                yield f"{post.key}: charged while {schedule.schedule_id} of {post.payment_id} was {schedule.status}"


def _ended_while_booked(books: Books) -> Iterator[str]:
    """Bookings that were settled unpaid while PortOne was still going to charge: what is revoked is paid by nobody."""
    living = _by_payment(books.schedules)
    for attempt in books.attempts:
        unpaid = attempt.is_booking and attempt.status not in {"open", "paid"} and attempt.settled_at is not None
        if not unpaid or attempt.payment_id in books.payments_lost:
            continue
        assert attempt.settled_at is not None
        for schedule in living[attempt.payment_id]:
            if schedule.lives_at(attempt.settled_at):
                yield f"{attempt.key}: {attempt.status} while {schedule.schedule_id} lived until {schedule.ended_at}"


def _fired_unknown(books: Books) -> Iterator[str]:
    """Every booking that PortOne charged by is one of ours, and its attempt says what came of it."""
    ended = {attempt.payment_id for attempt in books.attempts if attempt.is_booking and attempt.status in _CHARGED}
    for schedule in books.schedules:
        if schedule.fired_at and schedule.payment_id not in ended | books.payments_lost:
            yield f"{schedule.payment_id}: no attempt says what came of {schedule.schedule_id}, {schedule.status}"


def _left_to_fire(books: Books) -> Iterator[str]:
    """At rest nothing is booked any more that has not ended."""
    yield from (f"{each.payment_id}: {each.schedule_id} waits" for each in books.schedules if each.ended_at is None)


def _by_payment(schedules: Iterable[Schedule]) -> dict[str, list[Schedule]]:
    found: dict[str, list[Schedule]] = defaultdict(list)
    for schedule in schedules:
        found[schedule.payment_id].append(schedule)
    return found


def _told_otherwise(books: Books) -> Iterator[str]:
    """Each paid cycle is announced to the merchant's systems once."""
    for entry in books.paid:
        if books.events[entry.payment_id] != 1:
            yield f"{entry.payment_id}: {books.events[entry.payment_id]} events say that it is paid"
