"""Postgres as a worker sees it: pools of connections to one server that keeps its tables in the store twin.

A statement is asked, is executed at the server at one instant, and is answered; what goes wrong does so in between. The
server goes on with what it has, whatever becomes of the worker that asked.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from billing_worker.billing.states import AttemptStatus
from billing_worker.store.db import DatabaseGoneError, RowRefusedError
from tests.simulation.faults import OF_HOST, Fault, Point, Side
from tests.simulation.loop import Host
from tests.simulation.store_twin import StoreTwin
from tests.simulation.watch import Watch
from tests.simulation.world import World

_WRITES = {point.value: point for point in Point if point is not Point.READS}
# Where in the arguments of a statement it says that it is about a booking.
_TIMES_TO_PAY, _ATTEMPT_STATUSES = 8, 6
_LOCKS = "lock_due_subscriptions"
# Statements that change rows and have no crash points of their own.
_OTHER_WRITES = frozenset(
    {
        "release_cycles",
        "set_aside_cycles",
        "contradict_attempt",
        "hold_subscription",
        "record_deployment",
        "keep_hints",
        "read_hints",
    }
)

# How old a replica's state may be when it is promoted: so many writes, of the last so many seconds.
HISTORY_WRITES = 4
HISTORY_SECONDS = 120.0


class Statement:
    """One statement on its way."""

    __slots__ = ("answer", "arguments", "asked_at", "generation", "host", "name", "point")

    def __init__(self, name: str, arguments: tuple[object, ...], host: Host, answer: "asyncio.Future[Any]") -> None:
        self.name = name
        self.arguments = arguments
        self.host = host
        self.answer = answer
        self.point = point_of(name, arguments)
        self.generation = 0
        self.asked_at = 0.0


def point_of(name: str, arguments: tuple[object, ...]) -> Point:
    """The crash point that a statement is."""
    if name == Point.INTENT.value and any(arguments[_TIMES_TO_PAY]):  # type: ignore[call-overload]
        return Point.INTENT_BOOKING
    if name == Point.SETTLE.value and AttemptStatus.REVOKED in arguments[_ATTEMPT_STATUSES]:  # type: ignore[operator]
        return Point.SETTLE_REVOKED
    return _WRITES.get(name, Point.READS)


class Server:
    """One Postgres, whichever machine it is on at the moment."""

    def __init__(self, world: World, twin: StoreTwin, watch: Watch, *, command_seconds: float) -> None:
        self.world = world
        self.twin = twin
        self.watch = watch
        self.command_seconds = command_seconds
        self.written: Callable[[], None] = lambda: None
        self.suffers: Callable[[Host, Fault], None] = lambda _host, _fault: None
        self.generation = 1
        self.keeps_history = False
        self._down_until = 0.0
        self._under_way: dict[Statement, None] = {}
        self._history: list[tuple[float, Any]] = []
        self._locks: dict[tuple[int, int], Host] = {}

    # --- a statement -----------------------------------------------------------------------------------------------

    def ask(self, statement: Statement, fault: Fault | None) -> None:
        """Take a statement from a worker, whatever becomes of it."""
        world, loop = self.world, self.world.loop
        statement.asked_at = loop.now
        statement.generation = self.generation
        self._under_way[statement] = None
        delay = world.delay()
        if self.down:
            self._fail_later(statement, delay)
        elif fault is Fault.LOST:
            self._fail_later(statement, world.random.choice((delay, self.command_seconds)))
        elif fault is Fault.STALL:
            late = self.command_seconds + world.random.uniform(0.5, 40.0)
            self._fail_later(statement, self.command_seconds)
            loop.call_later(late, self._execute, statement, context=world.postgres_host.context)
        else:
            loop.call_later(delay, self._execute, statement, context=world.postgres_host.context)
            if fault is Fault.RESTART:
                self.restart()
            elif fault is Fault.FAILOVER:
                self.fail_over()

    def _execute(self, statement: Statement) -> None:
        if statement.generation != self.generation:
            return
        world = self.world
        fault = world.reach(statement.point, Side.AT, statement.host)
        if fault in OF_HOST:
            self.suffers(statement.host, fault)
        writes = statement.point is not Point.READS or statement.name in _OTHER_WRITES
        if writes and self.keeps_history:
            self._history = [*self._history[1 - HISTORY_WRITES :], (world.loop.now, self.twin.snapshot())]
        before = self.twin.snapshot() if fault is Fault.CANCELLED_WAIT else None
        answer: Any
        self.twin.lock(row for row, holder in self._locks.items() if holder is not statement.host)
        try:
            answer = self.twin.run(statement.name, *statement.arguments)
        except RowRefusedError as error:
            answer = error
        world.tell(f"sql {statement.host.name} {statement.name} {_said(answer)}")
        if writes and self.watch.written(statement.name):
            self.written()
        if statement.name == _LOCKS:
            answer = self._locked(answer, statement.host)
        self._answer(statement, answer, fault, before)

    def is_locked(self, shard: int, subscription_id: int) -> bool:
        """Whether somebody's transaction has the subscription."""
        return (shard, subscription_id) in self._locks

    def by_hand(self, name: str, *arguments: object) -> None:
        """A statement of somebody who is no worker, at once."""
        answer = self.twin.run(name, *arguments)
        self.world.tell(f"sql by hand {name} {_said(answer)}")
        self.watch.written(name)
        self.written()

    def _answer(self, statement: Statement, answer: Any, fault: Fault | None, before: Any) -> None:
        delay = self.world.delay()
        match fault:
            case Fault.UNACKNOWLEDGED:
                self._fail_later(statement, self.world.random.choice((delay, self._rest_of_time(statement))))
            case Fault.STALL_ANSWER:
                self._fail_later(statement, self._rest_of_time(statement))
            case Fault.CANCELLED_WAIT:
                self._fail_later(statement, delay)
                if self.world.random.random() < 0.6:
                    later = self.world.random.uniform(0.2, 30.0)
                    context = self.world.postgres_host.context
                    self.world.loop.call_later(later, self._lose, self.generation, before, context=context)
            case Fault.RESTART:
                self.restart()
            case Fault.FAILOVER:
                self.fail_over()
            case _:
                self.world.loop.call_later(delay, self._deliver, statement, answer, context=statement.host.context)

    def _rest_of_time(self, statement: Statement) -> float:
        return max(statement.asked_at + self.command_seconds - self.world.loop.now, 0.0)

    def _deliver(self, statement: Statement, answer: Any) -> None:
        self._under_way.pop(statement, None)
        if statement.answer.done():
            return
        late = self.world.loop.now - statement.asked_at > self.command_seconds
        if late and self.world.random.random() < 0.5:
            # The worker was frozen meanwhile; whether it sees the answer or the time-out first is chance.
            answer = DatabaseGoneError("TimeoutError")
        if isinstance(answer, Exception):
            statement.answer.set_exception(answer)
        else:
            statement.answer.set_result(answer)

    def _fail_later(self, statement: Statement, seconds: float) -> None:
        self.world.loop.call_later(seconds, self._deliver, statement, gone(), context=statement.host.context)

    @property
    def down(self) -> bool:
        """Whether it takes no connection at the moment."""
        return self.world.loop.now < self._down_until

    # --- the whole server ------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Every connection is cut, and there is no new one for a while. What was committed stays."""
        self.generation += 1
        self._down_until = self.world.loop.now + self.world.random.uniform(0.2, 25.0)
        self._locks.clear()
        cut, self._under_way = list(self._under_way), {}
        for statement in cut:
            self._fail_later(statement, self.world.delay())

    def fail_over(self) -> None:
        """A replica becomes the primary. It lacks the last commits."""
        recent = [each for each in self._history if each[0] > self.world.loop.now - HISTORY_SECONDS]
        then = self.world.random.choice(recent)[1] if recent else self.twin.snapshot()
        self._become(then)

    def _lose(self, generation: int, then: Any) -> None:
        if self.world.faulty and generation == self.generation:
            self._become(then)

    def _become(self, then: Any) -> None:
        self.twin.restore(then)
        self.twin.promote()
        self._history = []
        self.world.primary.ahead_seconds += self.world.random.uniform(-0.4, 0.4)
        self.world.counts["failovers"] += 1
        self.world.tell(f"failover to timeline {self.twin.timeline}")
        self.watch.restored()
        self.written()
        self.restart()

    # --- locks of the only transaction that has more than one statement ---------------------------------------------

    def _locked(self, rows: Any, host: Host) -> Any:
        if isinstance(rows, Exception):
            return rows
        if host.dead:
            return []  # The server ends what a connection had begun that is no more.
        free = [row for row in rows if self._locks.get((row["shard"], row["subscription_id"]), host) is host]
        for row in free:
            self._locks[row["shard"], row["subscription_id"]] = host
        return free

    def unlock(self, host: Host) -> None:
        """The host's transaction is over."""
        self._locks = {row: holder for row, holder in self._locks.items() if holder is not host}


class Line:
    """An open connection to the server as it was when it was made: a bare executor, one statement at a time."""

    __slots__ = ("expired", "generation", "host", "server")

    def __init__(self, server: Server, host: Host) -> None:
        self.server = server
        self.host = host
        self.generation = server.generation
        self.expired = False

    @property
    def usable(self) -> bool:
        """Whether it is still open, as far as the worker knows."""
        return self.generation == self.server.generation and not self.expired

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        """Ask, and wait for the answer."""
        server, host, world = self.server, self.host, self.server.world
        if self.generation != server.generation:
            raise gone()
        statement = Statement(name, arguments, host, world.loop.create_future())
        server.watch.asked(host, name, arguments)
        fault = world.reach(statement.point, Side.BEFORE, host)
        if fault in OF_HOST:
            server.suffers(host, fault)
            await stand_still(world, host)
        server.ask(statement, fault)
        rows: list[Any] = await statement.answer
        fault = world.reach(statement.point, Side.AFTER, host)
        if fault is Fault.FAILOVER:
            server.fail_over()
        elif fault is not None:
            server.suffers(host, fault)
            await stand_still(world, host)
        server.watch.acknowledged(host, name, arguments, rows)
        return rows

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A statement of the twin is undone as a whole when it is refused, so nothing else is needed."""
        yield


async def connected(server: Server, host: Host) -> Line:
    """A new connection. Nobody has looked yet where it leads."""
    await server.world.pause(server.world.delay())
    if server.down:
        raise gone()
    return Line(server, host)


class TwinPool:
    """The product's Pool over the server: a bounded number of connections, each admitted when it is made."""

    def __init__(
        self, server: Server, host: Host, connections_max: int, admit: Callable[[Line], Awaitable[None]]
    ) -> None:
        self._server = server
        self._host = host
        self._places = asyncio.Semaphore(connections_max)
        self._admit = admit
        self._idle: list[Line] = []
        self._all: list[Line] = []

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        """One statement, one transaction."""
        await self._places.acquire()
        try:
            line = await self._take()
            rows = await line.fetch(name, *arguments)
            self._idle.append(line)  # One that has failed is not used again.
            return rows
        finally:
            self._places.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Line]:
        """Several statements. The last one is the only one that writes, so it stands for the commit."""
        async with self._places:
            line = await self._take()
            try:
                yield line
                self._idle.append(line)
            finally:
                self._server.unlock(self._host)

    def expire(self) -> None:
        """Use no connection again that is open now."""
        for line in self._all:
            line.expired = True
        self._all = []

    async def _take(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.usable:
                return line
        line = await connected(self._server, self._host)
        await self._admit(line)
        self._all.append(line)
        return line


async def stand_still(world: World, host: Host) -> None:
    """Where a host that was struck goes on: never, or when it is thawed."""
    if host.dead:
        await world.loop.create_future()
    await asyncio.sleep(0)


def gone() -> DatabaseGoneError:
    """What a broken connection is to the store."""
    return DatabaseGoneError("ConnectionDoesNotExistError 08003")


def _said(answer: Any) -> str:
    return str(answer) if isinstance(answer, Exception) else str(len(answer))
