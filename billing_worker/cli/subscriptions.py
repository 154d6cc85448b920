"""The commands about subscriptions: add, import, list, show, cancel, resume.

A billing key is read from a file, from stdin or from a prompt that shows nothing, never from an argument: arguments are
in the shell's history and in every process list.
"""
# Commands import what they need when they run: --help must not wait for a database driver.
# ruff: noqa: PLC0415

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from billing_worker.billing.states import SubscriptionStatus
from billing_worker.cli import output, report
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, BusinessKey, By, CollectPast, Limit, Pg, PgOption, Reason, actor

if TYPE_CHECKING:
    from billing_worker.billing.intake import Intake
    from billing_worker.cli.importing import Rules

app = typer.Typer(no_args_is_help=True, help="Subscriptions: add, import, list, show, end.")

STDIN = "-"

# A million rows of the columns we take; more is another file.
FILE_BYTES_MAX = 400_000_000
KEY_BYTES_MAX = 16_384

_LIST_COLUMNS: tuple[output.Column, ...] = (
    ("subscription", "business_key"),
    ("customer", "customer_id"),
    ("order name", "order_name"),
    ("price", output.money),
    ("every", lambda row: f"{row['period_count']} {row['period_unit']}"),
    ("anchor", "anchor_on"),
    ("mode", "mode"),
    ("status", "status"),
    ("next cycle", "next_cycle_number"),
    ("next due", "next_due_at"),
)
_CYCLE_COLUMNS: tuple[output.Column, ...] = (
    ("cycle", "cycle_number"),
    ("from", "period_start_on"),
    ("to", "period_end_on"),
    ("due", "due_at"),
    ("amount", output.money),
    ("status", "status"),
    ("attempts", "attempts_count"),
    ("declines", "declines_count"),
    ("next try", lambda row: row["claimable_at"] if row["status"] == "due" else None),
    ("paid", "paid_at"),
    ("held because", "held_reason"),
    ("payment id", "payment_id"),
)


@app.command("add")
def add(
    *,
    business_key: Annotated[str, typer.Option(help="Your own key of the subscription; it never changes.")],
    customer_id: Annotated[str, typer.Option(help="Your own key of the customer.")],
    amount: Annotated[str, typer.Option(help="What a period costs, in whole won (or minor units).")],
    anchor_on: Annotated[str, typer.Option(help="The date that periods are counted from, YYYY-MM-DD.")],
    order_name: Annotated[str, typer.Option(help="What the customer reads on the bill.")],
    billing_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file that holds the billing key, or - for stdin; else it is asked for."),
    ] = None,
    customer_name: Annotated[str, typer.Option(help="Needed by some PGs, such as KPN.")] = "",
    customer_phone: Annotated[str, typer.Option(help="Such as 010-1234-5678.")] = "",
    customer_email: Annotated[str, typer.Option(help="An address.")] = "",
    currency: Annotated[str, typer.Option(help="KRW if left out.")] = "",
    period_unit: Annotated[str, typer.Option(help="day, week, month or year; month if left out.")] = "",
    period_count: Annotated[str, typer.Option(help="How many units a period has; 1 if left out.")] = "",
    zone: Annotated[str, typer.Option(help="The time zone of its dates; Asia/Seoul if left out.")] = "",
    charge_at: Annotated[str, typer.Option(help="The time of day of a charge, HH:MM; 10:00 if left out.")] = "",
    start_on: Annotated[str, typer.Option(help="The first day to collect from; the anchor if left out.")] = "",
    mode: Annotated[str, typer.Option(help="charge, or schedule to book at PortOne ahead; charge if left out.")] = "",
    pg: PgOption = Pg.KPN,
    collect_past: CollectPast = False,
    change: Annotated[bool, typer.Option("--change", help="Change the subscription where it is known.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add one subscription. Adding the same one again changes nothing."""
    from billing_worker.cli.importing import Rules

    row = {
        "business_key": business_key,
        "customer_id": customer_id,
        "customer_name": customer_name,
        "customer_phone": customer_phone,
        "customer_email": customer_email,
        "billing_key": _billing_key(billing_key_file),
        "order_name": order_name,
        "amount": amount,
        "currency": currency,
        "period_unit": period_unit,
        "period_count": period_count,
        "anchor_on": anchor_on,
        "zone": zone,
        "charge_at": charge_at,
        "start_on": start_on,
        "mode": mode,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(row))
    writer.writeheader()
    writer.writerow(row)
    rules = Rules(collect_past=collect_past, changes_allowed=change)
    _bring_in(_read(text.getvalue(), pg), rules=rules, dry_run=False, as_json=as_json, of_file=False)


@app.command("import")
def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE.csv", help="The file, in UTF-8; - for stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    pg: PgOption = Pg.KPN,
    collect_past: CollectPast = False,
    as_json: AsJson = False,
) -> None:
    """Import a file of subscriptions, whole or not at all. Importing it again changes nothing."""
    from billing_worker.billing.csv_rows import Fault, decoded
    from billing_worker.billing.intake import Intake
    from billing_worker.cli.importing import Rules

    text = decoded(file_bytes(file, FILE_BYTES_MAX))
    intake = Intake((), (text,)) if isinstance(text, Fault) else _read(text, pg)
    _bring_in(intake, rules=Rules(collect_past=collect_past), dry_run=dry_run, as_json=as_json, of_file=True)


@app.command("list")
def list_all(
    status: Annotated[SubscriptionStatus | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 100,
    after: Annotated[str, typer.Option(help="Only those whose key comes after this one.")] = "",
    as_json: AsJson = False,
) -> None:
    """List subscriptions in the order of their keys."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import subscriptions

    rows = on_database(
        lambda database: subscriptions.list_subscriptions(database.claims, status=status, after=after, limit=limit),
        replica_too=True,
    )
    more = rows[-1]["business_key"] if len(rows) == limit else None
    if as_json:
        output.document({"subscriptions": [dict(row) for row in rows], "next_after": more})
        return
    output.table(_LIST_COLUMNS, rows)
    if more is not None:
        output.say(f"There may be more: add --after {output.printable(more)}")


@app.command("show")
def show(business_key: BusinessKey, limit: Limit = 24, as_json: AsJson = False) -> None:
    """Show one subscription and its newest cycles."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import subscriptions
    from billing_worker.store.db import Database

    async def read(database: Database) -> tuple[Any, list[Any]]:
        async with database.claims.snapshot() as moment:
            found = await subscriptions.show_subscription(moment, business_key)
            return found, await subscriptions.list_cycles(moment, business_key, limit=limit)

    found, cycles = on_database(read, replica_too=True)
    if found is None:
        raise _no_subscription(business_key)
    if as_json:
        output.document({"subscription": dict(found), "cycles": [dict(row) for row in cycles]})
        return
    output.facts({"price": output.money(found), **{k: v for k, v in found.items() if k != "amount_minor"}})
    output.say("")
    output.table(_CYCLE_COLUMNS, cycles)


@app.command("cancel")
def cancel(business_key: BusinessKey, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """End a subscription now. What is due and not begun is skipped; an attempt under way is left to its outcome.

    What is booked at PortOne is taken back by a running worker.
    """
    from billing_worker.cli.database import on_database
    from billing_worker.store import control, subscriptions
    from billing_worker.store.db import Database
    from billing_worker.store.subscriptions import Cancellation

    who = actor(by)

    async def end(database: Database) -> tuple[Cancellation, Any]:
        now = await control.primary_clock(database.claims)
        done = await subscriptions.cancel_subscription(database.claims, business_key, reason=reason, actor=who, now=now)
        return done, await subscriptions.show_subscription(database.claims, business_key)

    done, found = on_database(end, writes=True)
    if found is None:
        raise _no_subscription(business_key)
    if as_json:
        counts = {"cycles_skipped": done.skipped, "bookings_revoking": done.revoking}
        output.document({"business_key": business_key, "cancelled_now": done.ended, **counts})
    elif done.ended:
        output.say(f"{output.printable(business_key)} is cancelled; due cycles skipped with it: {done.skipped}")
        if done.revoking:
            output.say(f"Bookings at PortOne that a running worker takes back now: {done.revoking}")
    else:
        output.say(f"{output.printable(business_key)} was cancelled before; nothing was changed")


@app.command("resume")
def resume(business_key: BusinessKey, reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Let a held subscription renew again, after what held it has been mended."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import subscriptions
    from billing_worker.store.db import Database

    who = actor(by)

    async def free(database: Database) -> tuple[bool, Any]:
        freed = await subscriptions.resume_subscription(database.claims, business_key, reason=reason, actor=who)
        return freed, await subscriptions.show_subscription(database.claims, business_key)

    freed, found = on_database(free, writes=True)
    if found is None:
        raise _no_subscription(business_key)
    if found["status"] == "cancelled":
        raise Failure(Exit.REFUSED, "cancelled", "the subscription is cancelled for good", remedy="add another one")
    if as_json:
        output.document({"business_key": business_key, "resumed_now": freed, "status": found["status"]})
    else:
        before = "renews again" if freed else "was active before; nothing was changed"
        output.say(f"{output.printable(business_key)} {before}")


def _bring_in(intake: "Intake", *, rules: "Rules", dry_run: bool, as_json: bool, of_file: bool) -> None:
    from billing_worker.cli.database import on_database
    from billing_worker.cli.importing import Judgement, bring_in

    if intake.faults:
        judgement = Judgement(faults=list(intake.faults))
    else:
        judgement = on_database(
            lambda database: bring_in(database, intake.plans, rules=rules, dry_run=dry_run), writes=not dry_run
        )
    if as_json:
        output.document(report.as_document(judgement, dry_run=dry_run))
    else:
        report.show(judgement, dry_run=dry_run, of_file=of_file)
    if judgement.faults:
        raise typer.Exit(Exit.REFUSED)


def _read(text: str, pg: Pg) -> "Intake":
    from billing_worker.billing.channels import PROFILES
    from billing_worker.billing.intake import IntakeDefaults, read_rows

    return read_rows(text, profile=PROFILES[pg.value], defaults=IntakeDefaults())


def _billing_key(file: str | None) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise Failure(
                Exit.REFUSED,
                "usage",
                "there is nobody to ask for the billing key",
                remedy="give --billing-key-file FILE, or --billing-key-file - to read it from stdin",
            )
        return str(typer.prompt("Billing key (not shown)", hide_input=True, err=True)).strip()
    try:
        return file_bytes(file, KEY_BYTES_MAX).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Failure(Exit.REFUSED, "input", "the billing key's file is not UTF-8 text") from None


def file_bytes(file: str, bytes_max: int) -> bytes:
    """The content of a file, or of stdin. Raises Failure."""
    try:
        if file == STDIN:
            content = sys.stdin.buffer.read(bytes_max + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(bytes_max + 1)
    except OSError as error:
        raise Failure(Exit.REFUSED, "input", f"{file} cannot be read: {error.strerror}") from None
    if len(content) > bytes_max:
        raise Failure(Exit.REFUSED, "input", f"{file} is larger than {bytes_max:,} bytes")
    return content


def _no_subscription(business_key: str) -> Failure:
    return Failure(Exit.NOT_FOUND, "not_found", f"there is no subscription {business_key}")
