"""The programs that the demo starts: each with a log of its own, each gone when the demo is, however it ends.

Nothing of the caller's own settings reaches them: a demo must never touch a real database or a real PortOne.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from billing_worker.demo import pg_child
from billing_worker.demo.pg_cluster import last_lines

# Of a caller's variables these are not handed on: settings, logins, and what ties a program to systemd.
_NOT_HANDED_ON = ("BILLING_", "PG", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY")

# A program's first word: it imports for a second, and on a busy machine for several.
START_SECONDS_MAX = 60.0


class DemoFailedError(Exception):
    """A step of the demo that did not work, in words for whoever ran it."""


class Program:
    """One command of billing-worker that runs beside us."""

    def __init__(self, name: str, arguments: Sequence[str], *, settings: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.log_path = logs / f"{name}.log"
        self._terminated = False
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - our own command line
                _command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(settings),
                # Ctrl-C in a terminal is ours to answer; the programs are stopped in their turn.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the program itself: what launches it becomes it."""
        return self._popen.pid

    def require_running(self) -> None:
        """Raise DemoFailedError where it ended by itself, with the last it said."""
        code = self._popen.poll()
        if code is not None:
            said = last_lines(self.log_path.read_text(encoding="utf-8", errors="replace"))
            raise DemoFailedError(f"{self.name} ended by itself with exit code {code}:\n{said}")

    def wait_for(self, field: str, *, event: str | None = None) -> str:
        """The value of a field in the first line of JSON that it writes with that field, or with that event too.

        Raises DemoFailedError.
        """
        pg_child.poll(
            lambda: self.said(field, event=event) is not None or self._popen.poll() is not None, START_SECONDS_MAX
        )
        said = self.said(field, event=event)
        if said is None:
            self.require_running()
            raise DemoFailedError(f"{self.name} did not start within {START_SECONDS_MAX:.0f} s")
        return said

    def said(self, field: str, *, event: str | None = None) -> str | None:
        """The same, if it has written such a line by now."""
        for line in self._lines():
            if field in line and event in (None, line.get("event")):
                return str(line[field])
        return None

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> None:
        """SIGTERM, for what has not ended yet."""
        self._terminated = True
        self._popen.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> int:
        """SIGTERM, unless it had one, and SIGKILL for what has not ended by then. Returns the exit code, negative for
        a signal."""
        if not self._terminated:
            self.terminate()
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._popen.returncode

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for line in self.log_path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                read = json.loads(line)
                if isinstance(read, dict):
                    yield read


def run_command(arguments: Sequence[str], *, settings: Mapping[str, str], seconds: float) -> Mapping[str, Any]:
    """What a command of billing-worker answers as JSON. Raises DemoFailedError where it fails."""
    try:
        answer = subprocess.run(  # noqa: S603 - our own command line
            _command([*arguments, "--json"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            env=environment(settings),
            start_new_session=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise DemoFailedError(f"billing-worker {' '.join(arguments)} took more than {seconds:.0f} s") from None
    if answer.returncode != 0:
        said = last_lines(answer.stderr + answer.stdout)
        raise DemoFailedError(f"billing-worker {' '.join(arguments)} failed:\n{said}")
    document: Mapping[str, Any] = json.loads(answer.stdout)
    return document


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """What a program of the demo sees: the caller's variables without any setting, and the settings given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_HANDED_ON)}
    return {**kept, "PYTHONUNBUFFERED": "1", **settings}


def _command(arguments: Sequence[str]) -> list[str]:
    """The command line. Where the kernel can, it ends with us; elsewhere only our own tidying ends it."""
    command = [sys.executable, "-m", "billing_worker", *arguments]
    return pg_child.launch_command(command, None) if pg_child.KERNEL_ENDS_CHILDREN else command
