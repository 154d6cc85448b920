"""The commands of a working day: what waits for a person, one attempt, one cycle, and the order to stop sending.

A person's decision is written into the ledger with name and reason, by the same statement that carries it out.
"""
# Commands import what they need when they run: --help must not wait for a database driver.
# ruff: noqa: PLC0415

from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, By, Limit, PaymentId, Reason, actor

if TYPE_CHECKING:
    from billing_worker.store.db import Database

attempt = typer.Typer(no_args_is_help=True, help="Attempts: what was tried on one payment id.")
cycle = typer.Typer(no_args_is_help=True, help="Cycles: skip one, hold it, accept it, or order another try.")

# When the truth of an attempt that a skip closed is looked at: a payment under way has turned up by then.
RECHECK_AFTER = timedelta(minutes=10)

_ATTEMPT_COLUMNS: tuple[output.Column, ...] = (
    ("attempt", "attempt_number"),
    ("status", "status"),
    ("learnt by", "source"),
    ("amount", output.money),
    ("opened", "opened_at"),
    ("settled", "settled_at"),
    ("paid", "paid_at"),
    ("to be charged", "time_to_pay"),
    ("schedule", "schedule_id"),
    ("taken back for", "revoke_reason"),
    ("decline", "decline_code"),
    ("message", "decline_message"),
    ("PG transaction", "pg_tx_id"),
    ("verified", "verified_at"),
    ("differs", "contradiction"),
    ("looks", "looks"),
    ("next look", "look_at"),
    ("worker", "worker"),
)
_EXCEPTION_COLUMNS: tuple[output.Column, ...] = (
    ("subscription", "business_key"),
    ("cycle", "cycle_number"),
    ("due", "due_at"),
    ("amount", output.money),
    ("held because", "held_reason"),
    ("payment id", "payment_id"),
)


@attempt.command("show")
def show_attempt(payment_id: PaymentId, as_json: AsJson = False) -> None:
    """Show every attempt on a payment id."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import attempts

    rows = on_database(lambda database: attempts.show_attempts(database.claims, payment_id), replica_too=True)
    if not rows:
        raise no_attempt(payment_id)
    if as_json:
        output.document({"payment_id": payment_id, "attempts": [dict(row) for row in rows]})
        return
    output.say(f"{output.printable(rows[0]['business_key'])}, payment id {payment_id}")
    output.table(_ATTEMPT_COLUMNS, rows)


@cycle.command("skip")
def skip_cycle(payment_id: PaymentId, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Do not collect a cycle that is due, given up or held. One under way cannot be skipped.

    What is booked at PortOne for it is taken back by a running worker.
    """
    from billing_worker.cli.database import on_database
    from billing_worker.store import control, cycles

    who = actor(by)

    async def skip(database: "Database") -> bool:
        now = await control.primary_clock(database.claims)
        return await cycles.skip_cycle(
            database.claims, payment_id, reason=reason, actor=who, now=now, recheck_at=now + RECHECK_AFTER
        )

    if not on_database(skip, writes=True):
        raise Failure(Exit.NOT_FOUND, "not_found", f"no cycle {payment_id} is due, given up or held; nothing was done")
    _done({"payment_id": payment_id, "skipped": True}, f"{payment_id} is skipped and will not be collected", as_json)


@cycle.command("retry")
def retry_cycle(payment_id: PaymentId, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Order another try of a cycle that is given up or held. The count of declines begins anew."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import control, cycles

    who = actor(by)

    async def retry(database: "Database") -> bool:
        now = await control.primary_clock(database.claims)
        return await cycles.retry_cycle(database.claims, payment_id, reason=reason, actor=who, now=now)

    if not on_database(retry, writes=True):
        message = f"no cycle {payment_id} is given up or held without an open attempt; nothing was done"
        raise Failure(Exit.NOT_FOUND, "not_found", message)
    _done({"payment_id": payment_id, "due": True}, f"{payment_id} is due again; a running worker tries it", as_json)


@cycle.command("hold")
def hold_cycle(payment_id: PaymentId, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Set a cycle that is being collected aside, so that it may be skipped. Its attempt stays open.

    What is booked at PortOne for it is taken back by a running worker.
    """
    from billing_worker.cli.database import on_database
    from billing_worker.store import control, cycles

    who = actor(by)

    async def hold(database: "Database") -> bool:
        now = await control.primary_clock(database.claims)
        return await cycles.hold_cycle(database.claims, payment_id, reason=reason, actor=who, now=now)

    if not on_database(hold, writes=True):
        raise Failure(Exit.NOT_FOUND, "not_found", f"no cycle {payment_id} is being collected; nothing was done")
    _done({"payment_id": payment_id, "held": True}, f"{payment_id} is held until a person decides", as_json)


@cycle.command("accept")
def accept_cycle(payment_id: PaymentId, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Accept the payment of a paid cycle though PortOne's record differs from what was asked for."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import cycles

    who = actor(by)
    if not on_database(
        lambda database: cycles.accept_cycle(database.claims, payment_id, reason=reason, actor=who), writes=True
    ):
        message = f"no paid cycle {payment_id} differs from PortOne's record; nothing was done"
        raise Failure(Exit.NOT_FOUND, "not_found", message)
    _done({"payment_id": payment_id, "accepted": True}, f"{payment_id} is accepted as it is", as_json)


def exceptions(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List what a person has to decide about, oldest first."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import cycles

    rows = on_database(lambda database: cycles.list_exceptions(database.claims, limit), replica_too=True)
    if as_json:
        output.document({"exceptions": [dict(row) for row in rows]})
    elif rows:
        output.table(_EXCEPTION_COLUMNS, rows)
    else:
        output.say("Nothing waits for a decision")


def halt(reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Stop sending charges, in every worker, within seconds. What is in flight is finished and written."""
    _order(halted=True, reason=reason, by=by, as_json=as_json)


def resume_sending(reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Let every worker send charges again."""
    _order(halted=False, reason=reason, by=by, as_json=as_json)


def no_attempt(payment_id: str) -> Failure:
    """Nothing was ever tried on a payment id, or there is none such."""
    return Failure(Exit.NOT_FOUND, "not_found", f"there is no attempt on {payment_id}")


def _order(*, halted: bool, reason: str, by: str | None, as_json: bool) -> None:
    from billing_worker.cli.database import on_database
    from billing_worker.store import control

    who = actor(by)
    # A copy may be halted, so that it is when somebody adopts it; nothing there is set going.
    on_database(
        lambda database: control.order_sending(database.claims, halted=halted, reason=reason, actor=who),
        writes=not halted,
    )
    text = "Sending is halted: workers obey within seconds" if halted else "Workers send again within seconds"
    _done({"halted": halted, "reason": reason, "actor": who}, text, as_json)


def _done(facts: dict[str, object], text: str, as_json: bool) -> None:
    if as_json:
        output.document(facts)
    else:
        output.say(text)
