"""Dunning: which declines are retried, and when."""

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.dunning import (
    CHANNEL_PAUSE,
    RETRIES_MAX,
    RETRY_GAP,
    DeclineKind,
    DunningPolicy,
    GiveUp,
    GiveUpReason,
    Hold,
    RetryAt,
    counts_as_decline,
    decline_kind,
    next_retry,
    next_try,
)
from billing_worker.billing.outcomes import CHARGE_ERRORS, Declined, RefusalScope, Refused, read_charge_error

DAY = timedelta(days=1)
FIRST = datetime(2026, 8, 1, 1, 0, tzinfo=UTC)
POLICY = DunningPolicy.of_days([1, 3, 5, 7])

policies = (
    st.lists(st.floats(0.001, 366), min_size=1, max_size=RETRIES_MAX)
    .map(lambda days: tuple(sorted({timedelta(days=span) for span in days})))
    .map(DunningPolicy)
)


def declined(message: str) -> Declined:
    return Declined(code="X", message=message)


def refused(error_type: str) -> Refused:
    outcome = read_charge_error(error_type, "")
    assert isinstance(outcome, Refused)
    return outcome


@pytest.mark.parametrize(
    "message",
    [
        "잔액부족",
        "잔액 부족으로 거래불가",
        "통장 잔고가 부족합니다",
        "한도초과",
        "1회 이용한도 초과",
        "거래불가카드(월최대승인한도초과)",
        "사용금액 한도초과 혹은 잔액부족",
        "일일 사용횟수 초과",
        "가맹점한도초과",
        "가맹점 해지",
        "미등록 가맹점, 거래제한",
        "상점 계약이 만료되었습니다",
        "카드사 시스템 점검중 사용불가",
        "카드사 장애로 거래불가",
        "서비스 일시 정지",
        "심야거래제한",
        "인증시간 만료",
        "카드사 문의 요망",
        "기타 거절",
        "Insufficient funds",
        "Credit LIMIT exceeded on card number",
        "Merchant account suspended",
        "Issuer timeout",
        "Do not honor",
        "",
        "???",
    ],
)
def test_a_decline_that_may_pass_is_soft(message: str) -> None:
    assert decline_kind(declined(message)) is DeclineKind.SOFT


@pytest.mark.parametrize(
    "message",
    [
        "분실 카드",
        "도난카드",
        "도난·분실 신고된 카드입니다",
        "거래정지 카드",
        "정지된 카드",
        "해지카드",
        "탈회 회원",
        "유효기간 만료",
        "유효 기간 오류",
        "만료된 카드입니다",
        "카드번호 오류",
        "카드 번호 오류, 확인 후 재시도 바랍니다",
        "연체 회원",
        "사용불가 카드",
        "거래불가 카드",
        "비밀번호 입력횟수 초과",
        "조회되는 빌링키 없음: 삭제된 빌링키",
        "비활성 상태: 결제키 비활성",
        "Stolen card",
        "LOST CARD",
        "Card expired",
        "Invalid card number",
        "Ｅｘｐｉｒｅｄ card",
        unicodedata.normalize("NFD", "유효기간 만료"),
    ],
)
def test_a_decline_that_no_day_mends_is_hard(message: str) -> None:
    assert decline_kind(declined(message)) is DeclineKind.HARD


@pytest.mark.parametrize("message", ["주문번호 중복", "기승인 거래", "이미 결제된 주문입니다", "Duplicate order"])
def test_what_the_pg_says_it_has_been_paid_is_never_tried_again_without_a_person(message: str) -> None:
    step = next_try(POLICY, declined(message), first_declined_at=FIRST, declines=1, now=FIRST)

    assert decline_kind(declined(message)) is DeclineKind.DUPLICATE
    assert isinstance(step, Hold)


@given(message=st.text(max_size=2000))
def test_every_message_has_a_kind(message: str) -> None:
    assert decline_kind(declined(message)) in DeclineKind


def test_a_soft_decline_is_retried_on_the_days_of_the_policy() -> None:
    days = []
    for declines in (1, 2, 3, 4):
        now = FIRST + POLICY.retry_after[declines - 2] if declines > 1 else FIRST
        step = next_retry(POLICY, first_declined_at=FIRST, declines=declines, now=now, kind=DeclineKind.SOFT)
        assert isinstance(step, RetryAt)
        days.append((step.at - FIRST) / DAY)

    assert days == [1, 3, 5, 7]


def test_the_decline_after_the_last_retry_is_the_end() -> None:
    step = next_retry(POLICY, first_declined_at=FIRST, declines=5, now=FIRST + 7 * DAY, kind=DeclineKind.SOFT)

    assert step == GiveUp(GiveUpReason.RETRIES_EXHAUSTED)


@pytest.mark.parametrize("declines", [1, 4, 5])
def test_a_hard_decline_is_not_retried(declines: int) -> None:
    step = next_retry(POLICY, first_declined_at=FIRST, declines=declines, now=FIRST, kind=DeclineKind.HARD)

    assert step == GiveUp(GiveUpReason.HARD_DECLINE)


def test_a_policy_without_retries_gives_up_at_once() -> None:
    step = next_retry(DunningPolicy(()), first_declined_at=FIRST, declines=1, now=FIRST, kind=DeclineKind.SOFT)

    assert step == GiveUp(GiveUpReason.RETRIES_EXHAUSTED)


def test_retries_missed_in_an_outage_are_not_made_up_for_in_a_row() -> None:
    now = FIRST + 30 * DAY

    step = next_retry(POLICY, first_declined_at=FIRST, declines=2, now=now, kind=DeclineKind.SOFT)

    assert step == RetryAt(now + RETRY_GAP)


def test_a_policy_of_seconds_keeps_its_seconds() -> None:
    policy = DunningPolicy((timedelta(seconds=2), timedelta(seconds=5)))
    now = FIRST + timedelta(seconds=4)

    step = next_retry(policy, first_declined_at=FIRST, declines=2, now=now, kind=DeclineKind.SOFT)

    assert step == RetryAt(now + timedelta(seconds=3))


@given(policy=policies, lateness=st.lists(st.timedeltas(timedelta(0), 40 * DAY), min_size=RETRIES_MAX + 1))
def test_every_policy_ends_and_every_retry_is_later(policy: DunningPolicy, lateness: list[timedelta]) -> None:
    # given
    now, declines = FIRST, 1

    # when
    step = next_retry(policy, first_declined_at=FIRST, declines=declines, now=now, kind=DeclineKind.SOFT)
    while isinstance(step, RetryAt):
        assert step.at > now
        assert step.at >= FIRST + policy.retry_after[declines - 1]
        now, declines = step.at + lateness[declines], declines + 1
        step = next_retry(policy, first_declined_at=FIRST, declines=declines, now=now, kind=DeclineKind.SOFT)

    # then
    assert declines == len(policy.retry_after) + 1


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ([0], "positive, and 0 is not"),
        ([-1, 3], "positive, and -1 is not"),
        ([3, 1], "increase, and 1 comes after 3"),
        ([1, 1], "increase, and 1 comes after 1"),
        ([float("nan")], "numbers"),
        ([float("inf")], "numbers"),
        ([1e12], "at most 366"),
        (range(1, 22), "at most 20, and there are 21"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused_by_name(days: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DunningPolicy.of_days(days)


def test_half_a_day_is_twelve_hours() -> None:
    assert DunningPolicy.of_days([0.5, 1]).retry_after == (timedelta(hours=12), DAY)


def test_a_declined_cycle_is_judged_by_its_message() -> None:
    soft = next_try(POLICY, declined("잔액부족"), first_declined_at=FIRST, declines=1, now=FIRST)
    hard = next_try(POLICY, declined("도난카드"), first_declined_at=FIRST, declines=1, now=FIRST)

    assert soft == RetryAt(FIRST + DAY)
    assert hard == GiveUp(GiveUpReason.HARD_DECLINE)


def test_a_deleted_key_ends_the_cycle() -> None:
    verdict = refused("BILLING_KEY_ALREADY_DELETED")

    step = next_try(POLICY, verdict, first_declined_at=FIRST, declines=1, now=FIRST)

    assert step == GiveUp(GiveUpReason.BILLING_KEY_DELETED)


def test_an_unknown_key_is_retried_since_a_wrong_store_makes_all_keys_unknown() -> None:
    verdict = refused("BILLING_KEY_NOT_FOUND")

    first = next_try(POLICY, verdict, first_declined_at=FIRST, declines=1, now=FIRST)
    last = next_try(POLICY, verdict, first_declined_at=FIRST, declines=5, now=FIRST + 7 * DAY)

    assert first == RetryAt(FIRST + DAY)
    assert last == GiveUp(GiveUpReason.RETRIES_EXHAUSTED)


@pytest.mark.parametrize("declines", [0, 5])
def test_a_broken_channel_costs_minutes_and_no_try(declines: int) -> None:
    verdict = refused("UNAUTHORIZED")

    step = next_try(POLICY, verdict, first_declined_at=FIRST, declines=declines, now=FIRST)

    assert step == RetryAt(FIRST + CHANNEL_PAUSE)
    assert not counts_as_decline(verdict)


def test_a_request_that_portone_cannot_take_waits_for_a_person() -> None:
    verdict = refused("INVALID_REQUEST")

    step = next_try(POLICY, verdict, first_declined_at=FIRST, declines=0, now=FIRST)

    assert step == Hold("INVALID_REQUEST")
    assert not counts_as_decline(verdict)


VERDICTS = [
    verdict
    for error_type in CHARGE_ERRORS
    if isinstance(verdict := read_charge_error(error_type, ""), Declined | Refused)
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_no_that_portone_documents_has_a_next_step(verdict: Declined | Refused) -> None:
    step = next_try(POLICY, verdict, first_declined_at=FIRST, declines=1, now=FIRST)

    assert isinstance(step, RetryAt | GiveUp | Hold)
    about_the_card = isinstance(verdict, Declined) or verdict.scope is RefusalScope.CARD
    assert counts_as_decline(verdict) is about_the_card
