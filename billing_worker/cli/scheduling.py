"""The commands about bookings: what PortOne is to charge by itself, taking one back, and taking over a merchant's own.

A booking is taken back by a running worker, which asks PortOne by the schedule's own id; these commands only say so.
"""
# Commands import what they need when they run: --help must not wait for a database driver.
# ruff: noqa: PLC0415

from typing import TYPE_CHECKING, Annotated

import typer

from billing_worker.cli import output, taking_over
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, By, Limit, PaymentId, Reason, actor

if TYPE_CHECKING:
    from billing_worker.store.db import Database

app = typer.Typer(no_args_is_help=True, help="Schedules: what is booked at PortOne; taking one back, or over.")
app.command("import")(taking_over.import_schedules)

_COLUMNS: tuple[output.Column, ...] = (
    ("subscription", "business_key"),
    ("cycle", "cycle_number"),
    ("to be charged", "time_to_pay"),
    ("amount", output.money),
    ("status", "status"),
    ("schedule", "schedule_id"),
    ("booked", "booked_at"),
    ("taken back for", "revoke_reason"),
    ("the cycle is", "cycle_status"),
    ("payment id", "payment_id"),
)


@app.command("list")
def list_schedules(
    ended_too: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List what is booked at PortOne, the next to be charged first."""
    from billing_worker.cli.database import on_database
    from billing_worker.store.bookings import list_bookings

    rows = on_database(
        lambda database: list_bookings(database.claims, ended_too=ended_too, limit=limit), replica_too=True
    )
    if as_json:
        output.document({"schedules": [dict(row) for row in rows]})
    elif rows:
        output.table(_COLUMNS, rows)
    else:
        output.say("Nothing is booked")


@app.command("revoke")
def revoke_schedule(payment_id: PaymentId, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Take a booking back and make it anew, at the cycle's own time and price.

    Where it is nearer than that, the cycle is charged when it is due.
    To have it charged in neither way, hold the cycle instead.
    """
    from billing_worker.cli.database import on_database
    from billing_worker.store import bookings, control

    who = actor(by)

    async def revoke(database: "Database") -> bool:
        now = await control.primary_clock(database.claims)
        return await bookings.revoke_booking(database.claims, payment_id, reason=reason, actor=who, now=now)

    if not on_database(revoke, writes=True):
        message = f"no booking of {payment_id} stands that is not being taken back already; nothing was done"
        raise Failure(Exit.NOT_FOUND, "not_found", message)
    if as_json:
        output.document({"payment_id": payment_id, "revoking": True})
    else:
        output.say(f"A running worker takes the booking of {payment_id} back within seconds, and books it anew")
