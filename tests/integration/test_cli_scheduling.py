"""The commands schedules list and schedules revoke, against a real Postgres and the simulated PortOne."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from billing_worker.billing.states import Mode
from tests.builders import a_cadence, a_plan
from tests.command_line import Cli, command_line
from tests.conftest import DatabaseUrls
from tests.rig import Rig, a_rig


@pytest.fixture
async def rig(database: DatabaseUrls) -> AsyncIterator[Rig]:
    async with a_rig(database) as made:
        due = (made.clock.now() + timedelta(days=2)).replace(microsecond=0)
        cadence = replace(a_cadence(), anchor_on=due.date(), zone="UTC", charge_at=due.time())
        await made.subscribe(replace(a_plan(), cadence=cadence, mode=Mode.SCHEDULE))
        await made.crew.renewer.run_once(made.clock.now())
        await made.charge()
        yield made


async def test_what_is_booked_is_listed(rig: Rig, cli: Cli) -> None:
    # when
    people = await asyncio.to_thread(cli, "schedules", "list")
    program = await asyncio.to_thread(cli, "schedules", "list", "--json")

    # then
    [booking] = json.loads(program.stdout)["schedules"]
    attempt = await rig.attempt()
    assert (booking["schedule_id"], booking["status"]) == (attempt["schedule_id"], "open")
    assert attempt["schedule_id"] in people.stdout


async def test_a_booking_is_taken_back_and_made_anew(rig: Rig, cli: Cli) -> None:
    # given
    of = (await rig.cycle())["payment_id"]

    # when
    result = await asyncio.to_thread(cli, "schedules", "revoke", of, "--reason", "its time was moved", "--by", "kim")
    again = await asyncio.to_thread(cli, "schedules", "revoke", of, "--reason", "again", "--by", "kim")
    await rig.reconcile_after(minutes=2)
    await rig.charge()

    # then
    assert (result.exit_code, again.exit_code) == (0, 4), result.stderr
    assert [one["status"] for one in await rig.attempts()] == ["revoked", "open"]
    statuses = [one["status"] for one in (await rig.ask("GET", "/schedules"))["schedules"]]
    assert statuses == ["REVOKED", "SCHEDULED"]
    assert ("operator", "revoke") in [(one["kind"], one["code"]) for one in await rig.entries()]


def test_nothing_is_booked_in_an_empty_database(database: DatabaseUrls) -> None:
    result = command_line(BILLING_DATABASE_URL=database.worker_url)("schedules", "list")

    assert (result.exit_code, result.stdout) == (0, "Nothing is booked\n")
