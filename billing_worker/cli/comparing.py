"""The commands about PortOne's books beside ours: what differs, and one comparison now.

A comparison names what differs and orders looks; only a worker settles, and by what it finds itself.
"""
# Commands import what they need when they run: --help must not wait for an HTTP client.
# ruff: noqa: PLC0415

import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, Limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from billing_worker.settings import Settings
    from billing_worker.store.db import Database
    from billing_worker.workers.findings import Passed

# One night's work made by hand: as long as a person may wait for it.
COMMAND_SECONDS = 60.0

_COLUMNS: tuple[output.Column, ...] = (
    ("class", "class"),
    ("subscription", "business_key"),
    ("cycle", "cycle_number"),
    ("payment id", "payment_id"),
    ("schedule", "schedule_id"),
    ("what", "what"),
    ("the cycle is", "cycle_status"),
    ("first seen", "first_seen_at"),
    ("last seen", "last_seen_at"),
)


def differences(
    ended_too: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List in what PortOne's books and ours differ, the newest first."""
    from billing_worker.cli.database import on_database
    from billing_worker.store.differences import list_differences

    rows = on_database(
        lambda database: list_differences(database.claims, ended_too=ended_too, limit=limit), replica_too=True
    )
    _show(rows, ended_too=ended_too, as_json=as_json)
    raise typer.Exit(Exit.FOUND if any(row["ended_at"] is None for row in rows) else Exit.OK)


def compare(
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=366, help="How far back; BILLING_COMPARE_DAYS if left out.")
    ] = None,
    schedules: Annotated[bool, typer.Option("--schedules", help="Compare schedules instead of payments.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare PortOne's books with ours now, and list what differs."""
    from billing_worker.cli.database import on_database, settings
    from billing_worker.store.differences import list_differences

    given = settings()
    back = timedelta(days=days or given.compare_days)

    async def work(database: "Database") -> "tuple[Passed | None, Sequence[Any]]":
        passed = await _compare(given, database, back=None if schedules else back)
        return passed, await list_differences(database.claims, ended_too=False, limit=1000)

    passed, rows = on_database(work, command_seconds=COMMAND_SECONDS, writes=True)
    _refuse_half(passed)
    _show(rows, ended_too=False, as_json=as_json)
    raise typer.Exit(Exit.FOUND if rows else Exit.OK)


async def _compare(given: "Settings", database: "Database", *, back: timedelta | None) -> "Passed | None":
    from billing_worker import bounds
    from billing_worker.cli.portone import portone_client
    from billing_worker.clock import SystemClock
    from billing_worker.store import control
    from billing_worker.telemetry import Metrics
    from billing_worker.workers.findings import Findings

    clock, claims = SystemClock(), database.claims
    asked_at = clock.now()
    primary_now = await control.primary_clock(claims)
    clock.observe_primary(primary_now, asked_at=asked_at, answered_at=clock.now())
    # A running worker finds the looks in its rows within seconds, so nobody need be rung.
    findings = Findings(claims, clock, Metrics(), ring=lambda: None, actor="compare")
    with _events_on_stderr():
        async with portone_client(given) as portone:
            if back is None:
                return await bounds.schedule_comparer(given, claims, portone, clock, findings).compare_now()
            return await bounds.comparer(given, claims, portone, clock, findings).compare_now(back)


@contextmanager
def _events_on_stderr() -> "Iterator[None]":
    """Let what a worker would log stand beside the table and not in it."""
    import structlog

    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


def _refuse_half(passed: "Passed | None") -> None:
    from billing_worker.workers.findings import Passed

    if passed is None:
        raise Failure(
            Exit.REFUSED, "busy", "a comparison is under way", remedy="wait for it: billing-worker differences"
        )
    if passed is Passed.STOPPED:
        message = "PortOne did not answer, or a worker went on with the comparison; what was found until then stands"
        raise Failure(Exit.GONE, "unanswered", message, remedy="run it again")


def _show(rows: "Sequence[Any]", *, ended_too: bool, as_json: bool) -> None:
    if as_json:
        output.document({"differences": [dict(row) for row in rows]})
    elif rows:
        output.table((*_COLUMNS, ("ended", "ended_at")) if ended_too else _COLUMNS, rows)
    else:
        output.say("Nothing differs")
