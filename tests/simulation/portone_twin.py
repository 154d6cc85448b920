"""A PortOne in virtual time, behind the client's transport: it speaks the contract, keeps the truth, goes wrong.

A charge that has arrived runs to its end whether or not anybody still listens. What it remembers of keys, what it
shows of payments and when, and how long it takes are the world's to bend; that one paymentId is paid once is not,
unless the run says so.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any

import httpx

from tests.simulation.faults import BOOKS, OF_HOST, SENDS, Fault, Point, Side
from tests.simulation.loop import Host
from tests.simulation.portone_books import Booking, Execution, Payment, PortOneBooks, Try
from tests.simulation.portone_cards import SOFT, Temper, Words
from tests.simulation.portone_differs import BY_SOMEBODY_BEFORE, BY_SOMEBODY_LATER, BY_US, WAYS, make_differ
from tests.simulation.portone_schedules import ScheduleDesk, is_about_schedules
from tests.simulation.portone_views import Answer, answer_of_tries, payment_answer, plain, refusal
from tests.simulation.world import HOUR, MINUTE, World

KEY_MEMORY = 3 * HOUR
# PortOne ends a charge within its minute and a little more; the product counts on 80 s after the send (at_work_for).
HANG_SECONDS = (66.0, 74.0)


class Request:
    """One request on its way."""

    __slots__ = ("answer", "body", "differs", "fault", "host", "key", "left_at", "payment_id", "point", "question",
                 "read_seconds", "schedule_id")  # fmt: skip

    def __init__(self, point: Point, payment_id: str, host: Host, answer: "asyncio.Future[httpx.Response]") -> None:
        self.point = point
        self.payment_id = payment_id
        self.host = host
        self.answer = answer
        self.key: str | None = None
        self.body = b""
        self.fault: Fault | None = None
        self.differs = ""  # in what way there is a payment that is not what it asks for
        self.left_at = 0.0
        self.read_seconds = 0.0
        self.schedule_id = ""
        self.question: dict[str, Any] = {}  # of a list, or of what is to be taken back


class _Remembered:
    __slots__ = ("answer", "body_sha256", "first_at", "memory")

    def __init__(self, body_sha256: str, first_at: float) -> None:
        self.body_sha256 = body_sha256
        self.first_at = first_at
        self.memory = KEY_MEMORY
        self.answer: Answer | None = None


class PortOneTwin:
    """The server."""

    def __init__(self, world: World, books: PortOneBooks, *, atomic: bool, slow: float) -> None:
        self.world = world
        self.books = books
        self.tempers: dict[str, Temper] = {}
        self.atomic = atomic
        self._slow = slow
        self._keys: dict[str, _Remembered] = {}
        self._count = 0
        self._not_atomic: set[str] = set()
        self.desk = ScheduleDesk(self)
        self.refuses_until = 0.0
        self.busy_until = 0.0
        self.tells: Callable[[str], None] = lambda _payment_id: None
        self.suffers: Callable[[Host, Fault], None] = lambda _host, _fault: None

    # --- arrival ---------------------------------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """A request is here."""
        world = self.world
        fault = world.reach(request.point, Side.AT, request.host)
        if fault in OF_HOST:
            self.suffers(request.host, fault)
            fault = None
        answer = self._turned_away(request)
        if answer is not None:
            self._reply(request, answer, None)
        elif request.point in SENDS:
            self._charge(request, fault)
        elif request.point is Point.REVOKE and fault is Fault.HANG:
            seconds, context = world.random.uniform(*HANG_SECONDS), world.portone_host.context
            world.loop.call_later(seconds, self._asked_of_desk, request, fault, context=context)
        elif is_about_schedules(request.point):
            self._asked_of_desk(request, fault)
        else:
            shown = self._shown(request.payment_id)
            answer = (
                payment_answer(request.payment_id, shown, world.loop.now)
                if request.point is Point.LOOK
                else answer_of_tries(request.payment_id, shown, world.loop.now)
            )
            self._reply(request, answer, fault)

    def _asked_of_desk(self, request: Request, fault: Fault | None) -> None:
        match request.point:
            case Point.REVOKE:
                answer = self.desk.revoke(request.question)
            case Point.LIST_SCHEDULES:
                answer = self.desk.listed(request.question)
            case _:
                answer = self.desk.find(request.schedule_id)
        self._reply(request, answer, fault)

    def _turned_away(self, request: Request) -> Answer | None:
        now = self.world.loop.now
        if request.fault is Fault.UNAUTHORISED:
            self.refuses_until = max(self.refuses_until, now + self.world.random.uniform(0.0, 20 * MINUTE))
        if request.fault is Fault.UNAUTHORISED or (now < self.refuses_until and self.world.faulty):
            return refusal(401, "UNAUTHORIZED")
        if request.fault is Fault.TOO_MANY or (now < self.busy_until and self.world.faulty):
            return Answer(429, b'{"type":"TOO_MANY_REQUESTS"}', {"retry-after": str(self.world.random.randint(0, 9))})
        if request.fault is Fault.BROKEN:
            return plain(self.world.random.choice((500, 502, 503, 504)))
        return None

    # --- a charge --------------------------------------------------------------------------------------------------

    def _charge(self, request: Request, fault: Fault | None) -> None:
        now, key = self.world.loop.now, request.key
        books = request.point in BOOKS
        body_sha256 = hashlib.sha256(b"%d %b" % (books, request.body)).hexdigest()
        known = self._keys.get(key) if key else None
        if known and known.answer is not None and now - known.first_at >= known.memory:
            known = None
        if known is None:
            known = _Remembered(body_sha256, now)
            if key:
                self._keys[key] = known
            self._book(request, known, fault) if books else self._run(request, known, fault)
        elif known.body_sha256 != body_sha256:
            if key not in self.books.keys_lost:
                self.world.find(f"PortOne got other bytes under {key}")
            self._reply(request, refusal(400, "INVALID_REQUEST"), fault)
        elif known.answer is None:
            self._reply(request, refusal(409, "IDEMPOTENCY_OUTSTANDING_REQUEST"), fault)
        else:
            self._reply(request, known.answer, fault)

    def _book(self, request: Request, known: _Remembered, fault: Fault | None) -> None:
        self._set_memory(known, fault)
        if fault is Fault.KEY_DELETED:
            self.tempers[json.loads(request.body)["payment"]["billingKey"]].deleted = True
        if fault is Fault.HANG:
            seconds, context = self.world.random.uniform(*HANG_SECONDS), self.world.portone_host.context
            self.world.loop.call_later(seconds, self._booked, request, known, fault, context=context)
        else:
            self._booked(request, known, fault)

    def _booked(self, request: Request, known: _Remembered, fault: Fault | None) -> None:
        known.answer = self.desk.book(request, fault)
        self._reply(request, known.answer, fault)

    def fire(self, booking: Booking, payment: Payment, temper: Temper, gone: Words | None) -> Try:
        """The try that a schedule makes when its time has come."""
        request = Request(Point.BOOK, booking.payment_id, self.world.portone_host, self.world.loop.create_future())
        request.key, request.body = booking.key, json.dumps(booking.order).encode()
        if booking.fault is Fault.DIFFERS and not payment.paid():
            request.differs = BY_US
        before = len(payment.tries)
        self._try(request, payment, booking.fault, temper, gone)
        one = payment.tries[before]
        one.schedule_id = booking.schedule_id
        if booking.was_edited:
            one.differs = one.differs or "amount"
        return one

    def _run(self, request: Request, known: _Remembered, fault: Fault | None) -> None:
        world = self.world
        temper = self.tempers[json.loads(request.body)["billingKey"]]
        if fault is Fault.KEY_DELETED:
            temper.deleted = True
        self._set_memory(known, fault)
        payment = self.books.payment(request.payment_id)
        if fault is Fault.NOT_ATOMIC or not self.atomic:
            self._not_atomic.add(request.payment_id)
        if fault is Fault.DIFFERS and not payment.paid() and not payment.running:
            request.differs = world.random.choice(WAYS)
            if request.differs == BY_SOMEBODY_BEFORE:
                self._pays_after_all(payment, self._try_of_somebody(request))
        if payment.paid():
            known.answer = refusal(409, "ALREADY_PAID")
        elif temper.deleted:
            known.answer = refusal(409, "BILLING_KEY_ALREADY_DELETED")
        elif self.books.living(request.payment_id) is not None:
            world.counts["charges stopped by a booking"] += 1
            known.answer = refusal(409, "PAYMENT_SCHEDULE_ALREADY_EXISTS")
        if known.answer is not None:
            self._reply(request, known.answer, fault)
            return
        execution = Execution(request.payment_id, request.key, known.body_sha256, world.loop.now)
        self.watch_overlap(payment, execution)
        payment.running.append(execution)
        self.books.executions.append(execution)
        seconds = self.seconds(fault)
        if fault is Fault.ANSWER_LOST and world.random.random() < 0.7:
            # The connection dies while the charge is under way, and the worker notices at once.
            self._lose(request, world.random.uniform(0.0, seconds))
        world.loop.call_later(
            seconds, self._end, request, known, execution, fault, temper, context=world.portone_host.context
        )

    def _set_memory(self, known: _Remembered, fault: Fault | None) -> None:
        if fault is Fault.KEY_EARLY:
            known.memory = self.world.random.uniform(20 * MINUTE, 2 * HOUR)
        if fault is Fault.KEY_LATE:
            known.memory = 24 * HOUR

    def seconds(self, fault: Fault | None) -> float:
        """How long the PG takes."""
        chance = self.world.random
        if fault is Fault.HANG:
            return chance.uniform(*HANG_SECONDS)
        if fault is Fault.NOT_ATOMIC or chance.random() < self._slow:
            return chance.uniform(4.0, 58.0)
        return chance.uniform(0.2, 3.0)

    def watch_overlap(self, payment: Payment, execution: Execution) -> None:
        """Nothing is executed twice at once."""
        for other in payment.running:
            self.world.find(f"two executions of {payment.payment_id} at once: {other.key} and {execution.key}")

    def _end(
        self, request: Request, known: _Remembered, execution: Execution, fault: Fault | None, temper: Temper
    ) -> None:
        world = self.world
        payment = self.books.payment(request.payment_id)
        execution.ended_at = world.loop.now
        payment.running.remove(execution)
        if payment.paid() and request.payment_id not in self._not_atomic:
            known.answer = refusal(409, "ALREADY_PAID")
        else:
            known.answer = self._try(request, payment, fault, temper)
        self.tells(request.payment_id)
        self._reply(request, known.answer, fault)

    def _try(
        self, request: Request, payment: Payment, fault: Fault | None, temper: Temper, gone: Words | None = None
    ) -> Answer:
        world, chance = self.world, self.world.random
        one = self._new_try(request, request.key)
        if fault is Fault.INVISIBLE:
            one.visible_from += chance.uniform(10.0, 6 * HOUR)
        payment.tries.append(one)
        words = gone or temper.declines(fault, chance)
        if request.differs == BY_SOMEBODY_LATER:
            words = words or chance.choice(SOFT)
            self._later(payment, self._try_of_somebody(request), chance.uniform(30.0, 20 * HOUR))
        if words is None:
            self._charge_card(payment, one, request, fault)
            paid = {"payment": {"pgTxId": one.pg_tx_id, "paidAt": one.changed_at.isoformat()}}
            return Answer(200, json.dumps(paid).encode(), {})
        one.failure = words
        world.counts["declines"] += 1
        world.tell(f"portone declines {request.key} {words[0]}")
        if fault is Fault.LATE_SUCCESS or (fault is Fault.DECLINE_DUPLICATE and chance.random() < 0.3):
            self._later(payment, one, chance.uniform(30.0, 20 * HOUR))
        body = {"type": "PG_PROVIDER", "message": "결제 실패", "pgCode": words[0], "pgMessage": words[1]}
        return Answer(502, json.dumps(body).encode(), {})

    def _new_try(self, request: Request, key: str | None) -> Try:
        order, now = json.loads(request.body), self.world.portone_clock.now()
        self._count += 1
        return Try(
            transaction_id=f"tx-{self._count}",
            key=key,
            amount_minor=order["amount"]["total"],
            currency=order["currency"],
            requested_at=now,
            changed_at=now,
            visible_from=self.world.loop.now,
            ended_at=self.world.loop.now,
        )

    def _charge_card(self, payment: Payment, one: Try, request: Request, fault: Fault | None) -> None:
        chance = self.world.random
        if request.differs == BY_US:
            make_differ(one, chance)
        if fault is Fault.STALE_RECORD:
            one.failure = chance.choice(SOFT)
            one.failed_until = one.ended_at + chance.uniform(10 * MINUTE, 6 * HOUR)
        self._take(payment, one)

    def _try_of_somebody(self, request: Request) -> Try:
        one = self._new_try(request, None)
        make_differ(one, self.world.random)
        return one

    def _take(self, payment: Payment, one: Try) -> None:
        self._count += 1
        one.pg_tx_id = f"pg-{self._count}"
        self.world.counts["charges"] += 1
        self.world.tell(f"portone charges {one.key or 'for somebody'} {one.pg_tx_id} {one.differs}")
        if len(payment.paid()) > 1:
            self.world.find(f"PAID TWICE: {payment.payment_id} under {[paid.key for paid in payment.paid()]}")

    def _later(self, payment: Payment, one: Try, seconds: float) -> None:
        context = self.world.portone_host.context
        self.world.loop.call_later(seconds, self._pays_after_all, payment, one, context=context)

    def _pays_after_all(self, payment: Payment, one: Try) -> None:
        if payment.running:
            self._later(payment, one, MINUTE)
        elif not payment.paid():
            one.changed_at = self.world.portone_clock.now()
            if one.key is None:
                payment.tries.append(one)
            self.world.counts["late successes" if one.key else "payments of others"] += 1
            self._take(payment, one)
            self.tells(payment.payment_id)

    # --- a look ----------------------------------------------------------------------------------------------------

    def _shown(self, payment_id: str) -> list[Try]:
        payment = self.books.payments.get(payment_id)
        now = self.world.loop.now
        return [one for one in payment.tries if one.visible_from <= now] if payment else []

    # --- the way back ----------------------------------------------------------------------------------------------

    def _reply(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        world = self.world
        if fault is Fault.BROKEN_AFTER:
            answer = plain(world.random.choice((500, 502, 504)))
        elif fault is Fault.GARBAGE:
            answer = Answer(200, world.random.choice((b"<html>", b"{}", b'{"payment":{}}', b'{"payment":')), {})
        if fault is Fault.ANSWER_LOST:
            self._lose(request, world.random.choice((0.01, request.read_seconds)))
            return
        delay = world.delay()
        late = world.loop.now + delay - request.left_at - request.read_seconds
        if late > 0.0:
            self._lose(request, max(delay - late, 0.0))
        else:
            world.loop.call_later(delay, self.deliver, request, answer, context=request.host.context)

    def _lose(self, request: Request, seconds: float) -> None:
        left = request.left_at + request.read_seconds - self.world.loop.now
        self.world.loop.call_later(
            max(min(seconds, left), 0.0), self.deliver, request, None, context=request.host.context
        )

    def deliver(self, request: Request, answer: Answer | None) -> None:
        """In the worker: the answer, or a connection that died, or time that ran out."""
        if request.answer.done():
            return
        world = self.world
        late = world.loop.now - request.left_at > request.read_seconds + 0.001
        if answer is None or (late and world.random.random() < 0.5):
            # Which error a transport raises says nothing, and so it is a different one each time.
            kinds = (httpx.ReadTimeout, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError)
            request.answer.set_exception(world.random.choice(kinds)("lost"))
            return
        date = format_datetime(world.portone_clock.now().replace(microsecond=0), usegmt=True)
        headers = {"date": date, "content-type": "application/json", **answer.headers}
        request.answer.set_result(httpx.Response(answer.status, headers=headers, content=answer.body))
