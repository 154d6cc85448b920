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


# Each message is decided by one alternative of one rule: without it, another rule or none would answer otherwise.


@pytest.mark.parametrize(
    "message",
    [
        *("주문번호 중복", "거래 중복", "요청이 중복되었습니다", "전문 중복", "승인 중복", "기승인"),
        *("이미 승인됨", "이미 결제됨", "이미 처리됨", "duplicate"),
    ],
)
def test_every_word_for_money_that_may_have_been_taken_stops_the_tries(message: str) -> None:
    assert decline_kind(declined(message)) is DeclineKind.DUPLICATE


@pytest.mark.parametrize(
    "message",
    [
        # The merchant's own trouble, with a word beside it that would end a card.
        *("가맹점 해지", "상점 해지", "업체 해지", "서브몰 해지", "단말기 분실", "계약 만료"),
        *("merchant blocked", "terminal blocked"),
        # A limit or missing funds.
        *("사용불가: 한도 초과", "사용불가: 횟수 초과", "사용불가: 회수 초과", "사용불가: 금액 초과"),
        *("over the limit of this card number", "card number exceeds its allowance"),
        *("사용불가: 잔액 부족", "사용불가: 잔고 부족"),
        *("insufficient funds, card blocked", "not enough balance, card blocked"),
        # A system that is not there just now.
        *("점검으로 사용불가", "장애로 사용불가", "작업중 사용불가", "마감으로 사용불가", "업무종료로 사용불가"),
        *("무응답으로 사용불가", "심야 거래제한", "서비스 정지", "서비스 중지로 사용불가", "서비스 중단으로 사용불가"),
        *("시간 초과로 사용불가", "시간 만료로 사용불가", "timeout, card blocked", "timed out, card blocked"),
        *("maintenance, card blocked", "temporarily blocked", "unavailable, card blocked"),
    ],
)
def test_every_word_for_a_trouble_that_passes_outweighs_the_words_that_end_a_card(message: str) -> None:
    assert decline_kind(declined(message)) is DeclineKind.SOFT


@pytest.mark.parametrize(
    "message",
    [
        # Guessing has ended, which is no limit that is reset.
        *("비밀번호 횟수 초과", "비밀번호 회수 초과", "인증 횟수 초과", "인증 회수 초과"),
        # The billing key itself.
        *("빌링키 없음", "빌키 없음", "결제키 없음", "빌링키 삭제", "빌링키 무효", "빌링키 비활성", "빌링키 미등록"),
        *("빌링키 오류", "빌링키가 유효하지 않음", "billing key not found", "billing key deleted"),
        # The card.
        *("분실", "도난", "위변조", "도용", "정지", "해지", "탈회", "유효기간", "만료", "카드번호", "미등록카드"),
        *("연체", "불량", "부정사용", "사용불가", "이용불가", "거래불가", "거래제한", "비밀번호", "CVC", "생년월일"),
        *("주민번호", "미수령", "신규발급", "대손", "lost", "stolen", "expired", "suspended", "blocked"),
        *("closed account", "pick up", "invalid card", "invalid account", "card number"),
    ],
)
def test_every_word_for_a_card_that_no_day_mends_ends_the_tries(message: str) -> None:
    assert decline_kind(declined(message)) is DeclineKind.HARD


def test_a_message_is_read_as_far_as_a_sentence_goes() -> None:
    assert decline_kind(declined("." * 498 + "분실")) is DeclineKind.HARD
    assert decline_kind(declined("." * 499 + "분실")) is DeclineKind.SOFT


def test_a_policy_may_go_as_far_as_its_bounds() -> None:
    longest = DunningPolicy.of_days([*range(1, RETRIES_MAX), 366], channel_pause=timedelta(microseconds=1))

    assert len(longest.retry_after) == RETRIES_MAX == 20
    assert longest.retry_after[-1] == 366 * DAY
    assert longest.channel_pause == timedelta(microseconds=1)


@pytest.mark.parametrize("pause", [timedelta(0), timedelta(seconds=-1)])
def test_a_channel_is_never_tried_without_a_pause(pause: timedelta) -> None:
    with pytest.raises(ValueError, match="channel pause"):
        DunningPolicy((), channel_pause=pause)


def test_a_policy_beyond_a_year_is_refused_however_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"at most 366, and 367 is more"):
        DunningPolicy((367 * DAY,))


def test_no_retry_comes_before_the_first_decline() -> None:
    with pytest.raises(AssertionError):
        next_retry(POLICY, first_declined_at=FIRST, declines=0, now=FIRST, kind=DeclineKind.SOFT)


def test_an_overdue_retry_keeps_six_hours_of_distance_from_the_last_try() -> None:
    now = FIRST + 30 * DAY

    step = next_retry(POLICY, first_declined_at=FIRST, declines=1, now=now, kind=DeclineKind.SOFT)

    assert step == RetryAt(now + timedelta(hours=6))


def test_the_first_retry_of_a_policy_of_seconds_keeps_its_distance_too() -> None:
    policy, now = DunningPolicy((timedelta(seconds=2),)), FIRST + DAY

    step = next_retry(policy, first_declined_at=FIRST, declines=1, now=now, kind=DeclineKind.SOFT)

    assert step == RetryAt(now + timedelta(seconds=2))


def test_a_person_is_told_why_a_cycle_is_put_before_them() -> None:
    def held(verdict: Declined | Refused) -> object:
        return next_try(POLICY, verdict, first_declined_at=FIRST, declines=1, now=FIRST)

    assert held(declined("이미 결제됨")) == Hold("the PG says that it has been paid already")
    assert held(refused("INVALID_REQUEST")) == Hold("INVALID_REQUEST")


def test_a_channel_pause_of_a_policy_is_kept() -> None:
    policy = DunningPolicy.of_days([1], channel_pause=timedelta(minutes=3))

    step = next_try(policy, refused("FORBIDDEN"), first_declined_at=FIRST, declines=0, now=FIRST)

    assert step == RetryAt(FIRST + timedelta(minutes=3))


def test_what_the_ledger_says_of_a_cycle_that_was_given_up_never_changes() -> None:
    assert [reason.value for reason in GiveUpReason] == ["hard_decline", "billing_key_deleted", "retries_exhausted"]


@pytest.mark.parametrize("beyond", [float("nan"), float("inf"), 1e12, 366.1])
def test_one_day_that_cannot_be_kept_spoils_a_policy_whose_others_could(beyond: float) -> None:
    with pytest.raises(ValueError, match="retry days must be numbers, at most 366"):
        DunningPolicy.of_days([1, beyond])
