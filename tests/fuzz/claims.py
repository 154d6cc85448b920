"""What must hold of whatever comes from outside: PortOne's answers, files of subscriptions, the environment.

Each claim takes the raw input and raises AssertionError where it does not hold. The tests and the long run share them.
"""

import json
from collections.abc import Mapping

from billing_worker.billing.channels import PROFILES
from billing_worker.billing.columns import COLUMNS
from billing_worker.billing.csv_rows import Fault, decoded
from billing_worker.billing.intake import FAULTS_MAX, IntakeDefaults, read_rows
from billing_worker.billing.outcomes import (
    CHARGE_ERRORS,
    Absent,
    Declined,
    NoVerdict,
    Outcome,
    Paid,
    Payment,
    Reading,
    Refused,
    Unanswered,
)
from billing_worker.portone.wire import RETRY_AFTER_SECONDS_MAX, read_charge, read_payment, read_transactions
from billing_worker.settings import SettingsFault, describe, load_settings
from tests.fuzz.answers import API_SECRET, BILLING_KEY, PAYMENT_ID, SENT, RawAnswer

# Enough of a secret to know it by. The first letters of any key are the same.
_RECOGNISABLE_CHARACTERS = 20

CSV_SECRET = "billing-key-0190a1b2-c3d4-7e5f-8a6b-9c0d1e2f3a4b"


def charge_is_read_safely(answer: RawAnswer) -> None:
    """An answer to a charge is an outcome; paid only with 2xx and the proof, unpaid only by a type that says so."""
    outcome = read_charge(answer.status, answer.headers, answer.body, sent=SENT, api_secret=API_SECRET)
    assert_charge_outcome(outcome, answer)


def assert_charge_outcome(outcome: Outcome, answer: RawAnswer) -> None:
    """What an outcome may be, given the answer that it was read from."""
    said = _json_object(answer.body)
    match outcome:
        case Paid():
            payment = said["payment"]
            assert 200 <= answer.status < 300, "paid without a 2xx"
            assert isinstance(payment, dict)
            assert payment["pgTxId"] == outcome.pg_tx_id, "paid without the PG's proof"
            assert outcome.paid_at.utcoffset() is not None
        case Declined():
            assert not 200 <= answer.status < 300
            assert CHARGE_ERRORS[str(said["type"])] is Reading.DECLINED
        case Refused():
            assert not 200 <= answer.status < 300
            assert CHARGE_ERRORS[str(said["type"])].value.startswith("refused")
        case NoVerdict():
            assert not (outcome.resend and outcome.look_now)
            assert 0.0 <= (outcome.retry_after_seconds or 0.0) <= RETRY_AFTER_SECONDS_MAX
    if not isinstance(outcome, Paid):
        assert_shows_no(BILLING_KEY, repr(outcome))
        assert_shows_no(API_SECRET, repr(outcome))
    assert_storable(repr(outcome))


def looks_are_read_safely(answer: RawAnswer) -> None:
    """An answer to a look is a look; absent only with 404 and its type, a payment only with 200 and our id."""
    looked = read_payment(answer.status, answer.headers, answer.body, payment_id=PAYMENT_ID, api_secret=API_SECRET)
    listed = read_transactions(answer.status, answer.headers, answer.body, payment_id=PAYMENT_ID, api_secret=API_SECRET)
    said = _json_object(answer.body)
    for found in (looked, listed):
        if isinstance(found, Absent):
            assert (answer.status, said["type"]) == (404, "PAYMENT_NOT_FOUND")
        if isinstance(found, Unanswered):
            assert_shows_no(BILLING_KEY, found.reason)
            assert_shows_no(API_SECRET, found.reason)
    if isinstance(looked, Payment):
        assert said["id"] == PAYMENT_ID
        _assert_payment(looked, answer.status)
    if isinstance(listed, tuple):
        items = said["items"]
        assert isinstance(items, list)
        assert len(listed) == len(items)
        assert [each.requested_at for each in listed] == sorted(each.requested_at for each in listed)
        for each in listed:
            _assert_payment(each, answer.status)


def _assert_payment(payment: Payment, status: int) -> None:
    assert status == 200
    assert 0 <= payment.amount_minor < 2**63
    assert 0 <= payment.refunded_minor < 2**63
    assert payment.status
    assert payment.transaction_id
    assert payment.requested_at.utcoffset() is not None
    assert_shows_no(BILLING_KEY, payment.failure_code + payment.failure_message)
    assert_shows_no(API_SECRET, payment.failure_code + payment.failure_message)
    assert_storable(payment.status + payment.transaction_id + payment.failure_code + payment.failure_message)


def file_is_read_safely(raw: bytes) -> None:
    """A file of subscriptions is plans or faults; a fault names its place and quotes no billing key."""
    text = decoded(raw)
    if isinstance(text, Fault):
        assert text.line >= 1
        return
    for profile in PROFILES.values():
        intake = read_rows(text, profile=profile, defaults=IntakeDefaults(order_name="월간 이용권"))
        assert bool(intake.faults) != bool(intake.plans)
        assert len(intake.faults) <= FAULTS_MAX
        for fault in intake.faults:
            assert 1 <= fault.line <= text.count("\n") + text.count("\r") + 2
            assert fault.reason
            assert fault.column in COLUMNS or fault.column == "" or _is_place(fault.column, text)
            assert_shows_no(CSV_SECRET, repr(fault))
        for plan in intake.plans:
            assert f"billing_key=BillingKey(len={len(plan.billing_key.reveal())})," in repr(plan)
            assert plan.price.amount_minor > 0
            assert plan.first_cycle_number >= 1


def _is_place(column: str, text: str) -> bool:
    # A header's own word is repeated only where it can be no secret: lower case letters and underscores.
    return column.startswith("column ") or (column in text and column.replace("_", "").isalpha())


def environment_is_read_safely(environ: Mapping[str, str], secrets: tuple[str, ...]) -> None:
    """An environment is settings, or problems that each name their variable; no secret shows in either.

    Where the settings are taken, that is said of what is a secret of theirs: nobody can know another one by its looks.
    """
    try:
        settings = load_settings(environ)
    except SettingsFault as caught:
        fault: SettingsFault | None = caught
        shown = f"{caught}{caught!r}{caught.problems!r}{caught.__context__}{caught.__cause__}"
    else:
        fault = None
        shown = f"{settings}{settings!r}{describe(settings, environ)}"
    if fault is not None:
        _assert_problems(fault)
    for secret in secrets:
        if fault is not None or _is_held(secret, environ):
            assert_shows_no(secret, shown)


def _is_held(secret: str, environ: Mapping[str, str]) -> bool:
    return secret == environ.get("BILLING_PORTONE_API_SECRET") or secret in environ.get("BILLING_DATABASE_URL", "")


def _assert_problems(fault: SettingsFault) -> None:
    assert fault.problems
    for problem in fault.problems:
        assert "BILLING_" in problem.name or "CREDENTIALS_DIRECTORY" in problem.name, "names no variable"
        assert problem.reason
        assert problem.remedy


def assert_shows_no(secret: str, text: str) -> None:
    """No piece of the secret that it could be known by stands in the text."""
    for start in range(max(1, len(secret) - _RECOGNISABLE_CHARACTERS + 1)):
        assert secret[start : start + _RECOGNISABLE_CHARACTERS] not in text, "a secret shows"


def assert_storable(text: str) -> None:
    """Postgres takes the text, and a terminal does not obey it."""
    assert "\x00" not in text
    assert "\x1b" not in text
    text.encode()


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
