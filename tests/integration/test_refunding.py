"""The command refund, against a real Postgres and the simulated PortOne: one refund is never made twice."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import Result

from tests.builders import STORE_ID
from tests.command_line import command_line
from tests.conftest import DatabaseUrls
from tests.rig import API_SECRET, Rig

Refund = Callable[..., Awaitable[Result]]


@pytest.fixture
async def paid(rig: Rig) -> str:
    """The payment id of a cycle that is paid and verified."""
    of = await rig.owe()
    await rig.charge()
    await rig.reconcile_after(minutes=11)
    return of


@pytest.fixture
def environ(rig: Rig, database: DatabaseUrls) -> dict[str, str]:
    """Settings that lead to the rig's database and PortOne."""
    return {
        "BILLING_DATABASE_URL": database.worker_url,
        "BILLING_PORTONE_BASE_URL": rig.portone.options.base_url,
        "BILLING_PORTONE_API_SECRET": API_SECRET,
        "BILLING_PORTONE_STORE_ID": STORE_ID,
        "BILLING_PORTONE_LIVE": "false",
        "BILLING_SEND_WINDOW_SECONDS": "1",
        "BILLING_CLAIM_BATCH_MAX": "10",
    }


@pytest.fixture
def refund(environ: dict[str, str]) -> Refund:
    """The command."""
    cli = command_line(**environ)

    async def call(of: str, *options: str, reason: str = "goodwill") -> Result:
        return await asyncio.to_thread(cli, "refund", of, "--reason", reason, "--by", "kim", *options)

    return call


async def given_back(rig: Rig, of: str) -> int:
    """What PortOne has really given back."""
    charges = (await rig.ask("GET", "/truth"))["charges"]
    return sum(one["cancelled_amount"] for one in charges if one["paymentId"] == of)


async def intents(rig: Rig) -> list[int]:
    return [one["amount_minor"] for one in await rig.entries() if (one["kind"], one["code"]) == ("operator", "refund")]


async def test_without_confirm_it_is_only_proposed(rig: Rig, paid: str, refund: Refund) -> None:
    # when
    result = await refund(paid, "--amount", "900")

    # then
    assert result.exit_code == 0
    assert "currentCancellableAmount 9900" in result.stdout
    assert f"{paid}-r0x900" in result.stdout
    assert (await given_back(rig, paid), await intents(rig)) == (0, [])


async def test_a_refund_is_written_down_made_and_entered(rig: Rig, paid: str, refund: Refund) -> None:
    # when
    result = await refund(paid, "--amount", "900", "--confirm", "--json")
    await rig.reconcile()

    # then
    assert (result.exit_code, json.loads(result.stdout)["result"]) == (0, "refunded")
    assert await given_back(rig, paid) == 900
    entries = [(one["kind"], one["amount_minor"]) for one in await rig.entries()][-2:]
    assert entries == [("operator", 900), ("refunded", 900)]


async def test_the_same_command_twice_gives_back_once(rig: Rig, paid: str, refund: Refund) -> None:
    # given
    await refund(paid, "--amount", "900", "--confirm")

    # when
    again = await refund(paid, "--amount", "900", "--confirm")

    # then
    assert again.exit_code == 1
    assert "were asked back for this reason before" in again.stdout
    assert (await given_back(rig, paid), await intents(rig)) == (900, [900])


async def test_another_reason_is_another_refund(rig: Rig, paid: str, refund: Refund) -> None:
    # given
    await refund(paid, "--amount", "900", "--confirm")

    # when
    again = await refund(paid, "--amount", "900", "--confirm", reason="goodwill again")

    # then
    assert again.exit_code == 0
    assert await given_back(rig, paid) == 1800


@pytest.mark.parametrize("behaviour", ["drop-charged", "drop-uncharged"])
async def test_a_refund_whose_answer_was_lost_is_made_once(rig: Rig, paid: str, refund: Refund, behaviour: str) -> None:
    # given
    await rig.ask("POST", "/scripts", behaviour=behaviour, times=9, on="cancel")
    lost = await refund(paid, "--amount", "900", "--confirm")
    await rig.control.delete("/_control/scripts")

    # when
    await refund(paid, "--amount", "900", "--confirm")

    # then
    assert lost.exit_code == 3
    assert "is unknown" in lost.stdout
    assert (await given_back(rig, paid), await intents(rig)) == (900, [900])


async def test_two_commands_at_once_give_back_once(rig: Rig, paid: str, environ: dict[str, str]) -> None:
    # given
    command = [sys.executable, "-m", "billing_worker", "refund", paid, "--amount", "900", "--reason", "x", "--confirm"]

    # when
    both = [await asyncio.create_subprocess_exec(*command, env=os.environ | environ) for _ in range(2)]
    await asyncio.gather(*(one.wait() for one in both))

    # then
    assert await given_back(rig, paid) == 900


async def test_more_than_is_left_is_not_given_back(rig: Rig, paid: str, refund: Refund) -> None:
    # given
    await rig.ask("POST", "/payments/refund", paymentId=paid, amount=9000)

    # when
    result = await refund(paid, "--amount", "1000", "--confirm")

    # then
    assert (result.exit_code, "900 are left" in result.stdout) == (1, True)
    assert (await given_back(rig, paid), await intents(rig)) == (9000, [])


async def test_a_payment_that_is_not_ours_is_left_to_the_console(refund: Refund) -> None:
    result = await refund("shoporder000001", "--confirm")

    assert result.exit_code == 4
    assert "PortOne's console" in result.stderr


async def test_what_was_never_paid_is_not_given_back(rig: Rig, refund: Refund) -> None:
    # given
    of = await rig.owe(billing_key="bk-hard-lost-1")
    await rig.charge()

    # when
    result = await refund(of, "--confirm")

    # then
    assert (result.exit_code, "FAILED" in result.stdout) == (1, True)
