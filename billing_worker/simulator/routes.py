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

    @property
    def call(self) -> Call:
        """The name scripts know it by."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Route:
    """A call and whom it is about: a paymentId, a billing key, or nobody yet."""

    endpoint: Endpoint
    subject: str

    @property
    def payment_id(self) -> str:
        """The paymentId, or nothing when the call is about a billing key."""
        return "" if self.endpoint.call is Call.KEYS else self.subject


# (method, first segment, third segment) of /payments/{id}/cancel and the like.
_ROUTES: Mapping[tuple[str, str, str], Endpoint] = {
    ("POST", "payments", "billing-key"): Endpoint.CHARGE,
    ("GET", "payments", ""): Endpoint.LOOK,
    ("GET", "payments", "transactions"): Endpoint.TRANSACTIONS,
    ("POST", "payments", "cancel"): Endpoint.CANCEL,
    ("GET", "billing-keys", ""): Endpoint.LOOK_AT_KEY,
    ("DELETE", "billing-keys", ""): Endpoint.DELETE_KEY,
}


def route_of(method: str, raw_path: str) -> Route | None:
    """The call a request means. Segments are split before they are unquoted, so an escaped slash stays in its name."""
    segments = raw_path.split("/")
    if method == "POST" and segments == ["", "billing-keys"]:
        return Route(Endpoint.ISSUE_KEY, "")
    if len(segments) not in (3, 4) or not segments[2]:
        return None
    if len(segments) == 4 and not segments[3]:
        return None
    endpoint = _ROUTES.get((method, segments[1], segments[3] if len(segments) == 4 else ""))
    if endpoint is None:
        return None
    subject = segments[2]
    return Route(endpoint, unquote(subject) if "%" in subject else subject)
