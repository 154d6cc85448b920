"""The files of one embedded cluster: made once by initdb, whole or not at all, its superuser's password beside them.

It must never start a server, nor leave the password where the server's user can read it.
"""

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from billing_worker.demo import pg_child, pg_directory

_LINES_SHOWN = 20


class EmbeddedPostgresError(RuntimeError):
    """The server did not start or is not running; the text carries the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the cluster lives (home), where its server's short-lived files go (run), and what makes it."""

    home: Path
    run: Path
    binaries: Path
    server_major: int
    account: pg_child.Account | None

    @property
    def pgdata(self) -> Path:
        """Postgres' own directory."""
        return self.home / "data"

    def make_if_missing(self, *, durable: bool) -> str:
        """The superuser's password, of a cluster that is there now."""
        password_file = self.home / "password"
        if (self.pgdata / "PG_VERSION").exists():
            return password_file.read_text(encoding="ascii")
        password = secrets.token_urlsafe(24)
        # Made beside its place and moved there whole: a start that was killed half-way leaves no half of a cluster.
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        pg_directory.make_directory_for(self.account, unfinished)
        self._initialise(unfinished, password, durable=durable)
        _write_privately(password_file, password)
        unfinished.rename(self.pgdata)
        return password

    def _initialise(self, pgdata: Path, password: str, *, durable: bool) -> None:
        given_password = self.run / "password"
        _write_privately(given_password, password)
        if self.account is not None:
            os.chown(given_password, self.account.uid, self.account.gid)
        options = [f"--pgdata={pgdata}", f"--pwfile={given_password}", *self._options(durable=durable)]
        try:
            answer = subprocess.run(  # noqa: S603 - our own command line
                pg_child.launch_command([str(self.binaries / "initdb"), *options], self.account),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd="/",
                env=pg_child.server_environment(),
            )
        finally:
            given_password.unlink()
        if answer.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed:\n{last_lines(answer.stdout)}")

    def _options(self, *, durable: bool) -> list[str]:
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        # The socket stands in a directory that only its owner enters, so trust there opens nothing.
        options += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        if self.server_major >= 17:
            # The same sort order on every machine, and upper() that knows more than ASCII.
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not durable:
            options.append("--no-sync")
        return options


def last_lines(text: str) -> str:
    """The end of what a program said, short enough for an error."""
    return "\n".join(text.splitlines()[-_LINES_SHOWN:]) or "(it said nothing)"


def _write_privately(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
