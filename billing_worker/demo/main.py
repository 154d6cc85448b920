"""The demo: one night of billing with a database and a PortOne of its own, and a verdict on it.

It decides the order of things and the exit code. It must touch nothing that was there before, and leave nothing behind
but the logs of a run that went wrong.
"""

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from billing_worker.clock import SystemClock
from billing_worker.demo import keeping, watch
from billing_worker.demo import verdict as verdicts
from billing_worker.demo.children import DemoFailedError
from billing_worker.demo.pace import Pace
from billing_worker.demo.pg_binaries import PostgresNotFoundError
from billing_worker.demo.pg_cluster import EmbeddedPostgresError
from billing_worker.demo.pg_directory import DirectoryInUseError
from billing_worker.demo.sample import Sample, make_sample, where_it_is_day
from billing_worker.demo.show import Show
from billing_worker.demo.stage import AUDITOR, Stage
from billing_worker.demo.verdict import Verdict
from billing_worker.demo.watch import Run
from billing_worker.store import db
from billing_worker.store.db import DatabaseGoneError, RowRefusedError
from billing_worker.store.migrate import MigrationError

EXIT_AGREES = 0
EXIT_DIFFERS = 1
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

_STEP_FAILURES = (
    DemoFailedError,
    DirectoryInUseError,
    EmbeddedPostgresError,
    PostgresNotFoundError,
    MigrationError,
    DatabaseGoneError,
    RowRefusedError,
    OSError,
)

# A document that lists a million rows helps nobody; the counts are whole.
DIFFERENCES_LISTED_MAX = 100

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Shown in this order; each is a named query of sql/queries/demo.sql.
_SHOWN_SQL = {
    "how the periods ended": "demo_outcomes",
    "the ledger's payments, and a fingerprint over all of them": "demo_payments",
    "periods that were paid twice: no row": "demo_paid_twice",
    "due periods without an end: no row": "demo_missed",
    "charged before they were due: no row": "demo_too_early",
    "what became of the bookings": "demo_booking_figures",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """A run with its verdict."""

    run: Run
    verdict: Verdict
    setup_seconds: float
    worker_exits: tuple[int, ...]

    @property
    def exit_code(self) -> int:
        """Agreement of every row, a run that came to an end, and workers that drained."""
        good = self.verdict.agrees and self.run.came_to_an_end and not any(self.worker_exits)
        return EXIT_AGREES if good else EXIT_DIFFERS


class _Signals:
    """Ctrl-C, SIGTERM and a closed terminal all interrupt, once; from then on we are taking down and deaf."""

    def __init__(self) -> None:
        self._deaf = False

    def turn_deaf(self) -> None:
        """Taking down has a bound of its own and must not be cut short by an impatient second Ctrl-C."""
        self._deaf = True

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Listen while the block lasts. Only the main thread may; in another one nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._deaf:
            self._deaf = True
            raise KeyboardInterrupt


def run_demo(*, json_output: bool, keep: bool, subscriptions: int = 1000, workers: int = 2) -> int:
    """Run the demo and return its exit code.

    0 where PortOne and the ledger agree to the row, 1 where they differ, 3 where a step failed, 130 after Ctrl-C.
    """
    show = Show(as_json=json_output)
    zone, today = where_it_is_day(SystemClock().now())
    sample = make_sample(subscriptions, today, zone)
    signals = _Signals()
    pace = Pace(due=len(sample.due_keys), workers=workers)
    stage = Stage(pace, sample, before_taking_down=signals.turn_deaf)
    with signals.interrupting():
        try:
            code = _play(stage, sample, show, keep=keep)
        except KeyboardInterrupt:
            show.say("interrupted; everything is taken down")
            code = EXIT_INTERRUPTED
        except _STEP_FAILURES as error:
            show.failure(f"{type(error).__name__}: {error}")
            code = EXIT_FAILED
    if stage.kept_logs is not None:
        show.say(f"The logs of the workers, the simulator and PostgreSQL are in {stage.kept_logs}")
    return code


def _play(stage: Stage, sample: Sample, show: Show, *, keep: bool) -> int:
    began = time.monotonic()
    show.opening(sample, stage.pace.workers)
    with stage:
        setup_seconds = time.monotonic() - began
        show.say(f"PostgreSQL {stage.postgres.server_version}, the schema, the simulator and the file are there.\n")
        run = watch.run(stage, show)
        exits = () if keep else tuple(stage.stop_workers(run.crew))
        verdict = verdicts.reach(stage.books, stage.portone.truth(), sample, due_by=run.due_by)
        ending = Ending(run, verdict, setup_seconds, exits)
        if ending.exit_code != EXIT_AGREES:
            stage.keep_logs()
        if show.is_for_programs:
            document = _document(ending) | ({"addresses": keeping.addresses(stage, run.crew)} if keep else {})
            sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
            sys.stdout.flush()
        else:
            _tell(ending, sample, show)
        if keep:
            keeping.stay(stage, run.crew, show)
        return ending.exit_code


def _tell(ending: Ending, sample: Sample, show: Show) -> None:
    run, verdict = ending.run, ending.verdict
    show.happened(sample, verdict)
    show.figures(
        {
            "attempts": f"{verdict.attempts['attempts']:,}",
            "  declined by the PG": f"{verdict.attempts['declines']:,}",
            "  refused by PortOne": f"{verdict.attempts['refusals']:,}",
            "  reported as failed, found paid later": f"{verdict.attempts['paid_after_all']:,}",
            "workers killed": f"{run.kills}",
            "  charges open at that moment": f"{run.in_flight_at_kill - run.bookings_at_kill}",
            "  bookings open at that moment": f"{run.bookings_at_kill}",
            "elapsed": f"{run.elapsed_seconds:.1f} s",
            "  set-up before it": f"{ending.setup_seconds:.1f} s",
        },
        _booking_figures(verdict),
    )
    show.learnt(verdict, webhooks_seconds=run.webhooks_seconds, elapsed_seconds=run.elapsed_seconds)
    texts = db.queries()
    due_by = f"'{run.due_by:%Y-%m-%d %H:%M:%S+00}'"
    show.sql({why: f"{texts[name].replace('$1', due_by)}" for why, name in _SHOWN_SQL.items()}, AUDITOR)
    show.beside(verdict)
    show.conclusion(_complaints(ending), verdict)


def _booking_figures(verdict: Verdict) -> dict[str, str]:
    figures = verdict.bookings
    return {
        "booked at PortOne ahead": f"{figures['booked']:,}",
        "  paid by schedule": f"{figures['paid']:,}",
        "  declined, then retried by charges": f"{figures['declined']:,}",
        "  revoked, for another price": f"{figures['revoked_for_price']:,}",
        "  revoked, for a cancellation": f"{figures['revoked_for_cancellation']:,}",
        "  answer never heard, known by the outcome": f"{figures['known_by_outcome']:,}",
        "booking refused, charged when due": f"{figures['refused']:,}",
        "booking lost on the way, charged when due": f"{figures['lost']:,}",
    }


def _complaints(ending: Ending) -> list[str]:
    """What is wrong, in words; empty when all is well."""
    found = []
    if not ending.run.came_to_an_end:
        found.append(f"something was still open after {ending.run.elapsed_seconds:.0f} seconds")
    if not ending.verdict.agrees:
        found.append("PortOne and the ledger differ, or a row is not as it must be")
    found += [f"a worker ended with exit code {code} after SIGTERM" for code in ending.worker_exits if code]
    return found


def _document(ending: Ending) -> dict[str, object]:
    """The same for programs. What is wrong is counted here and listed under differences."""
    run, verdict = ending.run, ending.verdict
    found = verdict.differences
    rows: dict[str, list[Any]] = {
        "paid_twice": list(found.paid_twice),
        "lost": [asdict(one) for one in found.lost],
        "invented": [asdict(one) for one in found.invented],
        "missed": list(found.missed),
        "too_early": list(found.too_early),
        "booked_otherwise": list(found.booked_otherwise),
        "left_scheduled": list(found.left_scheduled),
        "chain_faults": list(verdict.chain_faults),
    }
    return {
        "agrees": ending.exit_code == EXIT_AGREES,
        "due": verdict.due,
        **{name: len(listed) for name, listed in rows.items()},
        "outcomes": dict(verdict.outcomes),
        "won_collected": verdict.ledger.won,
        "payments": verdict.ledger.payments,
        **dict(verdict.attempts),
        "bookings": dict(verdict.bookings),
        "learnt": {by: dict(figures) for by, figures in verdict.learnt.items()},
        "webhooks": {**verdict.webhooks, "seconds": round(run.webhooks_seconds, 1)},
        "kills": run.kills,
        "open_at_kill": run.in_flight_at_kill,
        "bookings_open_at_kill": run.bookings_at_kill,
        "came_to_an_end": run.came_to_an_end,
        "worker_exits": list(ending.worker_exits),
        "contract_violations": verdict.violations,
        "ledger_entries": verdict.ledger_entries,
        "elapsed_seconds": round(run.elapsed_seconds, 1),
        "setup_seconds": round(ending.setup_seconds, 1),
        "portone": asdict(verdict.portone),
        "ledger": asdict(verdict.ledger),
        "differences": {name: listed[:DIFFERENCES_LISTED_MAX] for name, listed in rows.items()},
    }
