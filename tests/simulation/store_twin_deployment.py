"""The twin of sql/queries/deployment.sql and of what control.sql says of the server: who it is, and whose."""

# ruff: noqa: PLR0917 - a query takes what its SQL takes, by position

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from billing_worker.store import last_lines
from billing_worker.store.migrate import newest_version
from tests.simulation.store_twin_books import Books
from tests.simulation.store_twin_tables import CHECK, NOT_NULL, Row, refused

_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Server:
    """What the twin says of itself. Change it as the run of things would."""

    database_oid: int = 16_384
    system_identifier: int = 7_000_000_000_000_000_001
    timeline: int = 1
    wal_position: int = 0
    in_recovery: bool = False


def see_database(_books: Books, server: Server) -> list[Row]:
    """Which database a connection has led to."""
    primary = not server.in_recovery
    return [
        {
            "database_oid": server.database_oid,
            "in_recovery": server.in_recovery,
            "system_identifier": server.system_identifier,
            "timeline": server.timeline if primary else None,
            "wal_position": server.wal_position if primary else None,
        }
    ]


def see_database_without_wal(books: Books, server: Server) -> list[Row]:
    """As for a server that keeps its WAL to itself."""
    return [see_database(books, server)[0] | {"timeline": None, "wal_position": None}]


def see_database_alone(books: Books, server: Server) -> list[Row]:
    """As for a server that says nothing of itself."""
    return [see_database_without_wal(books, server)[0] | {"system_identifier": None}]


def server_facts(_books: Books, server: Server) -> list[Row]:
    """What start-up insists on."""
    return [
        {
            "in_recovery": server.in_recovery,
            "version": 18_00_00,
            "synchronous_commit": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "schema_version": newest_version(),
        }
    ]


def read_deployment(books: Books) -> list[Row]:
    """The newest row."""
    return [dict(books.deployment[max(books.deployment)])] if books.deployment else []


def record_deployment(
    books: Books,
    version: int,
    deployment: str,
    live: bool,
    system_identifier: int | None,
    database_oid: int,
    timeline: int | None,
    margin: timedelta | None,
    actor: str,
    reason: str,
) -> list[Row]:
    """The next version, unless somebody else has written it."""
    now = books.now()
    row = {
        "version": version,
        "deployment": deployment,
        "live": live,
        "system_identifier": system_identifier,
        "database_oid": database_oid,
        "timeline": timeline,
        "look_first_before": None if margin is None else now + margin,
        "changed_at": now,
        "actor": actor,
        "reason": reason,
    }
    if None in {version, deployment, live, database_oid, actor, reason}:
        raise refused(NOT_NULL)
    if not _FORM.fullmatch(deployment):
        raise refused(CHECK, "deployment_form")
    if version < 1:
        raise refused(CHECK, "deployment_version")
    if version in books.deployment:
        return []
    books.deployment = {**books.deployment, version: row}
    return [{"look_first_before": row["look_first_before"]}]


def has_cycles(books: Books) -> list[Row]:
    """Whether anything was ever owed here."""
    return [{"has_cycles": bool(books.cycles.rows)}]


def index_states(_books: Books) -> list[Row]:
    """Every index that there should be: the twin loses none."""
    return list(_indexes())


def trigger_states(_books: Books) -> list[Row]:
    """Every trigger that there should be."""
    return list(_triggers())


@cache
def _indexes() -> tuple[Row, ...]:
    return tuple(
        {"name": name, "definition": last_lines.index_definition(name), "sound": True}
        for name in last_lines.UNIQUE_INDEXES
    )


@cache
def _triggers() -> tuple[Row, ...]:
    return tuple(
        {"name": name, "definition": last_lines.trigger_definition(name), "enabled": "A"}
        for name in last_lines.TRIGGERS
    )
