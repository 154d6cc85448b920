"""What the commands print: tables for people, JSON for programs.

People read instants in Seoul's time with its offset, and money with its currency. Programs read RFC 3339 in UTC and
minor units. What was found goes to stdout, why nothing was done goes to stderr.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import typer

from billing_worker.cli.exits import Failure

Row = Mapping[str, Any]
Column = tuple[str, str | Callable[[Row], object]]

# People who run this are in Korea, whatever zone the host is set to.
SHOWN_ZONE = "Asia/Seoul"

# Wide enough that no row is folded in a file or a pipe, where nobody has a window to fit.
_PIPE_COLUMNS = 240


def document(value: Mapping[str, object]) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def line(value: Row) -> None:
    """One JSON object on one line of stdout, there at once for whoever reads along."""
    typer.echo(json.dumps(dict(value), default=_plain, ensure_ascii=False, separators=(",", ":")))


def say(text: str) -> None:
    """A sentence for people on stdout."""
    typer.echo(text)


def table(columns: Iterable[Column], rows: Iterable[Row], *, title: str = "", to_stderr: bool = False) -> None:
    """A table for people."""
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second that --json does not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    stream = sys.stderr if to_stderr else sys.stdout
    wide = None if stream.isatty() else _PIPE_COLUMNS
    console = Console(file=stream, width=wide, markup=False, highlight=False, emoji=False)
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    taken = list(columns)
    for header, _ in taken:
        drawn.add_column(header, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(shown(cell(row) if callable(cell) else row[cell])) for _, cell in taken))
    console.print(drawn)


def facts(values: Mapping[str, object], *, title: str = "") -> None:
    """Names and values below one another."""
    rows = [{"name": name, "value": value} for name, value in values.items()]
    table((("", "name"), ("", "value")), rows, title=title)


def tell(failure: Failure, *, as_json: bool) -> None:
    """Why the command failed, on stderr."""
    if as_json:
        error = {
            "kind": failure.kind,
            "message": failure.message,
            "remedy": failure.remedy,
            "details": [asdict(detail) for detail in failure.details],
            "exit_code": int(failure.code),
        }
        typer.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
        return
    typer.echo(f"Error: {printable(failure.message)}", err=True)
    for detail in failure.details:
        typer.echo(f"  {printable(detail.where)}: {printable(detail.what)}", err=True)
    if failure.remedy:
        typer.echo(f"What to do: {failure.remedy}", err=True)


def money(row: Row) -> str:
    """The amount of a row, with its currency; empty where it has none."""
    from billing_worker.billing.money import MINOR_DIGITS  # noqa: PLC0415 - not for --help

    amount_minor, currency = row["amount_minor"], row["currency"]
    if amount_minor is None:
        return ""
    digits = MINOR_DIGITS[currency]
    whole, rest = divmod(amount_minor, 10**digits)
    return f"{whole:,}.{rest:0{digits}d} {currency}" if digits else f"{whole:,} {currency}"


def shown(value: object) -> str:
    """A value for people."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(ZoneInfo(SHOWN_ZONE)).isoformat(sep=" ", timespec="seconds")
        case time():
            return f"{value:%H:%M}"
        case int():
            return f"{value:,}"
        case _:
            return printable(str(value))


def printable(text: str) -> str:
    """The text with what a terminal would obey made visible; lines stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _plain(value: object) -> str:
    """What JSON has no form for. Anything unexpected is a mistake of ours and shows as one."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}")
