"""The pull side as tests make it: comparers on a rig, and what they have found."""

from datetime import time, timedelta
from typing import Any

import httpx

from billing_worker.workers.comparer import Comparer, ComparerLimits
from billing_worker.workers.findings import Findings
from billing_worker.workers.schedule_comparer import ScheduleComparer, ScheduleComparerLimits
from billing_worker.workers.sweep import Worker
from tests.builders import STORE_ID
from tests.rig import API_SECRET, LEAD, Rig

BACK = timedelta(days=35)
HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=4)


class KilledError(Exception):
    """Where a worker dies in these tests."""


class DyingDatabase:
    """A database of a worker that dies before one of its statements."""

    def __init__(self, claims: Any, dies_before: str) -> None:
        self._claims = claims
        self._dies_before = dies_before

    async def fetch(self, name: str, *arguments: object) -> Any:
        if name == self._dies_before:
            raise KilledError
        return await self._claims.fetch(name, *arguments)


def findings(rig: Rig, claims: Any = None) -> Findings:
    return Findings(claims or rig.database.claims, rig.clock, rig.crew.metrics, ring=lambda: None, actor="worker-1")


def a_comparer(rig: Rig, *, claims: Any = None, page_size: int = 3) -> Comparer:
    limits = ComparerLimits(store_id=STORE_ID, at=time(4, 30), back=BACK, lease=LEASE, page_size=page_size)
    return Comparer(claims or rig.database.claims, rig.portone, rig.clock, findings(rig, claims), limits=limits)


def a_schedule_comparer(rig: Rig, *, claims: Any = None) -> ScheduleComparer:
    limits = ScheduleComparerLimits(store_id=STORE_ID, every=HOUR, lead=LEAD, lease=LEASE)
    return ScheduleComparer(claims or rig.database.claims, rig.portone, rig.clock, findings(rig, claims), limits=limits)


async def run(rig: Rig, worker: Worker) -> None:
    """Passes until there is no more."""
    while (await worker.run_once(rig.clock.now())).more:
        continue


async def compare(rig: Rig, **changes: Any) -> list[tuple[str, str]]:
    """Compare payments now; what stands then."""
    rig.clock.advance(seconds=1)  # what an earlier comparison has seen was seen earlier
    assert await a_comparer(rig, **changes).compare_now(BACK) is not None
    return await standing(rig)


async def compare_schedules(rig: Rig) -> list[tuple[str, str]]:
    """Compare schedules now; what stands then."""
    rig.clock.advance(seconds=1)
    assert await a_schedule_comparer(rig).compare_now() is not None
    return await standing(rig)


async def standing(rig: Rig) -> list[tuple[str, str]]:
    """The differences that stand: class and payment id."""
    rows = await rig.admin.fetch("SELECT class, payment_id FROM billing.differences_open ORDER BY 1, 2")
    return [(row["class"], row["payment_id"]) for row in rows]


async def mismatches(rig: Rig, business_key: str = "sub-1") -> list[str]:
    """The classes that are entered in the subscription's ledger."""
    return [entry["code"] for entry in await rig.entries(business_key) if entry["kind"] == "mismatch"]


async def at_portone(rig: Rig, path: str, **body: Any) -> httpx.Response:
    """A request of somebody else's with our secret."""
    headers = {"Authorization": f"PortOne {API_SECRET}"}
    response = await rig.control.post(path, json={"storeId": STORE_ID} | body, headers=headers)
    assert response.status_code == 200, response.text
    return response


async def pay(rig: Rig, payment_id: str, amount_minor: int = 9900, billing_key: str = "bk-ok-9") -> None:
    """Somebody else charges a card under that id."""
    order = {"billingKey": billing_key, "orderName": "x", "amount": {"total": amount_minor}, "currency": "KRW"}
    await at_portone(rig, f"/payments/{payment_id}/billing-key", **order)


async def schedule(rig: Rig, payment_id: str, ahead: timedelta, amount_minor: int = 9900) -> None:
    """Somebody else books a charge under that id."""
    order = {"billingKey": "bk-ok-1", "orderName": "x", "amount": {"total": amount_minor}, "currency": "KRW"}
    time_to_pay = (rig.clock.now() + ahead).isoformat()
    await at_portone(rig, f"/payments/{payment_id}/schedule", payment=order, timeToPay=time_to_pay)
