"""The command check-config: every setting, and whether what they lead to answers and is fit for billing.

It asks PortOne for a payment that cannot exist, and so changes nothing anywhere. No secret is printed.
"""
# Commands import what they need when they run: --help must not wait for an HTTP client.
# ruff: noqa: PLC0415

import asyncio
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from billing_worker.cli import output
from billing_worker.cli.exits import Exit
from billing_worker.cli.options import AsJson

if TYPE_CHECKING:
    from billing_worker.settings import Settings

# A payment id of ours is base32, which has no zero: nobody can ever have paid this one.
IMPOSSIBLE_PAYMENT_ID = "rb1" + "0" * 27

_REFUSED_BY_PORTONE = ("HTTP 401", "HTTP 403")
_ANSWERED = "HTTP "


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked: whether it answered, what is wrong with it, and what is only unwise."""

    name: str
    answers: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def check_config(as_json: AsJson = False) -> None:
    """Show every setting with secrets masked, and ask the database and PortOne whether they can be worked with."""
    from billing_worker.cli.database import settings
    from billing_worker.settings import describe

    given = settings()
    rows = describe(given, os.environ)
    checks = asyncio.run(_checks(given))
    if as_json:
        output.document({"settings": [asdict(row) for row in rows], "checks": [asdict(check) for check in checks]})
    else:
        columns = (("setting", "name"), ("value", "value"), ("from", "source"))
        output.table(columns, [asdict(row) for row in rows])
        for check in checks:
            _show(check)
    raise typer.Exit(exit_of(checks))


def exit_of(checks: tuple[Check, ...]) -> Exit:
    """What the checks come to: silence weighs more than a problem."""
    if not all(check.answers for check in checks):
        return Exit.GONE
    return Exit.FOUND if any(check.problems for check in checks) else Exit.OK


async def _checks(given: "Settings") -> tuple[Check, ...]:
    return await _check_database(given), await _check_portone(given)


async def _check_database(given: "Settings") -> Check:
    from billing_worker.bounds import ours, pool_limits
    from billing_worker.cli.database import gone, on_connection, refused
    from billing_worker.clock import SystemClock
    from billing_worker.store import control, db
    from billing_worker.store.deployment import Acceptance
    from billing_worker.workers.fitness import StartUpRefusedError, refuse_moved, refuse_unfit

    url, acceptance = given.database_url.get_secret_value(), Acceptance(SystemClock().monotonic)
    try:
        await refuse_moved(lambda: on_connection(url), ours(given), acceptance)
        database = await db.connect(
            url, pool_limits(given), application_name="billing-worker cli", admit=acceptance.admit
        )
        try:
            await refuse_unfit(database, given.portone_store_id, live=given.portone_live)
            warnings = tuple(await control.logged_parameters(database.claims))
        finally:
            await database.close()
    except db.DatabaseGoneError as error:
        return Check("database", answers=False, problems=(gone(error, begun=False).message,))
    except db.RowRefusedError as error:
        failure = refused(error)
        return Check("database", answers=True, problems=(f"{failure.message}: {failure.remedy}",))
    except StartUpRefusedError as error:
        return Check("database", answers=True, problems=tuple(str(error).splitlines()))
    return Check("database", answers=True, problems=(), warnings=warnings)


async def _check_portone(given: "Settings") -> Check:
    from billing_worker.billing.outcomes import Absent, Unanswered
    from billing_worker.cli.portone import portone_client

    async with portone_client(given) as portone:
        look = await portone.find(IMPOSSIBLE_PAYMENT_ID)
        skew_seconds = portone.date_skew_seconds or 0.0
    problems: list[str] = []
    answers = True
    match look:
        case Absent():
            pass
        case Unanswered(reason=reason) if reason.startswith(_REFUSED_BY_PORTONE):
            problems.append(
                f"PortOne answers and refuses the secret or the store ({reason}): see BILLING_PORTONE_API_SECRET"
            )
        case Unanswered(reason=reason):
            answers = reason.startswith(_ANSWERED)
            problems.append(f"PortOne does not answer as it should ({reason})")
        case _:
            problems.append("PortOne has a payment that cannot exist: this is another service")
    if abs(skew_seconds) > given.clock_skew_max_seconds:
        problems.append(f"PortOne's clock is {skew_seconds:+.0f} s from this host's: nothing would be sent")
    return Check("portone", answers=answers, problems=tuple(problems))


def _show(check: Check) -> None:
    state = "answers and is fit" if check.answers and not check.problems else "is not fit"
    output.say(f"{check.name}: {state if check.answers else 'does not answer'}")
    for problem in check.problems:
        output.say(f"  {output.printable(problem)}")
    for warning in check.warnings:
        output.say(f"  warning: {output.printable(warning)}")
