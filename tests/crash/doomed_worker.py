"""A worker that may be doomed: the product as it is, killed or stopped by itself at one boundary between its rooms.

The product has no such points. They are made here, in a program for tests only, by wrapping the functions that the
rooms call each other with.
"""

import asyncio
import ctypes
import itertools
import mmap
import os
import signal
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal

import uvloop
from apscheduler.schedulers import base
from apscheduler.triggers import interval

from billing_worker import bounds, clock, daemon
from billing_worker.billing.model import ClaimedCycle
from billing_worker.portone import lists, schedules
from billing_worker.portone.client import PortOneClient
from billing_worker.settings import load_settings
from billing_worker.store import (
    attempts,
    control,
    cycles,
    deployment,
    differences,
    inbox,
    positions,
    subscriptions,
)
from billing_worker.store.db import DatabaseGoneError
from billing_worker.workers.renewer import Renewer

EXIT_GONE = 3  # what the command line ends with when Postgres does not answer

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl
_libc = ctypes.CDLL(None)

When = Literal["before", "after"]

# Where each boundary is called through, so that the caller meets what is put in its place.
BOUNDARIES: Mapping[str, object] = {
    "record_deployment": deployment,
    "lock_due_subscriptions": subscriptions,
    "open_cycles": cycles,
    "_open_together": Renewer,  # after it, the renewer's transaction is committed
    "claim_due_cycles": cycles,
    "set_aside_cycles": cycles,
    "open_attempts": attempts,
    "charge": PortOneClient,
    "find": PortOneClient,
    "transactions": PortOneClient,
    "settle_attempts": attempts,
    "claim_looks": attempts,
    "note_resend": attempts,
    "ask_again": attempts,
    "verify_attempt": attempts,
    "book": schedules,
    "note_booked": attempts,
    "find_schedule": schedules,
    "schedules_of": schedules,
    "revoke": schedules,
    "keep_hints": inbox,
    "read_hints": inbox,
}

# Of those who ask PortOne what it has beside us. They come to it once a minute, an hour or a night, so a campaign does
# not wait for them; tests/crash/test_pull_points.py hits each on purpose.
PULLING: Mapping[str, object] = {
    "claim_position": positions,
    "payments": lists,
    "payment_events": lists,
    "schedules_page": schedules,
    "order_looks": positions,
    "note_differences": differences,
    "keep_place": positions,
    "end_reading": positions,
    "end_differences": differences,
}

# Of these an answer says nothing, so it does not tell whether there was something to do.
_ANSWERLESS = ("set_aside_cycles", "ask_again", "verify_attempt", "end_differences")


@dataclass(frozen=True, slots=True)
class Doom:
    """What strikes this worker, and where. After: the call has returned something, and its caller does not know yet."""

    when: When
    boundary: str
    strike: signal.Signals = signal.SIGKILL
    nth: int = 1

    def arrange(self) -> None:
        """Wrap the boundary."""
        room = {**BOUNDARIES, **PULLING}[self.boundary]
        setattr(room, self.boundary, self._doomed(getattr(room, self.boundary)))

    def _doomed(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        calls = itertools.count(1)

        async def doomed(*arguments: Any, **named: Any) -> Any:
            if self.when == "before" and next(calls) == self.nth:
                os.kill(os.getpid(), self.strike)
            answer = await original(*arguments, **named)
            told = answer or self.boundary in _ANSWERLESS
            if self.when == "after" and told and next(calls) == self.nth:
                os.kill(os.getpid(), self.strike)
            return answer

        return doomed


@dataclass(frozen=True, slots=True)
class Poison:
    """One subscription whose request kills whoever builds it."""

    business_key: str

    def arrange(self) -> None:
        """Wrap the building of requests."""
        original = bounds.request_body

        def poisoned(cycle: ClaimedCycle, **given: Any) -> bytes:
            if cycle.business_key == self.business_key:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(cycle, **given)

        bounds.request_body = poisoned


class WrongClocks:
    """How far the host's clock and the primary's are from the truth: two numbers in a file that every worker has open.

    A machine's clock cannot be set for a test, so a worker's two readings of a clock that somebody may set are replaced
    by ones with an offset. Time that passes is counted by a clock that nobody sets, and is left alone.
    """

    _NUMBERS = struct.Struct("dd")

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(self._NUMBERS.pack(0.0, 0.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), self._NUMBERS.size)

    def set(self, *, host_seconds: float = 0.0, primary_seconds: float = 0.0) -> None:
        """Let both be wrong by so much, in every worker at once."""
        self._NUMBERS.pack_into(self._memory, 0, host_seconds, primary_seconds)

    def arrange(self) -> None:
        """Replace the two readings, in the program of a worker."""
        true_primary_clock = control.primary_clock

        async def primary_clock(db: Any) -> datetime:
            return await true_primary_clock(db) + timedelta(seconds=self._offsets()[1])

        def host_now() -> datetime:
            return datetime.now(UTC) + timedelta(seconds=self._offsets()[0])

        control.primary_clock = primary_clock
        clock._host_now = host_now  # the one place where the product reads the host's clock
        _move_bells(timedelta(seconds=self._offsets()[0]))

    def _offsets(self) -> tuple[float, float]:
        host_seconds, primary_seconds = self._NUMBERS.unpack_from(self._memory, 0)
        return host_seconds, primary_seconds


def _move_bells(offset: timedelta) -> None:
    """Let the scheduler's clock stand where this worker's stood when it was started, or its bells would wait for it."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + offset

    base.datetime = interval.datetime = Moved


def run(environ: Mapping[str, str], log: Path, doom: Doom | Poison | None, clocks: Path | None = None) -> None:
    """Be a worker from start to end, with that doom if one is given. What it says goes to the log."""
    die_with_parent()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    if clocks is not None:
        WrongClocks(clocks).arrange()
    if doom is not None:
        doom.arrange()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            code = runner.run(daemon.run(load_settings(environ), environ))
        except DatabaseGoneError:
            code = EXIT_GONE
    sys.exit(code)


def die_with_parent() -> None:
    """Have the kernel kill this program when the one that started it ends, however it ends."""
    _libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
