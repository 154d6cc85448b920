"""Workers as the operating system sees them: started, killed, stopped, waited for.

Two kinds: the installed command line, and a fork of a program that has imported the product already. The second is the
same daemon in a process of its own; it only spares the second that a start spends on imports, which hundreds of
restarts on two cores cannot afford.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from tests.builders import eventually
from tests.crash import doomed_worker
from tests.crash.doomed_worker import Doom, Poison

EXIT_SECONDS_MAX = 30.0


class _Worker:
    """What both kinds can be asked."""

    def __init__(self, log: Path) -> None:
        self.log = log

    @property
    def pid(self) -> int:
        raise NotImplementedError

    @property
    def exit_code(self) -> int | None:
        """None while it lives; a killed one has the signal's number, negative."""
        raise NotImplementedError

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, unless it is dead already."""
        if self.exit_code is None:
            self.send(signal.SIGKILL)

    async def stopped(self) -> None:
        """Wait until SIGSTOP has stopped it, be it by its own hand."""

        async def stands_still() -> bool:
            return self.stands_still

        await eventually(stands_still, seconds_max=20)

    @property
    def stands_still(self) -> bool:
        """Whether SIGSTOP has stopped it: the kernel's letter for what it does is T."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False  # It is dead, and its parent has noticed.
        return stat.rpartition(")")[2].split()[0] == "T"

    async def ended(self, seconds_max: float = EXIT_SECONDS_MAX) -> int:
        """Its exit code, once it has one."""
        return (await eventually(self._ended, seconds_max=seconds_max))[0]

    async def _ended(self) -> tuple[int] | None:
        code = self.exit_code
        return None if code is None else (code,)

    async def said(self, event: str, *, times: int = 1, seconds_max: float = 20.0) -> list[dict[str, Any]]:
        """Its log lines of one event, once there are so many."""

        async def enough() -> list[dict[str, Any]] | None:
            found = self.lines(event)
            return found if len(found) >= times else None

        return await eventually(enough, seconds_max=seconds_max)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event so far."""
        if not self.log.exists():
            return []
        # A killed worker may have left half a line, and a traceback of Python's own is no JSON.
        whole = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        return [line for line in map(json.loads, whole) if line.get("event") == event]


class ForkedWorker(_Worker):
    """A fork of the program that has imported the product."""

    def __init__(
        self,
        environ: Mapping[str, str],
        log: Path,
        doom: Doom | Poison | None = None,
        *,
        clocks: Path | None = None,
    ) -> None:
        super().__init__(log)
        self.doom = doom
        self._worker: ForkServerProcess = _forks.Process(target=doomed_worker.run, args=(environ, log, doom, clocks))
        with _main_program_hidden():
            self._worker.start()

    @property
    def pid(self) -> int:
        assert self._worker.pid is not None
        return self._worker.pid

    @property
    def exit_code(self) -> int | None:
        return self._worker.exitcode


class InstalledWorker(_Worker):
    """`billing-worker run`, as an operator starts it."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        super().__init__(log)
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "billing_worker", "run"],
            env=dict(environ),
            stdout=log.open("ab"),
            stderr=subprocess.STDOUT,
            preexec_fn=doomed_worker.die_with_parent,  # noqa: PLW1509 - one call of the kernel, and no lock
        )

    @property
    def pid(self) -> int:
        return self._worker.pid

    @property
    def exit_code(self) -> int | None:
        return self._worker.poll()


Worker = ForkedWorker | InstalledWorker


@contextlib.contextmanager
def _main_program_hidden() -> Iterator[None]:
    """Let no fork import the test's program again: a worker needs nothing of it, and it costs as much as a start."""
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name, None) for name in ("__spec__", "__file__")}
    main.__dict__["__spec__"] = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _with_imports() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.nursery"])
    return context


_forks = _with_imports()
