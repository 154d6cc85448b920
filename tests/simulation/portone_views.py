"""PortOne's answers as bytes: as much of the contract's JSON as a worker reads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.portone_books import Try


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body, and the headers beside the usual ones."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def refusal(status: int, error_type: str) -> Answer:
    """An error of the contract."""
    return Answer(status, json.dumps({"type": error_type, "message": error_type}).encode(), {})


def plain(status: int) -> Answer:
    """An error that some proxy made up."""
    return Answer(status, b"<html><body>upstream</body></html>", {})


def payment_answer(payment_id: str, shown: Sequence[Try], now: float) -> Answer:
    """GET /payments/{id}: the try that was paid, else the last one."""
    if not shown:
        return refusal(404, "PAYMENT_NOT_FOUND")
    paid = [one for one in shown if one.is_paid_in_record(now)]
    one = (paid or shown)[-1]
    return _json({"id": payment_id, "transactionId": one.transaction_id, **_view(one, now)})


def answer_of_tries(payment_id: str, shown: Sequence[Try], now: float) -> Answer:
    """GET /payments/{id}/transactions."""
    if not shown:
        return refusal(404, "PAYMENT_NOT_FOUND")
    return _json({"items": [{"id": one.transaction_id, "paymentId": payment_id, **_view(one, now)} for one in shown]})


def _view(one: Try, now: float) -> dict[str, Any]:
    changed_at, paid = one.changed_at.isoformat(), one.is_paid_in_record(now)
    view: dict[str, Any] = {
        "status": "PAID" if paid else "FAILED",
        "storeId": one.store_id,
        "channel": {"type": one.channel},
        "requestedAt": one.requested_at.isoformat(),
        "statusChangedAt": changed_at,
        "amount": {"total": one.amount_minor},
        "currency": one.currency,
    }
    if paid:
        return view | {"pgTxId": one.pg_tx_id, "paidAt": changed_at}
    assert one.failure is not None, "a try that took no money has failed"
    one.shown_failed = True
    return view | {"failure": {"pgCode": one.failure[0], "pgMessage": one.failure[1], "reason": one.failure[1]}}


def _json(value: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(value, ensure_ascii=False).encode(), {})
