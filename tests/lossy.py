"""A PortOne whose lists leave out, spoil or alter some items, and which is silent about others."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from billing_worker.portone.transport import AiohttpTransport
from tests.rig import Rig

Change = Callable[[dict[str, Any]], dict[str, Any] | None]


class Lossy(AiohttpTransport):
    """PortOne, whose lists show each item as `change` has it, or not at all. Looks for the silent ids fail."""

    def __init__(self) -> None:
        super().__init__()
        self.change: Change = lambda item: item
        self.silent: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if request.url.path.rpartition("/")[2] in self.silent:
            return httpx.Response(503, headers={"date": answer.headers["date"]}, request=request)
        if request.method != "GET" or "requestBody" not in request.url.query.decode():
            return answer
        said = json.loads(await answer.aread())
        said["items"] = [changed for item in said["items"] if (changed := self.change(item)) is not None]
        return httpx.Response(200, json=said, headers={"date": answer.headers["date"]}, request=request)

    def hide(self, *ids: str) -> None:
        """These are on no list."""
        self.change = lambda item: None if {item["id"], item.get("paymentId")} & set(ids) else item

    def spoil(self, *ids: str) -> None:
        """These are on their lists, and cannot be read there."""

        def spoilt(item: dict[str, Any]) -> dict[str, Any]:
            bad = {item["id"], item.get("paymentId")} & set(ids)
            return item | {"amount": None, "totalAmount": None} if bad else item

        self.change = spoilt


async def forget_everything(rig: Rig) -> None:
    """A PortOne that knows nothing of us."""
    ahead = rig.clock.now() - datetime.now(UTC)
    await rig.ask("POST", "/reset")
    await rig.ask("POST", "/clock", advance_seconds=max(ahead.total_seconds(), 0))
