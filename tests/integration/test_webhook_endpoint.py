"""The webhook endpoint over real sockets: what is kept, what is refused, and that nobody holds it up."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import httpx
import pytest

from billing_worker import web, webhooks
from billing_worker.portone.webhook import Verifier
from billing_worker.store import db
from billing_worker.store.inbox import Hint
from billing_worker.telemetry import Metrics
from billing_worker.webhooks import InboxWriter, endpoint, writer
from tests.builders import A_PAYMENT_ID, STORE_ID, FakeClock, eventually
from tests.conftest import DatabaseUrls, OwnServer
from tests.rig import a_database
from tests.webhook_desk import BODY_BYTES_MAX, PATH, Desk, a_desk
from tests.webhooks import SECRET, a_body, a_secret, signed


@pytest.fixture
async def pools(database: DatabaseUrls) -> AsyncIterator[db.Database]:
    async with a_database(database) as made:
        yield made


@pytest.fixture
async def desk(pools: db.Database, database: DatabaseUrls) -> AsyncIterator[Desk]:
    async with a_desk(pools.claims, database.admin_url) as made:
        yield made


async def test_a_webhook_is_kept_before_it_is_acknowledged(desk: Desk) -> None:
    # given
    sent_at = desk.clock.now()

    # when
    answer = await desk.send(a_body("Cancelled", cancellationId="c-1"))

    # then
    [row] = await desk.rows()
    assert (answer.status_code, answer.content) == (200, b"")
    assert row == {
        "webhook_id": "wh-1",
        "event_type": "Transaction.Cancelled",
        "payment_id": A_PAYMENT_ID,
        "transaction_id": "tx-1",
        "cancellation_id": "c-1",
        "store_matches": True,
        "sent_at": sent_at,
        "received_at": sent_at,
        "read_at": None,
        "result": None,
    }
    assert desk.woken == [1]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
async def test_the_older_version_is_kept_too(desk: Desk, content_type: str) -> None:
    form = f"payment_id={A_PAYMENT_ID}&tx_id=tx-1&status=Paid".encode()
    plain = json.dumps({"payment_id": A_PAYMENT_ID, "tx_id": "tx-1", "status": "Paid"}).encode()
    body = plain if content_type == "application/json" else form

    answer = await desk.send(body, content_type=content_type)

    [row] = await desk.rows()
    assert answer.status_code == 200
    assert (row["event_type"], row["payment_id"], row["store_matches"]) == ("Transaction.Paid", A_PAYMENT_ID, None)


async def test_a_replayed_or_repeated_webhook_is_kept_once(desk: Desk) -> None:
    # given: the same bytes and headers within the five minutes, as a replay has them
    headers = signed(a_body(), desk.clock.now())
    await desk.send(headers=headers)
    desk.clock.advance(seconds=299)

    # when
    replayed = [await desk.send(headers=headers) for _ in range(3)]
    sent_again = await desk.send()  # PortOne signs anew what it sends again, under the same id

    # then
    assert [answer.status_code for answer in [*replayed, sent_again]] == [200] * 4
    assert len(await desk.rows()) == 1
    assert (desk.counted("kept"), desk.counted("duplicate")) == (1, 4)
    assert desk.woken == [1]


@pytest.mark.parametrize("seed", [1, 2])
async def test_either_secret_is_good_while_they_are_exchanged(desk: Desk, seed: int) -> None:
    assert (await desk.send(secret=a_secret(seed))).status_code == 200


@pytest.mark.parametrize(
    ("spoilt", "result"),
    [
        ({"webhook-signature": "v1," + "A" * 43 + "="}, "forged"),
        ({"webhook-id": "wh-2"}, "forged"),
        ({"webhook-id": ""}, "unsigned"),
        ({"webhook-signature": ""}, "unsigned"),
        ({"webhook-timestamp": "1"}, "stale"),
    ],
    ids=str,
)
async def test_what_is_not_portones_is_refused_without_a_word(desk: Desk, spoilt: dict[str, str], result: str) -> None:
    answer = await desk.send(headers=signed(a_body(), desk.clock.now()) | spoilt)

    assert (answer.status_code, answer.content) == (401, b"")
    assert set(answer.headers) == {"content-length", "date"}
    assert await desk.rows() == []
    assert desk.counted(result) == 1


@pytest.mark.parametrize("late_seconds", [-301, 301, 20_000])
async def test_what_is_late_or_from_the_future_is_refused(desk: Desk, late_seconds: int) -> None:
    headers = signed(a_body(), desk.clock.now() - timedelta(seconds=late_seconds))

    answer = await desk.send(headers=headers)

    assert answer.status_code == 401
    assert desk.counted("stale") == 1
    assert await desk.rows() == []


async def test_a_forged_webhook_costs_the_database_nothing() -> None:
    """Nothing stands behind this endpoint, so whatever asked for it would fail."""
    clock, metrics = FakeClock(), Metrics()
    keeping = InboxWriter(_Nothing(), wake=lambda: None)
    app = webhooks.create_app(
        Verifier([SECRET]), keeping, clock, metrics, path=PATH, store_id=STORE_ID, body_bytes_max=BODY_BYTES_MAX
    )

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        forged = await client.post(PATH, content=a_body(), headers=signed(a_body(), clock.now(), secret=a_secret(9)))
        ignored = await client.post(PATH, content=b'{"type":"BillingKey.Issued"}', headers=_ignored(clock))

    assert (forged.status_code, ignored.status_code) == (401, 200)


class _Nothing:
    """A database that nobody may ask."""

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        raise AssertionError(f"{name} was asked")


def _ignored(clock: FakeClock) -> dict[str, str]:
    return signed(b'{"type":"BillingKey.Issued"}', clock.now())


@pytest.mark.parametrize(
    ("body", "result", "status"),
    [
        (b'{"type":"BillingKey.Issued","data":{"billingKey":"bk-secret-1"}}', "ignored", 200),
        (b'{"type":"Brand.New","data":{}}', "ignored", 200),
        (a_body(storeId="store-of-somebody-else"), "other_store", 200),
        (b"{", "unreadable", 400),
        (b'{"type":"Transaction.Paid"}', "unreadable", 400),
        (b"\xff\xfe", "forged", 401),
    ],
    ids=str,
)
async def test_what_says_nothing_of_our_payments_is_counted_and_not_kept(
    desk: Desk, body: bytes, result: str, status: int
) -> None:
    answer = await desk.send(body)

    assert (answer.status_code, answer.content) == (status, b"")
    assert desk.counted(result) == 1
    assert await desk.rows() == []


async def test_only_a_post_to_the_path_is_answered(desk: Desk) -> None:
    pages = {path: (await desk.client.get(path)).status_code for path in ("/", "/metrics", "/livez", f"{PATH}/more")}
    posted = (await desk.client.post("/metrics")).status_code
    methods = {method: (await desk.client.request(method, PATH)).status_code for method in ("GET", "PUT", "DELETE")}

    assert set(pages.values()) == {404}
    assert posted == 404
    assert set(methods.values()) == {405}


async def test_no_request_makes_a_metrics_page_or_a_server_name_appear(desk: Desk) -> None:
    answers = [await desk.client.get(path) for path in ("/metrics", "/readyz")]

    assert not any("billing" in answer.text for answer in answers)
    assert not any("server" in answer.headers for answer in answers)


async def test_nothing_of_a_webhook_but_its_ids_is_kept_or_logged(
    desk: Desk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    body = a_body("Paid", billingKey="bk-secret-1", customer="홍길동")

    # when
    await desk.send(body)
    await desk.send(b'{"type":"BillingKey.Deleted","data":{"billingKey":"bk-secret-1"}}', webhook_id="wh-2")
    await desk.send(body, secret=a_secret(9))

    # then
    written = repr(await desk.rows()) + caplog.text + "".join(capsys.readouterr())
    assert "bk-secret" not in written
    assert "홍길동" not in written
    assert "whsec" not in written


async def test_many_at_once_share_a_statement(desk: Desk) -> None:
    bodies = [desk.send(webhook_id=f"wh-{number}") for number in range(40)]

    answers = await asyncio.gather(*bodies)

    assert {answer.status_code for answer in answers} == {200}
    assert len(await desk.rows()) == 40
    assert len(desk.woken) < 40


async def test_without_a_database_portone_is_told_to_send_again_and_nothing_is_lost(own_server: OwnServer) -> None:
    # given
    urls = own_server.database
    async with a_database(urls, command_seconds=2) as pools, a_desk(pools.claims, urls.admin_url) as desk:
        assert (await desk.send(webhook_id="wh-1")).status_code == 200
        own_server.server.kill()

        # when
        away = await asyncio.gather(*(desk.send(webhook_id=f"wh-{number}") for number in range(1, 6)))
        own_server.server.start()

        async def sent_again() -> bool:
            answers = [await desk.send(webhook_id=f"wh-{number}") for number in range(1, 6)]
            return all(answer.status_code == 200 for answer in answers)

        await eventually(sent_again, seconds_max=30)

        # then
        assert {answer.status_code for answer in away} == {503}
        reader = await asyncpg.connect(urls.admin_url)
        kept = await reader.fetch("SELECT webhook_id FROM billing.webhook_inbox ORDER BY 1")
        await reader.close()
        assert [row["webhook_id"] for row in kept] == [f"wh-{number}" for number in range(1, 6)]


async def test_what_cannot_be_written_in_time_is_refused(
    desk: Desk, database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(writer, "KEEP_SECONDS", 0.2)
    blocker = await asyncpg.connect(database.admin_url)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("LOCK TABLE billing.webhook_inbox IN ACCESS EXCLUSIVE MODE")

    # when
    answer = await desk.send()
    await transaction.rollback()
    await blocker.close()

    # then
    assert answer.status_code == 503
    assert desk.counted("unavailable") == 1

    async def taken() -> bool:
        return (await desk.send()).status_code == 200

    await eventually(taken)
    assert len(await desk.rows()) == 1


async def test_a_full_queue_refuses_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = InboxWriter(_Nothing(), wake=lambda: None)  # never started: nothing leaves its queue
    monkeypatch.setattr(writer, "KEEP_SECONDS", 0.01)
    for number in range(writer.QUEUE_MAX):
        keeping._queue.put_nowait(writer._Waiting(_hint(number)))

    with pytest.raises(writer.NotKeptError, match="too many"):
        await keeping.keep(_hint(9999))


async def test_one_hint_that_postgres_does_not_take_keeps_no_other_from_being_written(pools: db.Database) -> None:
    keeping = InboxWriter(pools.claims, wake=lambda: None)
    keeping.start()

    kept = await asyncio.gather(
        *(keeping.keep(_hint(number, payment_id="x" * (201 if number == 3 else 30))) for number in range(6)),
        return_exceptions=True,
    )
    await keeping.stop()

    assert [one for one in kept if one is not True] == [kept[3]]
    assert isinstance(kept[3], writer.NotKeptError)


def _hint(number: int, payment_id: str = A_PAYMENT_ID) -> Hint:
    now = FakeClock().now()
    return Hint(f"wh-{number}", "Transaction.Paid", payment_id, None, None, True, now, now)


async def test_the_limits_leave_a_proxy_to_end_its_connections() -> None:
    assert endpoint.LIMITS.keep_alive_seconds > 60
    assert endpoint.LIMITS.protocol is not None
    assert web.PAGES.protocol is None
