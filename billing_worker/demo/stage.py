"""The stage: a Postgres of our own, a simulated PortOne, the logins and the file, and everything taken down again.

Whatever is put up is taken down in the opposite order, also when putting up fails half-way. Only the logs stay, and
only where something went wrong.
"""

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from billing_worker.demo import changes, children
from billing_worker.demo.books import Books
from billing_worker.demo.children import DemoFailedError, Program
from billing_worker.demo.pace import WEBHOOK_PATH, Pace
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.demo.practice import PracticePortOne
from billing_worker.demo.sample import Sample
from billing_worker.demo.stories import BOOKED_UNHEARD, NOT_BOOKED_UNHEARD, Change
from billing_worker.store import db, migrate

# Each login and the group role that it is in.
WORKER, AUDITOR = "worker", "auditor"
_GROUPS = {WORKER: "billing_worker", AUDITOR: "billing_auditor"}

_IMPORT_SECONDS_MAX = 600.0

# Longer than a worker's own grace, so that only one that hangs is killed.
STOP_SECONDS_MAX = 30.0


class Stage:
    """Everything that a run needs, while the with statement lasts."""

    def __init__(self, pace: Pace, sample: Sample, *, before_taking_down: Callable[[], None]) -> None:
        self.pace = pace
        self.sample = sample
        self.postgres = EmbeddedPostgres()
        self.workers: list[Program] = []
        self._before_taking_down = before_taking_down
        self._passwords = {login: secrets.token_urlsafe(24) for login in _GROUPS}
        self._cleanup = contextlib.ExitStack()
        self._keeps_logs = False

    def __enter__(self) -> Self:
        """Put everything up but the workers. Raises DemoFailedError and the errors of store and Postgres."""
        self.directory = Path(tempfile.mkdtemp(prefix="billing-demo-"))
        self._cleanup.callback(self._remove_directory)
        try:
            self._cleanup.callback(self.postgres.stop)
            self.postgres.start()
            self._cleanup.callback(self._save_postgres_log)
            asyncio.run(self._prepare_database())
            self.books = Books(self.url(AUDITOR))
            self._cleanup.callback(self.books.close)
            self.portone = PracticePortOne.start(self.directory, self.pace.simulator_options())
            self._cleanup.callback(self.portone.program.stop, STOP_SECONDS_MAX)
            self._cleanup.callback(self._stop_what_runs)
            for keys, booked in ((BOOKED_UNHEARD, True), (NOT_BOOKED_UNHEARD, False)):
                if times := self.sample.keys_beginning(keys):
                    self.portone.cut_off_bookings(keys, times=times, booked=booked)
            self._import_file()
        except BaseException as error:
            self._take_down(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take everything down."""
        self._take_down(error)

    def keep_logs(self) -> None:
        """Something went wrong: the logs are wanted."""
        self._keeps_logs = True

    @property
    def kept_logs(self) -> Path | None:
        """Where the logs stayed, once everything is taken down."""
        return self.directory if self._keeps_logs else None

    def url(self, login: str) -> str:
        """The DSN of a login; it holds the password."""
        parts = urlsplit(self.postgres.url())
        hosts = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{login}:{self._passwords[login]}@{hosts}").geturl()

    def worker_settings(self) -> Mapping[str, str]:
        """What every worker is given; it holds the password of the worker's login."""
        return {
            **self.pace.worker_settings(),
            "BILLING_DATABASE_URL": self.url(WORKER),
            "BILLING_PORTONE_BASE_URL": self.portone.url,
        }

    def set_due_times(self, began_at: datetime) -> datetime:
        """Spread what is of schedule mode over seconds, counted from the workers' start. Gives the last of them."""
        # A charge time has whole seconds.
        began_at = began_at.replace(microsecond=0)
        due_at = {
            key: began_at + timedelta(seconds=int(self.pace.due_seconds(share)))
            for key, share in self.sample.due_shares.items()
        }
        changes.set_due_times(self.postgres.url(), due_at)
        return max(due_at.values(), default=began_at)

    def change_what_is_booked(self) -> None:
        """Prices change, and subscriptions end."""
        dearer, cancelled = self.sample.keys_to(Change.PRICE), self.sample.keys_to(Change.CANCEL)
        changes.raise_prices_and_cancel(self.url(WORKER), dearer, cancelled)

    def send_webhooks_to(self, worker: Program) -> bool:
        """Have PortOne tell this worker from now on, if it listens by now."""
        address = worker.said("address", event="webhooks.listening")
        if address is not None:
            self.portone.send_webhooks_to([f"http://{address}{WEBHOOK_PATH}"])
        return address is not None

    def send_no_webhooks(self) -> None:
        """Have PortOne tell nobody from now on."""
        self.portone.send_webhooks_to([])

    def start_worker(self) -> Program:
        """One more worker, with the next name."""
        name = f"worker-{len(self.workers) + 1}"
        settings = {**self.worker_settings(), "BILLING_WORKER_NAME": name}
        worker = Program(name, ["run"], settings=settings, logs=self.directory)
        self.workers.append(worker)
        return worker

    def stop_workers(self, crew: Sequence[Program]) -> list[int]:
        """SIGTERM to all of them. Returns their exit codes."""
        for worker in crew:
            worker.terminate()
        return [worker.stop(STOP_SECONDS_MAX) for worker in crew]

    def require_running(self, crew: Sequence[Program]) -> None:
        """Raise DemoFailedError where something that should run does not."""
        for program in (self.portone.program, *crew):
            program.require_running()
        if not self.postgres.is_running:
            raise DemoFailedError("PostgreSQL ended by itself")

    def _take_down(self, error: BaseException | None) -> None:
        self._before_taking_down()
        self._keeps_logs |= error is not None and not isinstance(error, KeyboardInterrupt)
        self._cleanup.close()

    async def _prepare_database(self) -> None:
        with db.translating():
            await migrate.apply_migrations(self.postgres.url())
        limits = db.PoolLimits(claims_max=1, outcomes_max=1)
        database = await db.connect(self.postgres.url(), limits, application_name="billing-worker demo")
        try:
            for login, group in _GROUPS.items():
                async with database.claims.transaction() as transaction:
                    await transaction.fetch("demo_name_login", login, self._passwords[login], group)
                    await transaction.fetch("demo_make_login")
        finally:
            await database.close()

    def _import_file(self) -> None:
        file = self.directory / "subscriptions.csv"
        file.write_text(self.sample.csv_text(), encoding="utf-8")
        settings = {"BILLING_DATABASE_URL": self.url(WORKER)}
        children.run_command(["subscriptions", "import", str(file)], settings=settings, seconds=_IMPORT_SECONDS_MAX)

    def _stop_what_runs(self) -> None:
        self.stop_workers(self.workers)

    def _save_postgres_log(self) -> None:
        if self._keeps_logs:
            with contextlib.suppress(OSError):
                shutil.copyfile(self.postgres.log_path, self.directory / "postgres.log")

    def _remove_directory(self) -> None:
        if not self._keeps_logs:
            shutil.rmtree(self.directory, ignore_errors=True)
