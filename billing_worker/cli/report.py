"""The report of an import: what was added, changed and left alone, or every fault for which nothing was done."""

from typing import TYPE_CHECKING

import typer

from billing_worker.cli import output

if TYPE_CHECKING:
    from billing_worker.cli.importing import Judgement

# A terminal is no place for more; --json has all.
CHANGES_SHOWN_MAX = 200


def as_document(judgement: "Judgement", *, dry_run: bool) -> dict[str, object]:
    """The report as JSON has it."""
    applied = not judgement.faults and not dry_run
    return {
        "applied": applied,
        "dry_run": dry_run,
        "added": 0 if judgement.faults else len(judgement.added),
        "changed": []
        if judgement.faults
        else [
            {
                "business_key": change.plan.business_key,
                "changes": [{"field": one.field, "old": one.old, "new": one.new} for one in change.changes],
            }
            for change in judgement.changed
        ],
        "unchanged": judgement.unchanged,
        "cancelled": judgement.cancelled,
        "faults": [
            {"line": fault.line, "column": fault.column, "reason": fault.reason, "shape": fault.shape}
            for fault in judgement.faults
        ],
    }


def show(judgement: "Judgement", *, dry_run: bool, of_file: bool) -> None:
    """The report for people; faults go to stderr, by line of a file or by option."""
    if judgement.faults:
        _show_faults(judgement, of_file=of_file)
        return
    changes = [
        {"subscription": change.plan.business_key, "field": one.field, "old": one.old, "new": one.new}
        for change in judgement.changed
        for one in change.changes
    ]
    if changes:
        columns = (("changed", "subscription"), ("field", "field"), ("old", "old"), ("new", "new"))
        output.table(columns, changes[:CHANGES_SHOWN_MAX])
        if len(changes) > CHANGES_SHOWN_MAX:
            output.say(f"… and {len(changes) - CHANGES_SHOWN_MAX:,} more, which --json prints")
    would = "Would be " if dry_run else ""
    counts = f"added {len(judgement.added):,}, changed {len(judgement.changed):,}, unchanged {judgement.unchanged:,}"
    output.say(f"{would}{counts}".capitalize())
    if judgement.cancelled:
        output.say(f"Cancelled before, and left so: {len(judgement.cancelled):,}")


def _show_faults(judgement: "Judgement", *, of_file: bool) -> None:
    place: output.Column = ("line", "line")
    if not of_file:
        place = ("option", lambda row: option_of(row["column"]))
    rows = [
        {"line": fault.line, "column": fault.column, "reason": fault.reason, "shape": fault.shape}
        for fault in judgement.faults
    ]
    column: tuple[output.Column, ...] = (("column", "column"),) if of_file else ()
    output.table((place, *column, ("reason", "reason"), ("looks like", "shape")), rows, to_stderr=True)
    typer.echo(f"Nothing was imported: {len(rows):,} faults", err=True)


def option_of(column: str) -> str:
    """The option of `subscriptions add` that fills a column."""
    return "--billing-key-file" if column == "billing_key" else f"--{column.replace('_', '-')}"
