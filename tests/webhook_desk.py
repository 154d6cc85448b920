"""A served webhook endpoint on a migrated database, with a client that signs what it posts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from billing_worker import webhooks
from billing_worker.portone.webhook import Verifier
from billing_worker.store import db
from billing_worker.telemetry import Metrics
from billing_worker.webhooks import InboxWriter
from tests.builders import STORE_ID, FakeClock
from tests.webhooks import SECRET, a_body, a_secret, signed

PATH = "/webhooks/portone"
BODY_BYTES_MAX = 2000


@dataclass(slots=True)
class Desk:
    """A served endpoint, its client, and what it writes to."""

    client: httpx.AsyncClient
    address: str
    clock: FakeClock
    metrics: Metrics
    admin: Any
    woken: list[int]

    async def send(self, body: bytes | None = None, **how: Any) -> httpx.Response:
        """Post a webhook signed now, unless its headers are given."""
        content = a_body() if body is None else body
        headers = how.pop("headers", None) or signed(content, self.clock.now(), **how)
        return await self.client.post(PATH, content=content, headers=headers)

    async def rows(self) -> list[dict[str, Any]]:
        """The inbox."""
        return [dict(row) for row in await self.admin.fetch("SELECT * FROM billing.webhook_inbox ORDER BY webhook_id")]

    def counted(self, result: str) -> float:
        """How many requests came to that."""
        return self.metrics.registry.get_sample_value("billing_webhooks_received_total", {"result": result}) or 0.0

    async def raw(self, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which that was written."""
        host, _, port = self.address.rpartition(":")
        reader, writing = await asyncio.open_connection(host, int(port))
        writing.write(text)
        await writing.drain()
        return reader, writing


@asynccontextmanager
async def a_desk(pool: db.Executor, admin_url: str, clock: FakeClock | None = None) -> AsyncIterator[Desk]:
    """The endpoint as the daemon has it, on any port."""
    clock, metrics, woken = clock or FakeClock(), Metrics(), list[int]()
    keeping = InboxWriter(pool, wake=lambda: woken.append(1))
    verifier = Verifier([SECRET, a_secret(2)])
    app = webhooks.create_app(
        verifier, keeping, clock, metrics, path=PATH, store_id=STORE_ID, body_bytes_max=BODY_BYTES_MAX
    )
    admin = await asyncpg.connect(admin_url)
    keeping.start()
    try:
        async with (
            webhooks.serve(app, "127.0.0.1:0") as address,
            httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=20) as client,
        ):
            yield Desk(client, address, clock, metrics, admin, woken)
    finally:
        await keeping.stop()
        await admin.close()
