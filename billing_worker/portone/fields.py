"""Fields of PortOne's JSON: what is read out of an object, and how far it is trusted.

An identifier, an amount and an instant are what they should be, or the object cannot be read. A text is made harmless,
and no secret that PortOne repeats is left in it.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

# PortOne states no lengths. A message is cut here; an identifier that is longer is not an identifier.
MESSAGE_CHARACTERS_MAX = 1000
IDENTIFIER_CHARACTERS_MAX = 256

# A bigint's, in Postgres and in PortOne's int64 alike.
_AMOUNT_MINOR_MAX = 2**63 - 1

# Postgres stores no NUL, UTF-8 knows no lone surrogate, and a terminal would obey the rest.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_NO_SECRETS: Mapping[str, str] = {}


class UnreadableError(ValueError):
    """The answer lacks something that we need. Never leaves the modules that read answers."""


def read_object(body: bytes) -> Mapping[str, object]:
    """The JSON object that the bytes are, or an empty one where they are none."""
    try:
        return object_of(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def object_of(value: object) -> Mapping[str, object]:
    """The object itself, or an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def text(item: Mapping[str, object], field: str, secrets: Mapping[str, str] = _NO_SECRETS) -> str:
    """Words for people, empty where there are none. What stands in for each secret is written in its place."""
    value = item.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    # Before it is cut to length, or all but the last letter of a secret could be left at the cut.
    for secret, name in secrets.items():
        value = value.replace(secret, name)
    return _UNPRINTABLE.sub(" ", value[:MESSAGE_CHARACTERS_MAX])


def identifier(item: Mapping[str, object], field: str) -> str:
    """A name that PortOne or a PG gave. Raises UnreadableError."""
    value = item.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= IDENTIFIER_CHARACTERS_MAX or _UNPRINTABLE.search(value):
        raise UnreadableError(field)
    return value


def amount_minor(item: Mapping[str, object], field: str) -> int:
    """A sum in minor units. Raises UnreadableError."""
    value = item.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _AMOUNT_MINOR_MAX:
        raise UnreadableError(field)
    return value


def instant(item: Mapping[str, object], field: str) -> datetime:
    """A moment in UTC. Raises UnreadableError."""
    value = item.get(field)
    if not isinstance(value, str):
        raise UnreadableError(field)
    try:
        moment = datetime.fromisoformat(value.upper())
        if moment.tzinfo is None:
            raise UnreadableError(field)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnreadableError(field) from None


def billing_key_of(request_body: bytes) -> str:
    """The billing key in the request of a charge or of a booking; empty where there is none."""
    sent = read_object(request_body)
    return _billing_key(object_of(sent.get("payment"))) or _billing_key(sent)


def secrets_in(item: Mapping[str, object], api_secret: str) -> Mapping[str, str]:
    """What stands in a text for each secret that an answer about this object might quote."""
    return secrets_of(_billing_key(item), api_secret)


def secrets_of(billing_key: str, api_secret: str) -> Mapping[str, str]:
    """What stands in a text for each of the two, where it is known."""
    by_name = {"[billing key]": billing_key, "[API secret]": api_secret}
    return {secret: name for name, secret in by_name.items() if secret}


def _billing_key(item: Mapping[str, object]) -> str:
    billing_key = item.get("billingKey")
    return billing_key if isinstance(billing_key, str) else ""
