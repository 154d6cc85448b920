"""The calls that a history is made of, each made on Postgres and on its twin with what either has given out before.

Answers are compared as far as the SQL says what they are: rows without an ORDER BY in any order, rows of one moment in
any order, and no limit that would choose among those.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from billing_worker.billing import settlement
from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.charging import Revoked, Verdict
from billing_worker.billing.model import Attempt, ClaimedCycle, idempotency_key, shard_of
from billing_worker.billing.money import Money
from billing_worker.billing.outcomes import Paid
from billing_worker.billing.periods import due_at, nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.settlement import Settlement
from billing_worker.billing.states import AttemptStatus, Mode, Source
from billing_worker.store import attempts, control, cycles, db, subscriptions
from billing_worker.store.attempts import ClaimedLook, Intent
from billing_worker.store.subscriptions import DueSubscription, KnownSubscription
from billing_worker.workers.renewer import new_cycle
from tests.builders import NOON, STORE_ID, a_policy, some_rules
from tests.simulation.store_twin_beside_postgres import Pair, SideBySide

T = TypeVar("T")

RULES, POLICY = some_rules(), a_policy()
WORKER = "worker-1"
LEAD = timedelta(days=3)

# An attempt by its number, what is said of it, what is said if it is closed, and how that was learnt.
Choice = tuple[int, Verdict, Paid, Source]
Told = tuple[Pair[Attempt], Verdict, Paid, Source]


def _keys_of_two_shards() -> list[str]:
    """Business keys that meet in shards, four in each of two: statements touch a shard or many of them."""
    found: dict[int, list[str]] = {}
    for number in count(1):
        of_shard = found.setdefault(shard_of(f"sub-{number}"), [])
        of_shard.append(f"sub-{number}")
        full = [keys[:4] for keys in found.values() if len(keys) >= 4]
        if len(full) == 2:
            return full[0] + full[1]
    raise AssertionError("the numbers have no end")


KEYS = _keys_of_two_shards()
SHARDS = sorted({shard_of(key) for key in KEYS})


class Calls:
    """One history: its clock, and what its workers have been told."""

    def __init__(self, both: SideBySide) -> None:
        self.both = both
        self.now = NOON
        self.changed = False
        # What either side has given out, for ever: workers keep what they were told, and come with it late.
        self.dues: list[Pair[DueSubscription]] = []
        self.claims: list[Pair[ClaimedCycle]] = []
        self.attempts: list[Pair[Attempt]] = []
        self.looks: list[Pair[ClaimedLook]] = []

    def add(self, chosen: list[PlannedSubscription]) -> None:
        dated = [(p, due_at(p.cadence, nth_period(p.cadence, p.first_cycle_number))) for p in chosen]
        self.both.ask(lambda to, _: subscriptions.add_subscriptions(to, dated))

    def add_what_is_refused(self, plan: PlannedSubscription, broken: tuple[int, object]) -> None:
        row = [*subscriptions._identity(plan), *subscriptions._changeable(plan), *subscriptions._fixed(plan), 1, NOON]
        row[broken[0]] = broken[1]
        self.both.ask(lambda to, _: to.fetch("add_subscriptions", *db.columns([row], 18)), normal=list)

    def change(self, of: list[str], amount: int, mode: Mode, *, card: bool) -> None:
        found = self.both.ask(
            lambda to, _: subscriptions.find_subscriptions(to, of),
            normal=lambda known: [replace(one, subscription_id=0) for one in known.values()],
        )
        assert found

        def changed(one: KnownSubscription) -> PlannedSubscription:
            billing_key = BillingKey(f"bk-{amount}") if card else one.plan.billing_key
            return replace(one.plan, price=Money(amount, "KRW"), billing_key=billing_key, mode=mode)

        new = [[(one, changed(one)) for one in known.values()] for known in found]
        self.both.ask(lambda to, side: subscriptions.change_subscriptions(to, new[side], now=self.now))

    def cancel(self, key: str, reason: str) -> None:
        said = {"reason": reason, "actor": "kim"}
        self.both.ask(lambda to, _: subscriptions.cancel_subscription(to, key, **said, now=self.now))  # type: ignore[arg-type]

    def ask_for_due_shards(self, store: str) -> None:
        waiting = self.due(store)
        oldest = {
            shard: min((c["claimable_at"] for c in waiting if c["shard"] == shard), default=NOON) for shard in SHARDS
        }

        def normal(due: list[cycles.DueShard]) -> object:
            waits = [oldest[each.shard] for each in due]
            assert waits == sorted(waits)
            return {each.shard: each.suspect for each in due if not self.mixed(waiting, each.shard)}

        self.both.ask(lambda to, _: cycles.shards_due(to, self.now, store_id=store), normal=normal)

    def ask_for_shards_to_look(self) -> None:
        looks = {
            shard: min(
                (a["look_at"] for a in self.rows("attempts") if a["shard"] == shard and a["look_at"]), default=NOON
            )
            for shard in SHARDS
        }

        def normal(found: list[int]) -> object:
            waits = [looks[shard] for shard in found]
            assert waits == sorted(waits)
            return set(found)

        self.both.ask(lambda to, _: attempts.shards_to_look(to, self.now), normal=normal)

    def lock(self, shard: int, limit: int) -> list[Pair[DueSubscription]]:
        until = {"charge": self.now, "schedule": self.now + LEAD}
        rows = [s for s in self.rows("subscriptions") if s["shard"] == shard and s["status"] == "active"]
        waits = {s["business_key"]: s["next_due_at"] for s in rows if s["next_due_at"] <= until[s["mode"]]}
        limit = self.uncut(list(waits.values()), limit)

        def normal(due: list[DueSubscription]) -> object:
            ordered = [waits[one.business_key] for one in due]
            assert ordered == sorted(ordered)
            return {one.business_key: _without_id(one) for one in due}

        answer = self.both.ask(
            lambda to, _: subscriptions.lock_due_subscriptions(
                to, shard, now=self.now, lead_until=self.now + LEAD, limit=limit
            ),
            normal=normal,
        )
        assert answer
        locked = paired(answer, lambda one: one.business_key)
        self.dues += locked
        return locked

    def open(self, chosen: list[Pair[DueSubscription]], store: str) -> None:
        self.changed = True
        new = [[new_cycle(pair[side], store_id=store, lead=LEAD) for pair in chosen] for side in range(2)]
        self.both.ask(lambda to, side: cycles.open_cycles(to, new[side], store_id=store))

    def claim_cycles(self, shard: int, limit: int, *, suspects: bool, store: str) -> list[Pair[ClaimedCycle]]:
        self.changed = True
        due = [c for c in self.due(store) if c["shard"] == shard and (c["fruitless_claims"] > 0) == suspects]
        limit, lease_until = self.uncut([c["claimable_at"] for c in due], limit), self.now + timedelta(minutes=1)
        answer = self.both.ask(
            lambda to, _: cycles.claim_due_cycles(
                to, shard, store_id=store, now=self.now, lease_until=lease_until, limit=limit, suspects=suspects
            ),
            normal=lambda found: {one.payment_id: replace(one, cycle_id=0, subscription_id=0) for one in found},
        )
        assert answer
        claimed = paired(answer, lambda one: one.payment_id)
        self.claims += claimed
        return claimed

    def intend(
        self,
        chosen: list[Pair[ClaimedCycle]],
        *,
        ahead: int = 0,
        body: bytes = b"{}",
        key: str = "",
        books_all: bool = False,
    ) -> None:
        """Open attempts: bookings where their cycles' time has not come, or of all of them."""
        self.changed = True

        def at_their_time(cycle: ClaimedCycle) -> datetime | None:
            early = cycle.mode is Mode.SCHEDULE and self.now < cycle.due_at
            return cycle.due_at if early or books_all else None

        intents = [
            [_intent(pair[side], ahead, body, key, at_their_time(pair[side])) for pair in chosen] for side in range(2)
        ]
        at = self.now + timedelta(minutes=2)
        answer = self.both.ask(
            lambda to, side: attempts.open_attempts(to, intents[side], now=self.now, look_at=at, worker=WORKER),
            normal=lambda found: sorted((nameless(one) for one in found), key=lambda one: one.idempotency_key),
        )
        self.attempts += paired(answer, lambda one: one.idempotency_key) if answer else []

    def collect_shard(self, shard: int, *, suspects: bool) -> None:
        self.intend(self.claim_cycles(shard, 4, suspects=suspects, store=STORE_ID))

    def write_to_the_row_of_another(self, chosen: tuple[int, int], whose: tuple[str, ...]) -> None:
        """Remember an attempt by what another one of its shard is called, and write to it."""
        [one] = chosen_of(self.attempts, chosen[:1])
        beside = [pair for pair in self.attempts if pair[0].shard == one[0].shard or "shard" in whose]
        [other] = chosen_of(beside, chosen[1:])
        ours, theirs = (replace(one[side], **{name: getattr(other[side], name) for name in whose}) for side in range(2))
        pair = (ours, theirs)
        self.attempts.append(pair)
        self.both.ask(lambda to, side: attempts.ask_again(to, [(pair[side], self.now)]))
        self.both.ask(lambda to, side: attempts.hand_over_attempts(to, [pair[side]], now=self.now + timedelta(hours=1)))

    def intend_with_the_key_of(self, other: Attempt) -> None:
        """Open an attempt on a cycle that is ours, with a key that is not."""
        self.open(self.lock(other.shard, 10), STORE_ID)
        self.intend(self.claim_cycles(other.shard, 1, suspects=False, store=STORE_ID)[:1], key=other.idempotency_key)

    def try_twice(self, verdict: Verdict, *, held: bool, late: Paid) -> None:
        """The newest attempt ends unpaid, its cycle is tried again, and then the first turns out to have been paid."""
        [(ours, theirs)] = chosen_of(self.attempts, [0])
        self.settle([(0, verdict, late, Source.ANSWER)])
        self.now += timedelta(days=4)
        self.collect_shard(ours.shard, suspects=False)
        if held:
            self.order(ours.payment_id, "hold", "asked by phone")
        declined = AttemptStatus.DECLINED
        self.attempts.append((replace(ours, status=declined), replace(theirs, status=declined)))
        self.settle([(0, late, late, Source.LOOK)])

    def order(self, of: str, act: str, reason: str) -> None:
        """A person's act on one cycle."""
        said = {"reason": reason, "actor": "kim"}
        match act:
            case "skip":
                at = self.now + timedelta(hours=1)
                self.both.ask(lambda to, _: cycles.skip_cycle(to, of, **said, now=self.now, recheck_at=at))
            case "retry":
                self.both.ask(lambda to, _: cycles.retry_cycle(to, of, **said, now=self.now))
            case "accept":
                self.both.ask(lambda to, _: cycles.accept_cycle(to, of, **said))
            case _:
                self.both.ask(lambda to, _: cycles.hold_cycle(to, of, **said, now=self.now))

    def settlement(self, chosen: Told, side: int) -> Settlement:
        pair, verdict, if_late, source = chosen
        attempt = pair[side]
        said = verdict if attempt.status is AttemptStatus.OPEN else if_late
        if isinstance(said, Revoked) and attempt.revoke_reason is None:
            attempt = replace(attempt, revoke_reason="held")  # believed by somebody who is wrong
        return settlement.settle(attempt, said, source, now=self.now, rules=RULES, policy=POLICY)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.both.twin.table(table)

    def due(self, store: str) -> list[dict[str, Any]]:
        rows = self.rows("cycles")
        return [c for c in rows if c["status"] == "due" and c["store_id"] == store and c["claimable_at"] <= self.now]

    def payment_id(self, number: int) -> str:
        known = sorted(cycle["payment_id"] for cycle in self.rows("cycles"))
        return known[number % len(known)] if known and number else "none-such"

    def mixed(self, waiting: list[dict[str, Any]], shard: int) -> bool:
        """Whether the shard's oldest are several of which some are suspects: either answer is right."""
        of_shard = [c for c in waiting if c["shard"] == shard]
        oldest = min((c["claimable_at"] for c in of_shard), default=NOON)
        return len({c["fruitless_claims"] > 0 for c in of_shard if c["claimable_at"] == oldest}) > 1

    @staticmethod
    def uncut(waits: list[datetime], limit: int) -> int:
        """The limit, widened until it does not choose among rows of one moment, which Postgres may do either way."""
        ordered = sorted(waits)
        while limit < len(ordered) and ordered[limit] == ordered[limit - 1]:
            limit += 1
        return limit

    def settle(self, chosen: list[Choice]) -> None:
        self.changed = True
        told = _one_verdict_an_attempt([(chosen_of(self.attempts, [one[0]])[0], *one[1:]) for one in chosen])
        batches = [[self.settlement(each, side) for each in told] for side in range(2)]
        self.both.ask(lambda to, side: attempts.settle_attempts(to, batches[side], now=self.now, actor=WORKER))
        self.both.ask(lambda to, side: attempts.attempt_statuses(to, [s.attempt for s in batches[side]]))


def _intent(cycle: ClaimedCycle, ahead: int, body: bytes, key: str, time_to_pay: datetime | None) -> Intent:
    number = max(cycle.attempts_count + 1 + ahead, 1)
    return Intent(cycle, number, key or idempotency_key(cycle.payment_id, number), body, time_to_pay)


def _one_verdict_an_attempt(chosen: list[Told]) -> list[Told]:
    """What may come several times in a batch is one and the same verdict: of two, Postgres writes either first."""
    first: dict[str, Told] = {}
    return [first.setdefault(one[0][0].idempotency_key, one) for one in chosen]


def chosen_of(given: list[T], chosen: Sequence[int]) -> list[T]:
    """The chosen ones, counted from the newest."""
    return [given[-1 - number % len(given)] for number in chosen]


def nameless(attempt: Attempt) -> Attempt:
    """Without what either side numbers, or stamps by its own clock where a person has closed it."""
    return replace(attempt, attempt_id=0, cycle_id=0, subscription_id=0, settled_at=attempt.settled_at and NOON)


def key_of(one: tuple[Attempt, int]) -> str:
    return one[0].idempotency_key


def _without_id(due: DueSubscription) -> object:
    cadence = {column: value for column, value in dict(due.cadence_row).items() if column != "subscription_id"}
    return replace(due, subscription_id=0, cadence_row=()), cadence


def undated(order: control.Order | None) -> object:
    return order and replace(order, changed_at=NOON)


def exceptions(rows: list[Any]) -> object:
    dates = [row["due_at"] for row in rows]
    assert dates == sorted(dates)
    return sorted(str(sorted(dict(row).items())) for row in rows)


def paired(answer: Any, name: Any) -> list[Any]:
    """What both sides have given out, each with its counterpart."""
    of_twin = {name(one): one for one in answer[1]}
    return [(one, of_twin[name(one)]) for one in answer[0]]
