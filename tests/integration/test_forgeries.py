"""Forgeries: who has the worker's password can enter a well-chained lie, and the verification finds it out."""

import asyncpg
import pytest

from billing_worker.billing.model import shard_of
from billing_worker.store import cycles, ledger
from tests.builders import NOON
from tests.conftest import DatabaseUrls, execute
from tests.rig import Rig

SHARD = shard_of("sub-1")

# An entry with the intent's values, except where it is said otherwise.
ENTRY = """
INSERT INTO billing.ledger (shard, subscription_id, kind, cycle_id, attempt_id, payment_id, amount_minor, currency,
                            pg_tx_id, source, actor, recorded_at, sequence, previous_hash, entry_hash)
SELECT shard, subscription_id, '{kind}', {cycle_id}, {attempt_id}, {payment_id}, {amount_minor}, {currency}, {pg_tx_id},
       'answer', 'worker-1', now(), 0, '', ''
FROM billing.ledger WHERE kind = 'intent' LIMIT 1
"""
AS_THE_INTENT = {
    "cycle_id": "cycle_id", "attempt_id": "attempt_id", "payment_id": "payment_id", "amount_minor": "amount_minor",
    "currency": "currency", "pg_tx_id": "'pg-forged'",
}  # fmt: skip
# What a forger would have to do besides the paid entry.
PAY = """
UPDATE billing.attempts SET status = 'paid', settled_at = now(), request_body = NULL, pg_tx_id = 'pg-forged', source = 'answer';
UPDATE billing.cycles SET status = 'paid', paid_at = now();
"""  # noqa: E501


def an_entry(kind: str, **changes: str) -> str:
    return ENTRY.format(kind=kind, **(AS_THE_INTENT | changes))


async def faults(rig: Rig, shard: int = SHARD) -> list[str]:
    async with rig.database.claims.snapshot() as moment:
        return (await ledger.verify_shard(moment, shard))[1]


async def an_open_attempt(rig: Rig) -> None:
    """A charge that never came to an answer."""
    await rig.owe(billing_key="bk-drop-charged-x2-1")
    await rig.charge()
    assert await rig.kinds() == ["intent"]


# --- the truth has no fault -----------------------------------------------------------------------------------------


async def test_every_way_that_a_cycle_can_end_tells_one_story(rig: Rig) -> None:
    # given
    keys = ["bk-ok-1", "bk-hard-lost-1", "bk-late-success-1", "bk-drop-charged-x2-1", "bk-drop-x2-1"]
    names = {f"sub-{key}": key for key in keys}
    for name, key in names.items():
        await rig.owe(name, key)
    await rig.owe("sub-skipped", "bk-hard-lost-2")
    await rig.charge()

    # when
    payment_id = (await rig.cycle("sub-skipped"))["payment_id"]
    assert await cycles.skip_cycle(rig.database.claims, payment_id, reason="x", actor="kim", now=NOON, recheck_at=NOON)
    for _ in range(6):
        await rig.reconcile_after(hours=1, seconds=1)

    # then
    kinds = {kind for name in [*names, "sub-skipped"] for kind in await rig.kinds(name)}
    assert {"intent", "paid", "declined", "corrected", "given_up", "skipped"} <= kinds
    assert [fault for shard in range(64) for fault in await faults(rig, shard)] == []


async def test_a_voided_attempt_of_a_held_cycle_tells_one_story(rig: Rig) -> None:
    # given
    await an_open_attempt(rig)
    payment_id = (await rig.cycle())["payment_id"]

    # when
    held = await cycles.hold_cycle(rig.database.claims, payment_id, reason="gone", actor="kim", now=NOON)
    skipped = await cycles.skip_cycle(
        rig.database.claims, payment_id, reason="x", actor="kim", now=NOON, recheck_at=NOON
    )

    # then
    assert held
    assert skipped
    assert await rig.kinds() == ["intent", "held", "voided", "skipped"]
    assert await faults(rig) == []


# --- the worker's login invents something ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"amount_minor": "1"}, "its amount is not the cycle's"),
        ({"currency": "'USD'"}, "its currency is not the cycle's"),
        ({"payment_id": "'rb1' || repeat('z', 27)"}, "its payment id is not the cycle's"),
        ({"pg_tx_id": "'pg-other'"}, "its PG transaction is not the attempt's"),
        ({"attempt_id": "NULL"}, "names no attempt on a cycle"),
        ({"attempt_id": "987654"}, "its attempt is not one of the cycle's"),
        ({"cycle_id": "987654"}, "its cycle is not one of the subscription's"),
    ],
)
async def test_a_payment_whose_entry_does_not_fit_is_found(
    rig: Rig, database: DatabaseUrls, changes: dict[str, str], found: str
) -> None:
    # given
    await an_open_attempt(rig)

    # when
    execute(database.worker_url, PAY + an_entry("paid", **changes))

    # then
    assert any("entry 2 (paid)" in fault and found in fault for fault in await faults(rig)), await faults(rig)


async def test_a_payment_that_is_invented_whole_looks_like_a_true_one_but_names_its_login(
    rig: Rig, database: DatabaseUrls
) -> None:
    """The documents say so: PortOne's record alone would show it."""
    # given
    await an_open_attempt(rig)

    # when
    execute(database.worker_url, PAY + an_entry("paid"))

    # then
    assert await faults(rig) == []
    assert {entry["written_by"] for entry in await rig.entries()} == {"t_worker"}


@pytest.mark.parametrize(
    ("forgery", "found"),
    [
        (PAY, "the cycle is paid, its paid entry is not there"),
        (an_entry("paid"), "the cycle is collecting, its paid entry is 2"),
        (an_entry("intent"), "has 2 intent entries"),
        (an_entry("intent", attempt_id="NULL"), "names no attempt on a cycle"),
        (an_entry("declined"), "is open, and its entries say declined"),
        (an_entry("voided", attempt_id="987654"), "its attempt is not one of the cycle's"),
        (an_entry("refunded"), "9900 is refunded of 0 that were paid"),
        (
            "UPDATE billing.attempts SET status = 'voided', settled_at = now(), request_body = NULL",
            "is voided, and its entries say nothing",
        ),
        ("UPDATE billing.cycles SET status = 'paid', paid_at = now()", "the cycle is paid, and no attempt on it"),
    ],
)
async def test_a_lie_about_an_open_attempt_is_found(rig: Rig, database: DatabaseUrls, forgery: str, found: str) -> None:
    # given
    await an_open_attempt(rig)

    # when
    execute(database.worker_url, forgery)

    # then
    assert any(found in fault for fault in await faults(rig)), await faults(rig)


@pytest.mark.parametrize(
    ("forgery", "found"),
    [
        (an_entry("refunded", amount_minor="9901"), "9901 is refunded of 9900 that were paid"),
        (an_entry("declined"), "is paid, and its entries say paid, declined"),
        ("UPDATE billing.attempts SET pg_tx_id = 'pg-other'", "its PG transaction is not the attempt's"),
        ("UPDATE billing.attempts SET status = 'declined'", "is declined, and its entries say paid"),
        (
            "UPDATE billing.cycles SET status = 'due', paid_at = NULL",
            "the cycle is due, its paid entry is 2",
        ),
    ],
)
async def test_a_lie_about_a_paid_cycle_is_found(rig: Rig, database: DatabaseUrls, forgery: str, found: str) -> None:
    # given
    await rig.owe()
    await rig.charge()
    assert await faults(rig) == []

    # when
    execute(database.worker_url, forgery)

    # then
    assert any(found in fault for fault in await faults(rig)), await faults(rig)


UNGUARDED = "ALTER TABLE billing.cycles DISABLE TRIGGER cycles_price"


@pytest.mark.parametrize(
    ("forgery", "found"),
    [
        (f"{UNGUARDED}; UPDATE billing.cycles SET amount_minor = 1", "its amount is not the cycle's"),
        ("UPDATE billing.cycles SET currency = 'USD'", "its currency is not the cycle's"),
        ("UPDATE billing.cycles SET payment_id = 'rb1' || repeat('z', 27)", "its payment id is not the cycle's"),
        ("UPDATE billing.attempts SET amount_minor = 1", "its amount or currency is not the cycle's"),
        ("UPDATE billing.attempts SET payment_id = 'rb1x'", "its subscription or payment id is not the cycle's"),
        ("UPDATE billing.attempts SET subscription_id = 987654", "its attempt is not one of the cycle's"),
    ],
)
async def test_what_only_the_owner_can_change_of_a_paid_cycle_is_found_too(
    rig: Rig, database: DatabaseUrls, forgery: str, found: str
) -> None:
    # given
    await rig.owe()
    await rig.charge()

    # when
    execute(database.admin_url, forgery)

    # then
    assert any(found in fault for fault in await faults(rig)), await faults(rig)


async def test_an_entry_says_which_login_wrote_it_whatever_the_writer_says(rig: Rig, database: DatabaseUrls) -> None:
    # given
    await rig.owe()
    await rig.charge()

    # when
    columns = (
        "shard, subscription_id, kind, source, actor, written_by, recorded_at, sequence, previous_hash, entry_hash"
    )
    statement = f"""
        INSERT INTO billing.ledger ({columns})
        SELECT shard, subscription_id, 'operator', 'operator', 'kim', 'kim_login', now(), 0, '', ''
        FROM billing.ledger WHERE kind = 'intent'
    """
    execute(database.worker_url, statement)

    # then
    last = (await rig.entries())[-1]
    assert (last["actor"], last["written_by"]) == ("kim", "t_worker")
    assert await faults(rig) == []


# --- bounded pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_small_pages_find_what_a_large_one_finds(
    rig: Rig, database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # given
    keys = [key for number in range(400) if shard_of(key := f"sub-{number}") == SHARD]
    for number, key in enumerate(keys):
        await rig.owe(key, f"bk-ok-{number}")
    await rig.charge()
    execute(
        database.worker_url,
        an_entry("refunded", amount_minor="77777"),
        "UPDATE billing.attempts SET pg_tx_id = 'x' WHERE attempt_id = (SELECT max(attempt_id) FROM billing.attempts)",
    )
    execute(
        database.admin_url,
        "SET session_replication_role = replica; INSERT INTO billing.ledger (shard, subscription_id, kind, source, "
        "recorded_at, sequence, previous_hash, entry_hash) "
        f"VALUES ({SHARD}, 987654, 'operator', 'rule', now(), 0, '', '')",
        f"DELETE FROM billing.ledger_heads WHERE subscription_id = 987654 AND shard = {SHARD}",
    )
    async with rig.database.claims.snapshot() as moment:
        whole = await ledger.verify_shard(moment, SHARD)

    # when
    monkeypatch.setattr(ledger, "PAGE_ENTRIES", size)
    monkeypatch.setattr(ledger, "PAGE_SUBSCRIPTIONS", size)
    async with rig.database.claims.snapshot() as moment:
        paged = await ledger.verify_shard(moment, SHARD)

    # then
    assert len(keys) > 4
    assert paged[0] == whole[0] == 2 * len(keys) + 2
    assert sorted(paged[1]) == sorted(whole[1])
    assert len(whole[1]) == 3


async def test_a_worker_cannot_name_another_login(rig: Rig, database: DatabaseUrls) -> None:
    connection = await asyncpg.connect(database.worker_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SET SESSION AUTHORIZATION t_auditor")
    finally:
        await connection.close()
