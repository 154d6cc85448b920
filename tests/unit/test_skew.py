"""How far two clocks are apart, by a header that knows whole seconds only."""

from datetime import UTC, datetime, timedelta

import pytest

from billing_worker.portone.skew import KNOWN_SECONDS_MAX, DateSkew

NOON = datetime(2026, 9, 1, 12, 0, 0, tzinfo=UTC)


def http_date(instant: datetime) -> str:
    return instant.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("host_ahead_seconds", "expected"),
    [(0, 0), (0.4, 0), (0.999, 0), (-0.25, 0.25), (31, -30), (-45, 45), (3600, -3599)],
)
def test_only_what_the_resolution_cannot_explain_counts_as_skew(host_ahead_seconds: float, expected: float) -> None:
    skew = DateSkew(lambda: NOON + timedelta(seconds=host_ahead_seconds))

    skew.note(http_date(NOON))

    assert skew.seconds == pytest.approx(expected)


def test_nothing_is_known_before_an_answer_with_a_date() -> None:
    skew = DateSkew(lambda: NOON)

    for text in (None, "", "yesterday", "Tue, 99 Sep 2026 00:00:00 GMT"):
        skew.note(text)

    assert skew.seconds is None


def test_one_proxy_with_a_wrong_clock_is_outvoted() -> None:
    skew = DateSkew(lambda: NOON)

    for seconds_off in (0, 7200, -1):
        skew.note(http_date(NOON + timedelta(seconds=seconds_off)))

    assert skew.seconds == 0


def test_one_second_seen_many_times_is_one_sample() -> None:
    skew = DateSkew(lambda: NOON)

    for seconds_off in (0, -1, 7200, 7200, 7200):
        skew.note(http_date(NOON + timedelta(seconds=seconds_off)))

    assert skew.seconds == 0


def test_a_host_clock_that_jumps_is_seen_after_a_few_answers() -> None:
    host = [NOON]
    skew = DateSkew(lambda: host[0])
    for second in range(5):
        skew.note(http_date(NOON - timedelta(seconds=second * 0.1)))

    host[0] = NOON - timedelta(seconds=100)
    for second in range(3):
        skew.note(http_date(NOON + timedelta(seconds=second + 1)))

    assert skew.seconds == pytest.approx(101)


def test_a_skew_that_no_answer_confirms_is_forgotten() -> None:
    """Whoever sends nothing because of it would otherwise never learn that it is over. What it was is still told."""
    seconds = [1000.0]
    skew = DateSkew(lambda: NOON, lambda: seconds[0])
    skew.note(http_date(NOON + timedelta(seconds=100)))

    seconds[0] += KNOWN_SECONDS_MAX
    kept = skew.seconds
    seconds[0] += 1.0

    assert (kept, skew.seconds, skew.last_seconds) == (100, None, 100)


def test_the_first_answer_after_a_silence_counts_alone() -> None:
    # given
    seconds = [1000.0]
    skew = DateSkew(lambda: NOON, lambda: seconds[0])
    for ahead in (100, 101, 102):
        skew.note(http_date(NOON + timedelta(seconds=ahead)))

    # when
    seconds[0] += KNOWN_SECONDS_MAX + 1
    skew.note(http_date(NOON))

    # then
    assert (skew.seconds, skew.last_seconds) == (0, 0)
