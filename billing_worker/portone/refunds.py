"""Refunds over HTTP: ask PortOne to give back a sum of one payment.

Who refunds says which sum is still there to be given back; where it is another by then, PortOne gives back nothing.
"""

from typing import Literal

import httpx

from billing_worker.billing.outcomes import CancelOutcome, NoVerdict, Refused
from billing_worker.portone.client import PortOneClient, Write, segment
from billing_worker.portone.wire_refunds import cancel_body, read_cancel


async def cancel_payment(
    client: PortOneClient,
    payment_id: str,
    *,
    amount_minor: int,
    current_cancellable_minor: int,
    reason: str,
    idempotency_key: str,
    requester: Literal["CUSTOMER", "ADMIN"],
) -> CancelOutcome:
    """Ask for the refund, and again within seconds where that is safe. Cancelling the caller ends no request.

    A refusal after several sends says nothing of the earlier ones, so only a look can tell then.
    """
    body = cancel_body(
        store_id=client.options.store_id,
        amount_minor=amount_minor,
        current_cancellable_minor=current_cancellable_minor,
        reason=reason,
        requester=requester,
    )

    def read(response: httpx.Response) -> CancelOutcome:
        return read_cancel(response.status_code, response.headers, response.content, api_secret=client.api_secret)

    write = Write(target=f"/payments/{segment(payment_id)}/cancel", body=body, idempotency_key=idempotency_key)
    outcome, sends = await client.write(write, read)
    if isinstance(outcome, Refused) and sends > 1:
        return NoVerdict(reason=f"{outcome.error_type} after a lost answer", look_now=True)
    return outcome
