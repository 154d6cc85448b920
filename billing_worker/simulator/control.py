"""The control address: the truth, the clock, scripts, gates, keys by behaviour, and a new world.

It asks for no secret: a simulator belongs on a machine of one's own. What is asked wrongly is a 400 that says why.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from billing_worker.simulator import asking, report
from billing_worker.simulator.asking import AskedWronglyError
from billing_worker.simulator.behaviours import BEHAVIOURS
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.conduct import Script
from billing_worker.simulator.console import Console
from billing_worker.simulator.holds import Gate
from billing_worker.simulator.post_office import PostOffice
from billing_worker.simulator.traffic import Request, Stage
from billing_worker.simulator.world import Simulator, World

PREFIX = "/_control"

WAIT_SECONDS_MAX = 300.0

Json = dict[str, Any]
Endpoint = Callable[[HttpRequest], Awaitable[JSONResponse]]


def control_app(simulator: Simulator) -> Starlette:
    """The control address of one simulator."""
    control, console, post_office = _Control(simulator), Console(simulator), PostOffice(simulator)
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", "/truth", control.truth),
        ("GET", "/truth/{payment_id}", control.payment_truth),
        ("GET", "/clock", control.clock),
        ("POST", "/clock", control.move_clock),
        ("POST", "/reset", control.reset),
        ("GET", "/behaviours", control.behaviours),
        ("GET", "/scripts", control.scripts),
        ("POST", "/scripts", control.queue_scripts),
        ("DELETE", "/scripts", control.drop_scripts),
        ("POST", "/billing-keys", control.make_keys),
        ("GET", "/requests", control.requests),
        ("GET", "/inflight", control.in_flight),
        ("POST", "/hold", control.hold),
        ("POST", "/release", control.release),
        ("GET", "/schedules", console.schedules),
        ("POST", "/schedules/fire", console.fire),
        ("POST", "/schedules/revoke", console.revoke),
        ("POST", "/schedules/edit", console.edit),
        ("POST", "/schedules/retry", console.retry),
        ("POST", "/payments/refund", console.refund),
        ("POST", "/payments/chargeback", console.chargeback),
        ("POST", "/payments/dispute", console.dispute),
        ("POST", "/payments/resolve", console.resolve),
        ("GET", "/webhooks", post_office.show),
        ("POST", "/webhooks", post_office.set),
        ("POST", "/webhooks/scripts", post_office.queue_scripts),
        ("DELETE", "/webhooks/scripts", post_office.drop_scripts),
        ("POST", "/webhooks/forge", post_office.forge),
    ]
    return Starlette(
        routes=[Route(PREFIX + path, endpoint, methods=[method]) for method, path, endpoint in table],
        exception_handlers={AskedWronglyError: _asked_wrongly},
    )


async def _asked_wrongly(_request: HttpRequest, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


class _Control:
    """The endpoints, each about the world of now."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    @property
    def _world(self) -> World:
        return self._simulator.world

    async def truth(self, request: HttpRequest) -> JSONResponse:
        """GET /truth: every charge really made; ?summary=1 for figures alone, ?after= and ?limit= for pages."""
        if request.query_params.get("summary", "0") not in ("0", ""):
            return JSONResponse(report.summary(self._world))
        limit = asking.whole(request.query_params.get("limit"), "limit")
        after = asking.whole(request.query_params.get("after"), "after") or 0
        return JSONResponse(report.truth(self._world, after=after, limit=limit))

    async def payment_truth(self, request: HttpRequest) -> JSONResponse:
        """GET /truth/{paymentId}: every try on one paymentId."""
        return JSONResponse(report.payment_truth(self._world, request.path_params["payment_id"]))

    async def clock(self, _request: HttpRequest) -> JSONResponse:
        """GET /clock: the simulated instant."""
        return JSONResponse(_clock(self._world))

    async def move_clock(self, request: HttpRequest) -> JSONResponse:
        """POST /clock: move forward, or set the Date header wrong."""
        asked = await asking.members(request, {"advance_seconds", "date_skew_seconds"})
        clock = self._world.clock
        skew = asking.number(asked, "date_skew_seconds")
        seconds = asking.number(asked, "advance_seconds") or 0.0
        try:
            clock.advance(seconds)
        except ValueError as error:
            raise AskedWronglyError(f"advance_seconds: {error}") from error
        self._world.agenda.set_timer(anew=True)
        if skew is not None:
            clock.date_skew_seconds = skew
        return JSONResponse(_clock(self._world))

    async def reset(self, request: HttpRequest) -> JSONResponse:
        """POST /reset: a new, empty world, with some options changed if wanted."""
        asked = await asking.members(request, {"options"})
        try:
            self._simulator.reset(asked.get("options") or {})
        except (TypeError, ValueError, AttributeError) as error:
            raise AskedWronglyError(f"options: {error}") from error
        return JSONResponse(_clock(self._world))

    async def behaviours(self, _request: HttpRequest) -> JSONResponse:
        """GET /behaviours: the table of key prefixes."""
        table = [
            {"name": b.name, "prefix": f"bk-{b.name}-", "times": b.times, "explanation": b.explanation}
            for b in BEHAVIOURS.values()
        ]
        return JSONResponse({"behaviours": table})

    async def scripts(self, _request: HttpRequest) -> JSONResponse:
        """GET /scripts: what is still queued, oldest first."""
        return JSONResponse({"scripts": [_script_view(script) for script in self._world.conduct.scripts]})

    async def queue_scripts(self, request: HttpRequest) -> JSONResponse:
        """POST /scripts: queue one behaviour, or a list of them under `scripts`."""
        asked = await asking.members(request, asking.SCRIPT_FIELDS | {"scripts"})
        wanted = asked.get("scripts", [asked])
        if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
            raise AskedWronglyError("scripts must be a list of objects")
        self._world.conduct.scripts.extend([asking.script(one) for one in wanted])
        return await self.scripts(request)

    async def drop_scripts(self, request: HttpRequest) -> JSONResponse:
        """DELETE /scripts: forget what is queued."""
        self._world.conduct.scripts.clear()
        return await self.scripts(request)

    async def make_keys(self, request: HttpRequest) -> JSONResponse:
        """POST /billing-keys: keys by behaviour, named for it or by the caller."""
        asked = await asking.members(request, {"behaviour", "times", "count", "label", "billingKeys"})
        return JSONResponse({"billingKeys": asking.keys_made(self._world, asked)})

    async def requests(self, request: HttpRequest) -> JSONResponse:
        """GET /requests: the last requests after ?since= (a sequence number), at most ?limit=."""
        since = asking.whole(request.query_params.get("since"), "since") or 0
        limit = asking.whole(request.query_params.get("limit"), "limit")
        found = [one for one in self._world.traffic.log if one.sequence > since]
        return JSONResponse({"requests": report.requests(found[:limit])})

    async def in_flight(self, request: HttpRequest) -> JSONResponse:
        """GET /inflight: the requests here now (?stage=, ?paymentId=); ?at_least= and ?wait_seconds= wait."""
        world, query = self._world, request.query_params
        stage, payment_id = asking.member(Stage, query.get("stage"), "stage"), query.get("paymentId")

        def matching() -> list[Request]:
            return [
                one
                for one in world.traffic.in_flight.values()
                if stage in (None, one.stage) and payment_id in (None, one.payment_id)
            ]

        at_least = asking.whole(query.get("at_least"), "at_least") or 0
        wait_seconds = min(asking.real(query.get("wait_seconds"), "wait_seconds"), WAIT_SECONDS_MAX)
        came_true = await world.traffic.until(lambda: len(matching()) >= at_least, seconds=wait_seconds)
        found = matching()
        return JSONResponse({"count": len(found), "came_true": came_true, "requests": report.requests(found)})

    async def hold(self, request: HttpRequest) -> JSONResponse:
        """POST /hold: shut a gate for the charges that match."""
        asked = await asking.members(request, {"at", "paymentId", "billing_key_prefix"})
        gate = asking.member(Gate, asked.get("at"), "at")
        if gate is None:
            raise AskedWronglyError("at must be before_charge or after_charge")
        hold = self._world.holds.shut(
            gate,
            payment_id=asking.text(asked, "paymentId"),
            billing_key_prefix=asking.text(asked, "billing_key_prefix"),
        )
        return JSONResponse({"hold_id": hold.hold_id})

    async def release(self, request: HttpRequest) -> JSONResponse:
        """POST /release: open one gate, or all."""
        asked = await asking.members(request, {"hold_id"})
        return JSONResponse({"released": self._world.holds.release(asked.get("hold_id"))})


def _script_view(script: Script) -> Json:
    return {
        "behaviour": script.behaviour.name,
        "remaining": script.remaining,
        "on": script.on or "any",
        "paymentId": script.payment_id or None,
        "billing_key_prefix": script.billing_key_prefix or None,
    }


def _clock(world: World) -> Json:
    clock = world.clock
    return {
        "now": rfc3339(world.now()),
        "ahead_seconds": clock.ahead_seconds,
        "date_skew_seconds": clock.date_skew_seconds,
    }
