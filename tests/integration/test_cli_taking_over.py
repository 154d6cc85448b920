"""The command schedules import: what it refuses, and how it stands being run twice, at once and killed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import eventually
from tests.conftest import DatabaseUrls
from tests.merchants import AHEAD_DAYS, THEIRS, Shop, a_shop, reasons, results


@pytest.fixture
async def shop(database: DatabaseUrls, tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(database, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("booking", "reason"),
    [
        ({"amount": 4900}, "has a schedule of 4900, and the subscription costs 9900"),
        ({"billing_key": "bk-ok-other"}, "has no schedule on the subscription's billing key within a month of"),
        ({"days": 1}, "and the next period begins on"),
        ({"hour": 0, "days": 0}, ""),
        ({"hour": 23, "days": -1}, "and the next period begins on"),
        ({"of": "another1"}, "has no schedule on the subscription's billing key within a month of"),
    ],
)
async def test_a_schedule_that_is_not_the_next_periods_is_refused(
    shop: Shop, booking: dict[str, Any], reason: str
) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    at = shop.at(booking.pop("hour", 9), days=booking.pop("days", 0))
    await shop.book(**booking, at=at)

    # when
    result = await shop.bring_in(("sub-1", THEIRS))

    # then
    [told] = json.loads(result.stdout)["rows"]
    assert (result.exit_code, told["result"]) == ((1, "refused") if reason else (0, "taken_over"))
    assert reason in (told["reason"] or "")
    assert bool(told["remedy"]) == bool(reason)
    assert await shop.rows("cycles") == (not reason)
    assert "bk-ok" not in result.output


async def test_a_schedule_that_has_ended_is_refused(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    await shop.revoke(await shop.book())

    # when
    result = await shop.bring_in(("sub-1", THEIRS))

    # then
    assert result.exit_code == 1
    assert reasons(result) == ["has a schedule that does not wait to be charged: it is REVOKED"]


async def test_a_schedule_of_a_period_that_was_opened_here_already_is_refused_with_a_warning(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    await shop.book()
    await shop.rig.pass_time(days=AHEAD_DAYS - 2)
    await shop.rig.crew.renewer.run_once(shop.rig.clock.now())

    # when
    result = await shop.bring_in(("sub-1", THEIRS))

    # then
    [told] = json.loads(result.stdout)["rows"]
    assert (result.exit_code, await shop.rows("cycles")) == (1, 1)
    assert told["reason"].endswith("has been opened here under another payment id")
    assert "revoke the schedule at PortOne at once" in told["remedy"]


async def test_subscriptions_that_cannot_take_one_are_refused(shop: Shop) -> None:
    # given
    keys = ["cancelled", "held", "other", "sub-1"]
    await shop.rig.subscribe(*(shop.plan(key) for key in keys))
    await shop.book()
    await shop.bring_in(("sub-1", THEIRS))
    await shop.rig.admin.execute(
        "UPDATE billing.subscriptions SET status = business_key, held_reason = 'x' "
        "WHERE business_key IN ('held', 'cancelled')"
    )

    # when
    told = [await shop.bring_in((key, of)) for key, of in
            (("cancelled", "theirs1"), ("held", "theirs2"), ("unknown", "theirs3"), ("other", THEIRS))]  # fmt: skip

    # then
    assert [one.exit_code for one in told] == [1] * 4
    assert [reasons(one)[0] for one in told] == [
        "is a subscription that is cancelled",
        "is a subscription that is held",
        "is no subscription here",
        "is the cycle of another subscription here",
    ]
    assert await shop.rows("cycles") == 1
    assert "unknown" not in told[2].stdout


async def test_faults_of_the_file_stop_all_of_it_and_no_cell_is_shown(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    await shop.book()
    secret = "billing-key-0192-abcdef"

    # when
    twice = await shop.bring_in(("sub-1", THEIRS), ("sub-1", "another1"), ("sub-2", THEIRS))
    formless = await shop.bring_in(("sub-1", "kurz"), ("sub-2", "rb1" + "a" * 27), ("sub-3", secret), ("", "theirs1"))

    # then
    assert [(one["line"], one["column"]) for one in json.loads(twice.stdout)["faults"]] == [
        (3, "business_key"), (4, "payment_id"),
    ]  # fmt: skip
    assert [one["line"] for one in json.loads(formless.stdout)["faults"]] == [2, 3, 4, 5]
    assert (twice.exit_code, formless.exit_code, await shop.rows("cycles")) == (2, 2, 0)
    assert secret not in formless.output


async def test_where_portone_does_not_answer_nothing_is_guessed(shop: Shop) -> None:
    # given
    keys = [f"sub-{number}" for number in range(10)]
    await shop.rig.subscribe(*(shop.plan(key) for key in keys))

    # when
    result = await shop.bring_in(
        *((key, f"theirs{key[4:]}") for key in keys),
        BILLING_PORTONE_BASE_URL="http://127.0.0.1:1",
        BILLING_PORTONE_LOOK_READ_SECONDS="1",
    )

    # then
    assert (result.exit_code, set(results(result)), await shop.rows("cycles")) == (3, {"not_asked"}, 0)


async def test_a_file_of_many_is_asked_for_within_the_limit_and_taken_over_whole(shop: Shop) -> None:
    # given
    count, asked_before = 500, len((await shop.rig.ask("GET", "/requests"))["requests"])
    names = [(f"sub-{number}", f"order{number:04d}", f"bk-ok-many{number}") for number in range(count)]
    await shop.rig.subscribe(*(shop.plan(key, billing_key) for key, _, billing_key in names))
    for _, of, billing_key in names:
        await shop.book(of, billing_key)

    # when
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await shop.bring_in(
        *((key, of) for key, of, _ in names),
        BILLING_PORTONE_BURST="50",
    )
    seconds = loop.time() - began

    # then
    requests = (await shop.rig.ask("GET", "/requests"))["requests"][asked_before:]
    gets = [one for one in requests if one["method"] == "GET"]
    assert (result.exit_code, json.loads(result.stdout)["counts"]) == (0, {"taken_over": count})
    assert len(gets) <= 3 * count
    assert seconds >= (len(gets) - 50) / 300
    assert await shop.rows("cycles") == await shop.rows("attempts") == count


async def test_two_imports_at_once_give_one_payment_id_to_one_subscription(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(*(shop.plan(key) for key in ("sub-1", "sub-2", "sub-3")))
    await shop.book()

    # when
    runs = [await shop.start((key, THEIRS)) for key in ("sub-1", "sub-2", "sub-3")]
    ends = [await run.wait() for run in runs]

    # then
    assert sorted(ends) == [0, 1, 1]
    assert await shop.rows("cycles") == await shop.rows("attempts") == 1


async def test_an_import_beside_a_renewer_opens_a_period_once(shop: Shop) -> None:
    # given
    await shop.rig.subscribe(shop.plan())
    await shop.book()
    await shop.rig.pass_time(days=AHEAD_DAYS - 2)

    # when
    renewed, told = await asyncio.gather(
        shop.rig.crew.renewer.run_once(shop.rig.clock.now()), shop.bring_in(("sub-1", THEIRS))
    )

    # then
    assert await shop.rows("cycles") == 1
    assert (renewed.rows, told.exit_code) in {(1, 1), (0, 0)}


async def test_an_import_that_was_broken_off_between_two_rows_is_given_again(shop: Shop) -> None:
    # given
    keys = [(f"sub-{number}", f"theirs{number}") for number in range(3)]
    await shop.rig.subscribe(*(shop.plan(key, f"bk-ok-{key}") for key, _ in keys))
    for key, of in keys:
        await shop.book(of, f"bk-ok-{key}")
    await shop.rig.admin.execute(
        "CREATE FUNCTION pg_temp.cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$; "
        "CREATE TRIGGER cut BEFORE INSERT ON billing.attempts FOR EACH ROW WHEN (NEW.payment_id = 'theirs1') "
        "EXECUTE FUNCTION pg_temp.cut()"
    )

    # when
    broken = await shop.bring_in(*keys)
    left = (await shop.rows("cycles"), await shop.rows("attempts"), await shop.rows("ledger"))
    await shop.rig.admin.execute("DROP TRIGGER cut ON billing.attempts")
    again = await shop.bring_in(*keys)

    # then
    assert (broken.exit_code, left) == (3, (1, 1, 2))
    assert (again.exit_code, results(again)) == (0, ["taken_before", "taken_over", "taken_over"])
    assert await shop.rows("cycles") == 3


async def test_a_killed_import_leaves_whole_rows_and_is_given_again(shop: Shop) -> None:
    # given
    keys = [(f"sub-{number}", f"theirs{number:03d}") for number in range(80)]
    await shop.rig.subscribe(*(shop.plan(key, f"bk-ok-{key}") for key, _ in keys))
    for key, of in keys:
        await shop.book(of, f"bk-ok-{key}")

    # when
    run = await shop.start(*keys)

    async def under_way() -> bool:
        return await shop.rows("cycles") >= 5

    await eventually(under_way, seconds_max=30)
    run.kill()
    await run.wait()
    left = (await shop.rows("cycles"), await shop.rows("attempts"), await shop.rows("ledger"))
    again = await shop.bring_in(*keys)

    # then
    assert 5 <= left[0] < len(keys)
    assert left == (left[0], left[0], 2 * left[0])
    assert json.loads(again.stdout)["counts"] == {"taken_before": left[0], "taken_over": len(keys) - left[0]}
    assert await shop.rows("cycles") == len(keys)
