"""A commit whose wait for its standby was cancelled comes back as a success with a warning: it is not believed."""

import asyncio
from typing import Any

import asyncpg
import pytest

from billing_worker.store import control
from billing_worker.store.db import DatabaseGoneError
from tests.builders import eventually
from tests.conftest import OwnServer
from tests.rig import ATTEMPT_LEASE, a_database, a_rig

# Only intents wait for the standby, so that a test can lead up to one and go on after it.
INTENTS_WAIT = """
ALTER DATABASE billing SET synchronous_commit = local;
CREATE FUNCTION public.wait_for_standby() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('synchronous_commit', 'on', true); RETURN NULL; END $$;
CREATE TRIGGER waits AFTER INSERT ON billing.{table} FOR EACH STATEMENT EXECUTE FUNCTION public.wait_for_standby();
"""


async def standby(admin: Any, name: str) -> None:
    """Commits wait for a standby of that name from now on; for none, where it is empty."""
    await admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await admin.execute("SELECT pg_reload_conf()")

    async def taken() -> bool:
        return bool(await admin.fetchval("SHOW synchronous_standby_names") == name)

    await eventually(taken)


async def cancel_the_wait(admin: Any) -> None:
    """Cancel the one backend that waits for the standby, as an operator would who wonders why it hangs."""

    async def waiting() -> int | None:
        pid: int | None = await admin.fetchval("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return pid

    await admin.fetchval("SELECT pg_cancel_backend($1)", await eventually(waiting))


async def test_an_intent_whose_wait_was_cancelled_is_not_sent_and_the_reconciler_finds_it(
    own_server: OwnServer,
) -> None:
    admin = await asyncpg.connect(own_server.database.admin_url)
    await admin.execute(INTENTS_WAIT.format(table="attempts"))
    async with a_rig(own_server.database) as rig:
        # given
        payment_id = await rig.owe()
        await standby(admin, "nobody_there")

        # when
        charging = asyncio.create_task(rig.charge())
        await cancel_the_wait(admin)
        with pytest.raises(DatabaseGoneError, match="warned with 01000"):
            await charging
        unsent, status = await rig.posts(), (await rig.attempt())["status"]
        await standby(admin, "")
        await rig.pass_time(seconds=ATTEMPT_LEASE.total_seconds())
        await rig.reconcile()

        # then
        assert (unsent, status) == ([], "open")
        assert len(await rig.tries(payment_id)) == 1
        assert (await rig.cycle())["status"] == "paid"
    await admin.close()


async def test_a_transaction_s_commit_is_not_believed_either(own_server: OwnServer) -> None:
    admin = await asyncpg.connect(own_server.database.admin_url)
    await admin.execute(INTENTS_WAIT.format(table="control"))
    async with a_database(own_server.database) as pools:

        async def order() -> None:
            async with pools.claims.transaction() as transaction:
                await control.order_sending(transaction, halted=True, reason="x", actor="kim")

        # given
        await standby(admin, "nobody_there")

        # when
        ordering = asyncio.create_task(order())
        await cancel_the_wait(admin)

        # then
        with pytest.raises(DatabaseGoneError, match="warned with 01000"):
            await ordering
        assert await control.sending_order(pools.claims)
    await standby(admin, "")
    await admin.close()


async def test_a_role_that_is_spared_warnings_hears_this_one(own_server: OwnServer) -> None:
    admin = await asyncpg.connect(own_server.database.admin_url)
    await admin.execute("ALTER ROLE t_worker SET client_min_messages = error")
    await admin.execute(
        "CREATE FUNCTION public.warn() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE WARNING 'as Postgres does'; RETURN NULL; END $$; "
        "CREATE TRIGGER warns AFTER INSERT ON billing.control FOR EACH STATEMENT EXECUTE FUNCTION public.warn()"
    )
    async with a_database(own_server.database) as pools:
        with pytest.raises(DatabaseGoneError, match="warned with 01000"):
            await control.order_sending(pools.claims, halted=True, reason="x", actor="kim")

        # A connection keeps no warning for the statement after it.
        assert await control.sending_order(pools.claims)
    await admin.close()
