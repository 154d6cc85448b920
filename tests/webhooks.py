"""Webhooks to test with: signed as PortOne's page says, by nothing that the worker verifies them with."""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from tests.builders import A_PAYMENT_ID, STORE_ID


def a_secret(seed: int = 1) -> SecretStr:
    """A secret of the console's form."""
    return SecretStr("whsec_" + base64.b64encode(bytes([seed]) * 32).decode())


SECRET = a_secret()


def signature(secret: SecretStr, webhook_id: str, seconds: int | str, body: bytes) -> str:
    """One entry of the signature header."""
    key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def signed(
    body: bytes, sent_at: datetime, *, webhook_id: str = "wh-1", secret: SecretStr = SECRET, content_type: str = ""
) -> dict[str, str]:
    """The headers that PortOne sends these bytes with."""
    seconds = int(sent_at.timestamp())
    return {
        "content-type": content_type or "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(secret, webhook_id, seconds, body),
    }


def a_body(event: str = "Paid", payment_id: str = A_PAYMENT_ID, **about: Any) -> bytes:
    """A body of 2024-04-25 about one of our payments."""
    said = {"storeId": STORE_ID, "paymentId": payment_id, "transactionId": "tx-1"} | about
    whole = {"type": f"Transaction.{event}", "timestamp": "2026-03-01T12:00:00.000Z", "data": said}
    return json.dumps(whole, ensure_ascii=False).encode()
