"""The billing key: a secret with which money can be taken. No repr, log or error shows more of it than its length."""

import re
from dataclasses import dataclass, field

# PortOne's keys are of 48 characters; those brought along from a PG are of other lengths, all far below this.
LENGTH_MAX = 200

_VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, repr=False)
class BillingKey:
    """A card on file at PortOne. Only what sends it or stores it may call reveal."""

    _secret: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be a key, without saying what it was. Raises ValueError."""
        if not 1 <= len(self._secret) <= LENGTH_MAX:
            raise ValueError(f"billing key must have 1 to {LENGTH_MAX} characters")
        if not _VISIBLE_ASCII.fullmatch(self._secret):
            raise ValueError("billing key must be of visible ASCII characters, without spaces")

    def reveal(self) -> str:
        """The key itself."""
        return self._secret

    def __repr__(self) -> str:
        return f"BillingKey(len={len(self._secret)})"
