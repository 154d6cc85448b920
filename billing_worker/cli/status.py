"""The command status: what is due, open and held, and whether anything is sent from this database at all.

It asks by the rules that workers ask by, and changes nothing. It knows the database's address and no other setting:
whether a worker's settings suit the database is what check-config says.
"""
# Commands import what they need when they run: --help must not wait for a database driver.
# ruff: noqa: PLC0415

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from billing_worker.cli import output
from billing_worker.cli.options import AsJson

if TYPE_CHECKING:
    from datetime import datetime

    from billing_worker.billing.deployment import Recorded
    from billing_worker.store.control import Order
    from billing_worker.store.cycles import Backlog
    from billing_worker.store.db import Database


@dataclass(frozen=True, slots=True)
class _Standing:
    """What was found; prevented_by are the reasons for which no worker sends from here, whatever was ordered."""

    at: "datetime"
    backlog: "Backlog"
    order: "Order | None"
    recorded: "Recorded | None"
    prevented_by: list[str]


def status(as_json: AsJson = False) -> None:
    """Show what is due, open and held, and whether charges are sent."""
    from billing_worker.cli.database import on_database

    found = on_database(_read, replica_too=True)
    if as_json:
        output.document(_document(found))
        return
    output.facts(
        {
            "at": found.at,
            "periods not opened yet": found.backlog.unopened,
            "due": found.backlog.due,
            "oldest due since": found.backlog.oldest_due_at,
            "open attempts": found.backlog.open_attempts,
            "oldest open since": found.backlog.oldest_open_at,
            "held": found.backlog.held,
            "bookings to take back": found.backlog.to_take_back,
            "the first is charged at": found.backlog.first_unwanted_at,
            "sending": _sending(found.order, found.prevented_by),
            "deployment": _deployment(found.recorded),
            "looked at before sent": _looked_at_first(found.recorded),
        }
    )


async def _read(database: "Database") -> _Standing:
    from billing_worker.store import control, cycles
    from billing_worker.store.deployment import read_deployment

    db = database.claims
    now = await control.primary_clock(db)
    return _Standing(
        at=now,
        backlog=await cycles.backlog(db, now),
        order=await control.sending_order(db),
        recorded=await read_deployment(db),
        prevented_by=await _prevented_by(),
    )


async def _prevented_by() -> list[str]:
    """Why a worker would send nothing from here, found through a new connection to a primary, as a worker's are."""
    from billing_worker.cli.database import database_url, on_connection
    from billing_worker.store import last_lines
    from billing_worker.store.db import DatabaseMovedError, NoPrimaryError
    from billing_worker.store.deployment import admit_original

    reasons: list[str] = []
    try:
        async with on_connection(database_url()) as one:
            try:
                await admit_original(one)
            except DatabaseMovedError as error:
                reasons.append(str(error))
            return reasons + await last_lines.missing_last_lines(one)
    except NoPrimaryError as error:
        return [str(error)]


def _document(found: _Standing) -> dict[str, object]:
    order = asdict(found.order) if found.order else {"halted": False, "reason": "", "actor": "", "changed_at": None}
    on = not order["halted"] and not found.prevented_by
    return {
        "at": found.at,
        **asdict(found.backlog),
        "to_take_back": {"bookings": found.backlog.to_take_back, "first_charged_at": found.backlog.first_unwanted_at},
        "sending": {"on": on, **order, "prevented_by": found.prevented_by},
        "deployment": asdict(found.recorded) if found.recorded else None,
    }


def _sending(order: "Order | None", prevented_by: list[str]) -> str:
    lines = [f"NOTHING IS SENT: {why}" for why in prevented_by]
    if order is not None and (order.halted or not prevented_by):
        state = "HALTED" if order.halted else "on"
        lines.append(f"{state}, by {order.actor} at {output.shown(order.changed_at)}: {order.reason}")
    return "\n".join(lines) or "on"


def _deployment(recorded: "Recorded | None") -> str:
    if recorded is None:
        return "no worker has billed from here yet"
    since = f"since {output.shown(recorded.changed_at)}, by {output.printable(recorded.actor)}"
    return f"{recorded.deployment}, {'live' if recorded.live else 'test'}, {since}: {output.printable(recorded.reason)}"


def _looked_at_first(recorded: "Recorded | None") -> str:
    if recorded is None or recorded.look_first_before is None:
        return "nothing"
    return f"what was due before {output.shown(recorded.look_first_before)}"
