"""A merchant's web server: takes webhooks, keeps them as they came, and answers what a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from standardwebhooks import Webhook

from billing_worker.simulator.options import PRACTICE_WEBHOOK_SECRET


@dataclass(frozen=True, slots=True)
class Came:
    """One request, headers by their lower-case names."""

    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """What came, and what is answered next; 200 when nothing is set."""

    url: str = ""
    came: list[Came] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    delay: asyncio.Event | None = None
    more: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        receiver.came.append(Came({name.lower(): value for name, value in request.headers.items()}, body))
        receiver.more.set()
        if receiver.delay is not None:
            await receiver.delay.wait()
        return web.Response(status=receiver.answers.pop(0) if receiver.answers else 200)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def settled(practice, **query):
    """The post office once nothing is queued or on its way."""
    shown = await practice.ask("/webhooks", wait_seconds=10, **query)
    assert shown["is_idle"]
    return shown


async def came(receiver, count):
    """Wait until so many came."""
    async with asyncio.timeout(10):
        while len(receiver.came) < count:
            receiver.more.clear()
            await receiver.more.wait()
    return receiver.came


def said(came_in):
    """What verified webhooks said."""
    return [Webhook(PRACTICE_WEBHOOK_SECRET).verify(one.body, one.headers) for one in came_in]
