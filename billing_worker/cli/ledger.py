"""The commands about the ledger: read its newest entries, seal it, and verify that nobody has changed one."""
# Commands import what they need when they run: --help must not wait for a database driver.
# ruff: noqa: PLC0415

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, Limit

if TYPE_CHECKING:
    from billing_worker.store.db import Database

app = typer.Typer(no_args_is_help=True, help="The ledger: read it, seal it, verify it.")

FOLLOW_SECONDS = 1.0
FOLLOW_PAGE_ROWS = 2_000

# An entry is stamped when it is written and seen when its transaction commits, which may be a moment later.
LATE_COMMIT = timedelta(seconds=5)

# A statement reads a page of some thousand entries; beside busy workers that may take a moment.
PAGE_SECONDS = 60.0
SEALED_HEADS_PAGE = 1_000

_COLUMNS: tuple[output.Column, ...] = (
    ("recorded", "recorded_at"),
    ("subscription", "business_key"),
    ("entry", "sequence"),
    ("kind", "kind"),
    ("amount", output.money),
    ("payment id", "payment_id"),
    ("code", "code"),
    ("message", "message"),
    ("source", "source"),
    ("by", "actor"),
    ("login", "written_by"),
)

Since = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN", help="Only later entries: 2026-03-01 or 2026-03-01T09:00, in Seoul unless it has an offset."
    ),
]


@app.command("tail")
def tail(
    limit: Limit = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing entries until interrupted.")] = False,
    subscription: Annotated[str | None, typer.Option(metavar="BUSINESS_KEY", help="Only this subscription's.")] = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """Print the newest entries, the newest last. With --json, one object a line."""
    from billing_worker.cli.database import on_database
    from billing_worker.store import ledger

    after = _instant(since)

    async def read(database: "Database") -> None:
        newest_first = await ledger.tail_ledger(database.claims, limit=limit, after=after, business_key=subscription)
        _print(newest_first[::-1], as_json=as_json, in_lines=follow)
        if follow:
            async for entries in _later(database, newest_first, subscription):
                _print(entries, as_json=as_json, in_lines=True)

    try:
        on_database(read, replica_too=True)
    except KeyboardInterrupt:
        # Whoever follows ends it so; there is no other way.
        if not follow:
            raise


@app.command("verify")
def verify(
    seal: Annotated[
        Path | None,
        typer.Option("--seal", metavar="FILE", help="A seal that was taken before: is all that it saw still there?"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every chain of entries, and compare entries with cycles and attempts."""
    from billing_worker.billing.model import SHARDS
    from billing_worker.billing.seal import Seal
    from billing_worker.cli.database import on_database
    from billing_worker.store import ledger

    heads = Seal()

    async def recompute(database: "Database") -> tuple[int, list[str]]:
        entries = 0
        faults = await _broken_seals(database, seal) if seal else []
        for shard in range(SHARDS):
            # Workers go on writing meanwhile: a chain and its head must be read at one moment.
            async with database.claims.snapshot() as moment:
                count, found = await ledger.verify_shard(moment, shard, seal=heads)
            entries += count
            faults += [f"shard {shard}, {fault}" for fault in found]
        return entries, faults

    entries, faults = on_database(recompute, command_seconds=PAGE_SECONDS, replica_too=True)
    if as_json:
        output.document({"entries": entries, "faults": faults, "root": heads.root})
    else:
        for fault in faults:
            output.say(output.printable(fault))
        output.say(f"{entries:,} entries read, {len(faults):,} faults, root {heads.root}")
    if faults:
        raise typer.Exit(Exit.FOUND)


@app.command("seal")
def seal(as_json: AsJson = False) -> None:
    """Print the head of every chain, one JSON object a line, to be kept where nobody of the database can reach."""
    from billing_worker.billing.model import SHARDS
    from billing_worker.billing.seal import Seal
    from billing_worker.cli.database import on_database
    from billing_worker.store import ledger

    del as_json  # it is JSON in any case
    heads = Seal()

    async def write(database: "Database") -> None:
        for shard in range(SHARDS):
            async with database.claims.snapshot() as moment:
                async for head in ledger.read_heads(moment, shard):
                    output.say(heads.add(head))

    on_database(write, command_seconds=PAGE_SECONDS, replica_too=True)
    output.say(heads.last_line())


async def _broken_seals(database: "Database", file: Path) -> list[str]:
    """What a seal has seen and the database no longer has. Raises Failure where the file is no whole seal."""
    from billing_worker.billing.seal import SealError, SealReader
    from billing_worker.store import ledger

    reader, faults = SealReader(), list[str]()
    try:
        with file.open(encoding="utf-8") as lines:
            while page := list(islice(lines, SEALED_HEADS_PAGE)):
                heads = [head for line in page if (head := reader.take(line)) is not None]
                faults += await ledger.broken_seals(database.claims, heads)
        reader.finish()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(Exit.REFUSED, "seal", f"{file} cannot be read ({type(error).__name__})") from None
    except SealError as error:
        raise Failure(Exit.REFUSED, "seal", f"{file} is no whole seal: {error}") from None
    return faults


async def _later(
    database: "Database", newest_first: Sequence[Any], business_key: str | None
) -> AsyncIterator[Sequence[Any]]:
    """Entries as they come, each once."""
    from billing_worker.store import control, ledger

    seen = {_identity(row): row["recorded_at"] for row in newest_first}
    newest_at = newest_first[0]["recorded_at"] if newest_first else await control.primary_clock(database.claims)
    # What was committed before the first page is not news, however recently it was stamped.
    started_at = newest_at
    while True:
        after = max(newest_at - LATE_COMMIT, started_at)
        while True:
            page = await ledger.follow_ledger(
                database.claims, after=after, limit=FOLLOW_PAGE_ROWS, business_key=business_key
            )
            fresh = [row for row in page if _identity(row) not in seen]
            seen |= {_identity(row): row["recorded_at"] for row in fresh}
            yield fresh
            if len(page) < FOLLOW_PAGE_ROWS or page[-1]["recorded_at"] == after:
                break
            after = page[-1]["recorded_at"]
        newest_at = max([newest_at, *seen.values()])
        seen = {identity: at for identity, at in seen.items() if at >= newest_at - LATE_COMMIT}
        await asyncio.sleep(FOLLOW_SECONDS)


def _identity(row: Any) -> tuple[str, int]:
    return row["business_key"], row["sequence"]


def _print(entries: Sequence[Any], *, as_json: bool, in_lines: bool) -> None:
    if as_json:
        for entry in entries:
            output.line(entry)
    elif in_lines:
        for entry in entries:
            cells = (output.shown(cell(entry) if callable(cell) else entry[cell]) for _, cell in _COLUMNS)
            output.say("  ".join(cell for cell in cells if cell))
    else:
        output.table(_COLUMNS, entries)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("must be a date or a time of ISO 8601", param_hint="--since") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=ZoneInfo(output.SHOWN_ZONE))
