"""Whether a worker may bill from a database at all: asked once, before anything is swept.

It writes nothing, and it never mends what it finds: it says what is wrong and how a person mends it.
"""

from billing_worker.billing.deployment import Foreign, Ours, Recorded, Replica, Seen, judge
from billing_worker.store import control, db, deployment, last_lines, migrate
from billing_worker.store.db import Database
from billing_worker.store.deployment import Acceptance
from billing_worker.workers.sentry import REPLICA, Alone


class StartUpRefusedError(Exception):
    """Why this worker must not bill from here, a reason a line."""


async def refuse_moved(alone: Alone, wanted: Ours, acceptance: Acceptance) -> None:
    """Refuse a replica, and a database that another deployment has or that was copied; accept any other.

    Raises StartUpRefusedError, and what a connection that cannot be made raises.
    """
    asked_at = acceptance.seconds()
    try:
        async with alone() as one:
            seen, recorded = await _look(one)
    except db.NoPrimaryError as error:
        raise StartUpRefusedError(str(error)) from None
    match judge(recorded, seen, wanted):
        case Replica():
            raise StartUpRefusedError(REPLICA)
        case Foreign(reason=reason, remedy=remedy):
            raise StartUpRefusedError(f"{reason}: {remedy}")
        case _:
            acceptance.accept(seen, asked_at=asked_at)


async def refuse_unfit(database: Database, store_id: str, *, live: bool = False) -> None:
    """Refuse a server that breaks its promises, another store's database, and a role that could change the ledger.

    Nor is one taken whose schema lacks a last line. Raises StartUpRefusedError.
    """
    try:
        problems = await control.unfit_server(database.claims, migrate.newest_version(), live=live)
        problems += await last_lines.missing_last_lines(database.claims)
        problems += [
            f"this database bills store {other}, not {store_id}: give each store a database of its own"
            for other in await control.other_stores(database.claims, store_id)
        ]
        problems += [
            f"this role has {right}, which it must not: {remedy}"
            for right, remedy in await control.excess_rights(database.claims)
        ]
    except db.RowRefusedError as error:
        raise StartUpRefusedError(f"the schema cannot be read ({error}): run billing-worker migrate") from None
    if problems:
        raise StartUpRefusedError("\n".join(problems))


async def _look(one: db.Executor) -> tuple[Seen, Recorded | None]:
    # Only here does a refusal speak of the schema; one that comes before is about the login or the database's name.
    try:
        return await deployment.see(one), await deployment.read_deployment(one)
    except db.RowRefusedError as error:
        raise StartUpRefusedError(f"the schema cannot be read ({error}): run billing-worker migrate") from None
