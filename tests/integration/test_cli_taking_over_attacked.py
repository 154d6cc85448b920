"""What an attack on schedules import tried: a long file while PortOne is away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from billing_worker.cli.taking_over import ROWS_AT_ONCE
from tests.conftest import DatabaseUrls
from tests.merchants import Shop, a_shop, results


@pytest.fixture
async def shop(database: DatabaseUrls, tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(database, tmp_path) as made:
        yield made


async def test_once_portone_does_not_answer_no_later_row_is_asked_about(shop: Shop) -> None:
    # given
    keys = [f"sub-{number}" for number in range(3 * ROWS_AT_ONCE)]
    await shop.rig.subscribe(*(shop.plan(key) for key in keys))
    await shop.rig.ask("POST", "/scripts", behaviour="503", times=1000, on="list")

    # when
    result = await shop.bring_in(*((key, f"order-{key}") for key in keys))

    # then
    asked = (await shop.rig.ask("GET", "/requests"))["requests"]
    assert result.exit_code == 3
    assert results(result) == ["not_asked"] * len(keys)
    assert 1 <= len(asked) <= ROWS_AT_ONCE
    assert await shop.rows("cycles") == 0
