"""Refunds: the entry that a person means one, before PortOne is asked, and what a look finds to be given back."""

from collections.abc import Sequence

from billing_worker.billing.ledger import MESSAGE_CHARS_MAX, bounded
from billing_worker.billing.model import SHARDS, Attempt
from billing_worker.billing.refunding import GivenBack, Proposal, RefundIntent
from billing_worker.store.db import Executor, Pool, columns

_ALL_SHARDS = list(range(SHARDS))

# Room for " [after " and the digits of any sum.
_REASON_CHARS_MAX = MESSAGE_CHARS_MAX - 30


async def refund_intents(db: Executor, payment_id: str, *, reason: str) -> list[RefundIntent]:
    """The refunds that were meant before on the payment for the same reason, the oldest first."""
    rows = await db.fetch("refund_intents", _ALL_SHARDS, payment_id, _kept(reason))
    return [RefundIntent(row["amount_minor"], row["refunded_before_minor"]) for row in rows]


async def enter_refund_intent(db: Executor, proposal: Proposal, *, reason: str, actor: str) -> bool:
    """Write down that a sum is about to be given back. False where no cycle has the payment_id."""
    message = f"{_kept(reason)} [after {proposal.refunded_minor}]"
    rows = await db.fetch(
        "enter_refund_intent", _ALL_SHARDS, proposal.payment_id, proposal.amount_minor, message, actor
    )
    return bool(rows)


async def enter_given_back(
    pool: Pool, attempt: Attempt, parts: Sequence[GivenBack], *, disputed: bool, actor: str
) -> list[tuple[str, int, str]]:
    """Enter what was given back of a paid attempt, and that it is contested: what was not entered before.

    The kind, the sum and the code of each new entry.
    """
    named = (attempt.shard, attempt.attempt_id, attempt.idempotency_key)
    rows = [(part.amount_minor, part.code, part.cancellation_id) for part in parts]
    total = sum(part.amount_minor for part in parts)
    async with pool.transaction() as transaction:
        await transaction.fetch("lock_paid_attempt", *named)
        new = await transaction.fetch("enter_given_back", *named, total, *columns(rows, 3), disputed, actor)
    return [(row["kind"], row["amount_minor"], row["code"]) for row in new]


def _kept(reason: str) -> str:
    return bounded(reason, _REASON_CHARS_MAX)
