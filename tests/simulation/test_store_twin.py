"""The twin is Postgres: the same calls give the same answers, the same refusals and the same tables.

BILLING_TWIN_EXAMPLES is how many histories are tried; a few hundred take a minute, a night takes as many as you like.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing_worker.billing.charging import Verdict
from billing_worker.billing.outcomes import Paid
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import AttemptStatus, CycleStatus, Mode, Source
from billing_worker.store import attempts, cycles, db, last_lines, subscriptions
from tests.builders import NOON, STORE_ID, a_policy, some_rules
from tests.conftest import DatabaseUrls, execute
from tests.simulation.store_twin import StoreTwin, UnknownQueryError
from tests.simulation.store_twin_beside_postgres import GRANTS, SideBySide
from tests.simulation.store_twin_calls import (
    SHARDS,
    WORKER,
    Calls,
    Choice,
    chosen_of,
    key_of,
    nameless,
    paired,
)
from tests.simulation.store_twin_orders import OrdersAndHints
from tests.simulation.store_twin_strategies import (
    BROKEN_COLUMNS,
    amounts,
    few,
    keys,
    limits,
    modes,
    paid,
    plans,
    reasons,
    shards,
    some,
    sources,
    stores,
    transaction_ids,
    two,
    unpaid,
    verdicts,
)

T = TypeVar("T")

# What a row of attempts is called by. A failover leaves both ids of another: the rows that they named are gone.
BOTH_IDS = ("attempt_id", "cycle_id")
ATTEMPT_NAMES = [("attempt_id",), ("cycle_id",), ("idempotency_key",), ("shard",), BOTH_IDS, BOTH_IDS]

EXAMPLES = int(os.environ.get("BILLING_TWIN_EXAMPLES", "200"))
STEPS, SECONDS_AN_EXAMPLE_MAX = 30, 3
RULES, POLICY = some_rules(), a_policy()


class StoreAndTwin(OrdersAndHints, RuleBasedStateMachine):
    """Histories of calls as workers, operators and confused workers make them."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[db.Database]

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Calls.__init__(self, SideBySide(self.runner, self.database))

    def teardown(self) -> None:
        self.both.end()

    @invariant()
    def tables_are_the_same(self) -> None:
        if self.changed:
            self.both.compare_tables()
            self.changed = False

    # Subscriptions and their cycles.

    @initialize(
        chosen=st.lists(plans, min_size=3, max_size=6, unique_by=lambda plan: plan.business_key),
        collected=st.lists(shards, min_size=1, max_size=2, unique=True),
    )
    def begin(self, chosen: list[PlannedSubscription], collected: list[int]) -> None:
        self.add(chosen)
        for shard in SHARDS:
            self.open(self.lock(shard, 10), STORE_ID)
        for shard in collected:
            self.collect_shard(shard, suspects=False)

    @rule(what=st.data())
    def something_about_subscriptions(self, what: st.DataObject) -> None:
        self.changed = True  # one rule for all of these, so that histories are not made of them
        match what.draw(st.sampled_from(["add", "refused", "change", "cancel", "resume"])):
            case "add":
                self.add(what.draw(st.lists(plans, min_size=1, max_size=3)))
            case "refused":
                self.add_what_is_refused(what.draw(plans), what.draw(st.sampled_from(BROKEN_COLUMNS)))
            case "change":
                of, amount, card = what.draw(st.tuples(st.lists(keys, max_size=3), amounts, st.booleans()))
                self.change(of, amount, what.draw(modes), card=card)
            case "cancel":
                key, reason = what.draw(keys), what.draw(reasons)
                self.cancel(key, reason)
            case _:
                key, reason = what.draw(keys), what.draw(reasons)
                self.both.ask(lambda to, _: subscriptions.resume_subscription(to, key, reason=reason, actor="kim"))

    @rule(shard=shards, limit=limits)
    def lock_due(self, shard: int, limit: int) -> None:
        self.lock(shard, limit)

    @rule(chosen=few, store=stores)
    @precondition(lambda self: self.dues)
    def open_cycles(self, chosen: list[int], store: str) -> None:
        self.open(chosen_of(self.dues, chosen), store)

    @rule()
    def renew(self) -> None:
        for shard in SHARDS:
            self.open(self.lock(shard, 10), STORE_ID)

    @rule(due=some, reason=reasons)
    @precondition(lambda self: self.dues)
    def hold_subscription(self, due: int, reason: str) -> None:
        self.changed = True
        [held] = chosen_of(self.dues, [due])
        self.both.ask(lambda to, side: subscriptions.hold_subscription(to, held[side], reason=reason, actor=WORKER))

    # Claims.

    @rule(shard=shards, limit=limits, suspects=st.booleans(), store=stores)
    def claim(self, shard: int, limit: int, suspects: bool, store: str) -> None:
        self.claim_cycles(shard, limit, suspects=suspects, store=store)

    @rule(chosen=two, epochs=st.integers(-1, 1), swapped=st.booleans())
    @precondition(lambda self: self.claims)
    def misremember_a_claim(self, chosen: tuple[int, int], epochs: int, swapped: bool) -> None:
        self.changed = True
        one, other = chosen_of(self.claims, chosen)
        ids = [(other if swapped else one)[side].cycle_id for side in range(2)]
        first, second = (replace(one[s], claim_epoch=one[s].claim_epoch + epochs, cycle_id=ids[s]) for s in range(2))
        pair = (first, second)
        self.claims.append(pair)
        self.both.ask(lambda to, side: cycles.release_cycles(to, [pair[side]], claimable_at=self.now))

    @rule(chosen=few, minutes=st.integers(-1, 5))
    @precondition(lambda self: self.claims)
    def release(self, chosen: list[int], minutes: int) -> None:
        self.changed = True
        given = chosen_of(self.claims, chosen)
        at = self.now + timedelta(minutes=minutes)
        self.both.ask(lambda to, side: cycles.release_cycles(to, [c[side] for c in given], claimable_at=at))

    @rule(
        chosen=few,
        status=st.sampled_from([CycleStatus.HELD, CycleStatus.SKIPPED, CycleStatus.PAID]),
        reason=st.sampled_from(["too often", "cancelled", None]),
    )
    @precondition(lambda self: self.claims)
    def set_aside(self, chosen: list[int], status: CycleStatus, reason: Any) -> None:
        self.changed = True
        given = chosen_of(self.claims, chosen)
        self.both.ask(
            lambda to, side: cycles.set_aside_cycles(to, [(c[side], status, reason) for c in given], actor=WORKER)
        )

    # Attempts.

    @rule(chosen=few, ahead=st.sampled_from([0, 0, 0, 0, -1, 1]), body=st.binary(max_size=3), books_all=st.booleans())
    @precondition(lambda self: self.claims)
    def open_attempts(self, chosen: list[int], ahead: int, body: bytes, books_all: bool) -> None:
        self.intend(chosen_of(self.claims, chosen), ahead=ahead, body=body, books_all=books_all)

    @rule(one=some, schedule=st.sampled_from(["schedule-1", "schedule-2"]), hours=st.sampled_from([0, 1, 50]))
    @precondition(lambda self: self.attempts)
    def note_booked(self, one: int, schedule: str, hours: int) -> None:
        self.changed = True
        [given], at = chosen_of(self.attempts, [one]), self.now + timedelta(hours=hours)
        self.both.ask(
            lambda to, side: attempts.note_booked(
                to, given[side], schedule_id=schedule, look_at=at, source=Source.LOOK, actor=WORKER
            )
        )

    @rule(one=some, change=st.sampled_from(["price", "card", "cancel", "hold", "skip"]), verdict=unpaid)
    @precondition(lambda self: self.attempts)
    def a_booking_is_wanted_back(self, one: int, change: str, verdict: Verdict) -> None:
        """What changes or ends a booking, what those who know of it are told, and its end."""
        self.changed = True
        [given] = chosen_of(self.attempts, [one])
        match change:
            case "price" | "card":
                self.change([given[0].business_key], 700, Mode.SCHEDULE, card=change == "card")
            case "cancel":
                self.cancel(given[0].business_key, "asked by phone")
            case _:
                self.order(given[0].payment_id, "hold", "wrong amount")
                if change == "skip":
                    self.order(given[0].payment_id, "skip", "wrong amount")
        self.look_at_all(given[0].shard)
        self.both.ask(lambda to, side: attempts.ask_again(to, [(given[side], self.now + timedelta(hours=3))]))
        self.settle([(0, verdict, Paid("pg-9", NOON, None, 0), Source.LOOK)])

    @rule(number=some)
    @precondition(lambda self: self.attempts)
    def open_attempts_with_the_key_of_another(self, number: int) -> None:
        self.intend_with_the_key_of(chosen_of(self.attempts, [number])[0][0])

    @rule(shard=shards, suspects=st.booleans())
    def collect(self, shard: int, suspects: bool) -> None:
        self.collect_shard(shard, suspects=suspects)

    @rule(chosen=two, whose=st.sampled_from(ATTEMPT_NAMES), verdict=verdicts, late=paid)
    @precondition(lambda self: self.attempts)
    def misremember_an_attempt(
        self, chosen: tuple[int, int], whose: tuple[str, ...], verdict: Verdict, late: Paid
    ) -> None:
        self.write_to_the_row_of_another(chosen, whose)
        self.settle([(0, verdict, late, Source.ANSWER)])

    @rule(one=some, status=st.sampled_from(AttemptStatus), of_cycle=st.sampled_from(CycleStatus))
    @precondition(lambda self: self.attempts)
    def believe_in_another_status(self, one: int, status: AttemptStatus, of_cycle: CycleStatus) -> None:
        [given] = chosen_of(self.attempts, [one])
        first, second = (replace(given[side], status=status, cycle_status=of_cycle) for side in range(2))
        self.attempts.append((first, second))

    @rule(chosen=st.tuples(some, verdicts, paid, sources))
    @precondition(lambda self: self.attempts)
    def settle_one(self, chosen: Choice) -> None:
        self.settle([chosen])

    @rule(verdict=unpaid, held=st.booleans(), late=paid)
    @precondition(lambda self: self.attempts)
    def a_second_attempt_and_the_truth_about_the_first(self, verdict: Verdict, held: bool, late: Paid) -> None:
        self.try_twice(verdict, held=held, late=late)

    @rule(chosen=st.lists(st.tuples(some, verdicts, paid, sources), min_size=1, max_size=4))
    @precondition(lambda self: self.attempts)
    def settle_several(self, chosen: list[Choice]) -> None:
        self.settle(chosen)

    # Looks.

    @rule(shard=shards, limit=limits, minutes=st.integers(1, 60), later=st.sampled_from([0, 3, 90]))
    def claim_looks(self, shard: int, limit: int, minutes: int, later: int) -> None:
        self.now += timedelta(minutes=later)
        self.look_at_all(shard, limit=limit, minutes=minutes)

    def look_at_all(self, shard: int, *, limit: int = 20, minutes: int = 5) -> None:
        self.changed = True
        waits = [a["look_at"] for a in self.rows("attempts") if a["shard"] == shard and a["look_at"]]
        limit, lease_until = self.uncut(waits, limit), self.now + timedelta(minutes=minutes)
        answer = self.both.ask(
            lambda to, _: attempts.claim_looks(to, shard, now=self.now, lease_until=lease_until, limit=limit),
            normal=lambda found: sorted(((nameless(one.attempt), one.look_epoch) for one in found), key=key_of),
        )
        assert answer
        claimed = paired(answer, lambda one: one.attempt.idempotency_key)
        self.looks += claimed
        self.attempts += [(ours.attempt, theirs.attempt) for ours, theirs in claimed]

    @rule(look=some, epochs=st.sampled_from([0, 0, 0, 1, -1]))
    @precondition(lambda self: self.looks)
    def note_resend(self, look: int, epochs: int) -> None:
        self.changed = True
        ours = [replace(one, look_epoch=one.look_epoch + epochs) for one in chosen_of(self.looks, [look])[0]]
        at = self.now + timedelta(minutes=2)
        self.both.ask(lambda to, side: attempts.note_resend(to, ours[side], now=self.now, look_at=at))

    @rule(chosen=st.lists(st.tuples(some, st.sampled_from([None, 0, 1, 90])), min_size=1, max_size=4))
    @precondition(lambda self: self.attempts)
    def ask_again(self, chosen: list[tuple[int, int | None]]) -> None:
        self.changed = True
        given = chosen_of(self.attempts, [number for number, _ in chosen])
        at = [None if minutes is None else self.now + timedelta(minutes=minutes) for _, minutes in chosen]
        rows = [[(pair[side], when) for pair, when in zip(given, at, strict=True)] for side in range(2)]
        self.both.ask(lambda to, side: attempts.ask_again(to, rows[side]))

    @rule(one=some, transaction_id=transaction_ids, refunded=st.sampled_from([0, 400, 1000]))
    @precondition(lambda self: self.attempts)
    def verify(self, one: int, transaction_id: Any, refunded: int) -> None:
        self.changed = True
        [given] = chosen_of(self.attempts, [one])
        self.both.ask(
            lambda to, side: attempts.verify_attempt(
                to, given[side], now=self.now, transaction_id=transaction_id, refunded_minor=refunded, actor=WORKER
            )
        )

    @rule(one=some, what=reasons)
    @precondition(lambda self: self.attempts)
    def contradict(self, one: int, what: str) -> None:
        self.changed = True
        [given] = chosen_of(self.attempts, [one])
        at = self.now + timedelta(hours=1)
        self.both.ask(
            lambda to, side: attempts.contradict_attempt(to, given[side], what=what, look_at=at, actor=WORKER)
        )

    @rule(chosen=few)
    @precondition(lambda self: self.attempts)
    def hand_over(self, chosen: list[int]) -> None:
        self.changed = True
        given = chosen_of(self.attempts, chosen)
        self.both.ask(lambda to, side: attempts.hand_over_attempts(to, [a[side] for a in given], now=self.now))

    # People.

    @rule(number=st.integers(0, 20))
    def look_soon(self, number: int) -> None:
        self.changed = True
        self.both.ask(
            lambda to, _: attempts.look_soon(to, self.payment_id(number), now=self.now),
            normal=lambda order: order and replace(order, attempt_id=0),
        )

    # Time, and servers that have forgotten.

    @rule(minutes=st.sampled_from([1, 10, 60, 24 * 60, 3 * 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    @precondition(lambda self: self.both.moments() < 3)
    def a_replica_stops_following(self) -> None:
        self.both.remember()

    @rule(number=st.integers(0, 2))
    @precondition(lambda self: self.both.moments() > 0)
    def that_replica_is_made_primary(self, number: int) -> None:
        self.changed = True
        self.both.come_back(number % self.both.moments())


async def _fetch(name: str, to: db.Executor, _side: int) -> list[Any]:
    return await to.fetch(name)


@pytest.fixture
def machine(database: DatabaseUrls) -> Iterator[type[StoreAndTwin]]:
    """The state machine with a database."""
    execute(database.admin_url, *GRANTS)
    with asyncio.Runner() as runner:
        limits_of_pools = db.PoolLimits(claims_max=1, outcomes_max=1)
        connected = runner.run(db.connect(database.worker_url, limits_of_pools, application_name="twin"))
        StoreAndTwin.runner, StoreAndTwin.database = runner, connected
        yield StoreAndTwin
        runner.run(connected.close())


@pytest.mark.timeout(60 + EXAMPLES * SECONDS_AN_EXAMPLE_MAX)
def test_the_twin_answers_and_keeps_what_postgres_does(machine: type[StoreAndTwin]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_a_query_that_the_twin_does_not_know_is_named() -> None:
    twin = StoreTwin(primary_now=lambda: NOON)

    with pytest.raises(UnknownQueryError, match="demo_progress"):
        twin.run("demo_progress", "worker-1")


def test_the_twin_names_every_column_that_postgres_does(machine: type[StoreAndTwin]) -> None:
    both = SideBySide(machine.runner, machine.database)

    for name in ("see_database", "see_database_without_wal", "see_database_alone", "server_facts"):
        both.ask(partial(_fetch, name), normal=lambda rows: [sorted(dict(row)) for row in rows])
    both.ask(lambda to, _: last_lines.missing_last_lines(to))

    both.end()
