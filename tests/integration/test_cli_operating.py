"""The commands of a working day, against a real Postgres and the simulated PortOne."""

import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from billing_worker.billing.model import shard_of
from billing_worker.store import attempts, cycles, db
from billing_worker.store.attempts import Intent
from billing_worker.workers.renewer import Renewer
from tests.command_line import SECRET, STORE, Cli, portone_settings
from tests.conftest import DatabaseUrls, execute, fetch_value, run_apart

NOW = datetime.now(UTC)
FILE = (
    "business_key,customer_id,customer_name,billing_key,order_name,amount,anchor_on\n"
    f"s-1,c-1,홍길동,bk-ok-1,월간 구독,9900,{NOW - timedelta(days=1):%Y-%m-%d}\n"
)


@asynccontextmanager
async def opened(database: DatabaseUrls) -> AsyncIterator[db.Database]:
    connected = await db.connect(database.worker_url, db.PoolLimits(1, 1), application_name="test")
    try:
        yield connected
    finally:
        await connected.close()


@pytest.fixture
def payment_id(cli: Cli, database: DatabaseUrls, tmp_path: Path) -> str:
    """The payment id of a cycle that is due."""
    file = tmp_path / "one.csv"
    file.write_text(FILE, encoding="utf-8")
    assert cli("subscriptions", "import", str(file)).exit_code == 0

    async def renew() -> None:
        async with opened(database) as connected:
            await Renewer(connected.claims, store_id=STORE, lead=timedelta(), batch_max=10, actor="test").run_once(NOW)

    run_apart(renew())
    found = fetch_value(database.admin_url, "SELECT payment_id FROM billing.cycles WHERE status = 'due'")
    assert isinstance(found, str)
    return found


@pytest.fixture
def open_attempt(payment_id: str, database: DatabaseUrls) -> str:
    """The payment id of a cycle with an open attempt, which was never sent."""

    async def open_one() -> None:
        async with opened(database) as connected:
            # Of this moment: whether it is being sent, and its look due, the command asks the database's clock.
            now = datetime.now(UTC)
            later = now + timedelta(minutes=4)
            claimed = await cycles.claim_due_cycles(
                connected.claims, shard_of("s-1"), store_id=STORE, now=now, lease_until=later, limit=1
            )
            intents = [Intent(one, 1, f"{one.payment_id}-g0001", b"{}") for one in claimed]
            assert await attempts.open_attempts(connected.claims, intents, now=now, look_at=later, worker="test")

    run_apart(open_one())
    return payment_id


def charge(url: str, payment_id: str, *, billing_key: str = "bk-ok-1", amount: int = 9900) -> None:
    """What a worker would send."""
    body = {
        "storeId": STORE,
        "billingKey": billing_key,
        "orderName": "월간 구독",
        "customer": {"id": "c-1", "name": {"full": "홍길동"}},
        "amount": {"total": amount},
        "currency": "KRW",
    }
    request = urllib.request.Request(
        f"{url}/payments/{payment_id}/billing-key",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"PortOne {SECRET}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def loaded(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_an_attempt_is_shown_without_its_request(cli: Cli, open_attempt: str) -> None:
    as_json = cli("attempt", "show", open_attempt, "--json")
    table = cli("attempt", "show", open_attempt)

    assert [one["status"] for one in loaded(as_json)["attempts"]] == ["open"]
    assert "request_body" not in loaded(as_json)["attempts"][0]
    assert "open" in table.stdout
    assert "9,900 KRW" in table.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("attempt", "show", "PAYMENT_ID"),
        ("exceptions",),
        ("ledger", "tail"),
        ("subscriptions", "list"),
        ("subscriptions", "show", "s-1"),
    ],
)
def test_an_auditor_may_read(cli: Cli, open_attempt: str, database: DatabaseUrls, command: tuple[str, ...]) -> None:
    arguments = [open_attempt if part == "PAYMENT_ID" else part for part in command]

    result = cli(*arguments, BILLING_DATABASE_URL=database.auditor_url)

    assert result.exit_code == 0


@pytest.mark.parametrize(
    "command",
    [("attempt", "show"), ("cycle", "skip"), ("cycle", "retry"), ("cycle", "hold"), ("cycle", "accept")],
)
def test_an_unknown_payment_id_is_not_found(cli: Cli, command: tuple[str, ...]) -> None:
    reason = () if command[0] == "attempt" else ("--reason", "x", "--by", "kim")

    result = cli(*command, "rb1" + "a" * 27, *reason, "--json")

    assert result.exit_code == 4
    assert json.loads(result.stderr)["error"]["kind"] == "not_found"


def test_a_due_cycle_is_skipped_by_a_person_for_a_reason(cli: Cli, payment_id: str, database: DatabaseUrls) -> None:
    result = cli("cycle", "skip", payment_id, "--reason", "고객 보상", "--by", "kim", "--json")

    assert result.exit_code == 0
    entry = "SELECT concat_ws('|', kind, message, actor) FROM billing.ledger WHERE kind = 'skipped'"
    assert fetch_value(database.admin_url, entry) == "skipped|고객 보상|kim"
    assert fetch_value(database.admin_url, "SELECT status FROM billing.cycles") == "skipped"


def test_a_cycle_under_way_is_not_skipped(cli: Cli, open_attempt: str, database: DatabaseUrls) -> None:
    result = cli("cycle", "skip", open_attempt, "--reason", "x", "--by", "kim")

    assert result.exit_code == 4
    assert fetch_value(database.admin_url, "SELECT status FROM billing.cycles") == "collecting"


def test_a_held_cycle_is_an_exception_until_it_is_tried_again(
    cli: Cli, payment_id: str, database: DatabaseUrls
) -> None:
    execute(database.admin_url, "UPDATE billing.cycles SET status = 'held', held_reason = 'look at me'")

    before = loaded(cli("exceptions", "--json"))["exceptions"]
    result = cli("cycle", "retry", payment_id, "--reason", "mended", "--by", "kim")
    after = loaded(cli("exceptions", "--json"))["exceptions"]

    assert [(one["payment_id"], one["held_reason"]) for one in before] == [(payment_id, "look at me")]
    assert (result.exit_code, after) == (0, [])
    assert fetch_value(database.admin_url, "SELECT status FROM billing.cycles") == "due"


def test_a_cycle_under_way_is_held_by_a_person_and_may_then_be_skipped(
    cli: Cli, open_attempt: str, database: DatabaseUrls
) -> None:
    held = cli("cycle", "hold", open_attempt, "--reason", "PG가 모름", "--by", "kim", "--json")
    again = cli("cycle", "hold", open_attempt, "--reason", "x", "--by", "kim")
    waiting = loaded(cli("status", "--json"))
    listed = loaded(cli("exceptions", "--json"))["exceptions"]
    status = fetch_value(database.admin_url, "SELECT status FROM billing.attempts")
    skipped = cli("cycle", "skip", open_attempt, "--reason", "x", "--by", "kim")

    assert (held.exit_code, loaded(held)["held"], again.exit_code, skipped.exit_code) == (0, True, 4, 0)
    assert status == "open"
    assert (waiting["held"], waiting["open_attempts"]) == (1, 0)
    assert [one["held_reason"] for one in listed] == ["PG가 모름"]
    entry = "SELECT concat_ws('|', source, code, message, actor) FROM billing.ledger WHERE kind = 'held'"
    assert fetch_value(database.admin_url, entry) == "operator|operator|PG가 모름|kim"


@pytest.fixture
def paid_otherwise(open_attempt: str, database: DatabaseUrls) -> str:
    """The payment id of a paid cycle whose PortOne payment differs."""
    execute(
        database.admin_url,
        """UPDATE billing.attempts SET status = 'paid', request_body = NULL, settled_at = now(), look_at = NULL,
                                       contradiction = 'amount is 1, asked for 9900'""",
        "UPDATE billing.cycles SET status = 'paid', paid_at = now()",
    )
    return open_attempt


def test_a_payment_that_differs_is_an_exception_until_a_person_accepts_it(
    cli: Cli, paid_otherwise: str, database: DatabaseUrls
) -> None:
    before = loaded(cli("exceptions", "--json"))["exceptions"], loaded(cli("status", "--json"))["held"]
    accepted = cli("cycle", "accept", paid_otherwise, "--reason", "차액 환불함", "--by", "kim", "--json")
    after = loaded(cli("exceptions", "--json"))["exceptions"], loaded(cli("status", "--json"))["held"]
    again = cli("cycle", "accept", paid_otherwise, "--reason", "x", "--by", "kim")

    assert [(one["payment_id"], one["held_reason"]) for one in before[0]] == [
        (paid_otherwise, "amount is 1, asked for 9900")
    ]
    assert (before[1], after) == (1, ([], 0))
    assert (accepted.exit_code, loaded(accepted)["accepted"], again.exit_code) == (0, True, 4)
    entry = "SELECT concat_ws('|', code, message, source, actor) FROM billing.ledger WHERE kind = 'operator'"
    assert fetch_value(database.admin_url, entry) == "accepted|차액 환불함|operator|kim"
    assert fetch_value(database.admin_url, "SELECT status FROM billing.cycles") == "paid"


def test_a_held_subscription_waits_for_a_person_too(cli: Cli, payment_id: str, database: DatabaseUrls) -> None:
    execute(database.admin_url, "UPDATE billing.subscriptions SET status = 'held', held_reason = 'no such zone'")

    status, listed = loaded(cli("status", "--json")), loaded(cli("exceptions", "--json"))["exceptions"]

    assert status["held"] == len(listed) == 1
    assert listed[0]["payment_id"] is None


def test_sending_is_halted_and_resumed_by_a_person(cli: Cli, payment_id: str) -> None:
    halted = cli("halt", "--reason", "PG 점검", "--by", "kim")
    while_halted = loaded(cli("status", "--json"))
    shown = cli("status").stdout
    resumed = cli("resume-sending", "--reason", "점검 끝", "--by", "lee")
    afterwards = loaded(cli("status", "--json"))

    assert (halted.exit_code, resumed.exit_code) == (0, 0)
    assert (while_halted["sending"]["halted"], while_halted["sending"]["reason"]) == (True, "PG 점검")
    assert "HALTED, by kim" in shown
    assert (afterwards["sending"]["halted"], afterwards["sending"]["actor"]) == (False, "lee")
    assert (afterwards["due"], afterwards["open_attempts"]) == (1, 0)


def test_a_reason_must_say_something(cli: Cli) -> None:
    result = cli("halt", "--reason", " ", "--json")

    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] == "usage"


def look_is_due(database: DatabaseUrls) -> bool:
    due = fetch_value(database.admin_url, "SELECT look_at <= clock_timestamp() FROM billing.attempts")
    assert isinstance(due, bool)
    return due


@pytest.fixture
def left_attempt(open_attempt: str, database: DatabaseUrls) -> str:
    """The payment id of a cycle whose open attempt a reconciler has had already; its next look is far away."""
    execute(database.admin_url, "UPDATE billing.attempts SET last_sent_at = last_sent_at - interval '1 hour'")
    return open_attempt


def test_reconcile_has_an_open_attempt_looked_at_soon(
    cli: Cli, left_attempt: str, portone: str, database: DatabaseUrls
) -> None:
    assert not look_is_due(database)

    result = cli("reconcile", left_attempt, "--json", **portone_settings(portone))

    assert result.exit_code == 1
    assert (loaded(result)["verdict"], loaded(result)["portone"]) == ("open", None)
    assert "looks within seconds" in loaded(result)["next"]
    assert look_is_due(database)


def test_reconcile_leaves_an_attempt_to_the_worker_that_is_sending_it(
    cli: Cli, open_attempt: str, portone: str, database: DatabaseUrls
) -> None:
    leased = "SELECT look_at FROM billing.attempts"
    before = fetch_value(database.admin_url, leased)

    as_json = cli("reconcile", open_attempt, "--json", **portone_settings(portone))
    table = cli("reconcile", open_attempt, **portone_settings(portone))

    assert fetch_value(database.admin_url, leased) == before
    assert datetime.fromisoformat(loaded(as_json)["look_at"]) == before
    assert "its worker is sending it" in loaded(as_json)["next"]
    assert "its worker is sending it" in table.stdout


def test_reconcile_has_an_attempt_looked_at_whose_sender_s_lease_is_over(
    cli: Cli, open_attempt: str, portone: str, database: DatabaseUrls
) -> None:
    execute(database.admin_url, "UPDATE billing.attempts SET look_at = clock_timestamp() - interval '1 minute'")

    result = cli("reconcile", open_attempt, "--json", **portone_settings(portone))

    assert "looks within seconds" in loaded(result)["next"]
    assert look_is_due(database)


def test_reconcile_shows_what_portone_has_and_settles_nothing_itself(
    cli: Cli, open_attempt: str, portone: str, database: DatabaseUrls
) -> None:
    charge(portone, open_attempt)

    as_json = cli("reconcile", open_attempt, "--json", **portone_settings(portone))
    table = cli("reconcile", open_attempt, **portone_settings(portone))

    assert as_json.exit_code == table.exit_code == 1
    assert (loaded(as_json)["verdict"], loaded(as_json)["portone"]["status"]) == ("open", "PAID")
    assert "PAID" in table.stdout
    assert fetch_value(database.admin_url, "SELECT status FROM billing.attempts") == "open"


def test_reconcile_of_another_amount_is_a_difference(cli: Cli, open_attempt: str, portone: str) -> None:
    charge(portone, open_attempt, amount=19_900)

    result = cli("reconcile", open_attempt, "--json", **portone_settings(portone))

    assert result.exit_code == 1
    assert loaded(result)["verdict"] == "different"
    assert any("amount" in difference for difference in loaded(result)["differences"])


def test_reconcile_of_an_equal_payment_leaves_the_looks_alone(
    cli: Cli, open_attempt: str, portone: str, database: DatabaseUrls
) -> None:
    charge(portone, open_attempt)
    found = loaded(cli("reconcile", open_attempt, "--json", **portone_settings(portone)))["portone"]
    execute(
        database.admin_url,
        f"""UPDATE billing.attempts SET status = 'paid', request_body = NULL, settled_at = now(), source = 'answer',
                                        look_at = now() + interval '1 hour', pg_tx_id = '{found["pg_tx_id"]}',
                                        paid_at = '{found["paid_at"]}'""",
    )

    result = cli("reconcile", open_attempt, "--json", **portone_settings(portone))

    assert (result.exit_code, loaded(result)["verdict"]) == (0, "equal")
    assert not look_is_due(database)


def test_reconcile_without_an_answer_says_so_and_still_has_it_looked_at(
    cli: Cli, left_attempt: str, database: DatabaseUrls
) -> None:
    result = cli("reconcile", left_attempt, "--json", **portone_settings("http://127.0.0.1:1"))

    assert (result.exit_code, loaded(result)["verdict"]) == (3, "unanswered")
    assert look_is_due(database)


def test_reconcile_of_what_was_never_tried_is_not_found(cli: Cli, payment_id: str, portone: str) -> None:
    result = cli("reconcile", payment_id, "--json", **portone_settings(portone))

    assert result.exit_code == 4
