"""The server as the operating system sees it: as whom it runs, how it starts, is signalled and ends, with its children.

Whatever starts here dies with this program, however this program dies. It must never be asked about Postgres' own
state.
"""

import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Linux ends a child with its parent by itself; elsewhere a watcher reads a pipe.
KERNEL_ENDS_CHILDREN = sys.platform == "linux"

# Pauses between two looks at something that ends soon: short beside the 70 ms that a start takes.
POLL_SECONDS = 0.01

_LAUNCHER = Path(__file__).with_name("pg_launch.py")


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that the server runs as."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """Nobody, if we are root; None (ourselves) otherwise.

    Postgres refuses to run as root and initdb refuses a uid without a passwd entry. The entry of nobody exists
    everywhere.
    """
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition became true within about that many seconds."""
    for _ in range(round(seconds / POLL_SECONDS)):
        if condition():
            return True
        time.sleep(POLL_SECONDS)
    return condition()


def launch_command(command: Sequence[str], account: Account | None, watch_fd: int | None = None) -> list[str]:
    """The command that becomes the given one as the account, tied to our life."""
    uid, gid = (str(account.uid), str(account.gid)) if account else ("-", "-")
    watch = "-" if watch_fd is None else str(watch_fd)
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), uid, gid, watch, *command]


def server_environment() -> dict[str, str]:
    """What the server sees of our environment: no PGPORT, no PGDATA, no secret; and English, which we can read."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


class Child:
    """A started server. A thread of its own starts it and waits for it.

    The kernel's parent-death signal is tied to the *thread* that forked, so that thread must live as long as the server
    does. Waiting in it also means that a dead server is reaped at once and never taken for a living one.
    """

    def __init__(self, command: Sequence[str], *, account: Account | None, log: Path, keep_fds: Sequence[int]) -> None:
        self._command = command
        self._account = account
        self._log = log
        self._keep_fds = tuple(keep_fds)
        self._exited = threading.Event()
        self._started = threading.Event()
        self._popen: subprocess.Popen[bytes] | None = None
        self._start_error: OSError | None = None
        self._watch_write_fd: int | None = None
        threading.Thread(target=self._start_and_wait, name="embedded-postgres", daemon=True).start()
        self._started.wait()
        if self._start_error is not None:
            raise self._start_error

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._popen is not None
        return self._popen.pid

    @property
    def has_exited(self) -> bool:
        """Whether it is dead and reaped."""
        return self._exited.is_set()

    def wait(self, seconds: float) -> bool:
        """Whether it exited within that many seconds."""
        return self._exited.wait(seconds)

    def send(self, signal_number: signal.Signals) -> None:
        """Signal the postmaster, unless it is dead already."""
        assert self._popen is not None
        self._popen.send_signal(signal_number)

    def kill_with_children(self) -> None:
        """SIGKILL for the postmaster and all its children, as when a machine loses power.

        Backends leave the postmaster's group, so they are looked up; the postmaster is stopped first, so it starts no
        new ones.
        """
        self.send(signal.SIGSTOP)
        for pid in [] if self.has_exited else child_pids(self.pid):
            _kill_quietly(pid)
        self.send(signal.SIGKILL)
        self._exited.wait()

    def _start_and_wait(self) -> None:
        try:
            self._popen = self._start()
        except OSError as error:
            self._start_error = error
            return
        finally:
            self._started.set()
        self._popen.wait()
        self._dismiss_watcher()
        self._exited.set()

    def _start(self) -> "subprocess.Popen[bytes]":
        watch_read_fd = None
        keep_fds = self._keep_fds
        if not KERNEL_ENDS_CHILDREN:
            watch_read_fd, self._watch_write_fd = os.pipe()
            keep_fds = (*keep_fds, watch_read_fd)
        try:
            with self._log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - our own command line
                    launch_command(self._command, self._account, watch_read_fd),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=server_environment(),
                    pass_fds=keep_fds,
                    # Ctrl-C in a terminal is ours to answer; the server is stopped in its turn.
                    start_new_session=True,
                )
        finally:
            if watch_read_fd is not None:
                os.close(watch_read_fd)

    def _dismiss_watcher(self) -> None:
        if self._watch_write_fd is None:
            return
        try:
            # One byte says: stopped on purpose, signal nobody.
            os.write(self._watch_write_fd, b"!")
        except BrokenPipeError:
            # The launcher failed before it made a watcher.
            return
        finally:
            os.close(self._watch_write_fd)
            self._watch_write_fd = None


def child_pids(parent_pid: int) -> list[int]:
    """The direct children of a living program, zombies left out."""
    parents = _parents_by_proc() if Path("/proc/self/stat").exists() else _parents_by_ps()
    return [pid for pid, parent in parents.items() if parent == parent_pid]


def _parents_by_proc() -> Mapping[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            # It ended between the listing and the reading.
            continue
        # The second field is the name in parentheses and may itself hold any of them.
        state, parent_pid = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(entry.name)] = int(parent_pid)
    return parents


def _parents_by_ps() -> Mapping[int, int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)  # noqa: S607
    rows = [line.split() for line in listing.stdout.splitlines()]
    return {int(pid): int(parent_pid) for pid, parent_pid, state in rows if not state.startswith("Z")}


def _kill_quietly(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        # It ended by itself, which is what was wanted.
        return
