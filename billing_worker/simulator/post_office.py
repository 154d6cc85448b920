"""The post office: where webhooks go, what befalls them, and what became of each, at the control address."""

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from billing_worker.simulator import asking
from billing_worker.simulator.asking import AskedWronglyError
from billing_worker.simulator.clock import rfc3339
from billing_worker.simulator.keys import masked
from billing_worker.simulator.notices import Forgery, News, Notice
from billing_worker.simulator.webhooks import Mishap, WebhookScript
from billing_worker.simulator.world import Simulator, World, changed

Json = dict[str, Any]

WAIT_SECONDS_MAX = 300.0

# Members of the body, without the `webhook_` that they bear as options. A queue and a log keep the size they have.
SETTINGS = frozenset(
    {
        "urls",
        "secrets",
        "version",
        "as_form",
        "clock",
        "minute_seconds",
        "timeout_seconds",
        "loss",
        "duplication",
        "delay",
        "delay_seconds",
        "forgery",
    }
)


class PostOffice:
    """The webhooks' endpoints, each about the world of now."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    @property
    def _world(self) -> World:
        return self._simulator.world

    async def show(self, request: HttpRequest) -> JSONResponse:
        """GET /webhooks: settings, figures and the last notices; ?paymentId=, ?limit=; ?wait_seconds= until idle."""
        world, query = self._world, request.query_params
        world.now()
        wait_seconds = min(asking.real(query.get("wait_seconds"), "wait_seconds"), WAIT_SECONDS_MAX)
        is_idle = await world.webhooks.until_idle(wait_seconds)
        limit, payment_id = asking.whole(query.get("limit"), "limit"), query.get("paymentId")
        found = [one for one in world.webhooks.log.values() if payment_id in (None, one.news.payment_id)]
        if limit is not None:
            found = found[max(0, len(found) - limit) :]
        return JSONResponse(
            _settings(world)
            | {
                "is_idle": is_idle,
                "queued": world.webhooks.queued,
                "waiting": sum(1 for one in world.webhooks.log.values() if one.next_at is not None),
                "counts": world.webhooks.counts,
                "notices": [_notice(one) for one in found],
            }
        )

    async def set(self, request: HttpRequest) -> JSONResponse:
        """POST /webhooks: where they go and how, from now on."""
        asked = await asking.members(request, set(SETTINGS))
        world = self._world
        try:
            world.options = changed(world.options, {f"webhook_{name}": value for name, value in asked.items()})
        except (TypeError, ValueError) as error:
            raise AskedWronglyError(str(error)) from error
        return JSONResponse(_settings(world))

    async def queue_scripts(self, request: HttpRequest) -> JSONResponse:
        """POST /webhooks/scripts: what befalls the next notices that match."""
        asked = await asking.members(request, {"what", "times", "type", "paymentId", "seconds"})
        self._world.webhooks.scripts.append(
            WebhookScript(
                _what(asked.get("what")),
                remaining=asking.count(asked, "times", usual=1),
                kind=asking.text(asked, "type"),
                payment_id=asking.text(asked, "paymentId"),
                seconds=asking.number(asked, "seconds"),
            )
        )
        return JSONResponse({"queued": len(self._world.webhooks.scripts)})

    async def drop_scripts(self, _request: HttpRequest) -> JSONResponse:
        """DELETE /webhooks/scripts: nothing more befalls them but by chance."""
        self._world.webhooks.scripts.clear()
        return JSONResponse({"queued": 0})

    async def forge(self, request: HttpRequest) -> JSONResponse:
        """POST /webhooks/forge: send what PortOne never would, about a payment that need not be."""
        asked = await asking.members(request, {"what", "type", "paymentId", "url"})
        world = self._world
        forgery = asking.member(Forgery, asked.get("what", Forgery.WRONG_SECRET), "what")
        assert forgery is not None, "there is a usual one"
        payment_id, payment = asking.text(asked, "paymentId"), None
        if payment_id:
            payment = world.bank.payments.get(payment_id)
        transaction_id = payment.shown.transaction_id if payment and payment.transactions else "tx-never-was"
        subject = {"storeId": world.options.store_id, "paymentId": payment_id, "transactionId": transaction_id}
        usual = "Transaction.Imagined" if forgery is Forgery.UNKNOWN_TYPE else "Transaction.Paid"
        news = News(asking.text(asked, "type") or usual, world.now(), subject, payment_id)
        urls = (asking.text(asked, "url"),) if asked.get("url") else world.options.webhook_urls
        return JSONResponse({"webhook_ids": [world.webhooks.forge(news, forgery, url).webhook_id for url in urls]})


def _what(value: object) -> Mishap | Forgery:
    word = str(value)
    if word in list(Mishap):
        return Mishap(word)
    if word in list(Forgery):
        return Forgery(word)
    raise AskedWronglyError(f"what must be one of {', '.join([*Mishap, *Forgery])}")


def _settings(world: World) -> Json:
    return {name: getattr(world.options, f"webhook_{name}") for name in sorted(SETTINGS - {"secrets"})}


def _notice(notice: Notice) -> Json:
    news = notice.news
    billing_key = news.subject.get("billingKey")
    return {
        "webhook_id": notice.webhook_id,
        "type": news.kind,
        "paymentId": news.payment_id or None,
        "transactionId": news.subject.get("transactionId"),
        "billing_key": None if billing_key is None else masked(billing_key),
        "url": notice.url,
        "forgery": notice.forgery,
        "lost": notice.lost,
        "executions": notice.executions,
        "status": notice.sent,
        "answered": None if notice.reply is None else notice.reply.status,
        "made_at": rfc3339(notice.made_at),
        "next_at": None if notice.next_at is None else rfc3339(notice.next_at),
    }
