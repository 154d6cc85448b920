"""An embedded PostgreSQL for the demo and the tests: the wheel's or the distribution's, gone without a trace.

It decides where the server lives, as whom it runs, on which port, and when it counts as ready or dead. It must never
change the modes of a directory that it did not make, add a user, or outlive the program that started it. Not for
production.
"""

import contextlib
import os
import secrets
import shlex
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from billing_worker.demo import pg_binaries, pg_child, pg_directory
from billing_worker.demo.pg_cluster import Cluster, EmbeddedPostgresError, last_lines

# A start takes 0.1 s; recovery after a kill took 1.7 s with 400,000 fresh rows. Beyond this, something is wrong.
START_SECONDS_MAX = 120.0

# A fast stop writes one checkpoint; an immediate one writes nothing.
STOP_SECONDS_MAX = 20.0
QUIT_SECONDS_MAX = 5.0

# A killed server's children notice within milliseconds; one that stops cleanly may have a checkpoint to write.
PREDECESSOR_SECONDS_MAX = 30.0

CONNECTIONS_MAX = 200

# Below the range from which the kernel takes ports for outgoing connections. A client that keeps dialling a port of
# that range while its server is down can be given that very port as its own, and then the server cannot come back.
_PORTS = range(15_000, 32_768)
_PORT_TRIES_MAX = 20
_PORT_TAKEN = "could not create any TCP/IP sockets"

_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One server of our own. Start and stop it, or use it in a with statement.

    Without a directory it lives in a temporary one that stop removes; in a given one it finds its rows again next time.
    durable=False trades safety against a crash of the machine or the server for speed. One instance is used by one
    thread at a time; any thread may start it.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        self._directory = directory
        self._durable = durable
        self._settings = dict(settings or {})
        self._wanted_binaries = binaries
        self._account = pg_child.server_account()
        self._binaries: Path | None = None
        self._scratch: Path | None = None
        self._owner_locks: list[int] = []
        self._child: pg_child.Child | None = None
        self._port: int | None = None
        self._password: str | None = None
        self._server_version: str | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Return once the server answers, on the port it had before if it had one. Recovers what a kill left."""
        assert not self.is_running, "already started"
        try:
            if self._scratch is None:
                self._move_in()
            self._password = self._cluster().make_if_missing(durable=self._directory is not None)
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, politely at first, and remove what was temporary; where nothing runs, do nothing."""
        if self._child is not None:
            self._stop_child(self._child)
            self._child = None
        if self._scratch is None:
            return
        pg_directory.remove_shared_memory(self._pgdata / "postmaster.pid")
        pg_directory.remove_directory(self._scratch)
        for lock in self._owner_locks:
            os.close(lock)
        self._owner_locks.clear()
        self._scratch = None
        self._port = None

    def kill(self) -> None:
        """SIGKILL for the postmaster and every backend at once. start brings it back."""
        self._running_child().kill_with_children()
        self._await_predecessors()

    def restart_immediate(self) -> None:
        """Stop without a checkpoint (SIGQUIT), as a failover does, and start on the same port."""
        child = self._running_child()
        child.send(signal.SIGQUIT)
        if not child.wait(QUIT_SECONDS_MAX):
            child.kill_with_children()
        self.start()

    @property
    def is_running(self) -> bool:
        """Whether the postmaster lives. A zombie does not."""
        return self._child is not None and not self._child.has_exited

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._running_child().pid

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; it stays the same until stop."""
        if self._port is None:
            raise EmbeddedPostgresError("the embedded server was not started")
        return self._port

    @property
    def server_version(self) -> str:
        """Such as 18.6."""
        if self._server_version is None:
            raise EmbeddedPostgresError("the embedded server was not started")
        return self._server_version

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self._home / "postgres.log"

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The DSN over TCP. It holds the password that was made for user postgres."""
        assert self._password is not None, "the embedded server was not started"
        return f"postgresql://{quote(user)}:{self._password}@127.0.0.1:{self.port}/{quote(database)}"

    def socket_url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The DSN over the Unix socket, which needs no password and lets in only us (and the server's own user)."""
        return f"postgresql://{quote(user)}@/{quote(database)}?host={quote(str(self._run), safe='')}&port={self.port}"

    def psql_command(self, database: str = "postgres", user: str = "postgres") -> str:
        """A line to paste into a shell of the same user; it holds no secret."""
        assert self._binaries is not None, "the embedded server was not started"
        psql = self._binaries / "psql"
        return shlex.join([str(psql) if psql.exists() else "psql", self.socket_url(database, user)])

    @property
    def _home(self) -> Path:
        if self._directory is not None:
            return self._directory
        if self._scratch is None:
            raise EmbeddedPostgresError("the embedded server was not started")
        return self._scratch

    @property
    def _pgdata(self) -> Path:
        return self._home / "data"

    @property
    def _run(self) -> Path:
        assert self._scratch is not None, "the embedded server was not started"
        return self._scratch / "run"

    def _cluster(self) -> Cluster:
        assert self._binaries is not None
        assert self._server_version is not None
        return Cluster(
            home=self._home,
            run=self._run,
            binaries=self._binaries,
            server_major=int(self._server_version.split(".")[0]),
            account=self._account,
        )

    def _homes(self) -> list[Path]:
        assert self._scratch is not None
        return list(dict.fromkeys([self._scratch, self._home]))

    def _move_in(self) -> None:
        binaries = self._wanted_binaries or pg_binaries.find_binaries()
        self._server_version = pg_binaries.server_version(binaries)
        self._scratch, lock = pg_directory.make_scratch_directory(self._account)
        self._owner_locks.append(lock)
        if self._directory is not None:
            pg_directory.make_home(self._directory, self._account)
            self._owner_locks.append(pg_directory.take_owner_lock(self._directory, wait_seconds=0))
        pg_directory.make_directory_for(self._account, self._run)
        if self._account is not None:
            binaries = pg_binaries.reachable_binaries(binaries, self._scratch / "programs")
        self._binaries = binaries

    def _await_predecessors(self) -> None:
        for lock in self._take_server_locks():
            os.close(lock)

    def _take_server_locks(self) -> list[int]:
        return [pg_directory.take_server_lock(home, PREDECESSOR_SECONDS_MAX) for home in self._homes()]

    def _launch(self) -> None:
        for _ in range(_PORT_TRIES_MAX):
            port = self._port or _free_port()
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._child = self._spawn(port)
            if pg_child.poll(lambda: self._is_ready() or not self.is_running, START_SECONDS_MAX) and self.is_running:
                self._port = port
                return
            log = _read_from(self.log_path, log_start)
            # Another program may take the port between our look and the server's; one that was promised cannot be
            # changed.
            if self.is_running or self._port is not None or _PORT_TAKEN not in log:
                break
        raise EmbeddedPostgresError(f"PostgreSQL did not start:\n{last_lines(log)}")

    def _spawn(self, port: int) -> pg_child.Child:
        assert self._binaries is not None
        locks = self._take_server_locks()
        try:
            # No server of ours lives, or the locks were not ours now. A file that a killed one left would stop the next
            # one where its pid belongs to another program or to a zombie; the shared memory still fences off a foreign
            # server.
            (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
            command = [str(self._binaries / "postgres"), "-D", str(self._pgdata), *self._server_options(port)]
            return pg_child.Child(command, account=self._account, log=self.log_path, keep_fds=locks)
        finally:
            for lock in locks:
                os.close(lock)

    def _server_options(self, port: int) -> list[str]:
        quoted_run = '"' + str(self._run).replace('"', '""') + '"'
        settings = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": quoted_run,
            "max_connections": str(CONNECTIONS_MAX),
            # In the cluster's own directory, where a kill leaves nothing that the next start does not clear.
            "dynamic_shared_memory_type": "mmap",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _FORGETFUL),
            **self._settings,
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _is_ready(self) -> bool:
        assert self._child is not None
        try:
            lines = (self._pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self._child.pid) and lines[7].strip() == "ready"

    def _running_child(self) -> pg_child.Child:
        if self._child is None or self._child.has_exited:
            raise EmbeddedPostgresError("the embedded server is not running")
        return self._child

    def _stop_child(self, child: pg_child.Child) -> None:
        for polite_signal, seconds in ((signal.SIGINT, STOP_SECONDS_MAX), (signal.SIGQUIT, QUIT_SECONDS_MAX)):
            child.send(polite_signal)
            if child.wait(seconds):
                break
        else:
            child.kill_with_children()
        with contextlib.suppress(pg_directory.DirectoryInUseError):
            self._await_predecessors()


def _free_port() -> int:
    for _ in range(_PORT_TRIES_MAX):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedPostgresError(f"no free TCP port found between {_PORTS.start} and {_PORTS.stop}")


def _read_from(path: Path, start: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", errors="replace")
