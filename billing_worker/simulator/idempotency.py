"""The memory of idempotency keys: who may run, who is told the stored answer, who has to wait, who broke the rule.

An answer is kept as bytes, errors included, from the first receipt of its key for as long as the contract says. A key
in flight is never forgotten, however far the clock is moved.
"""

import re
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from billing_worker.simulator.answers import Answer

# Wrapped in double quotes, 16 to 256 characters of printable ASCII inside.
_HEADER = re.compile(rb'"([\x20\x21\x23-\x7e]{16,256})"')


class Verdict(Enum):
    """What to do with a key that has no stored answer for this request."""

    RUN = "run"
    OUTSTANDING = "outstanding"
    MISMATCH = "mismatch"


@dataclass(slots=True)
class _Remembered:
    fingerprint: bytes
    first_at: datetime
    answer: Answer | None = None


def key_of(header: bytes) -> str | None:
    """The bare key of an Idempotency-Key header; None when the header breaks the rule."""
    match = _HEADER.fullmatch(header)
    return None if match is None else match[1].decode("ascii")


class IdempotencyMemory:
    """Every key of the last hours with the answer that was given for it."""

    def __init__(self, memory_seconds: float) -> None:
        self._memory = timedelta(seconds=memory_seconds)
        self._keys: dict[str, _Remembered] = {}
        self._answered: deque[str] = deque()

    def begin(self, key: str, fingerprint: bytes, now: datetime) -> Verdict | Answer:
        """Take a key, or say why not; an answer is the stored one."""
        self._forget(now)
        known = self._keys.get(key)
        if known is None or self._is_over(known, now):
            self._keys[key] = _Remembered(fingerprint, now)
            return Verdict.RUN
        if known.fingerprint != fingerprint:
            return Verdict.MISMATCH
        return Verdict.OUTSTANDING if known.answer is None else known.answer

    def finish(self, key: str, answer: Answer) -> None:
        """Keep the answer for those who ask again."""
        self._keys[key].answer = answer
        self._answered.append(key)

    def abandon(self, key: str) -> None:
        """Forget a key whose request never came to an answer."""
        self._keys.pop(key, None)

    def _is_over(self, known: _Remembered, now: datetime) -> bool:
        return known.answer is not None and now - known.first_at >= self._memory

    def _forget(self, now: datetime) -> None:
        # Answers are queued as they are given, so the oldest stand in front and this looks at no more than it drops.
        while self._answered:
            known = self._keys.get(self._answered[0])
            if known is not None and not self._is_over(known, now):
                return
            key = self._answered.popleft()
            if known is not None:
                del self._keys[key]
