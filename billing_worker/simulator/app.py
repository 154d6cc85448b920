"""The app: who may call, which call it is, what is remembered of it, and what becomes of the answer on the wire.

Raw ASGI on the contract's paths, because a charge must cost little more than its two messages; Starlette serves the
control address alone. The order of the checks is PortOne's: secret, body, store, idempotency key, then the call.
"""

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import parse_qs

from billing_worker.simulator import answers
from billing_worker.simulator.answers import Answer
from billing_worker.simulator.behaviours import PLAIN, Behaviour, Delivery
from billing_worker.simulator.charging import charge
from billing_worker.simulator.conduct import Call
from billing_worker.simulator.control import PREFIX, control_app
from billing_worker.simulator.idempotency import Verdict, key_of
from billing_worker.simulator.keys import masked
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.simulator.reading import UnreadableError
from billing_worker.simulator.routes import Endpoint, Route, route_of
from billing_worker.simulator.rules import Fields
from billing_worker.simulator.table import answered
from billing_worker.simulator.traffic import Request, Stage
from billing_worker.simulator.wire import Receive, Scope, Send, Wire
from billing_worker.simulator.world import Simulator, World

__all__ = ["App", "SimulatorOptions", "create_app"]

_BAD_KEY = answers.invalid("Idempotency-Key must be a double-quoted string of 16 to 256 ASCII characters")
_OTHER_REQUEST = answers.invalid("Idempotency-Key was used for another request")
_NOT_JSON = answers.invalid("body must be a JSON object")
_TOO_LONG = answers.invalid("body MAX_BYTES")
_NOT_DONE = answers.UNAVAILABLE  # never sent: the fault's own delivery takes its place

_IN_PLACE: Mapping[Delivery, Answer] = {
    Delivery.HTML_502: answers.GATEWAY_PAGE,
    Delivery.GARBAGE: answers.HALF_A_BODY,
    Delivery.UNAUTHORIZED: answers.UNAUTHORIZED,
    Delivery.UNAVAILABLE: answers.UNAVAILABLE,
    Delivery.NEW_TYPE: answers.NEW_TYPE,
}
# Where else than at the top a call names its store.
_STORE_IS_WITHIN: Mapping[Endpoint, str] = {
    Endpoint.SCHEDULE: "payment",
    Endpoint.LIST_SCHEDULES: "filter",
    Endpoint.LIST_PAYMENTS: "filter",
}


def create_app(options: SimulatorOptions) -> "App":
    """A simulated PortOne as an ASGI app."""
    return App(options)


class App:
    """The simulator as uvicorn calls it."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.simulator = Simulator(options)
        self._control = control_app(self.simulator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it to the control address."""
        if scope["type"] != "http" or scope["path"].startswith(PREFIX):
            await self._control(scope, receive, send)
            return
        world = self.simulator.world
        wire = Wire(scope, receive, send)
        body = await wire.body(world.options.body_bytes_max)
        if body is None:
            return
        headers = _wanted_headers(scope)
        raw_path = _raw_path(scope)
        route = route_of(scope["method"], raw_path)
        if not body and route is not None and route.endpoint.takes_a_query_for_a_body:
            body = _body_in(scope["query_string"])
        request = _arrived(world, scope["method"], raw_path, route, key=headers.get(b"idempotency-key"), body=body)
        try:
            answer, behaviour = await self._answer(world, request, route, headers, scope["query_string"])
            await _deliver(world, request, wire, answer, behaviour)
        finally:
            if request.sequence in world.traffic.in_flight:  # the server is going down, or something here broke
                world.traffic.left(request, Stage.DROPPED, None, "ABANDONED")

    async def _answer(
        self, world: World, request: Request, route: Route | None, headers: Mapping[bytes, bytes], query: bytes
    ) -> tuple[Answer, Behaviour]:
        """The answer as PortOne means it, and what is to become of it."""
        if headers.get(b"authorization") != self.simulator.authorization:
            return answers.UNAUTHORIZED, PLAIN
        if route is None:
            return answers.ROUTE_NOT_FOUND, PLAIN
        fields = _fields(request, route.endpoint, query, world)
        if isinstance(fields, Answer):
            return fields, PLAIN
        behaviour = _on_arrival(world, route, fields)
        if not behaviour.executes:
            return _NOT_DONE, behaviour
        keyed = request.method != "GET" and b"idempotency-key" in headers
        performed = _performed_once if keyed else _performed
        return await performed(world, request, route, fields, behaviour), behaviour


async def _performed_once(world: World, request: Request, route: Route, fields: Fields, behaviour: Behaviour) -> Answer:
    """A write under an idempotency key: run, replayed, told to wait, or refused."""
    key = request.idempotency_key
    if key is None:
        return _BAD_KEY
    # By the call and its subject, not by the logged path, which shows billing keys by their end alone.
    aim = f"{route.endpoint.name} {route.subject}\n".encode()
    fingerprint = hashlib.sha256(aim + request.body).digest()
    verdict = world.memory.begin(key, fingerprint, world.clock.now())
    if isinstance(verdict, Answer):
        return verdict
    if verdict is Verdict.OUTSTANDING:
        return answers.OUTSTANDING
    if verdict is Verdict.MISMATCH:
        world.violated(
            "key_body_mismatch",
            payment_id=request.payment_id,
            idempotency_key=key,
            explanation="one idempotency key came with two different requests",
        )
        return _OTHER_REQUEST
    answer: Answer | None = None
    try:
        answer = await _performed(world, request, route, fields, behaviour)
    finally:
        if answer is None:
            world.memory.abandon(key)
    world.memory.finish(key, answer)
    return answer


async def _performed(world: World, request: Request, route: Route, fields: Fields, behaviour: Behaviour) -> Answer:
    if route.endpoint is Endpoint.CHARGE:
        return await charge(world, request, fields, behaviour)
    world.traffic.moved(request, Stage.EXECUTING)
    slow_seconds = world.options.slow_seconds if behaviour.seconds is None else behaviour.seconds
    await world.pause(slow_seconds if behaviour.slow else 0.0)
    try:
        return answered(world, route, fields)
    except UnreadableError as error:
        return answers.invalid(str(error))


async def _deliver(world: World, request: Request, wire: Wire, answer: Answer, behaviour: Behaviour) -> None:
    skew = world.clock.date_skew_seconds
    match behaviour.delivery:
        case Delivery.ANSWER:
            delivered = answer
        case Delivery.DROP:
            world.traffic.left(request, Stage.DROPPED, None, "DROPPED")
            await wire.cut()
            return
        case Delivery.HANG:
            world.traffic.moved(request, Stage.HANGING)
            await wire.hang(world.options.hang_seconds if behaviour.seconds is None else behaviour.seconds)
            world.traffic.left(request, Stage.DROPPED, None, "HUNG")
            return
        case Delivery.RATE_LIMITED:
            wish = world.options.retry_after_seconds if behaviour.seconds is None else behaviour.seconds
            delivered = answers.rate_limited(wish)
        case other:
            delivered = _IN_PLACE[other]
    world.traffic.left(request, Stage.ANSWERED, delivered.status, delivered.kind)
    await wire.answer(delivered, date_skew_seconds=skew)


def _on_arrival(world: World, route: Route, fields: Fields) -> Behaviour:
    billing_key = fields.get("billingKey")
    if route.endpoint is Endpoint.CHARGE and isinstance(billing_key, str):
        key = world.keys.find(billing_key)
        return world.conduct.on_arrival(Call.CHARGE, route.subject, billing_key, key.temper if key else None)
    payment_id, booked_key = _subject(world, route, fields)
    return world.conduct.on_arrival(route.endpoint.call, payment_id, booked_key, None)


def _subject(world: World, route: Route, fields: Fields) -> tuple[str, str]:
    """The paymentId and the billing key by which a script may know a call, schedules' included."""
    if route.endpoint is Endpoint.SCHEDULE:
        payment = fields.get("payment")
        billing_key = payment.get("billingKey") if isinstance(payment, dict) else None
        return route.subject, billing_key if isinstance(billing_key, str) else ""
    schedule_id: object = None
    if route.endpoint is Endpoint.LOOK_AT_SCHEDULE:
        schedule_id = route.subject
    elif route.endpoint is Endpoint.REVOKE:
        ids = fields.get("scheduleIds")
        schedule_id = ids[0] if isinstance(ids, list) and len(ids) == 1 else None
    schedule = world.schedules.by_id.get(schedule_id) if isinstance(schedule_id, str) else None
    return (route.payment_id, "") if schedule is None else (schedule.payment_id, schedule.order.billing_key)


def _arrived(
    world: World, method: str, raw_path: str, route: Route | None, *, key: bytes | None, body: bytes
) -> Request:
    about_a_key = route is not None and route.endpoint.call is Call.KEYS and route.subject
    return world.traffic.arrived(
        world.now(),
        method=method,
        path=f"/billing-keys/{masked(raw_path)}" if about_a_key else raw_path,
        payment_id="" if route is None else route.payment_id,
        idempotency_key=None if key is None else key_of(key),
        body=body,
    )


def _fields(request: Request, endpoint: Endpoint, query: bytes, world: World) -> Fields | Answer:
    """The members of a request's JSON, or of the query for the calls that have none, when their store is ours."""
    fields: object = {}
    if request.method != "POST" and not endpoint.takes_a_query_for_a_body:
        fields = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()} if query else {}
    elif len(request.body) > world.options.body_bytes_max:
        return _TOO_LONG
    elif request.body or request.method == "POST":
        try:
            fields = json.loads(request.body)
        except (ValueError, RecursionError):
            return _NOT_JSON
    if not isinstance(fields, dict):
        return _NOT_JSON
    # A storeId that is no text at all is for the rules to refuse, with the name of the field.
    store_id = _store_id(endpoint, fields)
    return answers.FORBIDDEN if isinstance(store_id, str) and store_id != world.options.store_id else fields


def _store_id(endpoint: Endpoint, fields: Fields) -> object:
    within = None if endpoint is Endpoint.CHARGE else _STORE_IS_WITHIN.get(endpoint)
    holder = fields if within is None else fields.get(within)
    return holder.get("storeId") if isinstance(holder, dict) else None


def _body_in(query: bytes) -> bytes:
    """The JSON that stands in a query because its sender could not put it into a body."""
    if not query:
        return b""
    values = parse_qs(query.decode("latin-1")).get("requestBody")
    return values[-1].encode(errors="replace") if values else b""


def _wanted_headers(scope: Scope) -> dict[bytes, bytes]:
    return {name: value for name, value in scope["headers"] if name in (b"authorization", b"idempotency-key")}


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path")
    path = scope["path"] if raw is None else raw.decode("latin-1")
    return str(path)
