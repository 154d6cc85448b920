"""The renewer: every period that has come is opened once, counted from the anchor, however late it is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import asyncpg
import pytest

from billing_worker.billing.model import payment_id, shard_of
from billing_worker.billing.periods import Cadence, PeriodUnit, due_at, nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from billing_worker.store import subscriptions
from billing_worker.store.db import Database, DatabaseGoneError
from billing_worker.workers.renewer import Renewer
from tests.builders import STORE_ID, a_cadence, a_plan
from tests.conftest import DatabaseUrls, execute
from tests.rig import a_database

LEAD = timedelta(days=3)
KEYS = [key for key in (f"key-{number}" for number in range(3000)) if shard_of(key) == 7]


@pytest.fixture
async def worker(database: DatabaseUrls) -> AsyncIterator[Database]:
    async with a_database(database) as pools:
        yield pools


@pytest.fixture
async def admin(database: DatabaseUrls) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.admin_url)
    yield connection
    await connection.close()


async def subscribe(worker: Database, *plans: PlannedSubscription) -> None:
    dated = [(plan, due_at(plan.cadence, nth_period(plan.cadence, plan.first_cycle_number))) for plan in plans]
    await subscriptions.add_subscriptions(worker.claims, dated)


def renewer(worker: Database, *, batch_max: int = 100) -> Renewer:
    return Renewer(worker.claims, store_id=STORE_ID, lead=LEAD, batch_max=batch_max, actor="worker-1")


async def renew_all(worker: Database, now: datetime, *, batch_max: int = 100) -> int:
    """Passes until there is nothing more to open; how many cycles were opened."""
    opened, more = 0, True
    while more:
        counts = await renewer(worker, batch_max=batch_max).run_once(now)
        opened, more = opened + counts.rows, counts.more
    return opened


async def periods_of(admin: Any, business_key: str = "sub-1") -> list[date]:
    rows = await admin.fetch(
        "SELECT period_start_on FROM billing.cycle_list WHERE business_key = $1 ORDER BY cycle_number", business_key
    )
    return [row["period_start_on"] for row in rows]


async def test_a_period_that_has_come_is_opened_with_everything_that_a_charge_needs(
    worker: Database, admin: Any
) -> None:
    # given
    await subscribe(worker, a_plan())
    now = datetime(2026, 1, 31, 1, 0, tzinfo=UTC)

    # when
    opened = await renew_all(worker, now)

    # then
    cycle = await admin.fetchrow("SELECT * FROM billing.cycles")
    assert opened == 1
    assert (cycle["cycle_number"], cycle["period_start_on"], cycle["period_end_on"]) == (
        1,
        date(2026, 1, 31),
        date(2026, 2, 28),
    )
    assert (cycle["status"], cycle["due_at"], cycle["claimable_at"]) == ("due", now, now)
    assert (cycle["amount_minor"], cycle["currency"], cycle["order_name"]) == (9900, "KRW", "월간 이용권")
    assert cycle["payment_id"] == payment_id(store_id=STORE_ID, business_key="sub-1", period_start_on=date(2026, 1, 31))
    subscription = await admin.fetchrow("SELECT next_cycle_number, next_due_at FROM billing.subscriptions")
    assert tuple(subscription) == (2, datetime(2026, 2, 28, 1, 0, tzinfo=UTC))


async def test_nothing_is_opened_before_its_moment(worker: Database) -> None:
    await subscribe(worker, a_plan())

    assert await renew_all(worker, datetime(2026, 1, 31, 0, 59, 59, tzinfo=UTC)) == 0


async def test_every_period_of_a_long_outage_is_opened_and_month_ends_come_back(worker: Database, admin: Any) -> None:
    # given
    await subscribe(worker, a_plan())

    # when
    opened = await renew_all(worker, datetime(2027, 4, 1, tzinfo=UTC))

    # then
    starts = await periods_of(admin)
    assert opened == 15
    assert [start.day for start in starts] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28, 31]
    assert await admin.fetchval("SELECT count(DISTINCT payment_id) FROM billing.cycles") == 15


@pytest.mark.parametrize(
    ("cadence", "wanted"),
    [
        (
            a_cadence(PeriodUnit.YEAR, anchor_on=date(2024, 2, 29)),
            [date(2024, 2, 29), date(2025, 2, 28), date(2026, 2, 28)],
        ),
        (a_cadence(PeriodUnit.WEEK, count=26, anchor_on=date(2025, 12, 31)), [date(2025, 12, 31), date(2026, 7, 1)]),
        (a_cadence(PeriodUnit.DAY, count=100, anchor_on=date(2026, 5, 1)), [date(2026, 5, 1), date(2026, 8, 9)]),
        (
            a_cadence(count=3, anchor_on=date(2025, 11, 30)),
            [date(2025, 11, 30), date(2026, 2, 28), date(2026, 5, 30), date(2026, 8, 30)],
        ),
    ],
)
async def test_other_cadences_are_counted_from_their_anchor_too(
    worker: Database, admin: Any, cadence: Cadence, wanted: list[date]
) -> None:
    await subscribe(worker, a_plan(cadence=cadence))

    await renew_all(worker, datetime(2026, 10, 1, tzinfo=UTC))

    assert await periods_of(admin) == wanted


async def test_a_subscription_that_was_taken_over_starts_with_its_own_number(worker: Database, admin: Any) -> None:
    await subscribe(worker, a_plan(first_cycle_number=3))

    await renew_all(worker, datetime(2026, 4, 1, tzinfo=UTC))

    assert await periods_of(admin) == [date(2026, 3, 31)]


async def test_a_changed_price_counts_from_the_next_period_on(worker: Database, admin: Any) -> None:
    # given
    await subscribe(worker, a_plan())
    await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC))

    # when
    await admin.execute("UPDATE billing.subscriptions SET amount_minor = 12000")
    await renew_all(worker, datetime(2026, 3, 1, tzinfo=UTC))

    # then
    amounts = await admin.fetch("SELECT amount_minor FROM billing.cycles ORDER BY cycle_number")
    assert [row["amount_minor"] for row in amounts] == [9900, 12000]


@pytest.mark.parametrize("status", ["cancelled", "held"])
async def test_only_an_active_subscription_opens_periods(worker: Database, admin: Any, status: str) -> None:
    await subscribe(worker, a_plan())
    await admin.execute("UPDATE billing.subscriptions SET status = $1, held_reason = 'x'", status)

    assert await renew_all(worker, datetime(2026, 9, 1, tzinfo=UTC)) == 0


async def test_an_impossible_cadence_is_put_before_a_person_and_blocks_nobody(worker: Database, admin: Any) -> None:
    # given
    bad, *good = KEYS[:3]
    await subscribe(worker, *(a_plan(key) for key in (bad, *good)))
    # Postgres knows this zone and we do not; somebody has written it into the row.
    await admin.execute("UPDATE billing.subscriptions SET zone = 'KST-9' WHERE business_key = $1", bad)

    # when
    opened = await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC))
    again = await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC))

    # then
    held = await admin.fetchrow("SELECT status, held_reason FROM billing.subscriptions WHERE business_key = $1", bad)
    entry = await admin.fetchrow("SELECT kind, source, actor FROM billing.ledger")
    assert (opened, again) == (2, 0)
    assert held["status"] == "held"
    assert "zone" in held["held_reason"]
    assert tuple(entry) == ("held", "rule", "worker-1")
    assert [len(await periods_of(admin, key)) for key in (bad, *good)] == [0, 1, 1]


async def test_a_period_beyond_the_calendar_is_put_before_a_person(worker: Database, admin: Any) -> None:
    # given
    await subscribe(worker, a_plan())
    await admin.execute("UPDATE billing.subscriptions SET next_cycle_number = 2000000000")

    # when
    await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC))

    # then
    assert await admin.fetchval("SELECT status FROM billing.subscriptions") == "held"


async def test_a_held_subscription_goes_on_where_it_stopped_once_a_person_has_mended_it(
    worker: Database, admin: Any
) -> None:
    # given
    await subscribe(worker, a_plan())
    await admin.execute("UPDATE billing.subscriptions SET zone = 'KST-9'")
    await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC))

    # when
    await admin.execute("UPDATE billing.subscriptions SET zone = 'Asia/Seoul'")
    resumed = await subscriptions.resume_subscription(worker.claims, "sub-1", reason="typing error", actor="kim")
    opened = await renew_all(worker, datetime(2026, 4, 1, tzinfo=UTC))

    # then
    assert resumed
    assert opened == 3
    kinds = await admin.fetch("SELECT kind, actor FROM billing.ledger ORDER BY sequence")
    assert [tuple(row) for row in kinds] == [("held", "worker-1"), ("operator", "kim")]


async def test_a_cycle_that_postgres_refuses_is_put_before_a_person_and_blocks_nobody(
    worker: Database, admin: Any
) -> None:
    """Somebody has turned a subscription back to a period that was opened already."""
    # given
    bad, *good = KEYS[:4]
    await subscribe(worker, *(a_plan(key) for key in (bad, *good)))
    await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC))
    await admin.execute(
        "UPDATE billing.subscriptions SET next_cycle_number = 1, next_due_at = '2026-01-31' WHERE business_key = $1",
        bad,
    )

    # when
    opened = await renew_all(worker, datetime(2026, 3, 1, tzinfo=UTC))

    # then
    held = await admin.fetchrow("SELECT status, held_reason FROM billing.subscriptions WHERE business_key = $1", bad)
    assert opened == 3
    assert held["status"] == "held"
    assert "cycles_number" in held["held_reason"]
    assert [len(await periods_of(admin, key)) for key in (bad, *good)] == [1, 2, 2, 2]


async def test_two_renewers_at_once_open_every_period_once(
    database: DatabaseUrls, worker: Database, admin: Any
) -> None:
    # given
    await subscribe(worker, *(a_plan(f"sub-{number}") for number in range(150)))
    now = datetime(2026, 4, 1, tzinfo=UTC)

    # when
    async with a_database(database) as other:
        opened = await asyncio.gather(
            renew_all(worker, now, batch_max=1), renew_all(other, now, batch_max=2), renew_all(other, now)
        )
        opened.append(await renew_all(worker, now))

    # then
    assert sum(opened) == 150 * 3
    assert await admin.fetchval("SELECT count(*) FROM billing.cycles") == 450
    assert await admin.fetchval("SELECT min(next_cycle_number) FROM billing.subscriptions") == 4
    assert await admin.fetchval("SELECT count(*) FROM billing.subscriptions WHERE status <> 'active'") == 0


async def test_a_batch_takes_the_longest_overdue_first(worker: Database, admin: Any) -> None:
    # given
    old, new = KEYS[:2]
    await subscribe(worker, a_plan(new, cadence=a_cadence(anchor_on=date(2026, 2, 1), charge_at=time(9))), a_plan(old))

    # when
    await renewer(worker, batch_max=1).run_once(datetime(2026, 2, 1, 12, tzinfo=UTC))

    # then
    assert [len(await periods_of(admin, key)) for key in (old, new)] == [1, 0]


async def test_a_renewal_that_fails_half_way_opens_nothing(
    worker: Database, admin: Any, database: DatabaseUrls
) -> None:
    # given
    await subscribe(worker, *(a_plan(key) for key in KEYS[:3]))
    execute(
        database.admin_url,
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'no' USING ERRCODE = 'admin_shutdown'; END $$",
        "CREATE TRIGGER refuse BEFORE UPDATE ON billing.subscriptions EXECUTE FUNCTION public.refuse()",
    )

    # when
    with pytest.raises(DatabaseGoneError, match="57P01"):
        await renew_all(worker, datetime(2026, 2, 1, tzinfo=UTC) + timedelta(days=1))

    # then
    assert await admin.fetchval("SELECT count(*) FROM billing.cycles") == 0
    assert await admin.fetchval("SELECT max(next_cycle_number) FROM billing.subscriptions") == 1


# --- periods that are booked ahead ----------------------------------------------------------------------------------

DUE_AT = datetime(2026, 1, 31, 1, 0, tzinfo=UTC)


async def test_a_period_of_schedule_mode_is_opened_a_lead_before_it_is_due(worker: Database, admin: Any) -> None:
    # given
    await subscribe(worker, a_plan(mode=Mode.SCHEDULE))

    # when
    early = await renew_all(worker, DUE_AT - LEAD - timedelta(microseconds=1))
    in_time = await renew_all(worker, DUE_AT - LEAD)

    # then
    cycle = await admin.fetchrow("SELECT * FROM billing.cycles")
    assert (early, in_time) == (0, 1)
    assert (cycle["mode"], cycle["status"]) == ("schedule", "due")
    assert (cycle["due_at"], cycle["claimable_at"]) == (DUE_AT, DUE_AT - LEAD)
    assert await admin.fetchval("SELECT next_due_at FROM billing.subscriptions") == datetime(2026, 2, 28, 1, tzinfo=UTC)


async def test_a_lead_opens_nothing_of_what_is_charged(worker: Database, admin: Any) -> None:
    # given
    modes = [Mode.CHARGE, Mode.SCHEDULE, Mode.CHARGE, Mode.SCHEDULE]
    await subscribe(worker, *(a_plan(key, mode=mode) for key, mode in zip(KEYS[:4], modes, strict=True)))

    # when
    ahead = await renew_all(worker, DUE_AT - timedelta(seconds=1))
    opened = await admin.fetch("SELECT mode, claimable_at = due_at AS at_once FROM billing.cycles ORDER BY cycle_id")
    owed = await renew_all(worker, DUE_AT)

    # then
    assert (ahead, owed) == (2, 2)
    assert [tuple(row) for row in opened] == [("schedule", False)] * 2
    assert (
        await admin.fetchval("SELECT count(*) FROM billing.cycles WHERE mode = 'charge' AND claimable_at = due_at") == 2
    )


async def test_what_is_owed_is_opened_before_what_is_to_be_booked_and_both_share_a_batch(
    worker: Database, admin: Any
) -> None:
    # given
    tomorrow = a_cadence(anchor_on=date(2026, 2, 1))
    await subscribe(
        worker,
        *(a_plan(key, mode=Mode.SCHEDULE, cadence=tomorrow) for key in KEYS[:3]),
        *(a_plan(key) for key in KEYS[3:6]),
    )
    modes = "SELECT string_agg(mode, ' ' ORDER BY cycle_id) FROM billing.cycles"

    # when
    counts = [(await renewer(worker, batch_max=4).run_once(DUE_AT)).rows for _ in range(3)]

    # then
    assert counts == [4, 2, 0]
    assert sorted((await admin.fetchval(modes)).split()[:4]) == ["charge", "charge", "charge", "schedule"]


async def test_a_period_to_be_booked_that_an_outage_has_delayed_is_opened_like_any_other(
    worker: Database, admin: Any
) -> None:
    # given
    await subscribe(worker, a_plan(mode=Mode.SCHEDULE))

    # when
    opened = await renew_all(worker, DUE_AT + timedelta(days=26))

    # then
    assert opened == 2
    assert await periods_of(admin) == [date(2026, 1, 31), date(2026, 2, 28)]


async def test_two_renewers_open_what_is_to_be_booked_once(worker: Database, admin: Any) -> None:
    # given
    await subscribe(worker, *(a_plan(key, mode=Mode.SCHEDULE) for key in KEYS[:20]))

    # when
    counts = await asyncio.gather(*(renewer(worker).run_once(DUE_AT - LEAD) for _ in range(2)))

    # then
    assert sum(one.rows for one in counts) == 20
    assert await admin.fetchval("SELECT count(*) FROM billing.cycles") == 20
