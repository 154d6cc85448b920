"""Notices: what a webhook says, in either of PortOne's versions, and the signature that it is sent under.

The body is written once, so every re-send is the same bytes; the signature is made anew for each, with its own time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from urllib.parse import urlencode

from standardwebhooks import Webhook

from billing_worker.simulator.bank import Happening
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.options import SimulatorOptions

# Minutes before each send, the first included; PortOne takes any time up to that, evenly (full jitter).
WAITS_MINUTES = (0, 1, 4, 16, 64, 256)
STRANGERS_SECRET = "whsec_" + "c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI="


class Forgery(StrEnum):
    """What is wrong with a notice that PortOne never sent."""

    WRONG_SECRET = "wrong-secret"  # noqa: S105 - the name of a fault
    OLD_TIMESTAMP = "old-timestamp"  # well signed, a quarter of an hour ago
    UNKNOWN_TYPE = "unknown-type"  # well signed, of a type that no document lists
    UNSIGNED = "unsigned"


class Sent(StrEnum):
    """PortOne's words for how a webhook ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED_NOT_OK_RESPONSE = "FAILED_NOT_OK_RESPONSE"
    FAILED_UNEXPECTED_ERROR = "FAILED_UNEXPECTED_ERROR"


@dataclass(frozen=True, slots=True)
class News:
    """Something to tell: its type as the newer version has it, and whom it is about."""

    kind: str
    at: datetime
    subject: Mapping[str, str]
    payment_id: str = ""
    payment_status: str = ""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered."""

    status: int
    headers: str
    body: str
    at: datetime


@dataclass(slots=True, eq=False)
class Notice:
    """One webhook to one URL, with everything that became of it."""

    webhook_id: str
    url: str
    news: News
    body: str = field(repr=False)
    content_type: str
    made_at: datetime
    forgery: Forgery | None = None
    trigger: str | None = None
    executions: int = 0
    resends: int = 0
    lost: bool = False
    sent: Sent | None = None
    sent_at: datetime | None = None
    next_at: datetime | None = None
    reply: Reply | None = None


def news_of(happening: Happening, store_id: str) -> News:
    """The news of what happened to a payment."""
    payment, transaction = happening.payment, happening.transaction
    subject = {"storeId": store_id, "paymentId": payment.payment_id, "transactionId": transaction.transaction_id}
    if happening.cancellation is not None:
        subject["cancellationId"] = happening.cancellation.cancellation_id
    return News(
        f"Transaction.{happening.what}",
        happening.at,
        subject,
        payment.payment_id,
        payment.status,
        transaction.order.notice_urls,
    )


def written(news: News, options: SimulatorOptions) -> tuple[str, str]:
    """The body and its content type."""
    if options.webhook_version == "2024-04-25":
        content = {"type": news.kind, "timestamp": rfc3339(news.at), "data": dict(news.subject)}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")), "application/json"
    # What the older version says of billing keys is in no document of PortOne's; this is a guess.
    names = {"payment_id": "paymentId", "tx_id": "transactionId", "billing_key": "billingKey"}
    fields = {old: news.subject[new] for old, new in names.items() if new in news.subject}
    fields["status"] = news.kind.partition(".")[2]
    if options.webhook_as_form:
        return urlencode(fields), "application/x-www-form-urlencoded"
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")), "application/json"


def signed(notice: Notice, secrets: tuple[str, ...], at: datetime) -> dict[str, str]:
    """The headers a notice is sent under: one signature for each secret, so that either is enough."""
    headers = {"content-type": notice.content_type}
    if notice.forgery is Forgery.UNSIGNED:
        return headers
    used = (STRANGERS_SECRET,) if notice.forgery is Forgery.WRONG_SECRET else secrets
    signatures = [_signer(secret).sign(notice.webhook_id, at, notice.body) for secret in used]
    headers["webhook-id"] = notice.webhook_id
    headers["webhook-timestamp"] = str(int(at.timestamp()))
    headers["webhook-signature"] = " ".join(signatures)
    return headers


@lru_cache(maxsize=8)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)
