"""The renewer's transaction is the only one of several statements: whoever is cut off in it must not keep its locks."""

import pytest

from tests.builders import eventually
from tests.crash.harness import Stage
from tests.crash.wire_cutter import COMMIT, Cut, WireCutter

# What the server must let go of by itself: a broken network tells it nothing for hours.
LET_GO_SECONDS_MAX = 15.0


@pytest.mark.parametrize(
    ("when", "statement"), [("after", "lock_due_subscriptions"), ("after", "open_cycles"), ("before", COMMIT)]
)
async def test_a_renewer_that_is_cut_off_does_not_keep_its_subscriptions(
    stage: Stage, when: str, statement: str
) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    async with WireCutter(stage.database.worker_url) as wire:
        cut = Cut("before" if when == "before" else "after", statement)
        wire.aim(cut)
        worker = stage.start(DATABASE_URL=wire.url)
        await worker.said("sweep.database_gone")
        assert cut.fell.is_set()

        await eventually(lambda: stage.cycle(key), seconds_max=LET_GO_SECONDS_MAX)

        await stage.ends_true()
