"""The command adopt: a person says that billing goes on from the database that the worker's address leads to now.

It shows what was written down beside what is there. Where there are cycles it never makes a test database a live one,
nor the other way round.
"""
# Commands import what they need when they run: --help must not wait for a database driver.
# ruff: noqa: PLC0415

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, By, Reason, actor

if TYPE_CHECKING:
    from billing_worker.billing.deployment import Ours, Recorded, Seen
    from billing_worker.store.db import Executor

_QUESTION = "Does billing go on from here, and from nowhere else?"

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def adopt(reason: Reason, by: By = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let billing go on from this database after a restore or a move. Stop what bills from the old one first."""
    from billing_worker.bounds import ours
    from billing_worker.cli.database import gone, refused, settings
    from billing_worker.store.db import DatabaseGoneError, RowRefusedError

    who, given = actor(by), settings()
    wanted, url = ours(given), given.database_url.get_secret_value()
    if as_json and not yes:
        raise typer.BadParameter("needs --yes: there is nobody to ask", param_hint="--json")
    begun = False
    try:
        recorded, seen = asyncio.run(_look(url, wanted))
        if not as_json:
            _show(recorded, seen, wanted)
        if not yes:
            _ask()
        begun = True
        asyncio.run(_adopt(url, wanted, recorded=recorded, seen=seen, who=who, reason=reason))
    except DatabaseGoneError as error:
        raise gone(error, begun=begun) from None
    except RowRefusedError as error:
        raise refused(error) from None
    if as_json:
        before = asdict(recorded) if recorded else None
        output.document({"adopted": True, "recorded": before, "seen": asdict(seen), **asdict(wanted)})
    else:
        output.say("Adopted. Workers go on within seconds; what was due before now they look at before they send it")


def _ask() -> None:
    """Raises Abort where a person says no, and Failure where there is nobody to say anything."""
    nobody = Failure(
        Exit.REFUSED,
        "usage",
        "there is no terminal to ask at; nothing was changed",
        remedy="add --yes where billing goes on from here, and from nowhere else",
    )
    if sys.stdin is None:
        raise nobody
    try:
        agreed = typer.confirm(_QUESTION)
    except typer.Abort:
        if sys.stdin.isatty():
            raise  # interrupted
        raise nobody from None
    if not agreed:
        raise typer.Abort


async def _look(url: str, wanted: "Ours") -> tuple["Recorded | None", "Seen"]:
    from billing_worker.cli.database import on_connection
    from billing_worker.store import deployment

    async with on_connection(url) as db:
        seen = await deployment.see(db)
        recorded = await deployment.read_deployment(db)
        await _refuse(db, recorded, wanted)
        return recorded, seen


async def _refuse(db: "Executor", recorded: "Recorded | None", wanted: "Ours") -> None:
    from billing_worker.store import deployment

    if recorded and recorded.live is not wanted.live and await deployment.has_cycles(db):
        raise Failure(
            Exit.REFUSED,
            "other_kind",
            "live and test payments never share a database, and this one has cycles; nothing was changed",
            remedy="correct BILLING_PORTONE_LIVE, or use an empty database",
        )


async def _adopt(url: str, wanted: "Ours", *, recorded: "Recorded | None", seen: "Seen", who: str, reason: str) -> None:
    from billing_worker.billing.deployment import moved
    from billing_worker.cli.database import on_connection
    from billing_worker.store import deployment

    async with on_connection(url) as db:
        # What was confirmed is what is written down: the address may lead elsewhere by now.
        elsewhere = moved(seen, await deployment.see(db), wal_seen=seen.wal_position)
        if elsewhere or not await deployment.record_deployment(
            db, seen, wanted, after=recorded, look_first=True, actor=who, reason=reason
        ):
            message = "the database has changed while it was looked at; nothing was changed by this command"
            raise Failure(Exit.REFUSED, "changed", message, remedy="run adopt again")


def _show(recorded: "Recorded | None", seen: "Seen", wanted: "Ours") -> None:
    kinds = {True: "live", False: "test", None: None}
    there = (
        ("deployment", recorded and recorded.deployment, wanted.deployment),
        ("payments", kinds[recorded.live if recorded else None], kinds[wanted.live]),
        ("system identifier", recorded and recorded.system_identifier, seen.system_identifier),
        ("database oid", recorded and recorded.database_oid, seen.database_oid),
        ("timeline", recorded and recorded.timeline, seen.timeline),
    )
    columns = (("", "what"), ("written down", "recorded"), ("now", "seen"))
    output.table(columns, [{"what": what, "recorded": _digits(old), "seen": _digits(new)} for what, old, new in there])


def _digits(value: object) -> object:
    """A number here is a name and counts nothing: without thousands separators, as Postgres prints it."""
    return str(value) if isinstance(value, int) else value
