"""What a promotion or a restore takes away: what stood at the moment of death, compared with what is left.

It names the keys whose intent or noted resend is gone, and no others: what stood before and stands after excuses
nothing.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.crash.harness import Stage
from tests.crash.servers import AWAY

# Nobody may write an intent or a resend between the last look and the death. Who holds the table just then is cut off
# in the middle of it, since a frozen worker would keep it for as long as it is frozen.
_CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE relation = 'billing.attempts'::regclass AND granted AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
"""
_LOCK = "SET LOCAL lock_timeout = '5s'; LOCK TABLE billing.attempts IN SHARE MODE"
_ENTRIES = "SELECT xmin::text || encode(entry_hash, 'hex') AS mark, xmin::text AS told FROM billing.ledger"
# The transaction is part of the mark: a key that is opened anew after the loss is not the intent that was lost.
_PROMISES = """
SELECT l.xmin::text || ' intent ' || a.idempotency_key AS mark, a.idempotency_key AS told
FROM billing.ledger l JOIN billing.attempts a USING (shard, attempt_id) WHERE l.kind = 'intent'
UNION ALL
SELECT xmin::text || ' resend ' || idempotency_key, idempotency_key FROM witness.resends
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What was committed, each by a mark that nothing written later bears."""

    transactions: Mapping[str, str]
    keys: Mapping[str, str]

    def transactions_gone(self, left: "Written") -> set[str]:
        """The transactions of which an entry is not left."""
        return _gone(self.transactions, left.transactions)

    def keys_gone(self, left: "Written") -> set[str]:
        """The keys of which an intent or a noted resend is not left."""
        return _gone(self.keys, left.keys)


async def written(stage: Stage) -> Written:
    """All that is committed now."""
    return Written(_by_mark(await stage.fetch(_ENTRIES)), _by_mark(await stage.fetch(_PROMISES)))


@contextlib.asynccontextmanager
async def last_written(stage: Stage) -> AsyncIterator[Written]:
    """All that will ever have been committed on a server that dies within the block."""
    connection = await asyncpg.connect(stage.database.admin_url, timeout=10)
    try:
        await connection.execute("BEGIN")
        await connection.execute(_CUT_OFF)
        await connection.execute(_LOCK)
        yield Written(_by_mark(await connection.fetch(_ENTRIES)), _by_mark(await connection.fetch(_PROMISES)))
    finally:
        with contextlib.suppress(*AWAY):
            connection.terminate()


def _by_mark(rows: list[Any]) -> dict[str, str]:
    return {row["mark"]: row["told"] for row in rows}


def _gone(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {told for mark, told in before.items() if mark not in after}
