"""The client over real connections: what it sends, when it sends again, and when it does not."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from billing_worker.billing.outcomes import Absent, NoVerdict, Payment, RefusalScope, Refused, Unanswered
from billing_worker.portone.client import Answer, ChargeOrder, ClientOptions
from billing_worker.portone.transport import AiohttpTransport
from tests.builders import eventually
from tests.peers import (
    BILLING_KEY,
    BODY,
    PAID,
    PAYMENT,
    SECRET,
    Behaviour,
    a_client,
    a_peer,
    an_order,
    answers,
    closes,
    error,
    event_loop_policy,  # noqa: F401 - a fixture
    hangs,
    late,
    pays_when_released,
    resets,
    writes,
)

# pytest-asyncio wants a hook in a conftest instead; only what talks to peers runs on two loops.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


async def test_a_charge_is_sent_as_portone_wants_it_and_nothing_is_added() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(PAID, sends=1)
    sent = peer.received[0]
    assert (sent.method, sent.target, sent.body) == ("POST", "/payments/rb1payment/billing-key", BODY)
    assert sent.headers == {
        "host": peer.address.removeprefix("http://"),
        "content-length": str(len(BODY)),
        "authorization": f"PortOne {SECRET}",
        "idempotency-key": '"rb1payment-g0001"',
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "billing-worker",
    }


async def test_nothing_leaves_a_worker_that_was_frozen_after_its_last_look_at_the_deadline() -> None:
    seconds = 0.0

    class Frozen(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal seconds
            seconds += 11_000.0  # three hours later PortOne has forgotten the key
            return await super().handle_async_request(request)

    async with a_peer(answers()) as peer, a_client(peer.address, seconds=lambda: seconds, transport=Frozen) as client:
        order = ChargeOrder(payment_id="rb1payment", idempotency_key="rb1payment-g0001", body=BODY, send_before=20.0)
        answer = await client.charge(order)

    assert answer == Answer(NoVerdict("no answer"), sends=1)
    assert peer.received == []


async def test_a_payment_id_is_one_piece_of_the_path() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        await client.charge(an_order(payment_id="a/../b?c=d#e 결제"))
        await client.find("a/b")

    assert [one.target for one in peer.received] == [
        "/payments/a%2F..%2Fb%3Fc%3Dd%23e%20%EA%B2%B0%EC%A0%9C/billing-key",
        "/payments/a%2Fb?storeId=store%2F1",
    ]


async def test_a_hang_ends_by_the_read_timeout_and_is_not_sent_again_in_line() -> None:
    changes = {"read_seconds": 0.3, "resend_window_seconds": 0.2, "resends_max": 3}
    async with a_peer(hangs) as peer, a_client(peer.address, **changes) as client:
        started = asyncio.get_running_loop().time()
        answer = await client.charge(an_order())

        assert asyncio.get_running_loop().time() - started < 2
    assert answer == Answer(NoVerdict("no answer", resend=False), sends=1)
    assert peer.posts == 1


async def test_a_failure_that_came_late_is_not_sent_again_in_line() -> None:
    changes = {"resend_window_seconds": 0.1, "resends_max": 3}
    async with a_peer(late(answers(b"", status=503), seconds=0.2)) as peer, a_client(peer.address, **changes) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("HTTP 503", resend=False), sends=1)


async def test_a_resend_has_the_same_bytes_under_the_same_key() -> None:
    script = (closes, resets, error("IDEMPOTENCY_OUTSTANDING_REQUEST", status=409), answers())
    async with a_peer(*script) as peer, a_client(peer.address, resends_max=5) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(PAID, sends=4)
    assert {(one.target, one.body, one.headers["idempotency-key"]) for one in peer.received} == {
        ("/payments/rb1payment/billing-key", BODY, '"rb1payment-g0001"')
    }


async def test_resends_are_counted_and_bounded() -> None:
    async with a_peer(closes) as peer, a_client(peer.address, resends_max=2) as client:
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("no answer", resend=True), sends=3)
    assert peer.posts == 3


async def test_no_resend_starts_after_the_window() -> None:
    changes = {"resends_max": 100, "resend_pause_seconds": 0.05, "resend_window_seconds": 0.3}
    async with a_peer(closes) as peer, a_client(peer.address, **changes) as client:
        answer = await client.charge(an_order())

    assert 1 < answer.sends < 8
    assert peer.received[-1].at - peer.received[0].at < 0.3 + 0.05


async def test_no_resend_starts_after_the_deadline_of_the_order() -> None:
    """The window of an intent ends before the window of resends, which is counted from a send that came late."""
    changes = {"resends_max": 100, "resend_pause_seconds": 0.05, "resend_window_seconds": 5.0}
    async with a_peer(closes) as peer, a_client(peer.address, **changes) as client:
        answer = await client.charge(an_order(seconds=0.3))

    assert 1 < answer.sends < 8
    assert peer.received[-1].at - peer.received[0].at < 0.3 + 0.05


async def test_a_turn_that_is_given_too_late_is_given_back_and_nothing_is_sent() -> None:
    """A process that stood still finds both its token and its deadline when it wakes."""
    async with a_peer(answers()) as peer, a_client(peer.address, connections_max=1) as client:
        take = client.limiter.take

        async def take_late(*, before: float) -> bool:
            async def over() -> bool:
                return asyncio.get_running_loop().time() >= before

            given = await take(before=before)
            await eventually(over)
            return given

        client.limiter.take = take_late  # type: ignore[method-assign]
        late_one = await client.charge(an_order(seconds=0.1))
        client.limiter.take = take  # type: ignore[method-assign]
        next_one = await client.charge(an_order(seconds=2))

    assert late_one == Answer(NoVerdict("send deadline passed"), sends=0)
    assert next_one == Answer(PAID, sends=1)
    assert peer.posts == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        error("ALREADY_PAID", status=409),
        error("INVALID_REQUEST", status=400),
        error("PG_PROVIDER", status=502),
        error("SOMETHING_NEW", status=400),
        answers(b"not json"),
        answers(status=302, location="http://127.0.0.1:1/"),
    ],
)
async def test_what_another_send_would_not_change_is_sent_once(behaviour: Behaviour) -> None:
    async with a_peer(behaviour) as peer, a_client(peer.address, resends_max=3) as client:
        answer = await client.charge(an_order())

    assert answer.sends == peer.posts == 1


async def test_a_refusal_after_a_lost_answer_tells_of_both_sends() -> None:
    async with (
        a_peer(closes, error("UNAUTHORIZED", status=401)) as peer,
        a_client(peer.address, resends_max=3) as client,
    ):
        answer = await client.charge(an_order())

    assert answer == Answer(Refused("UNAUTHORIZED", "왜", RefusalScope.CHANNEL), sends=2)


async def test_portones_wish_for_a_pause_is_kept_for_every_charge() -> None:
    async with (
        a_peer(answers(b"", status=429, retry_after="1"), answers()) as peer,
        a_client(peer.address, resends_max=3) as client,
    ):

        async def paused() -> bool:
            return client.limiter.available() == 0

        first = asyncio.create_task(client.charge(an_order()))
        await eventually(paused)
        other = await client.charge(an_order())

        assert (await first) == Answer(PAID, sends=2)
        assert other == Answer(PAID, sends=1)
        assert all(one.at - peer.received[0].at >= 1 for one in peer.received[1:])


async def test_a_wish_for_a_pause_beyond_the_window_is_handed_on() -> None:
    async with (
        a_peer(answers(b"", status=503, retry_after="120")) as peer,
        a_client(peer.address, resends_max=3) as client,
    ):
        answer = await client.charge(an_order())

    assert answer == Answer(NoVerdict("HTTP 503", resend=True, retry_after_seconds=120), sends=1)


async def test_nothing_is_sent_after_the_deadline() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address) as client:
        answer = await client.charge(an_order(seconds=0))

    assert answer == Answer(NoVerdict("send deadline passed"), sends=0)
    assert peer.connections == 0


async def test_the_wait_for_a_connection_counts_against_the_deadline() -> None:
    async with a_peer(pays_when_released) as peer, a_client(peer.address, connections_max=1) as client:
        first = asyncio.create_task(client.charge(an_order()))
        await peer.until_received(1)

        second = await client.charge(an_order(seconds=0.1))
        peer.release.set()

        assert second == Answer(NoVerdict("send deadline passed"), sends=0)
        assert (await first) == Answer(PAID, sends=1)
        assert peer.posts == 1


async def test_the_wait_for_the_limiter_counts_against_the_deadline() -> None:
    async with a_peer(answers()) as peer, a_client(peer.address, requests_per_second=0.01, burst=1) as client:
        first = await client.charge(an_order())
        second = await client.charge(an_order(seconds=0.1))

    assert first.outcome == PAID
    assert second == Answer(NoVerdict("send deadline passed"), sends=0)
    assert peer.posts == 1


async def test_cancelling_the_caller_does_not_end_the_post() -> None:
    async with a_peer(pays_when_released) as peer, a_client(peer.address, connections_max=1) as client:
        call = asyncio.create_task(client.charge(an_order()))
        await peer.until_received(1)

        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        leaving = asyncio.create_task(client.__aexit__(None, None, None))
        await asyncio.wait({leaving}, timeout=0.1)

        assert call.cancelled()
        assert peer.hung_up == 0
        assert not leaving.done()
        peer.release.set()
        await leaving

    assert peer.hung_up == 0


async def test_a_cancelled_caller_starts_no_resend_and_gives_its_connection_back() -> None:
    changes = {"connections_max": 1, "resends_max": 5, "resend_pause_seconds": 5.0}
    async with a_peer(closes, answers()) as peer, a_client(peer.address, **changes) as client:
        call = asyncio.create_task(client.charge(an_order()))
        await peer.until_received(1)

        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        other = await client.charge(an_order())

    assert other == Answer(PAID, sends=1)
    assert peer.posts == 2


async def test_a_cancelled_look_gives_its_connection_back() -> None:
    async with a_peer(hangs, answers()) as peer, a_client(peer.address, connections_max=1) as client:
        look = asyncio.create_task(client.find("rb1payment"))
        await peer.until_received(1)

        look.cancel()
        await asyncio.gather(look, return_exceptions=True)

        assert (await client.charge(an_order(seconds=2))).outcome == PAID


async def test_neither_secret_nor_key_nor_address_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tells = json.dumps({"type": "INVALID_REQUEST", "message": f"{BILLING_KEY} is unknown"}).encode()
    script = (answers(), closes, writes(b"\x00"), answers(tells, status=400))
    async with a_peer(*script) as peer, a_client(peer.address) as client:
        told = [await client.charge(an_order()) for _ in range(4)]
        shown = repr((client.options, an_order(), told))

    for text in (caplog.text, shown):
        assert SECRET not in text
        assert BILLING_KEY not in text
    assert "/payments/" not in caplog.text


async def test_a_look_reads_payment_and_transactions() -> None:
    items = [PAYMENT | {"id": "tx-1", "paymentId": "rb1payment"}]
    script = (
        answers(json.dumps(PAYMENT).encode()),
        answers(json.dumps({"items": items}).encode()),
        error("PAYMENT_NOT_FOUND", status=404),
    )
    async with a_peer(*script) as peer, a_client(peer.address) as client:
        found = await client.find("rb1payment")
        tries = await client.transactions("rb1payment")
        absent = await client.find("rb1payment")

    assert isinstance(found, Payment)
    assert tries == (found,)
    assert absent == Absent()
    assert [one.target for one in peer.received[:2]] == [
        "/payments/rb1payment?storeId=store%2F1",
        "/payments/rb1payment/transactions?storeId=store%2F1",
    ]
    assert all("idempotency-key" not in one.headers for one in peer.received)


async def test_a_payment_of_another_id_is_not_believed() -> None:
    async with a_peer(answers(json.dumps(PAYMENT).encode())) as peer, a_client(peer.address) as client:
        look = await client.find("rb1other")

    assert isinstance(look, Unanswered)


async def test_portones_clock_is_compared_with_the_hosts() -> None:
    async with a_peer(answers(date="Tue, 01 Sep 2026 00:00:45 GMT")) as peer, a_client(peer.address) as client:
        before = client.date_skew_seconds
        await client.charge(an_order())

        assert before is None
        assert client.date_skew_seconds == 45


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"base_url": "https://example.com"}, "BILLING_PORTONE_BASE_URL"),
        ({"base_url": "https://api.portone.io", "read_seconds": 59.9}, "at least 60"),
        ({"read_seconds": 0}, "above 0"),
        ({"connections_max": 0}, "at least 1"),
        ({"resends_max": -1}, "at least"),
        ({"resend_pause_seconds": 0}, "above 0"),
        ({"api_secret": SecretStr("")}, "api_secret"),
        ({"api_secret": SecretStr("a\r\nb")}, "api_secret"),
        ({"api_secret": SecretStr("비밀")}, "api_secret"),
    ],
)
def test_options_that_could_hurt_are_refused(changes: dict[str, Any], complaint: str) -> None:
    sound = {"base_url": "http://127.0.0.1:1", "api_secret": SecretStr(SECRET), "store_id": "store-1"}

    with pytest.raises(ValueError, match=complaint) as raised:
        ClientOptions(**(sound | changes))

    assert "비밀" not in str(raised.value)


@pytest.mark.parametrize(
    "key", ["", "short", '"rb1payment-g0001"', "rb1payment g0001aa", "k" * 251, "열여섯글자가넘는키입니다아아아아"]
)
async def test_an_idempotency_key_that_portone_would_not_take_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        ChargeOrder(payment_id="rb1payment", idempotency_key=key, body=BODY, send_before=0.0)
