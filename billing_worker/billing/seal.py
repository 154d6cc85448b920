"""Seals: the head of every chain at one moment, to be kept where nobody who rules the database can reach.

A chain and its head can be recomputed or cut by whoever owns the tables; not a seal that was taken before. A line is a
head; the last line counts and hashes the lines before it, so that a seal that was cut or changed is not taken for one.
"""

import hashlib
import json
from dataclasses import dataclass


class SealError(ValueError):
    """What was given is no whole seal."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a subscription's chain."""

    business_key: str
    sequence: int
    entry_hash: str


class Seal:
    """The heads that have gone by, as their count and the hash of their lines."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.heads = 0

    def add(self, head: Head) -> str:
        """Take the next head in. Returns its line."""
        line = json.dumps(
            {"business_key": head.business_key, "sequence": head.sequence, "entry_hash": head.entry_hash},
            ensure_ascii=False,
        )
        self._hash.update(line.encode() + b"\n")
        self.heads += 1
        return line

    @property
    def root(self) -> str:
        """The sha256 over every line, each with its newline: what `head -n -1 FILE | sha256sum` gives."""
        return self._hash.hexdigest()

    def last_line(self) -> str:
        """The line that ends the seal."""
        return json.dumps({"heads": self.heads, "root": self.root})


class SealReader:
    """Reads a seal line by line. `finish` says whether it was whole."""

    def __init__(self) -> None:
        self._seal = Seal()
        self._ended = False

    def take(self, line: str) -> Head | None:
        """The head that a line tells, None for the last line. Raises SealError."""
        try:
            told = json.loads(line)
        except ValueError:
            raise SealError("a line is not JSON") from None
        match told:
            case _ if self._ended:
                raise SealError("something follows the last line")
            case {"business_key": str(key), "sequence": int(sequence), "entry_hash": str(entry_hash)}:
                head = Head(key, sequence, entry_hash)
                self._seal.add(head)
                return head
            case {"heads": self._seal.heads, "root": self._seal.root}:
                self._ended = True
                return None
            case {"heads": int(), "root": str()}:
                raise SealError("its last line does not fit the lines before it")
            case _:
                raise SealError("a line is no head")

    def finish(self) -> None:
        """Say that there are no more lines. Raises SealError where the last one is missing."""
        if not self._ended:
            raise SealError("its last line is missing")
