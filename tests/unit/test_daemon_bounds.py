"""What bounds the workers is what the settings say: no bound is left out, and none stands in the place of another."""

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from billing_worker import bounds
from billing_worker.settings import Settings

# Every setting that is a bound has a value of its own here, so that one in the place of another shows.
GIVEN: dict[str, Any] = {
    "database_url": SecretStr("postgresql://worker@127.0.0.1/billing"),
    "portone_api_secret": SecretStr("secret-0123456789"),
    "portone_store_id": "store-bounds",
    "portone_live": True,
    "portone_connect_seconds": 5.5,
    "portone_read_seconds": 61.5,
    "portone_look_read_seconds": 21.5,
    "portone_requests_per_second": 11.5,
    "portone_burst": 23,
    "portone_in_flight_max": 101,
    "reconcile_batch_max": 103,
    "fruitless_claims_max": 13,
    "clock_skew_max_seconds": 31.5,
    "send_window_seconds": 29.5,
    "resend_until_seconds": 9001,
    "void_after_seconds": 86_401,
    "ask_first_seconds": 6.5,
    "ask_widest_seconds": 3601,
    "verify_after_seconds": 601,
    "recheck_after_seconds": (602, 10_801),
    "schedule_near_seconds": 603,
    "schedule_grace_seconds": 62,
    "schedule_lost_after_seconds": 3602,
    "database_pool_claims_max": 7,
    "database_pool_outcomes_max": 9,
    "database_command_timeout_seconds": 19.5,
}


@pytest.fixture
def settings() -> Settings:
    return Settings(**GIVEN)


@pytest.mark.parametrize("live", [True, False])
def test_the_rules_decide_within_the_bounds_of_the_settings(live: bool) -> None:
    # given
    expected = {
        "store_id": "store-bounds",
        "live": live,
        "fruitless_claims_max": 13,
        "clock_skew_max": timedelta(seconds=31.5),
        "at_work_for": timedelta(seconds=29.5 + 5.5 + 10 + 61.5),  # the send window, connecting, writing, reading
        "resend_until": timedelta(seconds=9001),
        "void_after": timedelta(seconds=86_401),
        "ask_first": timedelta(seconds=6.5),
        "ask_widest": timedelta(seconds=3601),
        "verify_after": timedelta(seconds=601),
        "recheck_after": (timedelta(seconds=602), timedelta(seconds=10_801)),
        "book_near": timedelta(seconds=603),
        "book_grace": timedelta(seconds=62),
        "book_lost_after": timedelta(seconds=3602),
    }

    # when
    rules = bounds.charging_rules(Settings(**GIVEN | {"portone_live": live}))

    # then
    assert {field.name: getattr(rules, field.name) for field in fields(rules)} == expected


def test_portone_is_reached_within_the_bounds_of_the_settings(settings: Settings) -> None:
    options = bounds.client_options(settings)

    assert (options.store_id, options.api_secret) == ("store-bounds", settings.portone_api_secret)
    assert (options.connect_seconds, options.write_seconds) == (5.5, 10)
    assert (options.read_seconds, options.look_read_seconds) == (61.5, 21.5)
    assert options.connections_max == 101 + 103
    assert options.resend_window_seconds == 29.5
    assert (options.requests_per_second, options.burst) == (11.5, 23)


def test_each_pool_has_its_own_bound(settings: Settings) -> None:
    limits = bounds.pool_limits(settings)

    assert (limits.claims_max, limits.outcomes_max, limits.command_seconds) == (7, 9, 19.5)
