"""The settler: writes verdicts, many in one transaction, and keeps them until they are written.

While one batch commits, the next one gathers, so a batch is as large as the load and a lone verdict waits for nobody.
A verdict is never dropped: when the database is gone the batch waits and is written again, which its guards make
harmless.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from billing_worker.billing.settlement import Settlement
from billing_worker.clock import Clock
from billing_worker.store import attempts
from billing_worker.store.db import DatabaseGoneError, Pool, RowRefusedError, StatementRefusedError
from billing_worker.telemetry import Metrics

log = structlog.get_logger()

# One statement of this many rows takes some ten milliseconds; more would only make the last of them wait.
BATCH_MAX = 200
# How long the first verdict of a batch waits for company: little beside a charge, and it makes batches of a few dozen.
GATHER_SECONDS = 0.002
# Two writers: one gathers while the other commits.
WRITERS = 2
RETRY_FIRST_SECONDS = 0.1
RETRY_WIDEST_SECONDS = 5.0


@dataclass(slots=True)
class _Waiting:
    settlement: Settlement
    settled: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class DatabaseGone(Protocol):
    """Who is told whether verdicts can be written."""

    def __call__(self, *, gone: bool) -> None: ...


class Settler:
    """Group commit of settlements. Run `start` before the first verdict and `stop` after the last."""

    def __init__(
        self, pool: Pool, clock: Clock, metrics: Metrics, *, actor: str, database_gone: "DatabaseGone"
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._actor = actor
        self._database_gone = database_gone
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._writers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to write."""
        self._writers = [asyncio.get_running_loop().create_task(self._write()) for _ in range(WRITERS)]
        for writer in self._writers:
            writer.add_done_callback(self._ended)

    def broken(self) -> bool:
        """Whether a writer has ended by a mistake of ours, so that verdicts are no longer written."""
        return any(writer.done() for writer in self._writers)

    async def stop(self) -> None:
        """End the writers. Whoever waits for a verdict is in flight, so the caller drains those first."""
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)

    async def settle(self, settlement: Settlement) -> bool:
        """Have the settlement written.

        False where the attempt or its cycle had moved on before. Raises RowRefusedError.
        """
        waiting = _Waiting(settlement)
        self._queue.put_nowait(waiting)
        self._metrics.verdicts_waiting.set(self._queue.qsize())
        return await waiting.settled

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._metrics.verdicts_waiting.set(self._queue.qsize())
            self._metrics.settle_batch_size.observe(len(batch))
            while batch:
                first, batch = _one_a_cycle(batch)
                await self._write_batch(first)

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        try:
            await self._write_until_there(batch)
        except RowRefusedError as error:
            self._database_gone(gone=False)  # It answered, if only to say no to a row.
            if len(batch) == 1:
                log.error("settlement.refused", attempt_id=batch[0].settlement.attempt.attempt_id, reason=str(error))
                if not batch[0].settled.done():
                    batch[0].settled.set_exception(error)
                return
            # One row that Postgres does not take must not keep the others from being written.
            for waiting in batch:
                await self._write_batch([waiting])

    async def _write_until_there(self, batch: list[_Waiting]) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((DatabaseGoneError, StatementRefusedError)),
            wait=wait_exponential_jitter(multiplier=RETRY_FIRST_SECONDS, max=RETRY_WIDEST_SECONDS),
            before_sleep=lambda state: self._gone(len(batch), state),
        )
        async for attempt in retrying:
            with attempt:
                settled = await self._write_once(batch, again=attempt.retry_state.attempt_number > 1)
        self._database_gone(gone=False)
        for waiting in batch:
            if not waiting.settled.done():  # Whoever waited may have been cancelled, and the others still wait.
                waiting.settled.set_result(waiting.settlement.attempt.idempotency_key in settled)

    async def _write_once(self, batch: list[_Waiting], *, again: bool) -> set[str]:
        settlements = [waiting.settlement for waiting in batch]
        settled = await attempts.settle_attempts(self._pool, settlements, now=self._clock.now(), actor=self._actor)
        missing = [s for s in settlements if s.attempt.idempotency_key not in settled]
        if again and missing:
            # The write before this one may have been applied without being acknowledged: what stands now tells.
            standing = await attempts.attempt_statuses(self._pool, [s.attempt for s in missing])
            settled |= {
                s.attempt.idempotency_key
                for s in missing
                if standing.get(s.attempt.idempotency_key) is s.attempt_status
            }
        return settled

    def _ended(self, writer: "asyncio.Task[None]") -> None:
        if not writer.cancelled() and (error := writer.exception()):
            self._database_gone(gone=True)
            log.critical("settler.broken", exc_info=error)

    def _gone(self, verdicts: int, state: RetryCallState) -> None:
        self._database_gone(gone=True)
        error = state.outcome.exception() if state.outcome else None
        level = log.error if isinstance(error, StatementRefusedError) else log.warning
        level("settler.database_gone", verdicts=verdicts, reason=str(error))


def _one_a_cycle(batch: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """The first settlement of each cycle, and the rest: the guards compare with what stands when a statement begins."""
    first: dict[int, _Waiting] = {}
    rest = [w for w in batch if first.setdefault(w.settlement.attempt.cycle_id, w) is not w]
    return list(first.values()), rest
