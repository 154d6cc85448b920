"""A merchant who has chained schedules by hand, for the tests of taking them over."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from typer.testing import Result

from billing_worker.billing.model import shard_of
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.billing.states import Mode
from billing_worker.store import ledger, subscriptions
from tests.builders import STORE_ID, a_cadence, a_plan
from tests.command_line import Cli, command_line, portone_settings
from tests.conftest import DatabaseUrls
from tests.rig import API_SECRET, Rig, a_rig

SEOUL = ZoneInfo("Asia/Seoul")
AHEAD_DAYS = 10
THEIRS = "order20261124a"
MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Shop:
    """A merchant who has chained schedules by hand, and a worker that shall take them over."""

    rig: Rig
    cli: Cli
    environ: dict[str, str]
    scratch: Path

    @property
    def day(self) -> date:
        """The day on which the next period of every subscription begins."""
        return (self.rig.clock.now().astimezone(SEOUL) + timedelta(days=AHEAD_DAYS)).date()

    def at(self, hour: int = 9, *, days: int = 0) -> datetime:
        """An hour of that day, or of one near it."""
        return datetime.combine(self.day + timedelta(days=days), time(hour), tzinfo=SEOUL)

    def plan(self, business_key: str = "sub-1", billing_key: str = "bk-ok-1", **changes: Any) -> PlannedSubscription:
        """A subscription whose first period begins on that day."""
        cadence = replace(a_cadence(), anchor_on=self.day)
        return replace(a_plan(business_key, billing_key), cadence=cadence, mode=Mode.SCHEDULE, **changes)

    async def book(
        self, of: str = THEIRS, billing_key: str = "bk-ok-1", *, amount: int = 9900, at: datetime | None = None
    ) -> str:
        """A schedule as the merchant's own code made it; its id."""
        body = {
            "payment": {
                "storeId": STORE_ID,
                "billingKey": billing_key,
                "orderName": "구독",
                "customer": {"id": "customer-1", "name": {"full": "홍길동"}},
                "amount": {"total": amount},
                "currency": "KRW",
            },
            "timeToPay": (at or self.at()).astimezone(UTC).isoformat(),
        }
        return str((await self._portone("POST", f"/payments/{of}/schedule", body))["schedule"]["id"])

    async def revoke(self, schedule_id: str) -> None:
        """As somebody at PortOne's console would."""
        await self._portone("DELETE", "/payment-schedules", {"storeId": STORE_ID, "scheduleIds": [schedule_id]})

    async def _portone(self, method: str, path: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"PortOne {API_SECRET}"}
        answer = await self.rig.control.request(method, path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def bring_in(self, *rows: tuple[str, str], confirm: bool = True, **environ: str) -> Result:
        """The command, with those rows on stdin and JSON on stdout."""
        text = "business_key,payment_id\n" + "".join(f"{key},{of}\n" for key, of in rows)
        options = ["--confirm"] if confirm else []
        command = ("schedules", "import", "-", "--by", "kim", "--json", *options)
        return await asyncio.to_thread(self.cli, *command, stdin=text, **environ)

    async def start(self, *rows: tuple[str, str]) -> Process:
        """The same command as a program of its own."""
        file = self.scratch / f"{len(list(self.scratch.iterdir()))}.csv"
        file.write_text("business_key,payment_id\n" + "".join(f"{key},{of}\n" for key, of in rows))
        command = ("-m", "billing_worker", "schedules", "import", str(file), "--by", "kim", "--json", "--confirm")
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, env=os.environ | self.environ, stdout=DEVNULL, stderr=DEVNULL
        )

    async def taken_over(self, billing_key: str = "bk-ok-1") -> None:
        """One subscription whose schedule has been taken over."""
        await self.rig.subscribe(self.plan(billing_key=billing_key))
        await self.book(billing_key=billing_key)
        result = await self.bring_in(("sub-1", THEIRS))
        assert result.exit_code == 0, result.output

    async def faults(self) -> list[str]:
        """What `ledger verify` finds."""
        return (await ledger.verify_shard(self.rig.database.claims, shard_of("sub-1")))[1]

    async def rows(self, table: str) -> int:
        """How many rows a table has."""
        return int(await self.rig.admin.fetchval(f"SELECT count(*) FROM billing.{table}"))

    async def change(self, **changes: Any) -> None:
        """What an import of subscriptions does to a known one."""
        async with self.rig.database.claims.transaction() as transaction:
            known = (await subscriptions.find_subscriptions(transaction, ["sub-1"]))["sub-1"]
            new = [(known, replace(known.plan, **changes))]
            await subscriptions.change_subscriptions(transaction, new, now=self.rig.clock.now())


def results(result: Result) -> list[str]:
    return [row["result"] for row in json.loads(result.stdout)["rows"]]


def reasons(result: Result) -> Sequence[str]:
    return [row["reason"] for row in json.loads(result.stdout)["rows"]]


async def statuses(rig: Rig) -> list[tuple[str, str]]:
    found = (await rig.ask("GET", "/schedules"))["schedules"]
    return [(one["paymentId"], one["status"]) for one in found]


@asynccontextmanager
async def a_shop(urls: DatabaseUrls, scratch: Path) -> AsyncIterator[Shop]:
    """A shop on a database of the test's own."""
    async with a_rig(urls) as rig:
        environ = portone_settings(
            str(rig.control.base_url), BILLING_PORTONE_API_SECRET=API_SECRET, BILLING_PORTONE_STORE_ID=STORE_ID
        )
        environ |= {"BILLING_DATABASE_URL": urls.worker_url, "BILLING_PORTONE_REQUESTS_PER_SECOND": "300"}
        yield Shop(rig, command_line(**environ), environ, scratch)
