"""What a server is to a worker: the database that it knows, one that may lack commits, or one to keep away from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.deployment import (
    LOOK_FIRST_MARGIN,
    FailedOver,
    Foreign,
    New,
    Ours,
    Recorded,
    Replica,
    Same,
    Seen,
    judge,
    moved,
    unsaid,
)

OURS = Ours("main", live=True)
SEEN = Seen(in_recovery=False, database_oid=5, system_identifier=77, timeline=3, wal_position=1000)
RECORDED = Recorded(
    version=1,
    deployment="main",
    live=True,
    system_identifier=77,
    database_oid=5,
    timeline=3,
    look_first_before=None,
    changed_at=datetime(2026, 3, 1, tzinfo=UTC),
    actor="worker-1",
    reason="first used",
)

numbers = st.integers(min_value=0, max_value=4)
unknown = st.none() | numbers
seens = st.builds(
    Seen,
    in_recovery=st.booleans(),
    database_oid=numbers,
    system_identifier=unknown,
    timeline=unknown,
    wal_position=unknown,
)
recordeds = st.builds(
    replace,
    st.just(RECORDED),
    deployment=st.sampled_from(["main", "staging"]),
    live=st.booleans(),
    system_identifier=unknown,
    database_oid=numbers,
    timeline=unknown,
)
ours = st.builds(Ours, st.sampled_from(["main", "staging"]), live=st.booleans())


def test_the_database_that_is_written_down_is_the_same() -> None:
    assert judge(RECORDED, SEEN, OURS, wal_seen=1000) == Same()


def test_a_database_that_nobody_has_written_down_is_new() -> None:
    assert judge(None, SEEN, OURS) == New()


@pytest.mark.parametrize(
    ("changes", "wal_seen"), [({"timeline": 4}, 1000), ({"timeline": 2}, None), ({"wal_position": 999}, 1000)]
)
def test_another_timeline_or_a_wal_that_went_back_is_a_failover(changes: dict[str, Any], wal_seen: int | None) -> None:
    assert isinstance(judge(RECORDED, replace(SEEN, **changes), OURS, wal_seen=wal_seen), FailedOver)


@pytest.mark.parametrize(
    "changes", [{"system_identifier": 78}, {"database_oid": 6}, {"system_identifier": 78, "timeline": 1}]
)
def test_a_copy_is_foreign_and_may_be_adopted(changes: dict[str, Any]) -> None:
    judgement = judge(RECORDED, replace(SEEN, **changes), OURS)

    assert isinstance(judgement, Foreign)
    assert "billing-worker adopt" in judgement.remedy


def test_another_deployment_s_database_is_foreign() -> None:
    judgement = judge(RECORDED, SEEN, Ours("staging", live=True))

    assert isinstance(judgement, Foreign)
    assert "BILLING_DEPLOYMENT" in judgement.remedy


def test_live_and_test_payments_never_share_a_database_and_adopting_is_no_remedy() -> None:
    judgement = judge(RECORDED, SEEN, Ours("main", live=False))

    assert isinstance(judgement, Foreign)
    assert "live payments" in judgement.reason
    assert "adopt" not in judgement.remedy


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"in_recovery": True}, "replica"),
        ({"database_oid": 6}, "not the one"),
        ({"system_identifier": 78}, "not the one"),
        ({"system_identifier": None}, "not the one"),
        ({"timeline": 4}, "not the one"),
        ({"wal_position": 999}, "gone back"),
    ],
)
def test_a_connection_to_another_place_is_not_let_in(changes: dict[str, Any], word: str) -> None:
    assert word in moved(SEEN, replace(SEEN, **changes), wal_seen=1000)


def test_a_connection_to_the_same_place_is_let_in() -> None:
    assert moved(SEEN, replace(SEEN, wal_position=1001), wal_seen=1000) == ""


def test_a_server_that_says_less_of_itself_is_named_by_what_is_not_noticed() -> None:
    silent, half = replace(SEEN, system_identifier=None, timeline=None), replace(SEEN, timeline=None, wal_position=None)

    assert "move to another server" in unsaid(silent)
    assert "failover" in unsaid(half)
    assert unsaid(SEEN) == ""


@given(seen=seens, recorded=st.none() | recordeds, wanted=ours, wal_seen=unknown)
def test_nothing_in_recovery_is_ever_billed_from(
    seen: Seen, recorded: Recorded | None, wanted: Ours, wal_seen: int | None
) -> None:
    judgement = judge(recorded, replace(seen, in_recovery=True), wanted, wal_seen=wal_seen)

    assert judgement == Replica()


@given(seen=seens, recorded=recordeds, wanted=ours, wal_seen=unknown)
def test_the_same_has_nothing_that_differs(seen: Seen, recorded: Recorded, wanted: Ours, wal_seen: int | None) -> None:
    judgement = judge(recorded, seen, wanted, wal_seen=wal_seen)

    pairs = [
        (recorded.system_identifier, seen.system_identifier),
        (recorded.database_oid, seen.database_oid),
        (recorded.timeline, seen.timeline),
    ]
    alike = all(now is None or now == written for written, now in pairs)
    ours_too = (recorded.deployment, recorded.live) == (wanted.deployment, wanted.live)
    went_back = None not in (wal_seen, seen.wal_position) and seen.wal_position < wal_seen  # type: ignore[operator]
    assert (judgement == Same()) == (alike and ours_too and not went_back and not seen.in_recovery)


@given(seen=seens, recorded=recordeds, wanted=ours, wal_seen=unknown)
def test_what_is_written_down_after_a_failover_or_an_adoption_is_the_same_from_then_on(
    seen: Seen, recorded: Recorded, wanted: Ours, wal_seen: int | None
) -> None:
    # given
    judgement = judge(recorded, seen, wanted, wal_seen=wal_seen)
    written = replace(
        recorded,
        deployment=wanted.deployment,
        live=wanted.live,
        system_identifier=seen.system_identifier,
        database_oid=seen.database_oid,
        timeline=seen.timeline,
    )

    # when
    afterwards = judge(written, seen, wanted)

    # then
    assert afterwards == (Replica() if judgement == Replica() else Same())


def test_a_person_reads_why_a_database_is_not_billed_from() -> None:
    def reason(changes: dict[str, Any], ours: Ours = OURS) -> str:
        judgement = judge(RECORDED, replace(SEEN, **changes), ours, wal_seen=1000)
        assert isinstance(judgement, FailedOver | Foreign)
        return judgement.reason

    older = "the server's WAL ends before what this worker has seen of it: an older copy was restored"
    assert reason({"timeline": 4}) == "the server's timeline is 4, it was 3"
    assert reason({"wal_position": 999}) == older
    assert reason({"system_identifier": 78}) == "this database was copied to another server"
    assert reason({"database_oid": 6}) == "this database is a copy of one on the same server"
    assert reason({}, Ours("staging", live=True)) == "this database is deployment main's, and this worker is of staging"
    assert reason({}, Ours("main", live=False)) == (
        "this database is for live payments, and this worker makes test ones"
    )


@pytest.mark.parametrize("changes", [{"timeline": None}, {"wal_position": None}])
def test_a_server_that_hides_either_part_of_its_wal_hides_a_failover(changes: dict[str, Any]) -> None:
    assert unsaid(replace(SEEN, **changes)) == (
        "the server does not show its WAL's timeline and position: a failover is not noticed"
    )


def test_what_the_server_no_longer_says_differs_from_nothing() -> None:
    assert judge(RECORDED, replace(SEEN, system_identifier=None, timeline=None), OURS) == Same()


@pytest.mark.parametrize("written", [{"timeline": None}, {"system_identifier": None}])
def test_what_shows_itself_first_may_have_changed_before(written: dict[str, Any]) -> None:
    judgement = judge(replace(RECORDED, **written), SEEN, OURS)

    assert isinstance(judgement, FailedOver)
    assert "says more of itself" in judgement.reason


def test_what_was_accepted_tells_a_copy_where_nothing_is_written_down() -> None:
    silent = replace(RECORDED, system_identifier=None)

    judgement = judge(silent, replace(SEEN, system_identifier=78), OURS, before=SEEN)

    assert isinstance(judgement, Foreign)


def test_what_is_written_down_is_believed_before_what_was_accepted() -> None:
    """A person has adopted another server since."""
    adopted = replace(SEEN, system_identifier=78)

    assert judge(replace(RECORDED, system_identifier=78), adopted, OURS, before=SEEN) == Same()


def test_the_margin_outlasts_a_clock_that_was_ahead_by_minutes() -> None:
    assert timedelta(minutes=5) < LOOK_FIRST_MARGIN < timedelta(hours=1)


def test_a_server_that_hides_its_wal_s_position_is_not_taken_for_one_that_went_back() -> None:
    silent = replace(SEEN, wal_position=None)

    assert judge(RECORDED, silent, OURS, wal_seen=1000) == Same()
    assert moved(silent, silent, wal_seen=1000) == ""
