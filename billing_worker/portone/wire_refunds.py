"""PortOne's JSON of refunds: the bytes that ask money back, and what the answer to them means.

A refund of a part is not idempotent by nature: only the key and the sum that may still be given back, which goes with
the request, keep a second one from giving back twice.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from billing_worker.billing.outcomes import CANCEL_ERRORS, CancelOutcome, NoVerdict, read_cancel_error
from billing_worker.portone.fields import UnreadableError, object_of, read_object, secrets_of, text
from billing_worker.portone.wire import cancellation_of, read_status, with_pause


def cancel_body(
    *, store_id: str, amount_minor: int, current_cancellable_minor: int, reason: str, requester: str
) -> bytes:
    """The request body of one refund: the same bytes for the same arguments, for ever."""
    body = {
        "storeId": store_id,
        "amount": amount_minor,
        "reason": reason,
        "requester": requester,
        "currentCancellableAmount": current_cancellable_minor,
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def read_cancel(status: int, headers: Mapping[str, str], body: bytes, *, api_secret: str = "") -> CancelOutcome:
    """What the answer to a refund means. A 200 may carry a refund that failed: its status says so."""
    answer = read_object(body)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        try:
            return cancellation_of(object_of(answer.get("cancellation")))
        except UnreadableError as error:
            # The money has probably been given back: only a look can tell.
            return NoVerdict(reason=f"HTTP {status} without {error}", look_now=True)
    error_type = text(answer, "type")
    if error_type not in CANCEL_ERRORS:
        return read_status(status, error_type, headers)
    secrets = secrets_of("", api_secret)
    outcome = with_pause(read_cancel_error(error_type, text(answer, "message", secrets)), headers)
    if isinstance(outcome, NoVerdict) and outcome.look_now:
        # A person wants to know what the PG says, whatever the look will show.
        words = text(answer, "pgMessage", secrets) or text(answer, "message", secrets)
        return replace(outcome, reason=f"{error_type}: {words}" if words else error_type)
    return outcome
