"""Ledger entries: what is stated when, and the hash that chains a subscription's entries to one another.

The database computes the same hash when it inserts; this is the second opinion that `ledger verify` uses. An entry is
never changed: what turns out otherwise is a new entry.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from billing_worker.billing.states import EntryKind, Source

CODE_CHARS_MAX = 100
MESSAGE_CHARS_MAX = 500  # a PG's message is a line; more than this is somebody's stack trace

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement about a subscription's money, before the database numbers and chains it."""

    kind: EntryKind
    source: Source
    amount_minor: int | None = None
    pg_tx_id: str | None = None
    code: str = ""
    message: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it stands in the ledger."""

    subscription_id: int
    sequence: int
    kind: str
    cycle_id: int | None
    attempt_id: int | None
    payment_id: str | None
    amount_minor: int | None
    currency: str | None
    pg_tx_id: str | None
    code: str
    message: str
    source: str
    actor: str  # who the writer says that it is
    written_by: str  # who the database knows it is: the login
    recorded_at: datetime
    previous_hash: bytes
    entry_hash: bytes


def bounded(text: str, chars_max: int) -> str:
    """The text as the ledger can keep it: within its bound, without NUL and lone surrogates, unknown to Postgres."""
    return _UNSTORABLE.sub("", text)[:chars_max]


def entry_hash(entry: StoredEntry) -> bytes:
    """The sha256 over the previous entry's hash and every field of this one, as a JSON array of fixed order."""
    fields = [
        entry.previous_hash.hex(),
        entry.subscription_id,
        entry.sequence,
        entry.kind,
        entry.cycle_id,
        entry.attempt_id,
        entry.payment_id,
        entry.amount_minor,
        entry.currency,
        entry.pg_tx_id,
        entry.code,
        entry.message,
        entry.source,
        entry.actor,
        entry.written_by,
        (entry.recorded_at - _EPOCH) // _MICROSECOND,
    ]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).digest()


def chain_fault(entry: StoredEntry, previous: StoredEntry | None) -> str | None:
    """What is wrong with an entry after its predecessor, in words, or None."""
    expected_sequence = previous.sequence + 1 if previous else 1
    expected_previous = previous.entry_hash if previous else b""
    if entry.sequence != expected_sequence:
        return f"sequence {entry.sequence} stands where {expected_sequence} belongs"
    if entry.previous_hash != expected_previous:
        return "does not name its predecessor's hash"
    if entry.entry_hash != entry_hash(entry):
        return "its content does not give its hash"
    return None
