"""A worker that may be doomed: the product as it is, killed or stopped by itself at one boundary between its rooms.

The product has no such points. They are made here, in a program for tests only, by wrapping the functions that the
rooms call each other with.
"""

import asyncio
import ctypes
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import uvloop

from billing_worker import daemon
from billing_worker.billing.model import ClaimedCycle
from billing_worker.portone.client import PortOneClient
from billing_worker.settings import load_settings
from billing_worker.store import attempts, cycles
from billing_worker.store.db import DatabaseGoneError

EXIT_GONE = 3  # what the command line ends with when Postgres does not answer

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl
_libc = ctypes.CDLL(None)

# Where each boundary is called through, so that the caller meets what is put in its place.
BOUNDARIES: Mapping[str, object] = {
    "claim_due_cycles": cycles,
    "open_attempts": attempts,
    "charge": PortOneClient,
    "find": PortOneClient,
    "settle_attempts": attempts,
    "claim_looks": attempts,
    "note_resend": attempts,
    "verify_attempt": attempts,
}


@dataclass(frozen=True, slots=True)
class Doom:
    """What strikes this worker, and where. After: the call has returned something, and its caller does not know yet."""

    when: Literal["before", "after"]
    boundary: str
    strike: signal.Signals = signal.SIGKILL
    nth: int = 1

    def arrange(self) -> None:
        """Wrap the boundary."""
        room = BOUNDARIES[self.boundary]
        setattr(room, self.boundary, self._doomed(getattr(room, self.boundary)))

    def _doomed(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        calls = itertools.count(1)

        async def doomed(*arguments: Any, **named: Any) -> Any:
            if self.when == "before" and next(calls) == self.nth:
                os.kill(os.getpid(), self.strike)
            answer = await original(*arguments, **named)
            if self.when == "after" and answer and next(calls) == self.nth:
                os.kill(os.getpid(), self.strike)
            return answer

        return doomed


@dataclass(frozen=True, slots=True)
class Poison:
    """One subscription whose request kills whoever builds it."""

    business_key: str

    def arrange(self) -> None:
        """Wrap the building of requests."""
        original = daemon.request_body

        def poisoned(cycle: ClaimedCycle, **given: Any) -> bytes:
            if cycle.business_key == self.business_key:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(cycle, **given)

        daemon.request_body = poisoned


def run(environ: Mapping[str, str], log: Path, doom: Doom | Poison | None) -> None:
    """Be a worker from start to end, with that doom if one is given. What it says goes to the log."""
    die_with_parent()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
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
