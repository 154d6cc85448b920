"""The way from a command to Postgres: one connection for the command's life, and every failure in plain words.

Commands of this kind need BILLING_DATABASE_URL and no secret of PortOne's.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import NoReturn, TypeVar

from billing_worker.cli.exits import Detail, Exit, Failure
from billing_worker.settings import Settings, SettingsFault, load_database_url, load_settings
from billing_worker.store import db
from billing_worker.store.db import (
    Database,
    DatabaseGoneError,
    DatabaseMovedError,
    Lone,
    NoPrimaryError,
    PoolLimits,
    RowRefusedError,
)
from billing_worker.store.deployment import admit_original

T = TypeVar("T")

# By SQLSTATE: what is wrong, and what to do about it.
_REFUSALS = {
    "42P01": ("the database has no billing schema, or an old one", "run `billing-worker migrate`"),
    "3F000": ("the database has no billing schema", "run `billing-worker migrate`"),
    "42703": ("the billing schema is an old one", "run `billing-worker migrate`"),
    "42883": ("the billing schema is an old one", "run `billing-worker migrate`"),
    "42501": ("this user may not do that", "log in as a user that is in the role the command needs; see docs/cli.md"),
    "28P01": ("Postgres refuses the password", "correct BILLING_DATABASE_URL"),
    "28000": ("Postgres refuses this user", "correct BILLING_DATABASE_URL, or let pg_hba.conf admit the user"),
    "3D000": ("there is no database of that name", "correct BILLING_DATABASE_URL, or create the database"),
}


def on_database(
    work: Callable[[Database], Awaitable[T]],
    *,
    command_seconds: float = 20.0,
    writes: bool = False,
    replica_too: bool = False,
) -> T:
    """Connect, do the work, and disconnect. Raises Failure.

    With writes, it is not done on a copy of the database. For what only reads, a replica will do too where no primary
    answers.
    """
    url = database_url()
    try:
        return asyncio.run(_with_database(url, work, command_seconds, writes=writes, replica_too=replica_too))
    except DatabaseGoneError as error:
        raise gone(error, begun=True) from None
    except RowRefusedError as error:
        raise refused(error) from None


def on_connection(url: str) -> AbstractAsyncContextManager[Lone]:
    """A connection to wherever the URL leads, for whoever judges where that is."""
    return db.alone(url, application_name="billing-worker cli", command_seconds=20.0)


def database_url() -> str:
    """Where the database is. Raises Failure."""
    try:
        return load_database_url(os.environ).get_secret_value()
    except SettingsFault as fault:
        _raise_settings(fault)


def settings() -> Settings:
    """All settings. Raises Failure with everything that is wrong with them."""
    try:
        return load_settings(os.environ)
    except SettingsFault as fault:
        _raise_settings(fault)


def gone(error: DatabaseGoneError, *, begun: bool) -> Failure:
    """Postgres is not there, in plain words; begun says whether the command may have done its work."""
    if isinstance(error, DatabaseMovedError | NoPrimaryError):
        done = "what the command had done before stands" if begun else "nothing was changed"
        return Failure(Exit.REFUSED, "database_moved", f"{error}; {done}")
    unknown = "; whether the command did its work is unknown, and it may be run again" if begun else ""
    return Failure(
        Exit.GONE,
        "database_gone",
        f"Postgres does not answer ({error}){unknown}",
        remedy="check BILLING_DATABASE_URL and the server",
    )


def refused(error: RowRefusedError) -> Failure:
    """Postgres said no, in plain words."""
    states = [word for word in str(error).split() if word in _REFUSALS]
    what, remedy = _REFUSALS[states[0]] if states else ("Postgres refuses the request", "")
    return Failure(Exit.REFUSED, "database_refused", f"{what} ({error}); nothing was changed", remedy=remedy)


async def _with_database(
    url: str, work: Callable[[Database], Awaitable[T]], command_seconds: float, *, writes: bool, replica_too: bool
) -> T:
    limits = PoolLimits(claims_max=1, outcomes_max=1, command_seconds=command_seconds)
    connect = partial(db.connect, url, limits, application_name="billing-worker cli")
    try:
        try:
            database = await connect(admit=admit_original if writes else None)
        except NoPrimaryError:
            if not replica_too:
                raise
            database = await connect(replica_too=True)
    except DatabaseGoneError as error:
        raise gone(error, begun=False) from None
    try:
        return await work(database)
    finally:
        await database.close()


def _raise_settings(fault: SettingsFault) -> NoReturn:
    details = tuple(
        Detail(f"{problem.name} ({problem.shape})", f"{problem.reason}; {problem.remedy}") for problem in fault.problems
    )
    raise Failure(Exit.REFUSED, "settings", "the settings will not do", details=details) from None
