"""The listener: a hint orders a look and changes nothing else, whatever it speaks of and in whatever order."""

from datetime import timedelta
from typing import Any

import pytest

from billing_worker.store import attempts
from billing_worker.workers.listener import Listener
from tests.hints import Bell, hint, results
from tests.rig import Rig

HOUR = timedelta(hours=1)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def ear(rig: Rig, bell: Bell) -> Listener:
    return Listener(rig.database.claims, rig.clock, rig.crew.metrics, ring=bell)


async def set_attempt(rig: Rig, **changes: Any) -> None:
    """Make the newest attempt another one."""
    columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(changes, start=2))
    attempt_id = (await rig.attempt())["attempt_id"]
    await rig.admin.execute(
        f"UPDATE billing.attempts SET {columns} WHERE attempt_id = $1", attempt_id, *changes.values()
    )


async def everything(rig: Rig) -> list[Any]:
    """Every row that a hint must leave alone, with the times of looks."""
    tables = ("subscriptions", "cycles", "attempts", "ledger", "outbox")
    return [
        [dict(row) for row in await rig.admin.fetch(f"SELECT * FROM billing.{table} ORDER BY 1, 2, 3")]
        for table in tables
    ]


async def paid(rig: Rig) -> str:
    """A paid and verified period; its payment_id."""
    payment_id = await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    assert (await rig.attempt())["look_at"] is None
    return payment_id


async def test_a_hint_has_the_newest_attempt_looked_at_now_and_rings(rig: Rig, ear: Listener, bell: Bell) -> None:
    # given
    payment_id = await paid(rig)
    await hint(rig, payment_id, event="PartialCancelled")

    # when
    counts = await ear.run_once(rig.clock.now())

    # then
    assert (counts.rows, counts.more, bell.rings) == (1, False, 1)
    assert (await rig.attempt())["look_at"] == rig.clock.now()
    assert await results(rig) == {"wh-1": "ordered"}


async def test_a_hint_changes_nothing_but_the_time_of_a_look(rig: Rig, ear: Listener) -> None:
    # given
    payment_id = await paid(rig)
    before = await everything(rig)
    for event in ("Failed", "Paid", "Cancelled", "DisputeCreated", "Ready"):
        await hint(rig, payment_id, webhook_id=event, event=event)

    # when
    await ear.run_once(rig.clock.now())

    # then
    before[2][0]["look_at"] = rig.clock.now()
    assert await everything(rig) == before


@pytest.mark.parametrize("events", [("Failed", "Paid"), ("Paid", "Failed"), ("Paid", "Paid")])
async def test_the_order_of_hints_does_not_matter(rig: Rig, ear: Listener, events: tuple[str, str]) -> None:
    # given
    payment_id = await paid(rig)
    for number, event in enumerate(events):
        await hint(rig, payment_id, webhook_id=f"wh-{number}", event=event)

    # when
    await ear.run_once(rig.clock.now())
    await rig.reconcile()

    # then
    assert set((await results(rig)).values()) == {"ordered"}
    assert (await rig.attempt())["status"] == "paid"
    assert await rig.kinds() == ["intent", "paid"]


async def test_a_refund_at_the_console_is_entered_within_one_look(rig: Rig, ear: Listener) -> None:
    # given
    payment_id = await paid(rig)
    await rig.refund(payment_id, 4000)
    await hint(rig, payment_id, event="PartialCancelled", cancellation_id="c-1")

    # when
    await ear.run_once(rig.clock.now())
    await rig.reconcile()

    # then
    assert await rig.kinds() == ["intent", "paid", "refunded"]
    assert (await rig.entries())[-1]["amount_minor"] == 4000


async def test_an_attempt_that_its_sender_has_is_left_to_him(rig: Rig, ear: Listener, bell: Bell) -> None:
    # given
    payment_id = await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    before = await everything(rig)
    await hint(rig, payment_id)

    # when
    await ear.run_once(rig.clock.now())

    # then
    assert await everything(rig) == before
    assert await results(rig) == {"wh-1": "sending"}
    assert bell.rings == 0


async def test_an_attempt_that_was_asked_about_before_is_looked_at_sooner(rig: Rig, ear: Listener) -> None:
    # given: PortOne knew nothing at the first look, and the second is an hour away
    payment_id = await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    await rig.pass_time(minutes=11)
    await set_attempt(rig, look_epoch=1, look_at=rig.clock.now() + HOUR)
    await hint(rig, payment_id)

    # when
    await ear.run_once(rig.clock.now())
    await rig.reconcile()

    # then
    assert ((await rig.attempt())["status"], (await rig.attempt())["source"]) == ("paid", "look")


async def test_a_hint_starts_no_look_beside_a_resend(rig: Rig, ear: Listener) -> None:
    """Found by the simulation, seed 118: the look settled the attempt, and the same call sent once more."""
    # given
    payment_id = await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    lease_until = rig.clock.now() + timedelta(minutes=4)
    await set_attempt(rig, look_epoch=2, last_sent_at=rig.clock.now(), look_at=lease_until)
    await hint(rig, payment_id)

    # when
    await ear.run_once(rig.clock.now())

    # then
    assert (await rig.attempt())["look_at"] == lease_until


async def test_a_booking_that_portone_has_is_nobodys_to_send(rig: Rig, ear: Listener) -> None:
    # given
    payment_id = await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    booked = {"time_to_pay": rig.clock.now() + HOUR, "look_at": rig.clock.now() + timedelta(minutes=2)}
    await set_attempt(rig, **booked)
    await hint(rig, payment_id, webhook_id="booking under way")
    await ear.run_once(rig.clock.now())
    left = (await rig.attempt())["look_at"]
    await set_attempt(rig, schedule_id="schedule-1")
    await hint(rig, payment_id, webhook_id="booked")

    # when
    await ear.run_once(rig.clock.now())

    # then
    assert left == booked["look_at"]
    assert await results(rig) == {"booking under way": "sending", "booked": "ordered"}
    assert (await rig.attempt())["look_at"] == rig.clock.now()


async def test_a_look_is_never_moved_to_a_later_time(rig: Rig, ear: Listener) -> None:
    payment_id = await paid(rig)
    overdue = rig.clock.now() - HOUR
    await set_attempt(rig, look_at=overdue)
    await hint(rig, payment_id)

    await ear.run_once(rig.clock.now())

    assert (await rig.attempt())["look_at"] == overdue


@pytest.mark.parametrize("status", ["open", "declined", "paid"])
@pytest.mark.parametrize("look_epoch", [0, 3])
@pytest.mark.parametrize("minutes", [None, -1, 0, 1])
async def test_a_hint_is_a_person_s_question_asked_by_portone(
    rig: Rig, ear: Listener, status: str, look_epoch: int, minutes: int | None
) -> None:
    """The same attempt twice: `reconcile` asks about one of them, and a webhook about the other."""
    now = rig.clock.now()
    look_at = None if minutes is None else now + timedelta(minutes=minutes)
    if status == "open" and look_at is None:
        return  # the schema refuses it
    orders: dict[str, Any] = {}
    for by in ("person", "webhook"):
        payment_id = await rig.owe(by, billing_key="bk-drop-charged-x2-1")
        await rig.charge()
        closed = {"status": status, "request_body": None, "settled_at": now} if status != "open" else {}
        attempt_id = (await rig.attempt(by))["attempt_id"]
        changes = closed | {"look_epoch": look_epoch, "look_at": look_at, "last_sent_at": now - HOUR}
        columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(changes, start=2))
        await rig.admin.execute(
            f"UPDATE billing.attempts SET {columns} WHERE attempt_id = $1", attempt_id, *changes.values()
        )
        if by == "person":
            orders[by] = await attempts.look_soon(rig.database.claims, payment_id, now=now)
        else:
            await hint(rig, payment_id)
            await ear.run_once(now)

    by_person, by_webhook = (await rig.attempt("person"))["look_at"], (await rig.attempt("webhook"))["look_at"]
    assert by_webhook == min(by_person, look_at or by_person)
    assert await results(rig) == {"wh-1": "sending" if orders["person"].being_sent else "ordered"}


async def test_hints_of_no_payment_of_ours_come_to_nothing(rig: Rig, ear: Listener, bell: Bell) -> None:
    # given
    not_tried = await rig.owe()
    before = await everything(rig)
    await hint(rig, "somebody-else's-payment-홍길동", webhook_id="foreign")
    await hint(rig, not_tried, webhook_id="early")

    # when
    await ear.run_once(rig.clock.now())

    # then
    assert await results(rig) == {"foreign": "unknown", "early": "no_attempt"}
    assert await everything(rig) == before
    assert bell.rings == 0


async def test_only_the_newest_attempt_is_looked_at(rig: Rig, ear: Listener) -> None:
    # given
    payment_id = await rig.owe(billing_key="bk-decline-insufficient-x1-1")
    await rig.charge()
    await rig.pass_time(days=2)
    await rig.charge()
    await rig.admin.execute("UPDATE billing.attempts SET look_at = NULL WHERE status <> 'open'")
    await hint(rig, payment_id)

    # when
    await ear.run_once(rig.clock.now())

    # then
    looks = [attempt["look_at"] for attempt in await rig.attempts()]
    assert looks[:-1] == [None] * (len(looks) - 1)
    assert looks[-1] == rig.clock.now()


async def test_in_a_database_that_has_moved_no_look_is_ordered(rig: Rig, bell: Bell) -> None:
    # given
    why = "copied to another server"
    ear = Listener(rig.database.claims, rig.clock, rig.crew.metrics, ring=bell, database_moved=lambda: why)
    await hint(rig, await rig.owe())
    before = await everything(rig)

    # when
    read = await ear.run_once(rig.clock.now())

    # then
    assert (read.rows, read.more, bell.rings) == (0, False, 0)
    assert await everything(rig) == before
