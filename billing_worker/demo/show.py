"""What the demo prints: tables for people, one JSON document for programs.

For programs stdout is the document's alone, and whatever else there is to say goes to stderr. It draws what it is given
and counts nothing.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from billing_worker.demo.books import LEARNT, Progress
from billing_worker.demo.sample import Sample
from billing_worker.demo.stories import CHARGE, GIVEN_UP, NOT_DUE, PAID, SCHEDULE, SKIPPED, STORIES, Story
from billing_worker.demo.verdict import Verdict

# Where nobody has a window to fit, such as in a log.
_PIPE_COLUMNS = 110

_ROWS_SHOWN_MAX = 10

_END_WORDS = {PAID: "paid", GIVEN_UP: "given up", SKIPPED: "skipped", NOT_DUE: "left alone"}
_MODE_WORDS = {
    CHARGE: "charge: the workers charge when it is due",
    SCHEDULE: "schedule: PortOne charges what is booked",
}
_AGREE, _DIFFER = "[green]=[/green]", "[bold red]differs[/bold red]"


class Bar(Protocol):
    """What the run tells while it lasts."""

    def show(self, progress: Progress) -> None:
        """How far the run is."""

    def say(self, text: str) -> None:
        """Something that happened."""


class Show:
    """Everything that is printed."""

    def __init__(self, *, as_json: bool) -> None:
        self.is_for_programs = as_json
        console = Console(stderr=as_json, highlight=False)
        self._console = (
            console if console.is_terminal else Console(stderr=as_json, highlight=False, width=_PIPE_COLUMNS)
        )

    def say(self, text: str) -> None:
        """A sentence."""
        self._console.print(text, markup=False)

    def line(self, text: str) -> None:
        """A line that is there to be copied, and so never folded."""
        self._console.print(text, markup=False, soft_wrap=True)

    def failure(self, text: str) -> None:
        """Why the demo could not be played."""
        self._console.print("[bold red]The demo failed[/bold red]")
        self._console.print(text, markup=False)

    def opening(self, sample: Sample, workers: int) -> None:
        """What is about to be played."""
        count = len(sample.subscribers)
        crew = f"{workers} workers, one of them" if workers > 1 else "one worker,"
        booked = len(sample.due_shares)
        self.say(
            f"A night of billing: {count:,} monthly subscriptions, {booked:,} of them booked at PortOne ahead; "
            f"{crew} killed on the way; webhooks for half of the time."
        )
        if not self.is_for_programs:
            self._will_happen(sample)
            self.say("")
        self.say("Setting up …")

    def _will_happen(self, sample: Sample) -> None:
        table = _table("What will happen", ("subscriptions", "right"), ("what PortOne does", "left"), ("end", "left"))
        for mode, stories in _by_mode():
            table.add_row("", _MODE_WORDS[mode], style="bold")
            for story in stories:
                table.add_row(f"{len(sample.keys_of(story)):,}", f"  {story.title}", _END_WORDS[story.end])
        self._print(table)

    @contextlib.contextmanager
    def progress(self, due: int) -> Iterator[Bar]:
        """A bar for as long as the block lasts."""
        columns = (
            TextColumn("periods"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
        )
        live = RichProgress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        with live:
            yield _RichBar(live, live.add_task("", total=due, state="workers start"))

    def happened(self, sample: Sample, verdict: Verdict) -> None:
        """What became of each story."""
        ends = {key: (status, amount) for key, status, amount in verdict.cycle_ends}
        table = _table(
            "What happened",
            ("what PortOne did", "left"),
            ("due", "right"),
            ("paid", "right"),
            ("given up", "right"),
            ("skipped", "right"),
            ("other", "right"),
            ("collected", "right"),
        )
        for mode, stories in _by_mode():
            of_mode = [ends[key] for story in stories for key in sample.keys_of(story) if key in ends]
            table.add_row(_MODE_WORDS[mode], *_ends_row(of_mode), style="bold")
            for story in stories:
                of_story = [ends[key] for key in sample.keys_of(story) if key in ends]
                if story.end != NOT_DUE:
                    table.add_row(f"  {story.title}", *_ends_row(of_story))
        table.add_row("all", *_ends_row(list(ends.values())), style="bold")
        self._print(table)

    def figures(self, left: Mapping[str, str], right: Mapping[str, str]) -> None:
        """Names and values below one another, in two columns."""
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 4, 0, 0))
        for justify in ("left", "right", "left", "right"):
            table.add_column(justify="right" if justify == "right" else "left")
        for one, other in itertools.zip_longest(left.items(), right.items(), fillvalue=("", "")):
            table.add_row(*one, *other)
        self._print(table)

    def learnt(self, verdict: Verdict, *, webhooks_seconds: float, elapsed_seconds: float) -> None:
        """How the workers came to know whether money came."""
        webhooks = verdict.webhooks
        table = _table(
            "How it was learnt", ("paid or declined", "left"), ("by the answer", "right"), ("by a webhook", "right"),
            ("by asking", "right"),
        )  # fmt: skip
        for tried_by, words in (("charges", "charges"), ("bookings", "bookings that PortOne charged")):
            by = verdict.learnt[tried_by]
            table.add_row(words, *(f"{by[how]:,}" for how in LEARNT))
        self._print(table)
        self.say(
            f"Webhooks were on for {webhooks_seconds:.1f} of {elapsed_seconds:.1f} s: {webhooks['told']:,}, of which "
            f"{webhooks['lost']:,} were lost and {webhooks['duplicated']:,} came twice; {webhooks['kept']:,} were kept."
        )

    def conclusion(self, complaints: Sequence[str], verdict: Verdict) -> None:
        """One sentence, or what is wrong."""
        self._console.print()
        for complaint in complaints:
            self._console.print(f"[bold red]WRONG[/bold red] {complaint}")
        if not complaints:
            self._console.print(
                f"[bold green]PortOne and the ledger agree, row by row:[/bold green] "
                f"{verdict.ledger.payments:,} payments, {won(verdict.ledger.won)}; "
                "nothing paid twice, nothing lost, nothing missed. "
                f"{verdict.ledger_entries:,} ledger entries, and every hash chain is whole."
            )

    def beside(self, verdict: Verdict) -> None:
        """PortOne's truth beside the ledger."""
        portone, ledger = verdict.portone, verdict.ledger
        table = _table(
            "PortOne's truth beside the ledger", ("", "left"), ("PortOne", "right"), ("ledger", "right"), ("", "left")
        )
        table.add_row(
            "payments", f"{portone.payments:,}", f"{ledger.payments:,}", _same(portone.payments, ledger.payments)
        )
        table.add_row(
            "  of them charged by schedule",
            f"{portone.by_schedule:,}",
            f"{ledger.by_schedule:,}",
            _same(portone.by_schedule, ledger.by_schedule),
        )
        table.add_row(
            "schedules that charged, or tried to",
            f"{portone.fired:,}",
            f"{ledger.fired:,}",
            _same(portone.fired, ledger.fired),
        )
        table.add_row("collected", won(portone.won), won(ledger.won), _same(portone.won, ledger.won))
        table.add_row(
            "hash over every payment_id, amount and PG transaction",
            portone.fingerprint,
            ledger.fingerprint,
            _same(portone.fingerprint, ledger.fingerprint),
        )
        self._print(table)
        found = verdict.differences
        self._row_by_row(
            {
                "paid twice": found.paid_twice,
                "lost: charged by PortOne, not in the ledger": [one.line() for one in found.lost],
                "invented: in the ledger, not charged by PortOne": [one.line() for one in found.invented],
                "missed: due, and without an end": found.missed,
                "collected before it was due": found.too_early,
                "schedules that are not so in the ledger, or the other way round": found.booked_otherwise,
                "schedules left at PortOne that we think revoked or over": found.left_scheduled,
                "faults in the ledger's hash chains": verdict.chain_faults,
            }
        )

    def sql(self, statements: Mapping[str, str], login: str) -> None:
        """The statements that counted the ledger's side."""
        self._console.print(
            f"\n[bold]The SQL that counted[/bold] (run as the login {login}, which can write nothing)\n"
        )
        for why, statement in statements.items():
            self._console.print(f"-- {why}", style="dim")
            self.line(f"{statement}\n")

    def _row_by_row(self, findings: Mapping[str, Sequence[str]]) -> None:
        table = _table("Row by row", ("rows", "right"), ("", "left"))
        for title, rows in findings.items():
            table.add_row(f"[bold red]{len(rows):,}[/bold red]" if rows else "0", title)
            for row in rows[:_ROWS_SHOWN_MAX]:
                table.add_row("", f"  {row}", style="red")
        self._print(table)

    def _print(self, table: Table) -> None:
        self._console.print()
        self._console.print(table)


class _RichBar:
    """A bar, and lines above it."""

    def __init__(self, live: RichProgress, task: TaskID) -> None:
        self._live = live
        self._task = task

    def show(self, progress: Progress) -> None:
        self._live.update(self._task, completed=progress.settled, state=_state(progress))

    def say(self, text: str) -> None:
        self._live.console.print(text)


def _by_mode() -> list[tuple[str, list[Story]]]:
    return [(mode, [story for story in STORIES if story.mode == mode]) for mode in (CHARGE, SCHEDULE)]


def won(amount: int) -> str:
    """Won for people."""
    return f"₩{amount:,}"


def _state(progress: Progress) -> str:
    """What there is to do yet, in a few words."""
    if progress.unopened or progress.untried:
        return f"{progress.open_attempts} calls open, {progress.booked} booked"
    parts = (
        (progress.booked, "booked"),
        (progress.open_attempts, "to ask PortOne about"),
        (progress.waiting, "to try again"),
        (progress.looks_left, "to look at once more"),
    )
    return ", ".join(f"{count} {what}" for count, what in parts if count) or "done"


def _ends_row(ends: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    paid = [amount for status, amount in ends if status == PAID]
    given_up = sum(1 for status, _ in ends if status == GIVEN_UP)
    skipped = sum(1 for status, _ in ends if status == SKIPPED)
    counts = (len(ends), len(paid), given_up, skipped, len(ends) - len(paid) - given_up - skipped)
    return *(f"{count:,}" for count in counts), won(sum(paid))


def _same(one: object, other: object) -> str:
    return _AGREE if one == other else _DIFFER


def _table(title: str, *columns: tuple[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for header, justify in columns:
        table.add_column(header, justify="right" if justify == "right" else "left", overflow="fold")
    return table
