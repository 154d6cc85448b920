"""Writes sql/schema.sql: the whole schema after every migration, for people to read and for a test to compare.

Run it as `python -m tests.schema_dump` in the root of the checkout after a migration was added.
"""

import re
import subprocess
from pathlib import Path

from billing_worker.demo import pg_binaries
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.store.migrate import apply_migrations
from tests.conftest import run_apart

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "sql" / "schema.sql"

HEADER = """\
-- The schema as all of sql/migrations leave it, for reading. Nothing runs this file.
-- Written by `python -m tests.schema_dump`; a test compares it with a freshly migrated database.
"""

# Comments, settings of the session and psql's commands: they differ from one version of pg_dump to the next.
_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\.*)$\n?", re.MULTILINE)


def dump_schema(url: str, binaries: Path) -> str:
    """The schema of a migrated database, as sql/schema.sql has it."""
    command = [
        str(binaries / "pg_dump"),
        "--schema-only",
        "--schema=billing",
        "--no-owner",
        "--no-publications",
        "--no-subscriptions",
        f"--dbname={url}",
    ]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return HEADER + "\n" + re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", dumped)).strip() + "\n"


def main() -> None:
    """Write the file from a server of our own."""
    with EmbeddedPostgres(durable=False) as server:
        run_apart(apply_migrations(server.url()))
        SCHEMA_FILE.write_text(dump_schema(server.url(), pg_binaries.find_binaries()), encoding="utf-8")


if __name__ == "__main__":
    main()
