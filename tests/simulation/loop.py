"""An asyncio event loop in virtual time: a seed chooses what runs next, and hosts can be frozen or killed.

Every callback belongs to the host in whose context it was made. A killed host's callbacks are dropped without a word:
no `finally` runs, nothing is cancelled, as after SIGKILL. What a server does for a host belongs to the server and goes
on. The loop must never look at a real clock, and nothing in it may depend on a hash or an address.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

# A run takes a few thousand callbacks; one that takes so many runs in a circle.
STEPS_MAX = 3_000_000
CLOSES_MAX = 20
# Time passes while something runs. A wait that rounds to nothing would otherwise be made again for ever.
TICK = 1e-6


class StuckError(Exception):
    """Nothing is left to run, or the run goes in a circle."""


class Host:
    """A machine or a server: something that stops and goes on as a whole."""

    __slots__ = ("context", "dead", "frozen", "frozen_at", "name", "parked", "slept", "tasks", "thawed_at")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.frozen = False
        self.frozen_at = 0.0
        self.thawed_at = -1.0
        self.slept = 0.0  # seconds that its loop's clock has stood still while the machine slept
        self.parked: list[Turn] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = Context()
        self.context.run(HOST.set, self)

    def __repr__(self) -> str:
        return self.name


HOST: ContextVar[Host] = ContextVar("host")


class Turn:
    """A callback that waits for its turn, at once or at its moment."""

    __slots__ = ("_loop", "arguments", "callback", "context", "host", "moment")

    def __init__(
        self, callback: Callable[..., object] | None, arguments: tuple[Any, ...], context: Context, loop: "VirtualLoop"
    ) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self.host = context[HOST]
        self.moment = 0.0
        self._loop = loop

    def cancel(self) -> None:
        """Never run it."""
        self.callback = None

    def cancelled(self) -> bool:
        """Whether it was cancelled, or has run."""
        return self.callback is None

    def when(self) -> float:
        """Its moment, by the clock of the host that asks."""
        return self.moment - self.host.slept


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs what is ready in an order that the seed chooses; when nothing is, time jumps to the next timer."""

    def __init__(self, random: Random) -> None:
        self.now = 0.0
        self.current = Host("driver")
        self.driver = self.current
        self._chance = random.random
        self._ready: list[Turn] = []
        self._timers: list[tuple[float, int, Turn]] = []
        self._count = 0
        self._hosts: list[Host] = []
        self._closed = False

    # --- what asyncio asks of a loop ------------------------------------------------------------------------------

    def time(self) -> float:
        """The clock of the host that asks: it stands still while its machine sleeps."""
        return self.now - self.current.slept

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Turn:
        """Run it among whatever else is ready."""
        turn = Turn(callback, args, context or copy_context(), self)
        if not turn.host.dead:
            self._ready.append(turn)
        return turn

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Turn:
        """Run it at a moment of its host's clock."""
        turn = Turn(callback, args, context or copy_context(), self)
        turn.moment = max(when + turn.host.slept, self.now + TICK)
        self._count += 1
        heapq.heappush(self._timers, (turn.moment, self._count, turn))
        return turn

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Turn:
        """Run it after so many seconds."""
        turn = Turn(callback, args, context or copy_context(), self)
        turn.moment = self.now + max(delay, TICK)
        self._count += 1
        heapq.heappush(self._timers, (turn.moment, self._count, turn))
        return turn

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        """A task of the host whose context it gets."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        # A killed host's tasks never end, and that is no mistake.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        host = context[HOST] if context is not None else HOST.get()
        if not host.tasks:
            self._hosts.append(host)
        host.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        """Never: asyncio's debugging reads real clocks."""
        return False

    def is_running(self) -> bool:
        """Whether it may still run something."""
        return not self._closed

    def is_closed(self) -> bool:
        """Whether the run is over."""
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A failure that nobody has asked for is a finding, except after the end."""
        if not self._closed:
            raise StuckError(f"unasked: {context.get('message')}: {context.get('exception')!r}")

    # --- running ---------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        """Run the driver's coroutine to its end."""
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(future, context=self.driver.context)
            self._run(task)
            return task.result()
        finally:
            asyncio._set_running_loop(running)

    def _run(self, until: "asyncio.Future[Any]") -> None:
        ready, chance = self._ready, self._chance
        for _ in range(STEPS_MAX):
            if not ready:
                self._advance()
            turn = ready.pop()
            if ready:
                # Any of those that are ready may be the next one.
                place = int(chance() * (len(ready) + 1))
                if place < len(ready):
                    turn, ready[place] = ready[place], turn
            host = turn.host
            if host.dead or turn.callback is None:
                continue
            if host.frozen:
                host.parked.append(turn)
                continue
            self.current = host
            turn.context.run(turn.callback, *turn.arguments)
            if until.done():
                return
        raise StuckError(f"not at rest after {STEPS_MAX} callbacks")

    def _advance(self) -> None:
        timers, ready = self._timers, self._ready
        while timers:
            moment, _, turn = heapq.heappop(timers)
            if turn.callback is None or turn.host.dead:
                continue
            ready.append(turn)
            self.now = max(self.now, moment)
            while timers and timers[0][0] <= self.now:
                ready.append(heapq.heappop(timers)[2])
            return
        raise StuckError("nothing is left to run")

    # --- hosts -----------------------------------------------------------------------------------------------------

    def freeze(self, host: Host) -> None:
        """Nothing of the host runs any more, while time passes: SIGSTOP."""
        host.frozen = True
        host.frozen_at = self.now

    def thaw(self, host: Host, *, asleep: bool = False) -> None:
        """What the host has missed becomes ready: SIGCONT. The loop's clock of one that slept has stood still."""
        if asleep:
            pause = self.now - host.frozen_at
            host.slept += pause
            self._put_off(host, pause)
        host.frozen = False
        host.thawed_at = self.now
        self._ready.extend(host.parked)
        host.parked = []

    def kill(self, host: Host) -> None:
        """Nothing of the host runs ever again: SIGKILL."""
        host.dead = True
        host.parked = []

    def close(self) -> None:
        """End of the run. What is left of unfinished coroutines is taken apart where it can touch nothing any more."""
        self._closed = True
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for host in self._hosts:
                for task in host.tasks:
                    if not task.done():
                        host.context.run(_take_apart, task.get_coro())
        finally:
            asyncio._set_running_loop(running)
        self._ready.clear()
        self._timers.clear()

    def _put_off(self, host: Host, pause: float) -> None:
        """Timers of a host that slept fire as much later; those that came due meanwhile go back to the heap."""
        kept = []
        for moment, count, turn in self._timers:
            if turn.host is host:
                turn.moment += pause
                kept.append((turn.moment, count, turn))
            else:
                kept.append((moment, count, turn))
        still = []
        for turn in host.parked:
            if turn.moment + pause > self.now:
                turn.moment += pause
                self._count += 1
                kept.append((turn.moment, self._count, turn))
            else:
                still.append(turn)
        host.parked = still
        heapq.heapify(kept)
        self._timers = kept


def _take_apart(coroutine: Any) -> None:
    # What waits in a `finally` takes one call for each wait; the chain ends, for nothing is ever waited for again.
    for _ in range(CLOSES_MAX):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        return
