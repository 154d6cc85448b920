"""Run inside a broken copy: has Postgres take the schema and every query, lest a slip in the SQL be called a catch."""

import asyncio
import sys

import asyncpg

from billing_worker.store import db
from tests.conftest import make_migrated_database


async def prepare_all(url: str) -> None:
    """Have every named query prepared. Raises asyncpg.PostgresError where one makes no sense."""
    connection = await asyncpg.connect(url)
    try:
        for text in db.queries().values():
            await connection.prepare(text)
    finally:
        await connection.close()


if __name__ == "__main__":
    admin_url, name = sys.argv[1:]
    asyncio.run(prepare_all(make_migrated_database(admin_url, name).admin_url))
