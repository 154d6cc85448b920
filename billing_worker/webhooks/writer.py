"""Keeps hints: many in one statement, and none acknowledged before the database has it.

While one batch commits, the next one gathers. What cannot be kept within a few seconds is refused, because PortOne then
sends it again; so nothing waits without a bound here, and nothing is held that PortOne would not hold as well.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from billing_worker.store import inbox
from billing_worker.store.db import DatabaseGoneError, Executor, RowRefusedError, StatementRefusedError
from billing_worker.store.inbox import Hint

log = structlog.get_logger()

# One statement of this many rows takes some ten milliseconds.
BATCH_MAX = 500
# How long the first hint of a batch waits for company.
GATHER_SECONDS = 0.002
# A second's worth at the rate that the endpoint is built for. More waiting ones mean that the database is away.
QUEUE_MAX = 2000
# PortOne hangs up after 30 s. An answer that says "later" must come before that, and hold no connection for long.
KEEP_SECONDS = 5.0


class NotKeptError(Exception):
    """The hint may not be in the database. Whoever sent it shall send it again."""


@dataclass(slots=True)
class _Waiting:
    hint: Hint
    is_new: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class InboxWriter:
    """Group commit of hints. Run `start` before the first one and `stop` after the last."""

    def __init__(self, pool: Executor, *, wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(QUEUE_MAX)
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._writer = asyncio.get_running_loop().create_task(self._write(), name="webhook inbox")
        self._writer.add_done_callback(_ended)

    def broken(self) -> bool:
        """Whether the writer has ended by a mistake of ours."""
        return self._writer is not None and self._writer.done()

    async def stop(self) -> None:
        """End the writer. What still waits is refused when its time is over, or with its connection."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def keep(self, hint: Hint) -> bool:
        """Have the hint written; False where it was there before. Raises NotKeptError."""
        waiting = _Waiting(hint)
        try:
            self._queue.put_nowait(waiting)
            async with asyncio.timeout(KEEP_SECONDS):
                return await waiting.is_new
        except asyncio.QueueFull:
            raise NotKeptError("too many wait") from None
        except TimeoutError:
            raise NotKeptError(f"not written within {KEEP_SECONDS:g} s") from None

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._write_batch([waiting for waiting in batch if not waiting.is_new.done()])

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        try:
            new = await inbox.keep_hints(self._pool, [waiting.hint for waiting in batch]) if batch else set()
        except (DatabaseGoneError, RowRefusedError) as error:
            if len(batch) > 1 and _about_a_row(error):
                # One row that Postgres does not take must not keep the others from being written.
                for waiting in batch:
                    await self._write_batch([waiting])
                return
            log.warning("webhooks.not_kept", hints=len(batch), reason=str(error))
            for waiting in batch:
                if not waiting.is_new.done():
                    waiting.is_new.set_exception(NotKeptError(str(error)))
            return
        for waiting in batch:
            if not waiting.is_new.done():  # whoever waited may have given up meanwhile
                waiting.is_new.set_result(waiting.hint.webhook_id in new)
        if new:
            self._wake()


def _about_a_row(error: Exception) -> bool:
    return isinstance(error, RowRefusedError) and not isinstance(error, StatementRefusedError)


def _ended(writer: "asyncio.Task[None]") -> None:
    if not writer.cancelled() and (error := writer.exception()):
        log.critical("webhooks.writer_broken", exc_info=error)
