"""The simulator's webhooks are taken like PortOne's, in every version, and its forgeries are not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.builders import eventually
from tests.conftest import DatabaseUrls
from tests.rig import Rig, a_rig
from tests.webhook_desk import PATH, Desk, a_desk
from tests.webhooks import SECRET, a_secret

VERSIONS = [
    {"webhook_version": "2024-04-25"},
    {"webhook_version": "2024-01-01"},
    {"webhook_version": "2024-01-01", "webhook_as_form": True},
]
BOTH = (SECRET.get_secret_value(), a_secret(2).get_secret_value())


@asynccontextmanager
async def told(urls: DatabaseUrls, **simulator: Any) -> AsyncIterator[tuple[Rig, Desk]]:
    """A rig whose PortOne tells our endpoint what happens."""
    options = {"webhook_secrets": BOTH} | simulator
    async with (
        a_rig(urls, **options) as rig,
        a_desk(rig.database.claims, urls.admin_url, rig.clock) as desk,
    ):
        await rig.ask("POST", "/webhooks", urls=[f"http://{desk.address}{PATH}"])
        yield rig, desk


async def kept(desk: Desk, count: int) -> list[dict[str, Any]]:
    """The inbox, as soon as it has so many."""

    async def there() -> bool:
        return len(await desk.rows()) >= count

    await eventually(there)
    return await desk.rows()


@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_a_charge_is_told_of_in_every_version(database: DatabaseUrls, version: dict[str, Any]) -> None:
    async with told(database, **version) as (rig, desk):
        payment_id = await rig.owe()
        await rig.charge()

        [row] = await kept(desk, 1)

        assert (row["event_type"], row["payment_id"]) == ("Transaction.Paid", payment_id)
        [notice] = (await rig.ask("GET", "/webhooks"))["notices"]
        assert (row["webhook_id"], row["transaction_id"]) == (notice["webhook_id"], notice["transactionId"])
        assert row["store_matches"] is (True if version["webhook_version"] == "2024-04-25" else None)


@pytest.mark.parametrize("secret", BOTH)
async def test_it_may_sign_with_either_secret(database: DatabaseUrls, secret: str) -> None:
    async with told(database, webhook_secrets=(secret,)) as (rig, desk):
        await rig.owe()
        await rig.charge()

        assert len(await kept(desk, 1)) == 1


async def test_what_it_sends_twice_is_kept_once(database: DatabaseUrls) -> None:
    async with told(database, webhook_duplication=1.0) as (rig, desk):
        await rig.owe()
        await rig.charge()

        async def both() -> bool:
            return desk.counted("kept") + desk.counted("duplicate") == 2

        await eventually(both)
        assert len(await desk.rows()) == 1


@pytest.mark.parametrize(
    ("forgery", "result"),
    [
        ("wrong-secret", "forged"),
        ("old-timestamp", "stale"),
        ("unknown-type", "ignored"),
        ("unsigned", "unsigned"),
    ],
)
async def test_its_forgeries_come_to_nothing(database: DatabaseUrls, forgery: str, result: str) -> None:
    async with told(database) as (rig, desk):
        payment_id = await rig.owe()
        before = await rig.cycle()

        await rig.ask("POST", "/webhooks/forge", what=forgery, paymentId=payment_id)

        async def counted() -> bool:
            return desk.counted(result) >= 1

        await eventually(counted)
        assert await desk.rows() == []
        assert await rig.cycle() == before
