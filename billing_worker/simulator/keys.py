"""Billing keys: which exist, whether they are still issued, and how a charge on them behaves.

A key whose name asks for a behaviour exists without having been issued, so that a list of subscriptions can be written
before the simulator starts and outlives its restart.
"""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing_worker.simulator.behaviours import BEHAVIOURS, Temper, temper_of

_DELETED = BEHAVIOURS["deleted"]


@dataclass(slots=True)
class BillingKey:
    """One card on file."""

    name: str = field(repr=False)
    temper: Temper | None
    issued_at: datetime
    deleted_at: datetime | None = None
    channel_key: str | None = None
    customer: Mapping[str, Any] = field(default_factory=dict, repr=False)
    custom_data: str | None = None


class KeyRing:
    """Every billing key of the store."""

    def __init__(self, opened_at: datetime) -> None:
        self._keys: dict[str, BillingKey] = {}
        self._opened_at = opened_at
        self._serial = itertools.count(1)
        self._batch = secrets.token_hex(6)  # two simulators, or one restarted, never issue the same key

    def find(self, name: str) -> BillingKey | None:
        """The key of that name, deleted ones included."""
        key = self._keys.get(name)
        if key is not None:
            return key
        temper = temper_of(name)
        return None if temper is None else self.register(name, temper, self._opened_at)

    def register(self, name: str, temper: Temper | None, now: datetime) -> BillingKey:
        """Put a key of a chosen name on the ring, in place of one that had it."""
        key = BillingKey(name, temper, issued_at=now)
        if temper is not None and temper.behaviour is _DELETED:
            key.deleted_at = now
        self._keys[name] = key
        return key

    def issue(
        self, now: datetime, *, channel_key: str | None, customer: Mapping[str, Any], custom_data: str | None
    ) -> BillingKey:
        """A new key, as POST /billing-keys makes it."""
        key = self.register(f"billing-key-{self._batch}-{next(self._serial):06d}", None, now)
        key.channel_key, key.customer, key.custom_data = channel_key, customer, custom_data
        return key

    def next_label(self) -> str:
        """A label for a key that is made by behaviour."""
        return f"{self._batch}-{next(self._serial):06d}"


def masked(name: str) -> str:
    """A billing key as reports show it: its end alone."""
    return "…" + name[-4:]
