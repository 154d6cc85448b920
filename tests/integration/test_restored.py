"""A real backup, restored in the place of its original: what it lacks is neither lost nor paid twice."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from billing_worker.demo import pg_binaries
from billing_worker.demo.postgres import EmbeddedPostgres
from billing_worker.store import control, db
from billing_worker.store.db import DatabaseMovedError
from billing_worker.workers.gate import ClosedBy
from tests.builders import eventually
from tests.conftest import OwnServer, chosen_binaries
from tests.guarded import guarded
from tests.rig import Rig, a_rig


async def recorded(rig: Rig) -> list[Any]:
    return list(await rig.admin.fetch("SELECT * FROM billing.deployment ORDER BY version"))


def run_binary(name: str, *arguments: str) -> None:
    subprocess.run(
        [(chosen_binaries() or pg_binaries.find_binaries()) / name, *arguments],
        check=True,
        capture_output=True,
        timeout=120,
    )


async def back_up(server: EmbeddedPostgres, copy: Path) -> Path:
    """A base backup of the running server; the directory that it is a copy of."""
    run_binary(
        "pg_basebackup", f"--dbname={server.url()}", f"--pgdata={copy}", "--wal-method=stream", "--checkpoint=fast"
    )
    admin = await asyncpg.connect(server.url())
    found = Path(await admin.fetchval("SHOW data_directory"))
    await admin.close()
    return found


def restore(server: EmbeddedPostgres, copy: Path, pgdata: Path) -> None:
    """Put the backup in the server's place, as a restore to the backup's end does: on a timeline of its own."""
    server.kill()
    owner, kept = pgdata.stat(), pgdata.with_name("lost")
    pgdata.rename(kept)
    shutil.copytree(copy, pgdata)
    (pgdata / "recovery.signal").touch()
    with (pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    for path in (pgdata, *pgdata.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    pgdata.chmod(0o700)
    server.start()


async def is_primary(rig: Rig) -> bool:
    """Whether the recovery has ended."""
    return not await rig.admin.fetchval("SELECT pg_is_in_recovery()")


async def runs_nothing(pool: db.Pool) -> None:
    """Each connection that was open is found dead once, and the next one is turned away."""
    for _ in range(10):
        try:
            await control.primary_clock(pool)
        except DatabaseMovedError:
            return
        except db.DatabaseGoneError:
            continue
        pytest.fail("a statement ran on a server that nobody has judged")
    pytest.fail("no connection was turned away")


async def test_a_restored_backup_that_lacks_a_payment_pays_it_once(own_server: OwnServer, tmp_path: Path) -> None:
    async with a_rig(own_server.database) as rig, guarded(rig, own_server.database) as guard:
        # given
        await guard.watch(rig)
        payment_id = await rig.owe()
        pgdata = await back_up(own_server.server, tmp_path / "backup")
        await rig.charge(guard.crew)
        paid_before = (await rig.cycle())["status"]
        restore(own_server.server, tmp_path / "backup", pgdata)
        rig.admin = await asyncpg.connect(own_server.database.admin_url)
        await eventually(lambda: is_primary(rig))
        lost = (await rig.cycle())["status"]

        # when
        for pool in (guard.database.claims, guard.database.outcomes):
            await runs_nothing(pool)
        unjudged = guard.closed_by()
        said = await guard.watch(rig)
        await rig.charge(guard.crew)
        posts_before_look = len(await rig.posts())
        await rig.reconcile(guard.crew)

        # then
        assert (paid_before, lost, unjudged) == ("paid", "due", ClosedBy.MOVED)
        assert "database.failed_over" in said
        assert (posts_before_look, len(await rig.posts())) == (1, 1)
        assert len(await rig.tries(payment_id)) == 1
        assert (await rig.cycle())["status"] == "paid"
        assert [row["timeline"] for row in await recorded(rig)] == [1, 2]
        await rig.admin.close()
