"""PortOne over HTTP: the one door, through which a billing key is charged and a payment found.

It sends bytes and reads answers. It opens no attempt, makes up no idempotency key, and decides nothing by which error
the network raised: every failure of the network is NoVerdict. A POST that has been started is never cancelled.
The calls about schedules, lists and refunds stand beside this module and go through `write` and `ask`.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential_jitter

from billing_worker.billing.outcomes import Absent, Look, NoVerdict, Outcome, Payment, Unanswered
from billing_worker.portone.address import is_loopback, require_safe_base_url
from billing_worker.portone.limiter import TokenBucket
from billing_worker.portone.skew import DateSkew
from billing_worker.portone.transport import AiohttpTransport
from billing_worker.portone.wire import read_charge, read_payment, read_transactions, retry_after_seconds

T = TypeVar("T")

# PortOne asks for at least a minute, and goes on with the charge after we have hung up.
READ_SECONDS_MIN = 60.0

# PortOne's rule is 16 to 256 ASCII characters; whether the quotes count is not documented.
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9_-]{16,250}")

# The longest pause before a re-send. As much chance as the first pause is mixed in, lest a fleet return in step.
_RESEND_PAUSE_SECONDS_MAX = 8.0

# A 429 without a Retry-After still says that we are too fast.
_BUSY_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How PortOne is reached. Every bound has its reason in the settings."""

    base_url: str
    api_secret: SecretStr
    store_id: str
    connect_seconds: float = 5.0  # name look-up, TCP and TLS together
    write_seconds: float = 10.0
    read_seconds: float = 65.0
    look_read_seconds: float = 20.0  # a look has no side effect and may be given up sooner
    connections_max: int = 500
    resend_window_seconds: float = 20.0  # counted from the start of the first send; no re-send starts later
    resends_max: int = 3
    resend_pause_seconds: float = 0.5  # the first pause; each further one is twice as long
    requests_per_second: float = 100.0
    burst: int = 100

    def __post_init__(self) -> None:
        """Refuse what could charge twice or reach a stranger. Raises ValueError."""
        require_safe_base_url(self.base_url)
        if self.read_seconds < READ_SECONDS_MIN and not is_loopback(self.base_url):
            raise ValueError(f"read_seconds must be at least {READ_SECONDS_MIN:.0f} unless the base URL is loopback")
        if min(self.connect_seconds, self.write_seconds, self.read_seconds, self.look_read_seconds) <= 0:
            raise ValueError("connect_seconds, write_seconds, read_seconds and look_read_seconds must be above 0")
        if self.connections_max < 1 or self.resends_max < 0 or self.resend_window_seconds < 0:
            raise ValueError("connections_max must be at least 1; resends_max and resend_window_seconds at least 0")
        if self.resend_pause_seconds <= 0:
            raise ValueError("resend_pause_seconds must be above 0")
        secret = self.api_secret.get_secret_value()
        if not secret or not secret.isascii() or not secret.isprintable() or secret != secret.strip():
            raise ValueError("api_secret must be printable ASCII without spaces around it, and must not be empty")

    @property
    def send_seconds_max(self) -> float:
        """How long one send of a charge can last; leases and grace periods must be longer."""
        return self.connect_seconds + self.write_seconds + self.read_seconds

    @property
    def look_seconds_max(self) -> float:
        """How long one look can last, the wait for its turn included. A GET has no body to write."""
        return self.connect_seconds + self.look_read_seconds


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """One charge, ready to be sent. No byte of it leaves from send_before on, by the client's clock of seconds."""

    payment_id: str
    idempotency_key: str
    body: bytes = field(repr=False)  # it holds the billing key
    send_before: float

    def __post_init__(self) -> None:
        """Refuse a key that PortOne would not take as one. Raises ValueError."""
        _refuse_bad_key(self.idempotency_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One request that changes something, ready to be sent. No byte of it leaves from send_before on.

    Without one, none leaves when the window for re-sends is over, counted from when it is handed in.
    """

    target: str  # path and query, encoded
    body: bytes = field(default=b"", repr=False)
    method: str = "POST"
    idempotency_key: str | None = None
    send_before: float | None = None

    def __post_init__(self) -> None:
        """Refuse a key that PortOne would not take as one. Raises ValueError."""
        if self.idempotency_key is not None:
            _refuse_bad_key(self.idempotency_key)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of charge learnt, and how many sends it started. With no send, nothing has left this machine.

    The outcome is the last send's. After more than one, a Refused says nothing of the earlier ones, and those may have
    charged.
    """

    outcome: Outcome
    sends: int


class PortOneClient:
    """The one door to PortOne. Enter it inside a running loop; leaving waits for the POSTs that are under way."""

    def __init__(
        self,
        options: ClientOptions,
        *,
        host_time: Callable[[], datetime],
        seconds: Callable[[], float] | None = None,
        transport: Callable[[], httpx.AsyncBaseTransport] = AiohttpTransport,
    ) -> None:
        """`host_time` is the host's clock, compared with PortOne's; it decides nothing in here.

        Deadlines are counted in `seconds`. The loop's clock stands in where none is given; it stands still while the
        machine sleeps, which is no matter where nothing is charged.
        """
        self.options = options
        self.limiter = TokenBucket(rate=options.requests_per_second, burst=options.burst)
        # A charge is looked at once when all is well. However many more looks wait, half of the requests are for sends.
        self._looks = TokenBucket(rate=options.requests_per_second / 2, burst=max(1, options.burst // 2))
        self._base_url = require_safe_base_url(options.base_url)
        self._seconds = seconds or (lambda: asyncio.get_running_loop().time())
        self._skew = DateSkew(host_time, self._seconds)
        self._make_transport = transport
        self._slots = asyncio.Semaphore(options.connections_max)
        self._sends: set[asyncio.Task[httpx.Response | None]] = set()
        self._headers = {
            "Authorization": f"PortOne {options.api_secret.get_secret_value()}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "billing-worker",
        }

    async def __aenter__(self) -> Self:
        """Make the transport; no connection is opened yet."""
        self._transport = self._make_transport()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the POSTs under way, each of them bounded by send_seconds_max, then close every connection."""
        while self._sends:
            await asyncio.wait(self._sends)
        await self._transport.aclose()

    @property
    def api_secret(self) -> str:
        """What must be cut out of every text that an answer brings."""
        return self.options.api_secret.get_secret_value()

    @property
    def date_skew_seconds(self) -> float | None:
        """How far PortOne's clock is ahead of the host's; None before the first answer."""
        return self._skew.seconds

    @property
    def last_date_skew_seconds(self) -> float | None:
        """The same by the last answers, however long ago they came."""
        return self._skew.last_seconds

    async def charge(self, order: ChargeOrder) -> Answer:
        """Send the charge, and send it again within seconds where that is safe and useful.

        Cancelling the caller stops what has not been sent; a POST under way is finished all the same.
        """
        write = charge_write(order, call="billing-key")

        def read(response: httpx.Response) -> Outcome:
            return read_charge(
                response.status_code,
                response.headers,
                response.content,
                sent=order.body,
                api_secret=self.api_secret,
            )

        outcome, sends = await self.write(write, read)
        return Answer(outcome, sends)

    async def find(self, payment_id: str) -> Look:
        """What PortOne has under this payment id."""
        response = await self.ask(self.of_store(f"/payments/{segment(payment_id)}"))
        if isinstance(response, Unanswered):
            return response
        return read_payment(
            response.status_code,
            response.headers,
            response.content,
            payment_id=payment_id,
            api_secret=self.api_secret,
        )

    async def transactions(self, payment_id: str) -> tuple[Payment, ...] | Absent | Unanswered:
        """Every try that PortOne has under this payment id, oldest first."""
        response = await self.ask(self.of_store(f"/payments/{segment(payment_id)}/transactions"))
        if isinstance(response, Unanswered):
            return response
        return read_transactions(
            response.status_code,
            response.headers,
            response.content,
            payment_id=payment_id,
            api_secret=self.api_secret,
        )

    async def write(self, write: Write, read: Callable[[httpx.Response], T]) -> tuple[T | NoVerdict, int]:
        """Send it, and send it again within seconds where that is safe and useful: what the last send learnt.

        The second is how many sends were started. With none, nothing has left this machine.
        """
        started = self._seconds()
        window = self.options.resend_window_seconds
        send_before = started + window if write.send_before is None else write.send_before
        request = self._write_request(write, send_before=send_before)
        if not await self._turn(before=send_before):
            return NoVerdict(reason="send deadline passed"), 0
        started = self._seconds()
        outcome = await self._send_write(request, read)
        if not _may_resend(outcome):
            return outcome, 1
        return await self._resend(request, read, outcome, until=min(send_before, started + window))

    async def ask(self, target: str) -> httpx.Response | Unanswered:
        """Ask once, and change nothing."""
        until = self._seconds() + self.options.look_seconds_max
        timeout = self._timeout(write=0.0, read=self.options.look_read_seconds)
        request = httpx.Request("GET", f"{self._base_url}{target}", headers=self._headers, extensions=timeout)
        looks_until = asyncio.get_running_loop().time() + self.options.look_seconds_max
        if not (await self._looks.take(before=looks_until) and await self._turn(before=until)):
            return Unanswered(reason="no turn in time")
        try:
            async with asyncio.timeout(until - self._seconds()):
                response = await self._send(request)
        except TimeoutError:
            response = None
        return Unanswered(reason="no answer") if response is None else response

    def of_store(self, path: str) -> str:
        """The path, asked for our store."""
        return f"{path}?storeId={quote(self.options.store_id, safe='')}"

    async def _resend(
        self, request: httpx.Request, read: Callable[[httpx.Response], T], outcome: T | NoVerdict, *, until: float
    ) -> tuple[T | NoVerdict, int]:
        sends = 1
        first_pause = self.options.resend_pause_seconds
        backoff = wait_exponential_jitter(multiplier=first_pause, max=_RESEND_PAUSE_SECONDS_MAX, jitter=first_pause)

        def pause(state: RetryCallState) -> float:
            return max(backoff(state), _wished_pause_seconds(state))

        def stop(state: RetryCallState) -> bool:
            starts_at = self._seconds() + state.upcoming_sleep
            return state.attempt_number > self.options.resends_max or starts_at >= until

        turns = AsyncRetrying(
            retry=retry_if_result(_may_resend), wait=pause, stop=stop, retry_error_callback=lambda _: None
        )
        async for turn in turns:
            # The first turn is the send that is already behind us; tenacity only counts and waits from there.
            if turn.retry_state.attempt_number > 1:
                if not await self._turn(before=until):
                    break
                sends += 1
                outcome = await self._send_write(request, read)
            turn.retry_state.set_result(outcome)
        return outcome, sends

    async def _send_write(self, request: httpx.Request, read: Callable[[httpx.Response], T]) -> T | NoVerdict:
        started = self._seconds()
        send = asyncio.create_task(self._send(request))
        self._sends.add(send)
        send.add_done_callback(self._sends.discard)
        response = await asyncio.shield(send)
        quick = self._seconds() - started < self.options.resend_window_seconds
        if response is None:
            return NoVerdict(reason="no answer", resend=quick)
        outcome = read(response)
        if isinstance(outcome, NoVerdict) and outcome.resend:
            return replace(outcome, resend=quick)
        return outcome

    async def _turn(self, *, before: float) -> bool:
        """Wait for the limiter and for a free connection; the one who sends gives the connection back."""
        until = asyncio.get_running_loop().time() + before - self._seconds()
        if not await self.limiter.take(before=until):
            return False
        try:
            async with asyncio.timeout_at(until if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            return False
        if self._seconds() < before:
            return True
        self._slots.release()
        return False

    async def _send(self, request: httpx.Request) -> httpx.Response | None:
        """Send once; None where no answer came. Which error it was tells nothing that a charge may be decided by."""
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError:
            return None
        finally:
            self._slots.release()
        self._skew.note(response.headers.get("date"))
        self._note_busy(response)
        return response

    def _note_busy(self, response: httpx.Response) -> None:
        if response.status_code not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return
        unsaid = _BUSY_PAUSE_SECONDS if response.status_code == HTTPStatus.TOO_MANY_REQUESTS else 0.0
        if pause_seconds := retry_after_seconds(response.headers) or unsaid:
            self.limiter.pause(pause_seconds)

    def _write_request(self, write: Write, *, send_before: float) -> httpx.Request:
        headers = dict(self._headers)
        if write.body:
            headers["Content-Type"] = "application/json"
        if write.idempotency_key is not None:
            headers["Idempotency-Key"] = f'"{write.idempotency_key}"'
        return httpx.Request(
            write.method,
            f"{self._base_url}{write.target}",
            headers=headers,
            content=write.body or None,
            extensions=self._timeout(write=self.options.write_seconds, read=self.options.read_seconds)
            | {"in_time": lambda: self._seconds() < send_before},
        )

    def _timeout(self, *, write: float, read: float) -> dict[str, Any]:
        return {"timeout": {"connect": self.options.connect_seconds, "write": write, "read": read}}


def charge_write(order: ChargeOrder, *, call: Literal["billing-key", "schedule"]) -> Write:
    """The order as the request of a charge, or of a booking."""
    return Write(
        target=f"/payments/{segment(order.payment_id)}/{call}",
        body=order.body,
        idempotency_key=order.idempotency_key,
        send_before=order.send_before,
    )


def segment(name: str) -> str:
    """One piece of a path, whatever is in the name. Raises ValueError where it would be no piece of its own."""
    if not name.strip("."):
        raise ValueError("a payment id is never empty and never made of dots only")
    return quote(name, safe="")


def _refuse_bad_key(key: str) -> None:
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ValueError("an idempotency key is 16 to 250 letters, digits, hyphens or underscores, without quotes")


def _may_resend(outcome: object) -> bool:
    return isinstance(outcome, NoVerdict) and outcome.resend


def _wished_pause_seconds(state: RetryCallState) -> float:
    outcome = state.outcome.result() if state.outcome else None
    return (outcome.retry_after_seconds or 0.0) if isinstance(outcome, NoVerdict) else 0.0
