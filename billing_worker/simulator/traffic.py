"""Traffic: which requests are here now, how far each has come, and the last ones that were.

Tests wait on this to strike at an exact moment: a client can be killed while its POST stands at the PG.
"""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Stage(StrEnum):
    """How far a request has come."""

    RECEIVED = "received"
    HELD_BEFORE_CHARGE = "held_before_charge"
    EXECUTING = "executing"
    HELD_AFTER_CHARGE = "held_after_charge"
    HANGING = "hanging"
    ANSWERED = "answered"
    DROPPED = "dropped"


@dataclass(slots=True)
class Request:
    """One request, from its arrival to its end."""

    sequence: int
    method: str
    path: str
    payment_id: str
    idempotency_key: str | None
    body: bytes
    arrived_at: datetime
    stage: Stage = Stage.RECEIVED
    status: int | None = None
    kind: str | None = None

    @property
    def body_sha256(self) -> str:
        """The fingerprint by which two sends are seen to be the same bytes."""
        return hashlib.sha256(self.body).hexdigest()


class Traffic:
    """The requests in flight, the log of the last ones, and counters of all."""

    def __init__(self, log_size: int) -> None:
        self.in_flight: dict[int, Request] = {}
        self.log: deque[Request] = deque(maxlen=log_size)
        self.methods: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.posts_without_key = 0
        self._sequence = 0
        self._wakes: list[asyncio.Future[None]] = []

    def arrived(
        self, now: datetime, *, method: str, path: str, payment_id: str, idempotency_key: str | None, body: bytes
    ) -> Request:
        """A request came in."""
        self._sequence += 1
        request = Request(self._sequence, method, path, payment_id, idempotency_key, body, now)
        self.methods[method] += 1
        if method == "POST" and idempotency_key is None:
            self.posts_without_key += 1
        self.in_flight[request.sequence] = request
        self.log.append(request)
        self._tell()
        return request

    def moved(self, request: Request, stage: Stage) -> None:
        """A request came a stage further."""
        request.stage = stage
        self._tell()

    def left(self, request: Request, stage: Stage, status: int | None, kind: str) -> None:
        """A request came to its end."""
        request.stage, request.status, request.kind = stage, status, kind
        self.kinds[kind] += 1
        self.in_flight.pop(request.sequence, None)
        self._tell()

    async def until(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Wait for a condition on the traffic, looked at whenever something moves; False when it did not come true."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    wake = asyncio.get_running_loop().create_future()
                    self._wakes.append(wake)
                    await wake
        except TimeoutError:
            return condition()
        return True

    def _tell(self) -> None:
        if not self._wakes:
            return
        wakes, self._wakes = self._wakes, []
        for wake in wakes:
            if not wake.done():
                wake.set_result(None)
