"""Control: the primary's clock, what it promises, what our role may do, and what a person has ordered."""

from dataclasses import dataclass
from datetime import datetime

from billing_worker.store.db import Executor

SERVER_VERSION_MIN = 15_00_00


@dataclass(frozen=True, slots=True)
class Order:
    """What a person has ordered of every worker."""

    halted: bool
    reason: str
    actor: str
    changed_at: datetime


async def primary_clock(db: Executor) -> datetime:
    """The primary's time."""
    now: datetime = (await db.fetch("primary_clock"))[0]["now"]
    return now


async def sending_order(db: Executor) -> Order | None:
    """Whether a person has halted sending; None while nobody has ever ordered anything."""
    rows = await db.fetch("read_control", "sending")
    if not rows:
        return None
    row = rows[0]
    return Order(row["value"] == "halted", row["reason"], row["actor"], row["changed_at"])


async def order_sending(db: Executor, *, halted: bool, reason: str, actor: str) -> None:
    """Halt or resume sending in every worker."""
    await db.fetch("write_control", "sending", "halted" if halted else "on", reason, actor)


async def unfit_server(db: Executor, schema_version: int, *, live: bool = False) -> list[str]:
    """Why this server must not be billed from; empty when it may. One for practice may forget in a crash."""
    row = (await db.fetch("server_facts"))[0]
    found: list[str] = []
    if row["in_recovery"]:
        found.append("the server is a replica: point BILLING_DATABASE_URL at the primary")
    if row["version"] < SERVER_VERSION_MIN:
        found.append(f"the server is PostgreSQL {row['version'] // 10_000}: 15 or newer is needed")
    if row["synchronous_commit"] == "off":
        found.append("synchronous_commit is off, so a commit may be lost after it was acknowledged: turn it on")
    found += [
        f"{name} is off, so a crash may lose or spoil what was acknowledged: turn it on"
        for name in ("fsync", "full_page_writes")
        if live and row[name] == "off"
    ]
    if row["schema_version"] != schema_version:
        found.append(
            f"the schema is at {row['schema_version']}, this program wants {schema_version}: run billing-worker migrate"
        )
    return found


async def other_stores(db: Executor, store_id: str) -> list[str]:
    """The stores, other than ours, whose cycles the database has."""
    return [row["store_id"] for row in await db.fetch("other_stores", store_id)]


async def excess_rights(db: Executor) -> list[tuple[str, str]]:
    """Each right that the connected role has over the ledger and must not have, and how to take it away."""
    return [(row["grant_name"], row["remedy"]) for row in await db.fetch("excess_rights")]


async def logged_parameters(db: Executor) -> list[str]:
    """Why this server would write billing keys into its log; empty when it would not."""
    return [
        f"the server's {row['name']} is {row['value']}, so its log would show billing keys: "
        f"ALTER DATABASE … SET {row['silence']} = {'off' if row['value'] == 'on' else '0'}"
        for row in await db.fetch("logged_parameters")
    ]
