"""A backup is put back after workers have charged: what is lost here PortOne has, and it is all found again.

The tries that were lost are older than any difference of clocks explains, as they are after every real restore.
"""

import pytest

from billing_worker.demo.postgres import EmbeddedPostgres
from tests.builders import eventually
from tests.conftest import execute
from tests.crash.harness import Stage
from tests.crash.spells import last

# What the workers take for one moment on two clocks: little, so that the test need not wait for half a minute.
CLOCKS = {"CLOCK_SKEW_MAX_SECONDS": "0.5"}
OLDER_SECONDS = 1.5


@pytest.mark.parametrize("kind", ["ok", "soft-funds", "hard-lost", "late-success"])
async def test_what_was_charged_or_declined_before_a_restore_is_found_again(
    stage: Stage, postgres: EmbeddedPostgres, kind: str
) -> None:
    (key,) = await stage.add([f"bk-{kind}-1"])
    name = stage.database.name
    await stage.hang_up()
    execute(postgres.url(), f"CREATE DATABASE {name}_backup TEMPLATE {name} STRATEGY wal_log")
    worker = stage.start(**CLOCKS)

    async def collected() -> bool:
        return any(attempt["settled_at"] for attempt in await stage.attempts(key))

    await eventually(collected)
    worker.kill()
    await worker.ended()
    await stage.hang_up()
    execute(postgres.url(), f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {name}_backup RENAME TO {name}")
    await last(OLDER_SECONDS)

    stage.start(**CLOCKS)

    await stage.rests(seconds_max=40)
    assert (await stage.cycle(key))["status"] == ("given_up" if kind == "hard-lost" else "paid")
