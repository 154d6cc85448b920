"""What an attack on bookings tried without a database: an early failure, a body in pieces, a key in PortOne's words."""

from datetime import timedelta
from typing import Any

import pytest

from billing_worker import webhooks
from billing_worker.billing.booking import weigh_booking
from billing_worker.billing.charging import Verdict, Wait
from billing_worker.billing.outcomes import Absent, Declined, RefusalScope, Refused
from billing_worker.portone.webhook import Verifier
from billing_worker.telemetry import Metrics
from billing_worker.workers.verdicts import without_key
from tests.builders import STORE_ID, FakeClock, an_attempt, some_rules
from tests.sound_bookings import TIME, a_booking, a_schedule
from tests.webhooks import SECRET

BODY_BYTES_MAX = 2000
PIECE = b"x" * 500
PIECES_MAX = 100


class NothingKept:
    """An inbox that no hint may reach."""

    async def keep(self, hint: object) -> bool:
        raise AssertionError("a hint was kept")


class Sender:
    """A peer that sends a body in small pieces, and what it was answered."""

    def __init__(self) -> None:
        self.pieces = 0
        self.answers: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        self.pieces += 1
        return {"type": "http.request", "body": PIECE, "more_body": self.pieces < PIECES_MAX}

    async def send(self, message: Any) -> None:
        self.answers.append(message)


def test_a_failure_that_was_brought_forward_is_voided_only_after_our_own_time() -> None:
    # given
    failed = a_schedule("FAILED", time_to_pay=TIME - timedelta(days=1))
    at = TIME - timedelta(hours=1)

    # when
    found = weigh_booking(
        a_booking(schedule_id="schedule-1"), failed, Absent(), asked_at=at, now=at, rules=some_rules()
    )

    # then
    assert isinstance(found, Wait)


async def test_a_body_in_small_pieces_is_read_no_further_than_its_bound() -> None:
    # given
    sender = Sender()
    app = webhooks.create_app(
        Verifier([SECRET]),
        NothingKept(),
        FakeClock(),
        Metrics(),
        path="/w",
        store_id=STORE_ID,
        body_bytes_max=BODY_BYTES_MAX,
    )
    scope = {"type": "http", "method": "POST", "path": "/w", "raw_path": b"/w", "query_string": b"", "headers": []}

    # when
    await app(scope, sender.receive, sender.send)

    # then
    assert sender.answers[0]["status"] == 413
    assert sender.pieces == BODY_BYTES_MAX // len(PIECE) + 1


@pytest.mark.parametrize(
    "body",
    [b'{"billingKey":"bk-ok-1"}', b'{"payment":{"billingKey":"bk-ok-1"}}'],
    ids=["a charge's request", "a booking's request"],
)
@pytest.mark.parametrize(
    "verdict",
    [Declined("no bk-ok-1", "of bk-ok-1", "tx-1"), Refused("NO", "of bk-ok-1", RefusalScope.CARD)],
    ids=["declined", "refused"],
)
def test_no_word_of_a_verdict_holds_the_billing_key(verdict: Verdict, body: bytes) -> None:
    cut = without_key(verdict, an_attempt(request_body=body))

    assert "bk-ok-1" not in repr(cut)
