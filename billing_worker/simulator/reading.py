"""Reading: instants, pages, words and lists out of what a client sent, or the words for what is wrong with it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

E = TypeVar("E", bound=StrEnum)
Fields = Mapping[str, Any]

PAGE_SIZE = 10  # what PortOne takes when nobody says
WINDOW = timedelta(days=90)  # the same
_BEGINNING = datetime.min.replace(tzinfo=UTC)

# With an offset, always: an instant without one is somebody's local time, and nobody says whose.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class UnreadableError(Exception):
    """A request with something wrong in it; its text says what."""


def instant(value: object, name: str) -> datetime:
    """An RFC 3339 instant with its offset, in UTC."""
    if value is None:
        raise UnreadableError(f"{name} REQUIRED")
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        raise UnreadableError(f"{name} FORMAT date-time")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnreadableError(f"{name} FORMAT date-time") from error


def window(fields: Fields, now: datetime) -> tuple[datetime, datetime]:
    """`from` and `until`: the ninety days before now when nobody says, so that the future is not seen."""
    until = now if fields.get("until") is None else instant(fields["until"], "until")
    if fields.get("from") is not None:
        start = instant(fields["from"], "from")
    else:
        start = until - min(WINDOW, until - _BEGINNING)
    if start > until:
        raise UnreadableError("from AFTER until")
    return start, until


def page(fields: Fields) -> tuple[int, int]:
    """The page's number, counted from nothing, and its size."""
    asked = table(fields, "page")
    return whole(asked, "number", least=0, usual=0), whole(asked, "size", least=1, usual=PAGE_SIZE)


def table(fields: Fields, name: str) -> Fields:
    """An object within the request; an empty one when there is none."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnreadableError(f"{name} TYPE object")
    return value


def whole(fields: Fields, name: str, *, least: int, usual: int, most: int = 2**31 - 1) -> int:
    """A whole number."""
    value = fields.get(name)
    if value is None:
        return usual
    if type(value) is not int or not least <= value <= most:
        raise UnreadableError(f"{name} must be a whole number from {least} to {most}")
    return value


def text(fields: Fields, name: str) -> str | None:
    """A text that may be missing."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise UnreadableError(f"{name} TYPE string")
    return value


def truth(fields: Fields, name: str) -> bool | None:
    """A true or false that may be missing."""
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise UnreadableError(f"{name} TYPE boolean")
    return value


def texts(fields: Fields, name: str) -> list[str] | None:
    """A list of texts that may be missing."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UnreadableError(f"{name} TYPE array of string")
    return value


def word(kind: type[E], fields: Fields, name: str, usual: E) -> E:
    """A word of an enumeration."""
    value = fields.get(name)
    try:
        return usual if value is None else kind(value)
    except ValueError as error:
        raise UnreadableError(f"{name} must be one of {', '.join(kind)}") from error


def only(fields: Fields, known: frozenset[str]) -> None:
    """Refuse a filter that PortOne has and the simulator has not: passing over it would be a lie."""
    unknown = sorted(set(fields) - known)
    if unknown:
        raise UnreadableError(f"the simulator does not filter by {', '.join(unknown)}")
