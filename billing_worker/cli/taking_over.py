"""The command schedules import: takes over what a merchant has booked at PortOne by hand.

Without --confirm it only says what it would do. PortOne is only asked, and each row is written in a transaction of its
own after it was: whoever is interrupted gives the same command again, and what is taken over already stays as it is.
"""
# Commands import what they need when they run: --help must not wait for an HTTP client.
# ruff: noqa: PLC0415

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from billing_worker.billing.csv_rows import Fault, decoded, shape_of
from billing_worker.billing.outcomes import Unanswered
from billing_worker.billing.taking_over import (
    Judged,
    NotTaken,
    Row,
    TakenBefore,
    TakeOver,
    judge,
    judge_known,
    read_rows,
)
from billing_worker.cli import output, report
from billing_worker.cli.exits import Exit
from billing_worker.cli.options import AsJson, By, actor
from billing_worker.cli.subscriptions import FILE_BYTES_MAX, file_bytes

if TYPE_CHECKING:
    from billing_worker.billing.outcomes import Schedule
    from billing_worker.billing.taking_over import Candidate
    from billing_worker.portone.client import PortOneClient
    from billing_worker.settings import Settings
    from billing_worker.store.db import Database
    from billing_worker.store.taking_over import Known

# So many rows are asked about at once: beside a running worker, PortOne's patience is shared.
ROWS_AT_ONCE = 8

Result = Literal["taken_over", "may_be_taken_over", "taken_before", "refused", "not_asked"]

_OVERTAKEN = NotTaken("business_key", "is a subscription that has changed while PortOne was asked", "import again")
_NOT_REACHED = Unanswered("PortOne did not answer for a row before this one")

_COLUMNS: tuple[output.Column, ...] = (
    ("line", "line"),
    ("subscription", "business_key"),
    ("result", "result"),
    ("to be charged", "time_to_pay"),
    ("amount", output.money),
    ("schedule", "schedule_id"),
    ("column", "column"),
    ("reason", "reason"),
    ("looks like", "shape"),
    ("what to do", "remedy"),
)


@dataclass(frozen=True, slots=True)
class _Told:
    """What became of one row."""

    row: Row
    result: Result
    judged: Judged
    known: bool  # whether the business key is a subscription's, and so no secret in the wrong column


@dataclass(slots=True)
class _Import:
    """One run of the command."""

    settings: "Settings"
    database: "Database"
    portone: "PortOneClient"
    confirmed: bool
    who: str
    told: list[_Told] = field(default_factory=list)


def import_schedules(
    file: Annotated[str, typer.Argument(metavar="FILE.csv", help="The file, in UTF-8; - for stdin.")],
    confirm: Annotated[bool, typer.Option("--confirm", help="Do it; without this it is only said.")] = False,
    *,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take over schedules that were booked at PortOne by hand: each becomes its subscription's next period.

    The columns are business_key and payment_id. The same file given again changes nothing.
    """
    from billing_worker.cli.database import on_database, settings

    who = actor(by)
    text = decoded(file_bytes(file, FILE_BYTES_MAX))
    read = (text,) if isinstance(text, Fault) else read_rows(text)
    rows = [each for each in read if isinstance(each, Row)]
    faults = [each for each in read if isinstance(each, Fault)]
    if faults:
        _tell_faults(faults, confirmed=confirm, as_json=as_json)
        raise typer.Exit(Exit.REFUSED)
    given = settings()
    told = on_database(lambda database: _bring_in(given, database, rows, confirmed=confirm, who=who), writes=confirm)
    _tell(told, confirmed=confirm, as_json=as_json)
    raise typer.Exit(_exit_of(told))


async def _bring_in(
    given: "Settings", database: "Database", rows: Sequence[Row], *, confirmed: bool, who: str
) -> list[_Told]:
    from billing_worker.cli.portone import portone_client

    async with portone_client(given) as portone:
        run = _Import(given, database, portone, confirmed, who)
        for chunk in _chunks(rows):
            if any(one.result == "not_asked" for one in run.told):
                run.told += [_Told(row, "not_asked", _NOT_REACHED, known=False) for row in chunk]
            else:
                await _bring_in_some(run, chunk)
        return run.told


async def _bring_in_some(run: _Import, rows: Sequence[Row]) -> None:
    from billing_worker.store.taking_over import find_known

    business_keys, payment_ids = [row.business_key for row in rows], [row.payment_id for row in rows]
    known = await find_known(run.database.claims, business_keys, payment_ids)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_judge(run, row, known)) for row in rows]
    for row, task in zip(rows, asked, strict=True):
        judged = task.result()
        if isinstance(judged, TakeOver) and run.confirmed and not await _write(run, judged):
            judged = _OVERTAKEN
        result = _result(judged, confirmed=run.confirmed)
        run.told.append(_Told(row, result, judged, known=row.business_key in known.candidates))


async def _judge(run: _Import, row: Row, known: "Known") -> Judged:
    candidate = known.candidates.get(row.business_key)
    told = judge_known(row, candidate, known.owners.get(row.payment_id))
    if told is not None or candidate is None:
        return told or NotTaken("business_key", "is no subscription here", "import the subscription first")
    return await _ask(run, row, candidate)


async def _ask(run: _Import, row: Row, candidate: "Candidate") -> Judged:
    """The schedule first, and the payment only of one that would do: a cell may be something else than a payment_id."""
    listed = await _listed(run, row, candidate, candidate.next_cycle_number)
    if not listed and candidate.next_cycle_number > candidate.first_cycle_number:
        # It may be the schedule of a period that has been opened here, and would be charged beside it.
        listed = await _listed(run, row, candidate, candidate.next_cycle_number - 1)
    if isinstance(listed, Unanswered):
        return listed
    store_id = run.settings.portone_store_id
    judged = judge(row, candidate, listed, None, store_id=store_id)
    if not isinstance(judged, TakeOver):
        return judged
    return judge(row, candidate, listed, await run.portone.find(row.payment_id), store_id=store_id)


async def _listed(run: _Import, row: Row, candidate: "Candidate", number: int) -> "tuple[Schedule, ...] | Unanswered":
    """The schedules of the payment_id, on the subscription's billing key and about the time of that period."""
    from billing_worker.billing.periods import due_at, nth_period
    from billing_worker.portone.schedules import schedules_of

    sent = json.dumps({"billingKey": candidate.billing_key.reveal()}).encode()
    due = due_at(candidate.cadence, nth_period(candidate.cadence, number))
    return await schedules_of(run.portone, row.payment_id, time_to_pay=due, sent=sent)


async def _write(run: _Import, wanted: TakeOver) -> bool:
    from billing_worker.store import control
    from billing_worker.store.taking_over import take_over_schedule

    now = await control.primary_clock(run.database.claims)
    return await take_over_schedule(
        run.database.claims,
        wanted,
        store_id=run.settings.portone_store_id,
        now=now,
        look_at=_look_at(wanted.time_to_pay, now, run.settings.schedule_grace_seconds),
        actor=run.who,
    )


def _look_at(time_to_pay: datetime, now: datetime, grace_seconds: float) -> datetime:
    return max(time_to_pay + timedelta(seconds=grace_seconds), now)


def _result(judged: Judged, *, confirmed: bool) -> Result:
    match judged:
        case TakeOver():
            return "taken_over" if confirmed else "may_be_taken_over"
        case TakenBefore():
            return "taken_before"
        case NotTaken():
            return "refused"
        case Unanswered():
            return "not_asked"


def _exit_of(told: Sequence[_Told]) -> Exit:
    results = {one.result for one in told}
    if "not_asked" in results:
        return Exit.GONE
    return Exit.FOUND if "refused" in results else Exit.OK


def _tell_faults(faults: Sequence[Fault], *, confirmed: bool, as_json: bool) -> None:
    from billing_worker.cli.importing import Judgement

    judgement = Judgement(faults=list(faults))
    if as_json:
        named = report.as_document(judgement, dry_run=not confirmed)["faults"]
        output.document({"confirmed": confirmed, "rows": [], "faults": named})
    else:
        report.show(judgement, dry_run=not confirmed, of_file=True)


def _tell(told: Sequence[_Told], *, confirmed: bool, as_json: bool) -> None:
    rows = [_document(one) for one in told]
    counts = Counter(one.result for one in told)
    if as_json:
        output.document({"confirmed": confirmed, "counts": counts, "rows": rows, "faults": []})
        return
    output.table(_COLUMNS, rows[: report.CHANGES_SHOWN_MAX])
    if len(rows) > report.CHANGES_SHOWN_MAX:
        output.say(f"… and {len(rows) - report.CHANGES_SHOWN_MAX:,} more, which --json prints")
    output.say(", ".join(f"{result.replace('_', ' ')}: {count:,}" for result, count in sorted(counts.items())))
    if not confirmed and counts["may_be_taken_over"]:
        output.say("Nothing was written: add --confirm to take over what may be")


def _document(one: _Told) -> dict[str, object]:
    taken = one.judged if isinstance(one.judged, TakeOver) else None
    refused = one.judged if isinstance(one.judged, NotTaken) else None
    shown = one.known or one.result == "taken_before"
    return {
        "line": one.row.line,
        "business_key": one.row.business_key if shown else None,
        "payment_id": taken.payment_id if taken else None,
        "result": one.result,
        "schedule_id": taken.schedule_id if taken else None,
        "time_to_pay": taken.time_to_pay if taken else None,
        "amount_minor": taken.candidate.price.amount_minor if taken else None,
        "currency": taken.candidate.price.currency if taken else None,
        "column": refused.column if refused else None,
        "reason": refused.reason if refused else getattr(one.judged, "reason", None),
        "shape": shape_of(getattr(one.row, refused.column)) if refused else None,
        "remedy": _remedy(one.judged),
    }


def _remedy(judged: Judged) -> str | None:
    if isinstance(judged, Unanswered):
        return "give the same command again when PortOne answers"
    return judged.remedy if isinstance(judged, NotTaken) else None


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
