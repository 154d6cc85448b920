"""The endpoint: reads a bounded body, has its signature verified, has the hint kept, and answers.

What is answered: 200 for what is kept, was kept before or says nothing of our payments; 503 for what could not be kept,
so that PortOne sends it again; else the refusal, without a word about its reason. An answer never waits for anything
but the body and the database, and for each of those only for seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from billing_worker import web
from billing_worker.clock import Clock
from billing_worker.portone import webhook
from billing_worker.portone.webhook import NoPayment, Notice, Rejection, Signed, Unreadable, Verifier
from billing_worker.store.inbox import Hint
from billing_worker.telemetry import Metrics
from billing_worker.webhooks.connections import CONNECTIONS_MAX, KEEP_ALIVE_SECONDS, BoundedConnection
from billing_worker.webhooks.writer import NotKeptError

log = structlog.get_logger()

# A webhook is a few hundred bytes in one packet. Whoever takes longer over it holds a connection and nothing else.
BODY_SECONDS = 10.0
# Refusals are counted one by one, and spoken of once in a while: strangers choose how many there are.
SPEAK_SECONDS = 60.0

# uvicorn answers 503 from its bound on; the connection beyond ours is cut before that.
LIMITS = web.ServerLimits(CONNECTIONS_MAX + 1, KEEP_ALIVE_SECONDS, BoundedConnection)


class Result(StrEnum):
    """What became of a request."""

    KEPT = "kept"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"  # it speaks of no payment
    OTHER_STORE = "other_store"
    UNSIGNED = "unsigned"
    STALE = "stale"
    FORGED = "forged"
    UNREADABLE = "unreadable"
    CUT_OFF = "cut_off"  # the sender left before the body was whole
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


_STATUSES = {
    Result.KEPT: 200,
    Result.DUPLICATE: 200,
    Result.IGNORED: 200,
    Result.OTHER_STORE: 200,
    Result.UNSIGNED: 401,
    Result.STALE: 401,
    Result.FORGED: 401,
    Result.UNREADABLE: 400,
    Result.CUT_OFF: 400,
    Result.TOO_SLOW: 408,
    Result.TOO_LARGE: 413,
    Result.UNAVAILABLE: 503,
}
# The rest of these requests is still to come or never will; no other can follow on the connection.
_UNFINISHED = {Result.CUT_OFF, Result.TOO_SLOW, Result.TOO_LARGE}
_REJECTIONS = {
    Rejection.UNSIGNED: Result.UNSIGNED,
    Rejection.STALE: Result.STALE,
    Rejection.FORGED: Result.FORGED,
}


class Keeper(Protocol):
    """Who keeps hints."""

    async def keep(self, hint: Hint) -> bool:
        """Have the hint written; False where it was there before. Raises NotKeptError."""


def create_app(
    verifier: Verifier,
    inbox: Keeper,
    clock: Clock,
    metrics: Metrics,
    *,
    path: str,
    store_id: str,
    body_bytes_max: int,
) -> Starlette:
    """The one page: POST on the path. Everything else is 404 or 405."""
    desk = _Desk(verifier, inbox, clock, metrics, store_id=store_id, body_bytes_max=body_bytes_max)
    return Starlette(routes=[Route(path, desk.answer, methods=["POST"])])


@asynccontextmanager
async def serve(app: Starlette, address: str) -> AsyncIterator[str]:
    """Serve the app in this loop while the block runs; gives the address with the port in use. Raises OSError."""
    async with web.serve(app, address, limits=LIMITS) as listening:
        yield listening


class _Desk:
    def __init__(
        self,
        verifier: Verifier,
        inbox: Keeper,
        clock: Clock,
        metrics: Metrics,
        *,
        store_id: str,
        body_bytes_max: int,
    ) -> None:
        self._verifier = verifier
        self._inbox = inbox
        self._clock = clock
        self._metrics = metrics
        self._store_id = store_id
        self._body_bytes_max = body_bytes_max
        self._refused = 0
        self._spoke_at = float("-inf")
        for result in Result:
            # A series that appears with its first event hides that event from rate().
            metrics.webhooks_received.labels(result=result.value)

    async def answer(self, request: Request) -> Response:
        body = await self._body(request)
        result = body if isinstance(body, Result) else await self._take(request, body)
        self._metrics.webhooks_received.labels(result=result.value).inc()
        if result in _REJECTIONS.values():
            self._speak_of(result)
        headers = {"connection": "close"} if result in _UNFINISHED else None
        return Response(status_code=_STATUSES[result], headers=headers)

    async def _body(self, request: Request) -> bytes | Result:
        """The bytes as they came, never more of them than the bound."""
        body = bytearray()
        declared = request.headers.get("content-length", "0")
        # Longer texts than this name a size that no int() should be asked for.
        if len(declared) > 12 or (declared.isdecimal() and int(declared) > self._body_bytes_max):
            return Result.TOO_LARGE
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > self._body_bytes_max:
                        return Result.TOO_LARGE
                    body += chunk
        except TimeoutError:
            return Result.TOO_SLOW
        except ClientDisconnect:
            return Result.CUT_OFF
        return bytes(body)

    async def _take(self, request: Request, body: bytes) -> Result:
        now = self._clock.now()
        signed = self._verifier.verify(request.scope["headers"], body, now=now)
        if isinstance(signed, Rejection):
            return _REJECTIONS[signed]
        match webhook.read(body, content_type=request.headers.get("content-type", "")):
            case Unreadable():
                return Result.UNREADABLE
            case NoPayment():
                return Result.IGNORED
            case Notice() as notice:
                return await self._keep(signed, notice)

    async def _keep(self, signed: Signed, notice: Notice) -> Result:
        if notice.store_id not in {None, self._store_id}:
            return Result.OTHER_STORE
        hint = Hint(
            webhook_id=signed.webhook_id,
            event_type=notice.event_type,
            payment_id=notice.payment_id,
            transaction_id=notice.transaction_id,
            cancellation_id=notice.cancellation_id,
            store_matches=None if notice.store_id is None else True,
            sent_at=signed.sent_at,
            received_at=self._clock.now(),
        )
        try:
            return Result.KEPT if await self._inbox.keep(hint) else Result.DUPLICATE
        except NotKeptError:
            return Result.UNAVAILABLE

    def _speak_of(self, result: Result) -> None:
        """Say now and then that webhooks are refused: a wrong secret and a forger look alike from here."""
        self._refused += 1
        if self._clock.monotonic() - self._spoke_at >= SPEAK_SECONDS:
            log.warning("webhooks.refused", count=self._refused, last=result.value)
            self._refused, self._spoke_at = 0, self._clock.monotonic()
