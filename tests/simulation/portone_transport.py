"""The transport between a worker's client and the PortOne twin: where bytes leave, and where a connection dies."""

import asyncio
import json

import httpx

from tests.simulation.faults import BOOKS, OF_HOST, SENDS, Fault, Point, Side
from tests.simulation.loop import Host
from tests.simulation.pool import stand_still
from tests.simulation.portone_twin import PortOneTwin, Request
from tests.simulation.watch import Watch


def _always() -> bool:
    return True


class TwinTransport(httpx.AsyncBaseTransport):
    """What the product's client sends through, on one worker's host."""

    def __init__(self, portone: PortOneTwin, watch: Watch, host: Host) -> None:
        self._portone = portone
        self._watch = watch
        self._host = host

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Bytes out, bytes in."""
        portone, world = self._portone, self._portone.world
        sent = self._read(request)
        fault = world.reach(sent.point, Side.BEFORE, self._host)
        if fault in OF_HOST:
            portone.suffers(self._host, fault)
            await stand_still(world, self._host)
        elif fault is Fault.SLOW_CONNECT:
            await world.pause(world.random.uniform(0.5, 4.9))
        # The product's transport asks whether it is still in time when the connection stands, and so does this one.
        if not request.extensions.get("in_time", _always)():
            raise httpx.ConnectError("too late")
        sent.fault = fault
        self._leave(sent)
        try:
            response = await sent.answer
        finally:
            self._watch.answered(sent.key)
        fault = world.reach(sent.point, Side.AFTER, self._host)
        if fault is not None:
            portone.suffers(self._host, fault)
            await stand_still(world, self._host)
        return response

    def _read(self, request: httpx.Request) -> Request:
        parts = request.url.path.split("/")
        answer = self._portone.world.loop.create_future()
        if parts[1] == "payment-schedules":
            return self._read_of_schedules(request, parts, answer)
        sends = request.method == "POST"
        point = Point.LOOK if len(parts) == 3 else Point.TRIES
        sent = Request(point, parts[2], self._host, answer)
        sent.read_seconds = request.extensions["timeout"]["read"]
        if sends:
            header = request.headers.get("idempotency-key")
            sent.key = header.strip('"') if header else None
            sent.body = request.content
            again = sent.key in self._portone.books.keys_left
            if parts[3] == "schedule":
                sent.point = Point.BOOK_AGAIN if again else Point.BOOK
            else:
                sent.point = Point.RESEND if again else Point.POST
        return sent

    def _read_of_schedules(
        self, request: httpx.Request, parts: list[str], answer: "asyncio.Future[httpx.Response]"
    ) -> Request:
        one, revokes = len(parts) == 3, request.method == "DELETE"
        point = Point.REVOKE if revokes else Point.FIND_SCHEDULE if one else Point.LIST_SCHEDULES
        sent = Request(point, "", self._host, answer)
        sent.read_seconds = request.extensions["timeout"]["read"]
        if one:
            sent.schedule_id = parts[2]
        else:
            sent.question = json.loads(request.url.params["requestBody"])
        return sent

    def _leave(self, sent: Request) -> None:
        portone, world = self._portone, self._portone.world
        books = portone.books
        sent.left_at = world.loop.now
        world.tell(f"sends {self._host.name} {sent.point} {sent.key or sent.payment_id or sent.schedule_id}")
        world.counts[f"requests {sent.point}"] += 1
        if sent.point is Point.REVOKE:
            self._watch.revokes(self._host, sent.question)
        if sent.point in SENDS:
            self._watch.sends(self._host, sent.payment_id, sent.key, sent.body, books=sent.point in BOOKS)
            books.keys_left.add(sent.key or "")
        if sent.fault is Fault.REQUEST_LOST:
            seconds = world.random.choice((0.01, 4.0, sent.read_seconds))
            world.loop.call_later(seconds, portone.deliver, sent, None, context=self._host.context)
        else:
            world.loop.call_later(world.delay(), portone.arrive, sent, context=world.portone_host.context)

    async def aclose(self) -> None:
        """Nothing is kept open."""
