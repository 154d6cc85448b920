"""PortOne's webhooks: whose they are is decided by the signature alone, and what is read of them is where to look."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
from portone_server_sdk import webhook as official
from pydantic import SecretStr

from billing_worker.portone import webhook
from billing_worker.portone.webhook import NoPayment, Notice, Rejection, Signed, Unreadable, Verifier
from tests.builders import A_PAYMENT_ID, NOON, STORE_ID
from tests.webhooks import SECRET, a_body, a_secret, signature, signed

BODY = a_body()
FORM = "application/x-www-form-urlencoded"


def verified(
    headers: dict[str, str] | list[tuple[str, str]], body: bytes = BODY, *secrets: SecretStr, now: datetime = NOON
) -> Signed | Rejection:
    """What a verifier of these secrets says."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = [(name.encode(), given.encode("latin-1")) for name, given in pairs]
    return Verifier(secrets or [SECRET]).verify(raw, body, now=now)


def with_header(**changes: str) -> dict[str, str]:
    """Right headers, but for one."""
    return signed(BODY, NOON) | {name.replace("_", "-"): given for name, given in changes.items()}


def test_what_portone_has_signed_is_portones() -> None:
    assert verified(signed(BODY, NOON)) == Signed("wh-1", NOON)


@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], b"", BODY.replace(b"Paid", b"paid"), b"\xff" + BODY, b"\xff"])
def test_other_bytes_than_the_signed_ones_are_forged(body: bytes) -> None:
    assert verified(signed(BODY, NOON), body) is Rejection.FORGED


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook_id": "wh-2"},
        {"webhook_timestamp": str(int(NOON.timestamp()) + 1)},
        {"webhook_signature": signature(a_secret(2), "wh-1", int(NOON.timestamp()), BODY)},
        {"webhook_signature": "v1," + base64.b64encode(bytes(32)).decode()},
        {"webhook_signature": "v1,"},
        {"webhook_signature": signature(SECRET, "wh-1", int(NOON.timestamp()), BODY)[:-4]},
    ],
    ids=str,
)
def test_a_signature_of_anything_else_is_forged(changes: dict[str, str]) -> None:
    assert verified(with_header(**changes)) is Rejection.FORGED


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed_once(name: str) -> None:
    headers = signed(BODY, NOON)
    missing = {one: given for one, given in headers.items() if one != name}

    assert verified(missing) is Rejection.UNSIGNED
    assert verified([*headers.items(), (name, headers[name])]) is Rejection.UNSIGNED
    assert verified([*headers.items(), (name.title(), headers[name])]) is Rejection.UNSIGNED


def test_other_headers_may_stand_there_twice() -> None:
    headers = [*signed(BODY, NOON).items(), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2")]

    assert isinstance(verified(headers), Signed)


def test_the_names_of_headers_have_no_case() -> None:
    headers = {name.title(): given for name, given in signed(BODY, NOON).items()}

    assert isinstance(verified(headers), Signed)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook_id": ""},
        {"webhook_id": "x" * 201},
        {"webhook_id": "wh-\x00"},
        {"webhook_id": "wh-\xe9"},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "now"},
        {"webhook_timestamp": f"{int(NOON.timestamp())}.0"},
        {"webhook_timestamp": f"0{int(NOON.timestamp())}"},
        {"webhook_timestamp": f" {int(NOON.timestamp())}"},
        {"webhook_timestamp": "9" * 5000},
        {"webhook_timestamp": "-1"},
        {"webhook_signature": ""},
        {"webhook_signature": "v2,AAAA"},
        {"webhook_signature": "v1"},
        {"webhook_signature": "v1,!!!"},
        {"webhook_signature": ","},
    ],
    ids=str,
)
def test_headers_that_portone_does_not_write_are_no_signature(changes: dict[str, str]) -> None:
    assert verified(with_header(**changes)) in {Rejection.UNSIGNED, Rejection.FORGED}
    if changes != {"webhook_signature": "v1"}:
        assert verified(with_header(**changes)) is Rejection.UNSIGNED


@pytest.mark.parametrize("late_seconds", [-300, 0, 300])
def test_five_minutes_of_travel_or_of_skew_are_allowed(late_seconds: int) -> None:
    assert isinstance(verified(signed(BODY, NOON), now=NOON + timedelta(seconds=late_seconds)), Signed)


@pytest.mark.parametrize("late_seconds", [-301, 301, 86_400, -86_400])
def test_what_is_older_or_newer_is_a_replay_or_a_wrong_clock(late_seconds: int) -> None:
    assert verified(signed(BODY, NOON), now=NOON + timedelta(seconds=late_seconds)) is Rejection.STALE


@pytest.mark.parametrize("secret", [a_secret(1), a_secret(2)])
def test_while_secrets_are_exchanged_either_is_right(secret: SecretStr) -> None:
    headers = signed(BODY, NOON, secret=secret)

    assert isinstance(verified(headers, BODY, a_secret(1), a_secret(2)), Signed)
    assert verified(headers, BODY, a_secret(3)) is Rejection.FORGED


def test_any_signature_of_the_header_will_do() -> None:
    right = signature(SECRET, "wh-1", int(NOON.timestamp()), BODY)
    others = ["v1a,xyz", "v2,AAAA", "v1,!!", signature(a_secret(2), "wh-1", int(NOON.timestamp()), BODY)]

    for place in range(5):
        written = " ".join([*others[:place], right, *others[place:]])
        assert isinstance(verified(with_header(webhook_signature=written)), Signed)


def test_signatures_without_end_are_not_looked_through() -> None:
    right = signature(SECRET, "wh-1", int(NOON.timestamp()), BODY)
    wrong = " ".join(["v1," + base64.b64encode(bytes(32)).decode()] * 20)

    assert verified(with_header(webhook_signature=f"{wrong} {right}")) is Rejection.FORGED


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_AAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "whsec_" + "A" * 1000,
        "whsec_hunter2!" + "A" * 40,
        "whsec_홍길동",
        "whsec_" + base64.b64encode(b"k" * 32).decode()[:-1],
    ],
)
def test_a_secret_of_another_form_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="must") as refused:
        webhook.require_secret(secret)

    assert len(secret) < 10 or secret not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_official_sdk_takes_what_we_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    for event in ("Paid", "Failed", "Cancelled", "DisputeCreated"):
        body = a_body(event, cancellationId="c-1")
        headers = signed(body, now)

        said = official.verify(SECRET.get_secret_value(), body.decode(), headers)

        assert isinstance(verified(headers, body, now=now), Signed)
        assert said.data.payment_id == A_PAYMENT_ID


@pytest.mark.parametrize("spoil", ["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_the_official_sdk_refuses_what_we_refuse(spoil: str) -> None:
    now = datetime.now(UTC)
    headers = signed(BODY, now)
    wrong = {"webhook-timestamp": str(int(now.timestamp()) - 400), "webhook-signature": "v1," + "A" * 44}
    body = BODY + b" " if spoil == "body" else BODY
    if spoil != "body":
        headers[spoil] = wrong.get(spoil, "wh-2")

    with pytest.raises(official.WebhookVerificationError):
        official.verify(SECRET.get_secret_value(), body.decode(), headers)

    assert isinstance(verified(headers, body, now=now), Rejection)


def test_the_library_s_own_signature_is_right() -> None:
    """Its sender and ours differ in how they are written, so neither can hide a mistake of the other."""
    now = datetime.fromtimestamp(int(time.time()), UTC)
    written = standardwebhooks.Webhook(SECRET.get_secret_value()).sign("wh-1", now, BODY.decode())

    assert written == signature(SECRET, "wh-1", int(now.timestamp()), BODY)
    assert isinstance(verified(signed(BODY, now) | {"webhook-signature": written}, now=now), Signed)


@pytest.mark.parametrize(
    "event",
    [
        *("Ready", "Paid", "VirtualAccountIssued", "PartialCancelled", "Cancelled", "Failed", "PayPending"),
        *("CancelPending", "DisputeCreated", "DisputeResolved", "Confirm"),
    ],
)
def test_an_event_of_a_payment_says_which_one(event: str) -> None:
    said = webhook.read(a_body(event, cancellationId="c-1"), content_type="application/json; charset=utf-8")

    assert said == Notice(f"Transaction.{event}", A_PAYMENT_ID, "tx-1", "c-1", STORE_ID)


@pytest.mark.parametrize("status", ["Ready", "Paid", "Failed", "Cancelled", "PartialCancelled"])
@pytest.mark.parametrize("content_type", ["application/json", FORM, f"{FORM.upper()}; charset=UTF-8"])
def test_the_older_version_says_the_same_in_both_forms(status: str, content_type: str) -> None:
    said = {"payment_id": A_PAYMENT_ID, "tx_id": "tx-1", "status": status}
    form = "&".join(f"{name}={given}" for name, given in said.items()).encode()
    body = json.dumps(said).encode() if content_type == "application/json" else form

    read = webhook.read(body, content_type=content_type)

    assert read == Notice(f"Transaction.{status}", A_PAYMENT_ID, "tx-1", None, None)


@pytest.mark.parametrize(
    "said",
    [
        {"type": "BillingKey.Issued", "data": {"billingKey": "bk-secret", "storeId": STORE_ID}},
        {"type": "BillingKey.Deleted", "data": {"billingKey": "bk-secret"}},
        {"type": "Transaction.SomethingNew", "data": {"paymentId": A_PAYMENT_ID}},
        {"type": "Payout.Made"},
        {"type": ""},
        {"billing_key": "bk-secret", "status": "Issued"},
        {"payment_id": A_PAYMENT_ID, "status": "somethingNew"},
        {"payment_id": A_PAYMENT_ID},
    ],
    ids=str,
)
def test_what_speaks_of_no_payment_that_we_know_is_ignored(said: dict[str, Any]) -> None:
    assert webhook.read(json.dumps(said).encode(), content_type="application/json") == NoPayment()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[]", ""),
        (b"null", ""),
        (b"1" * 5000, ""),
        (b"[" * 60_000, ""),
        (b"\xff\xfe{}", ""),
        (b'{"type": 1}', ""),
        (b'{"type": "Transaction.Paid"}', ""),
        (b'{"type": "Transaction.Paid", "data": []}', ""),
        (b'{"type": "Transaction.Paid", "data": {"paymentId": 7}}', ""),
        (b'{"type": "Transaction.Paid", "data": {"paymentId": ""}}', ""),
        (b'{"type": "Transaction.Paid", "data": {"paymentId": "a\\u0000b"}}', ""),
        (b'{"type": "Transaction.Paid", "data": {"paymentId": "\\ud800"}}', ""),
        (json.dumps({"type": "Transaction.Paid", "data": {"paymentId": "x" * 201}}).encode(), ""),
        (b"{}", ""),
        (b"", FORM),
        (b"payment_id", FORM),
        (b"payment_id=%FF", FORM),
        (b"payment_id=a&payment_id=b&status=Paid", FORM),
        (b"payment_id=a&status=Paid&" + b"&".join(b"f%d=1" % number for number in range(40)), FORM),
        (a_body(), FORM),
        (b"payment_id=a&status=Paid", "application/json"),
    ],
    ids=lambda given: str(given[:40]),
)
def test_what_cannot_be_understood_is_unreadable(body: bytes, content_type: str) -> None:
    assert webhook.read(body, content_type=content_type) == Unreadable()


def test_ids_that_are_no_ids_are_left_out() -> None:
    body = a_body(transactionId="\n", cancellationId=[1], storeId="x" * 300)

    assert webhook.read(body, content_type="") == Notice("Transaction.Paid", A_PAYMENT_ID, None, None, None)


def test_no_secret_stands_in_a_repr() -> None:
    verifier = Verifier([SECRET])

    assert "whsec" not in repr(verifier) + repr(vars(verifier))
