"""The channel that the assumptions are tried on: the shipped simulator, or a real TEST channel of PortOne.

A real one is asked only with BILLING_CONTRACT_OPT_IN=charge-and-cancel and all its credentials. Every channel of the
billing key must be of type TEST before anything is charged; amounts are small, calls are slow, and what was paid is
cancelled.
"""

import asyncio
import os
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

OPT_IN = "charge-and-cancel"
AMOUNT = 1000  # won: above every PG's least amount that is known, and small

# A real channel gets one call a second: this is no load test, and its limits are not published.
REAL_PAUSE_SECONDS = 1.0

_ORDER = {"orderName": "contract test", "currency": "KRW"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where PortOne is and as whom it is called."""

    base_url: str
    api_secret: str = field(repr=False)
    store_id: str
    billing_key: str = field(repr=False)
    channel_key: str | None = None
    declining_billing_key: str | None = field(default=None, repr=False)
    slow_billing_key: str | None = field(default=None, repr=False)  # the simulator's; a real charge is slow by itself
    real: bool = False


def real_credentials() -> Credentials | None:
    """Those of the environment; None where nobody has opted in. Fails where half of them are there."""
    if os.environ.get("BILLING_CONTRACT_OPT_IN", "") != OPT_IN:
        return None
    wanted = ("API_SECRET", "STORE_ID", "BILLING_KEY")
    given = {name: os.environ.get(f"BILLING_CONTRACT_{name}", "") for name in wanted}
    if lacking := [f"BILLING_CONTRACT_{name}" for name, value in given.items() if not value]:
        pytest.fail(f"the real channel was asked for, and {', '.join(lacking)} not given")
    return Credentials(
        base_url=os.environ.get("BILLING_CONTRACT_BASE_URL") or "https://api.portone.io",
        api_secret=given["API_SECRET"],
        store_id=given["STORE_ID"],
        billing_key=given["BILLING_KEY"],
        channel_key=os.environ.get("BILLING_CONTRACT_CHANNEL_KEY") or None,
        declining_billing_key=os.environ.get("BILLING_CONTRACT_DECLINING_BILLING_KEY") or None,
        real=True,
    )


class Channel:
    """The calls that the worker makes, on either."""

    def __init__(self, http: httpx.AsyncClient, credentials: Credentials) -> None:
        self.http, self.credentials = http, credentials
        self._charged: list[str] = []

    def new_id(self) -> str:
        """A paymentId of the worker's own form that was never used before."""
        return "rb1" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(27))

    def body(self, **changes: Any) -> dict[str, Any]:
        """A small charge."""
        given = self.credentials
        body = {"storeId": given.store_id, "billingKey": given.billing_key, "amount": {"total": AMOUNT}, **_ORDER}
        if given.channel_key:
            body["channelKey"] = given.channel_key
        return body | changes

    async def charge(
        self,
        payment_id: str,
        key: str,
        *,
        read_seconds: float = 65.0,
        headers: dict[str, str] | None = None,
        **changes: Any,
    ) -> httpx.Response:
        """POST /payments/{paymentId}/billing-key."""
        await self._pace()
        self._charged.append(payment_id)
        return await self.http.post(
            f"/payments/{payment_id}/billing-key",
            json=self.body(**changes),
            headers={"Idempotency-Key": f'"{key}"'} | (headers or {}),
            timeout=httpx.Timeout(65.0, read=read_seconds),
        )

    async def look(self, payment_id: str, *, store_id: str | None = None, path: str = "") -> httpx.Response:
        """GET /payments/{paymentId}, or what is below it."""
        await self._pace()
        return await self.http.get(
            f"/payments/{payment_id}{path}", params={"storeId": store_id or self.credentials.store_id}
        )

    async def cancel(self, payment_id: str) -> httpx.Response:
        """Give the money back."""
        await self._pace()
        return await self.http.post(
            f"/payments/{payment_id}/cancel",
            json={"storeId": self.credentials.store_id, "reason": "contract test"},
            headers={"Idempotency-Key": f'"{payment_id}-cancel"'},
        )

    async def refuse_live(self) -> None:
        """Fail unless every channel of the billing key is a TEST channel."""
        found = await self.http.get(
            f"/billing-keys/{self.credentials.billing_key}", params={"storeId": self.credentials.store_id}
        )
        kinds = {one.get("type") for one in found.json().get("channels", [])} if found.status_code == 200 else set()
        if kinds != {"TEST"}:
            pytest.fail(f"not a TEST channel, so nothing is charged: status {found.status_code}, types {sorted(kinds)}")

    async def give_back(self) -> None:
        """Cancel whatever was paid here, as far as it goes, and say what is left."""
        left: list[str] = []
        for payment_id in dict.fromkeys(self._charged):
            if (await self.look(payment_id)).json().get("status") == "PAID":
                cancelled = await self.cancel(payment_id)
                left += [payment_id] if cancelled.status_code != 200 else []
        assert not left, f"paid and not cancelled, to be done by hand: {left}"

    async def _pace(self) -> None:
        if self.credentials.real:
            await asyncio.sleep(REAL_PAUSE_SECONDS)
