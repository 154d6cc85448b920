"""The charger against a simulated PortOne: intent first, one send at a time, and every answer has its end."""

import hashlib

import pytest

from billing_worker.billing.model import shard_of
from billing_worker.store.db import DatabaseGoneError
from tests.conftest import DatabaseUrls, execute
from tests.rig import Rig, a_rig


async def test_a_due_cycle_is_collected_and_entered(rig: Rig) -> None:
    # given
    payment_id = await rig.owe()

    # when
    await rig.charge()

    # then
    [charged] = await rig.tries(payment_id)
    cycle, attempt = await rig.cycle(), await rig.attempt()
    assert (cycle["status"], attempt["status"], attempt["source"]) == ("paid", "paid", "answer")
    assert await rig.kinds() == ["intent", "paid"]
    assert (await rig.entries())[1]["pg_tx_id"] == charged["pgTxId"]
    assert (await rig.entries())[1]["amount_minor"] == charged["amount"] == 9900


async def test_what_is_sent_is_what_the_intent_says(rig: Rig) -> None:
    payment_id = await rig.owe()

    await rig.charge()

    [post], attempt = await rig.posts(), await rig.attempt()
    assert post["paymentId"] == payment_id
    assert post["idempotency_key"] == attempt["idempotency_key"] == f"{payment_id}-g0001"
    assert post["body_sha256"] == attempt["request_sha256"].hex()


async def test_the_request_is_erased_when_the_attempt_settles_and_its_hash_stays(rig: Rig) -> None:
    # given
    await rig.owe(billing_key="bk-drop-uncharged-xall-1")

    # when
    await rig.charge()
    body = (await rig.attempt())["request_body"]
    await rig.pass_time(hours=25)
    await rig.reconcile()

    # then
    attempt = (await rig.attempts())[0]
    assert b"bk-drop-uncharged" in body
    assert attempt["request_body"] is None
    assert attempt["request_sha256"] == hashlib.sha256(body).digest()


async def test_the_intent_is_committed_before_one_byte_leaves(rig: Rig) -> None:
    # given
    payment_id = await rig.owe()
    hold = await rig.ask("POST", "/hold", at="before_charge")

    # when
    await rig.crew.charger.run_once(rig.clock.now())
    await rig.held_requests("held_before_charge")

    # then
    assert (await rig.attempt())["status"] == "open"
    assert (await rig.cycle())["status"] == "collecting"
    assert await rig.kinds() == ["intent"]
    assert await rig.tries(payment_id) == []

    await rig.ask("POST", "/release", **hold)
    await rig.crew.charges.drained()
    assert (await rig.cycle())["status"] == "paid"


async def test_nothing_is_sent_when_the_intent_is_not_acknowledged(rig: Rig, database: DatabaseUrls) -> None:
    # given
    await rig.owe()
    execute(database.admin_url, REFUSE_INTENTS.format(error="query_canceled"))

    # when
    with pytest.raises(DatabaseGoneError):
        await rig.charge()

    # then
    assert await rig.posts() == []
    assert (await rig.cycle())["status"] == "due"


REFUSE_INTENTS = """
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused' USING ERRCODE = '{error}';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON billing.attempts FOR EACH ROW EXECUTE FUNCTION public.refuse();
"""
REFUSE_ONE = """
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.payment_id = '{payment_id}' THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON billing.attempts FOR EACH ROW EXECUTE FUNCTION public.refuse();
"""


async def test_an_intent_that_postgres_refuses_does_not_keep_the_others_from_being_collected(
    rig: Rig, database: DatabaseUrls
) -> None:
    # given
    keys = business_keys_of_one_shard(4)
    bad, *good = [await rig.owe(key, f"bk-ok-{key}") for key in keys]
    execute(database.admin_url, REFUSE_ONE.format(payment_id=bad))

    # when
    await rig.charge()

    # then
    assert [len(await rig.tries(payment_id)) for payment_id in (bad, *good)] == [0, 1, 1, 1]


async def test_a_cycle_that_can_never_be_opened_is_put_before_a_person(rig: Rig, database: DatabaseUrls) -> None:
    # given
    bad = await rig.owe()
    execute(database.admin_url, REFUSE_ONE.format(payment_id=bad))

    # when
    for _ in range(rig.rules.fruitless_claims_max + 1):
        await rig.charge()
        await rig.pass_time(seconds=61)

    # then
    assert (await rig.cycle())["status"] == "held"
    assert await rig.kinds() == ["held"]
    assert await rig.posts() == []


@pytest.mark.parametrize(
    ("billing_key", "status", "message"),
    [
        ("bk-soft-funds-1", "due", "잔액"),
        ("bk-hard-lost-1", "given_up", "분실"),
    ],
)
async def test_a_decline_is_believed_after_a_look(rig: Rig, billing_key: str, status: str, message: str) -> None:
    # given
    payment_id = await rig.owe(billing_key=billing_key)

    # when
    await rig.charge()

    # then
    cycle, attempt, [tried] = await rig.cycle(), await rig.attempt(), await rig.tries(payment_id)
    assert (cycle["status"], attempt["status"], attempt["source"]) == (status, "declined", "answer")
    assert message in attempt["decline_message"]
    assert attempt["transaction_id"] == tried["transactionId"]
    assert (await rig.kinds())[:2] == ["intent", "declined"]


async def test_a_soft_decline_is_collected_days_later_on_the_same_payment_id_under_a_new_key(rig: Rig) -> None:
    # given
    payment_id = await rig.owe(billing_key="bk-soft-funds-1")

    # when
    await rig.charge()
    early = await rig.charge()
    await rig.pass_time(days=1, seconds=1)
    await rig.charge()
    await rig.pass_time(days=2)
    await rig.charge()

    # then
    assert early.rows == 0
    assert [post["idempotency_key"][-5:] for post in await rig.posts()] == ["g0001", "g0002", "g0003"]
    assert [one["status"] for one in await rig.tries(payment_id)] == ["FAILED", "FAILED", "PAID"]
    assert await rig.kinds() == ["intent", "declined", "intent", "declined", "intent", "paid"]
    assert (await rig.cycle())["status"] == "paid"


async def test_a_deleted_key_is_refused_and_given_up(rig: Rig) -> None:
    await rig.owe(billing_key="bk-deleted-1")

    await rig.charge()

    assert (await rig.attempt())["status"] == "refused"
    assert await rig.kinds() == ["intent", "refused", "given_up"]


async def test_a_refusal_after_a_lost_answer_is_not_believed_before_a_look(rig: Rig) -> None:
    """The first send was charged and its answer lost; the one after it, within seconds, meets a rotated secret."""
    # given
    payment_id = await rig.owe()
    await rig.ask("POST", "/scripts", behaviour="drop-charged")
    await rig.ask("POST", "/scripts", behaviour="401")

    # when
    await rig.charge()

    # then
    attempt = await rig.attempt()
    assert len(await rig.posts()) == 2
    assert (attempt["status"], attempt["source"]) == ("paid", "look")
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]


@pytest.mark.parametrize("behaviour", ["503", "html502", "drop-uncharged"])
async def test_a_passing_fault_is_sent_again_at_once_under_the_same_key(rig: Rig, behaviour: str) -> None:
    # given
    payment_id = await rig.owe(billing_key=f"bk-{behaviour}-1")

    # when
    await rig.charge()

    # then
    first, second = await rig.posts()
    assert first["idempotency_key"] == second["idempotency_key"]
    assert first["body_sha256"] == second["body_sha256"]
    assert (await rig.cycle())["status"] == "paid"
    assert len(await rig.tries(payment_id)) == 1


@pytest.mark.parametrize("behaviour", ["drop-charged", "html502-charged", "new-type-charged"])
async def test_money_that_moved_without_an_answer_is_found_and_not_taken_again(rig: Rig, behaviour: str) -> None:
    # given
    payment_id = await rig.owe(billing_key=f"bk-{behaviour}-1")

    # when
    await rig.charge()
    await rig.reconcile_after(minutes=3)

    # then
    assert (await rig.cycle())["status"] == "paid"
    assert [one["status"] for one in await rig.tries(payment_id)] == ["PAID"]
    assert (await rig.ask("GET", "/truth"))["paid_more_than_once"] == {}


async def test_an_answer_that_cannot_be_read_is_settled_by_a_look_at_once(rig: Rig) -> None:
    payment_id = await rig.owe(billing_key="bk-unparsable-1")

    await rig.charge()

    attempt = await rig.attempt()
    assert (attempt["status"], attempt["source"]) == ("paid", "look")
    assert attempt["verified_at"] is not None
    assert len(await rig.tries(payment_id)) == 1


async def test_silence_leaves_the_attempt_open_for_the_reconciler(database: DatabaseUrls) -> None:
    async with a_rig(database, sending_seconds=0.5, hang_seconds=30) as rig:
        # given
        await rig.owe(billing_key="bk-hang-1")

        # when
        await rig.charge()

        # then
        attempt = await rig.attempt()
        assert attempt["status"] == "open"
        assert attempt["look_at"] == rig.clock.now() + rig.rules.ask_first
        assert await rig.kinds() == ["intent"]
        assert len(await rig.posts()) == 1


async def test_a_payment_that_was_made_already_is_adopted(rig: Rig) -> None:
    """A restored database has forgotten the charge; PortOne has not."""
    # given
    payment_id = await rig.owe()
    await rig.charge()
    paid = (await rig.attempt())["pg_tx_id"]
    await forget_what_happened(rig)
    await rig.pass_time(hours=4)

    # when
    await rig.charge()

    # then
    attempt = await rig.attempt()
    assert len(await rig.tries(payment_id)) == 1
    assert (attempt["status"], attempt["source"], attempt["pg_tx_id"]) == ("paid", "look", paid)


async def test_a_payment_of_another_sum_is_held_for_a_person_and_nothing_is_sent_again(rig: Rig) -> None:
    """The database was restored, and the price of the period has been changed since."""
    # given
    payment_id = await rig.owe()
    await rig.charge()
    await forget_what_happened(rig)
    await rig.admin.execute("ALTER TABLE billing.cycles DISABLE TRIGGER cycles_price")
    await rig.admin.execute("UPDATE billing.cycles SET amount_minor = 12000")

    # when
    await rig.pass_time(hours=4)
    await rig.charge()
    for _ in range(5):
        await rig.reconcile_after(hours=2)
        await rig.charge()

    # then
    cycle = await rig.cycle()
    assert (cycle["status"], (await rig.attempt())["status"]) == ("held", "open")
    assert "9900" in cycle["held_reason"]
    assert await rig.kinds() == ["intent", "mismatch"]
    assert len(await rig.posts()) == 2
    assert len(await rig.tries(payment_id)) == 1


async def test_a_refused_channel_stops_the_sending_until_one_charge_has_shown_that_it_works(rig: Rig) -> None:
    # given
    for number in range(3):
        await rig.owe(f"sub-{number}", f"bk-401-{number}")

    # when
    await rig.charge()
    refused = [await rig.cycle(f"sub-{number}") for number in range(3)]
    shut = await rig.charge()
    await rig.pass_time(minutes=11)
    first = await rig.charge()
    second = await rig.charge()

    # then
    # Whose turn had not come when the first refusal did was not sent, and is the reconciler's.
    due = [cycle for cycle in refused if cycle["status"] == "due"]
    assert due
    assert {cycle["status"] for cycle in refused} <= {"due", "collecting"}
    assert [cycle["declines_count"] for cycle in refused] == [0] * 3
    assert shut.rows == 0
    assert first.rows == 1
    assert second.rows == len(due) - 1


def business_keys_of_one_shard(count: int) -> list[str]:
    return [key for key in (f"key-{number}" for number in range(2000)) if shard_of(key) == 7][:count]


async def forget_what_happened(rig: Rig) -> None:
    """Put the database back to before the charge, as a restored backup would."""
    await rig.admin.execute(
        """
        SET session_replication_role = replica;
        ALTER TABLE billing.ledger DISABLE TRIGGER USER;
        DELETE FROM billing.ledger;
        DELETE FROM billing.ledger_heads;
        DELETE FROM billing.outbox;
        DELETE FROM billing.attempts;
        UPDATE billing.cycles SET status = 'due', paid_at = NULL, attempts_count = 0, claimable_at = due_at;
        ALTER TABLE billing.ledger ENABLE ALWAYS TRIGGER ledger_chain;
        RESET session_replication_role;
        """
    )
