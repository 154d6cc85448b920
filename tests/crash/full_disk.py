"""A disk that is full, without a disk: Postgres may write no file beyond its present size until the room is given back.

The kernel's limit on a file's size stands in for the end of the disk, set from outside on every program of the running
server. What is refused is the same, growing; the words are EFBIG where a full disk says ENOSPC.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

from billing_worker.demo import pg_child
from billing_worker.demo.postgres import EmbeddedPostgres
from tests.crash.spells import last

# New backends appear with every connection; one that has not been found yet may still write.
LOOK_SECONDS = 0.05

_NONE = -1


# Started as we are and then the server's own user, because a limit is only changed by who owns the program. It reads
# lines of a limit (-1 for none) and pids, and answers each when it is done.
_STEWARD = """
import os, resource, sys
uid, gid = sys.argv[1:]
if uid != "-":
    os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
for line in sys.stdin:
    limit, *pids = map(int, line.split())
    for pid in pids:
        try:
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if limit < 0 else limit, hard))
        except ProcessLookupError:
            continue  # It has ended since it was listed.
    print(flush=True)
"""


@contextlib.asynccontextmanager
async def no_room(server: EmbeddedPostgres, limit_bytes: int) -> AsyncIterator[None]:
    """Let no program of the server write beyond that many bytes of any file, until the block ends."""
    with _Steward() as steward:
        tightening = asyncio.create_task(_tighten(steward, server, limit_bytes))
        try:
            yield
        finally:
            tightening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tightening
            # Twice: what the postmaster forked between our look and its own relief has been found by the second.
            steward.limit(server, _NONE)
            steward.limit(server, _NONE)


def size_of_largest(files: list[Path]) -> int:
    """How far the largest of these reaches."""
    return max(file.stat().st_size for file in files)


class _Steward:
    """Sets the limits. It ends with its input."""

    def __enter__(self) -> Self:
        account = pg_child.server_account()
        ids = [str(account.uid), str(account.gid)] if account else ["-", "-"]
        self._steward = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _STEWARD, *ids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._steward.communicate()

    def limit(self, server: EmbeddedPostgres, limit_bytes: int) -> None:
        """Set the limit of every program of the server."""
        assert self._steward.stdin is not None
        assert self._steward.stdout is not None
        if not server.is_running:
            return
        # The postmaster too, or what it forks next would have room.
        pids = [server.pid, *pg_child.child_pids(server.pid)]
        print(limit_bytes, *pids, file=self._steward.stdin, flush=True)
        assert self._steward.stdout.readline(), "the limits could not be set"


async def _tighten(steward: _Steward, server: EmbeddedPostgres, limit_bytes: int) -> None:
    while True:
        steward.limit(server, limit_bytes)
        await last(LOOK_SECONDS)
