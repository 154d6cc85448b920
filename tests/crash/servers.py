"""Servers that can be lost: one that keeps its directory, a replica of it, and cold copies of what it holds.

What a kill of the machine would lose is not shown here: nothing cuts the power, so nothing needs to reach the disk, and
fsync is off for the sake of the hundreds of restarts. What was written before a SIGKILL is there after it.
"""

import asyncio
import subprocess
from pathlib import Path

import asyncpg

from billing_worker.demo import pg_binaries, pg_child
from billing_worker.demo.postgres import EmbeddedPostgres
from tests.builders import eventually
from tests.conftest import chosen_binaries

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    # When each row's transaction committed: the oracle compares it with what arrived at PortOne, by the same clock.
    "track_commit_timestamp": "on",
    "max_wal_size": "128MB",
    "wal_keep_size": "64MB",
    "autovacuum_naptime": "10min",
    # A test's logins are made with passwords; thousands of iterations for each connection prove nothing here.
    "scram_iterations": "1",
}

_SCRAM_ITERATIONS_SINCE = 16


# After a crash of its own a server comes back without anybody's help.
RECOVERY_SECONDS_MAX = 60.0
# Recovery of the little that a round writes takes a second; beyond this nothing recovers.
STUCK_SECONDS = 12.0
AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.CrashShutdownError,
    OSError,
    TimeoutError,
)


def make_server(home: Path) -> EmbeddedPostgres:
    """A server, started, that keeps its directory when it is stopped."""
    binaries = chosen_binaries() or pg_binaries.find_binaries()
    major = int(pg_binaries.server_version(binaries).split(".")[0])
    settings = {k: v for k, v in SETTINGS.items() if k != "scram_iterations" or major >= _SCRAM_ITERATIONS_SINCE}
    server = EmbeddedPostgres(home, durable=True, settings=settings, binaries=chosen_binaries())
    server.start()
    return server


class ColdCopy:
    """What a server held at one moment, taken while it was down."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._copy = home / "data.copy"

    def take(self, server: EmbeddedPostgres) -> None:
        """Stop the server at once, copy its directory, start it again."""
        server.kill()
        self.drop()
        _copy_whole(self._home / "data", self._copy)
        server.start()

    def put_back(self, server: EmbeddedPostgres) -> None:
        """Lose everything since: the server comes back, at its address, with what it held then."""
        server.kill()
        _remove_whole(self._home / "data")
        _copy_whole(self._copy, self._home / "data")
        server.start()

    def drop(self) -> None:
        """Remove the copy."""
        _remove_whole(self._copy)


class Replica:
    """A hot standby that follows its primary by streaming until it is cut off."""

    def __init__(self, server: EmbeddedPostgres, home: Path) -> None:
        self.server = server
        self.home = home

    @classmethod
    def of(cls, primary: EmbeddedPostgres, home: Path) -> "Replica":
        """Make one by a base backup of a primary that goes on working, and start it."""
        binaries = chosen_binaries() or pg_binaries.find_binaries()
        _make_home(home)
        (home / "password").write_bytes((primary.log_path.parent / "password").read_bytes())
        subprocess.run(
            [
                str(binaries / "pg_basebackup"),
                f"--dbname={primary.url()}",
                f"--pgdata={home / 'data'}",
                *("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"),
            ],
            check=True,
            capture_output=True,
        )
        _give_to_server(home / "data")
        return cls(make_server(home), home)

    async def follows(self, primary: EmbeddedPostgres) -> None:
        """Wait until it has replayed all that the primary has written."""
        position = await value(primary.url(), "SELECT pg_current_wal_lsn()::text")

        async def there() -> bool:
            return bool(await value(self.server.url(), "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position))

        await eventually(there)

    async def cut_off(self) -> None:
        """Let nothing more of the primary's reach it."""
        await _execute(self.server.url(), "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")

        async def cut() -> bool:
            return not await value(self.server.url(), "SELECT count(*) FROM pg_stat_wal_receiver")

        await eventually(cut)

    async def promote(self) -> None:
        """Make it the primary of what it has."""
        assert await value(self.server.url(), "SELECT pg_promote(true, 30)")


async def in_thread(blocking: object, *arguments: object) -> None:
    """Start, stop or copy a server without keeping the others of this loop waiting."""
    assert callable(blocking)
    await asyncio.to_thread(blocking, *arguments)


def _make_home(home: Path) -> None:
    home.mkdir()
    home.chmod(0o711)


def _copy_whole(source: Path, target: Path) -> None:
    # With owners and modes, and without walking a thousand files in a program that has better things to do.
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def _remove_whole(tree: Path) -> None:
    subprocess.run(["rm", "-rf", str(tree)], check=True)


def _give_to_server(tree: Path) -> None:
    account = pg_child.server_account()
    tree.chmod(0o700)
    if account is not None:
        subprocess.run(["chown", "-R", f"{account.uid}:{account.gid}", str(tree)], check=True)


async def value(url: str, query: str, *arguments: object) -> object:
    """The one value that the query returns."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
