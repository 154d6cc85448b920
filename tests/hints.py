"""Kept webhooks for tests of the listener, what they have come to, and a bell that counts."""

from typing import Any

from billing_worker.store import inbox
from billing_worker.store.inbox import Hint
from tests.rig import Rig


class Bell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rings = 0

    def __call__(self) -> None:
        self.rings += 1


async def hint(rig: Rig, payment_id: str, webhook_id: str = "wh-1", event: str = "Paid", **changes: Any) -> None:
    """A kept webhook."""
    now = rig.clock.now()
    said = {"transaction_id": "tx-9", "cancellation_id": None, "store_matches": True, "sent_at": now} | changes
    received_at = said.pop("received_at", now)
    one = Hint(webhook_id, f"Transaction.{event}", payment_id, received_at=received_at, **said)
    await inbox.keep_hints(rig.database.claims, [one])


async def results(rig: Rig) -> dict[str, str | None]:
    """What each hint has come to."""
    rows = await rig.admin.fetch("SELECT webhook_id, result FROM billing.webhook_inbox")
    return {row["webhook_id"]: row["result"] for row in rows}
