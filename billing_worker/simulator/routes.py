"""Routes: which call of the contract a method and a path mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from billing_worker.simulator.conduct import Call


class Endpoint(Enum):
    """Every call the simulator speaks, with the name scripts know it by."""

    CHARGE = ("charge", Call.CHARGE)
    LOOK = ("look", Call.LOOK)
    TRANSACTIONS = ("transactions", Call.LOOK)
    CANCEL = ("cancel", Call.CANCEL)
    ISSUE_KEY = ("issue_key", Call.KEYS)
    LOOK_AT_KEY = ("look_at_key", Call.KEYS)
    DELETE_KEY = ("delete_key", Call.KEYS)
    SCHEDULE = ("schedule", Call.SCHEDULE)
    REVOKE = ("revoke", Call.REVOKE)
    LOOK_AT_SCHEDULE = ("look_at_schedule", Call.LOOK_AT_SCHEDULE)
    LIST_SCHEDULES = ("list_schedules", Call.LIST)
    LIST_PAYMENTS = ("list_payments", Call.LIST)
    LIST_PAYMENTS_BY_CURSOR = ("list_payments_by_cursor", Call.LIST)
    LIST_EVENTS = ("list_events", Call.LIST)
    RESEND = ("resend", Call.RESEND)

    @property
    def call(self) -> Call:
        """The name scripts know it by."""
        return self.value[1]

    @property
    def takes_a_query_for_a_body(self) -> bool:
        """Whether its JSON may stand in the query, under `requestBody`, for those who cannot send it as a body."""
        return self.call in (Call.LIST, Call.REVOKE)


@dataclass(frozen=True, slots=True)
class Route:
    """A call and whom it is about: a paymentId, a billing key, a schedule, or nobody in particular."""

    endpoint: Endpoint
    subject: str

    @property
    def payment_id(self) -> str:
        """The paymentId, or nothing when the call is about something else."""
        return "" if self.endpoint.call in (Call.KEYS, Call.LOOK_AT_SCHEDULE) else self.subject


# (method, first segment, third segment) of /payments/{id}/cancel and the like.
_ROUTES: Mapping[tuple[str, str, str], Endpoint] = {
    ("POST", "payments", "billing-key"): Endpoint.CHARGE,
    ("GET", "payments", ""): Endpoint.LOOK,
    ("GET", "payments", "transactions"): Endpoint.TRANSACTIONS,
    ("POST", "payments", "cancel"): Endpoint.CANCEL,
    ("POST", "payments", "schedule"): Endpoint.SCHEDULE,
    ("POST", "payments", "resend-webhook"): Endpoint.RESEND,
    ("GET", "payment-schedules", ""): Endpoint.LOOK_AT_SCHEDULE,
    ("GET", "billing-keys", ""): Endpoint.LOOK_AT_KEY,
    ("DELETE", "billing-keys", ""): Endpoint.DELETE_KEY,
}


# (method, path) of the calls that name nobody.
_COLLECTIONS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/billing-keys"): Endpoint.ISSUE_KEY,
    ("GET", "/payment-schedules"): Endpoint.LIST_SCHEDULES,
    ("DELETE", "/payment-schedules"): Endpoint.REVOKE,
    ("GET", "/payments"): Endpoint.LIST_PAYMENTS,
    ("GET", "/payments-by-cursor"): Endpoint.LIST_PAYMENTS_BY_CURSOR,
    ("GET", "/payment-events-by-cursor"): Endpoint.LIST_EVENTS,
}


def route_of(method: str, raw_path: str) -> Route | None:
    """The call a request means. Segments are split before they are unquoted, so an escaped slash stays in its name."""
    segments = raw_path.split("/")
    if len(segments) == 2:
        collection = _COLLECTIONS.get((method, raw_path))
        return None if collection is None else Route(collection, "")
    if len(segments) not in (3, 4) or not segments[2]:
        return None
    if len(segments) == 4 and not segments[3]:
        return None
    endpoint = _ROUTES.get((method, segments[1], segments[3] if len(segments) == 4 else ""))
    if endpoint is None:
        return None
    subject = segments[2]
    return Route(endpoint, unquote(subject) if "%" in subject else subject)
