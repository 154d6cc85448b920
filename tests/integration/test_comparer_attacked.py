"""What an attack on the comparison of payments tried: lists that leave out or spoil, silence, and strangers."""

from collections.abc import AsyncIterator
from datetime import time, timedelta

import pytest
from structlog.testing import capture_logs

from billing_worker.store import cycles, differences
from billing_worker.workers import comparer
from billing_worker.workers.comparer import Comparer, ComparerLimits
from billing_worker.workers.findings import Passed
from tests.conftest import DatabaseUrls
from tests.interrupted import Interrupted
from tests.lossy import Lossy, forget_everything
from tests.pulling import BACK, LEASE, a_comparer, compare, compare_schedules, findings, pay, run, schedule, standing
from tests.rig import Rig, a_rig

AHEAD = timedelta(days=2)
OURS_UNKNOWN = "rb1" + "x" * 27


@pytest.fixture
async def portone() -> Lossy:
    return Lossy()


@pytest.fixture
async def rig(database: DatabaseUrls, portone: Lossy) -> AsyncIterator[Rig]:
    async with a_rig(database, transport=lambda: portone) as made:
        yield made


async def paid(rig: Rig, *business_keys: str) -> list[str]:
    """Cycles that are paid and verified, some time ago; their payment ids."""
    ids = [await rig.owe(key) for key in business_keys]
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    await rig.pass_time(minutes=10)
    return ids


async def dispute(rig: Rig, of: str) -> None:
    await rig.ask("POST", "/payments/dispute", paymentId=of, reason="not mine")
    await rig.pass_time(minutes=10)


async def test_what_portone_leaves_out_of_its_list_is_asked_for_before_it_is_called_missing(
    rig: Rig, portone: Lossy
) -> None:
    # given
    hidden, _ = await paid(rig, "sub-1", "sub-2")
    portone.hide(hidden)

    # when
    found = await compare(rig)

    # then
    assert found == []
    assert f"/payments/{hidden}" in [one["path"] for one in (await rig.ask("GET", "/requests"))["requests"]]


async def test_however_many_are_missing_each_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setattr(comparer, "MISSING_MAX", 2)
    ids = await paid(rig, *(f"sub-{number}" for number in range(5)))
    await forget_everything(rig)

    # when
    found = await compare(rig)

    # then
    assert found == sorted(("missing_there", of) for of in ids)


async def test_the_payments_of_another_store_are_not_called_missing(rig: Rig) -> None:
    # given: a database in which an earlier store's payments stand
    await paid(rig, "sub-1")
    await forget_everything(rig)
    limits = ComparerLimits(store_id="another-store", at=time(4, 30), back=BACK, lease=LEASE)
    other = Comparer(rig.database.claims, rig.portone, rig.clock, findings(rig), limits=limits)

    # when
    await other.compare_now(BACK)

    # then
    assert await standing(rig) == []


async def test_what_a_look_at_its_own_attempt_finds_is_given_no_other_attempt(rig: Rig) -> None:
    # given: a decline that turned out paid after its period was skipped
    of = await rig.owe(billing_key="bk-late-success-1")
    await rig.charge()
    now = rig.clock.now()
    await cycles.skip_cycle(rig.database.claims, of, reason="goodwill", actor="kim", now=now, recheck_at=now)
    await rig.pass_time(hours=3)

    # when
    found = await compare(rig)

    # then
    assert found == [("late_flip", of)]
    assert len(await rig.attempts()) == 1


async def test_what_has_just_changed_is_left_to_the_feed(rig: Rig) -> None:
    # given
    await pay(rig, OURS_UNKNOWN)

    # when
    at_once = await compare(rig)
    await rig.pass_time(minutes=6)
    later = await compare(rig)

    # then
    assert at_once == []
    assert later == [("unknown_cycle", OURS_UNKNOWN)]


@pytest.mark.parametrize("lost", ["unread", "unanswered"])
async def test_a_comparison_that_could_not_read_all_ends_no_difference(rig: Rig, portone: Lossy, lost: str) -> None:
    # given: a difference that is over
    contested, other, _ = await paid(rig, "sub-1", "sub-2", "sub-3")
    await dispute(rig, contested)
    before = await compare(rig)
    await rig.ask("POST", "/payments/resolve", paymentId=contested)
    if lost == "unread":
        portone.spoil(other)
    else:
        portone.hide(other)
        portone.silent = {other}

    # when
    passed = await a_comparer(rig).compare_now(BACK)
    in_part = await standing(rig)
    portone.silent, portone.change = set(), lambda item: item
    whole = await compare(rig)

    # then
    assert passed is Passed.IN_PART
    assert before == in_part == [("disputed", contested)]
    assert whole == []


async def test_a_stranger_wakes_nobody_and_what_is_ours_does(rig: Rig) -> None:
    # given
    await pay(rig, "shoporder000001")
    await pay(rig, OURS_UNKNOWN)
    await rig.pass_time(minutes=10)

    # when
    with capture_logs() as lines:
        await compare(rig)

    # then
    levels = {line["difference_class"]: line["log_level"] for line in lines if line["event"] == "difference.found"}
    assert levels == {"foreign": "info", "unknown_cycle": "error"}


async def test_a_comparison_ends_no_difference_of_the_other_kind(rig: Rig) -> None:
    # given
    [contested] = await paid(rig, "sub-1")
    await dispute(rig, contested)
    await schedule(rig, "shoporder000001", AHEAD)
    both = [("disputed", contested), ("schedule_foreign", "shoporder000001")]

    # when
    await compare(rig)
    after_schedules = await compare_schedules(rig)
    after_payments = await compare(rig)

    # then
    assert after_schedules == after_payments == both


async def test_a_pass_of_a_comparison_that_takes_long_ends_and_the_next_one_goes_on(rig: Rig) -> None:
    # given
    await paid(rig, *(f"sub-{number}" for number in range(3)))
    claims = Interrupted(rig.database.claims, "our_cycles", lambda: rig.pass_time(seconds=46))

    # when
    first = await a_comparer(rig, claims=claims, page_size=1).run_once(rig.clock.now())
    reading = await rig.admin.fetchrow("SELECT place, reading_until FROM billing.positions")
    await run(rig, a_comparer(rig))

    # then
    assert first.more
    assert None not in tuple(reading)
    assert await rig.admin.fetchval("SELECT reading_until FROM billing.positions") is None


async def test_who_was_overtaken_ends_no_difference(rig: Rig) -> None:
    # given: a difference that is over, and a comparison whose lease ends before its last word
    await pay(rig, OURS_UNKNOWN)
    await rig.pass_time(minutes=10)
    before = await compare(rig)
    await forget_everything(rig)
    rig.clock.advance(seconds=1)

    async def overtaken() -> None:
        await rig.admin.execute("UPDATE billing.positions SET epoch = epoch + 1")

    # when
    late = a_comparer(rig, claims=Interrupted(rig.database.claims, "move_position", overtaken))
    passed = await late.compare_now(BACK)

    # then
    assert passed is Passed.STOPPED
    assert await standing(rig) == before == [("unknown_cycle", OURS_UNKNOWN)]


async def test_strangers_do_not_fill_the_table(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setattr(differences, "STRANGERS_MAX", 2)
    for number in range(4):
        await pay(rig, f"shoporder00000{number}")
    await pay(rig, OURS_UNKNOWN)
    await rig.pass_time(minutes=10)

    # when
    found = await compare(rig, page_size=1)

    # then
    assert [name for name, _ in found] == ["foreign", "foreign", "unknown_cycle"]
