"""Dunning: whether and when a cycle that was declined or refused is tried again. That is days, and a new attempt.

The answer comes from what the PG or PortOne said and from how often it has said no, never from an HTTP status. What is
not recognised is soft: a pointless try costs little, and giving up a good customer costs the subscription.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import assert_never

from billing_worker.billing.outcomes import Declined, RefusalScope, Refused

# PortOne caps the tries on one payment_id and does not say at how many; schedules seen in practice have up to five.
RETRIES_MAX = 20

# By then the next yearly period is due; whoever still wants the old one collected wants a person to ask for it.
RETRY_AFTER_MAX = timedelta(days=366)

# After an outage several retries may be overdue at once. Card issuers count tries in a row, so a card gets some hours.
RETRY_GAP = timedelta(hours=6)

# Long enough for a person to mend a secret or a channel, short enough to lose no day.
CHANNEL_PAUSE = timedelta(minutes=10)

# A message of a PG is one sentence; the rest of a longer one changes nothing, and patterns must not run over a page.
_MESSAGE_MAX = 500


class DeclineKind(StrEnum):
    """What a decline says of the next try."""

    SOFT = "soft"
    HARD = "hard"
    DUPLICATE = "duplicate"  # no refusal of the card: the PG believes that it has been paid


class GiveUpReason(StrEnum):
    """Why a cycle is not tried again."""

    HARD_DECLINE = "hard_decline"
    BILLING_KEY_DELETED = "billing_key_deleted"
    RETRIES_EXHAUSTED = "retries_exhausted"


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Open the next attempt, not before this instant."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The policy ends here."""

    reason: GiveUpReason


@dataclass(frozen=True, slots=True)
class Hold:
    """A person must look. reason is PortOne's error type, verbatim."""

    reason: str


NextTry = RetryAt | GiveUp | Hold


@dataclass(frozen=True, slots=True)
class DunningPolicy:
    """How long after the first decline each retry comes. No retries at all is a policy too."""

    retry_after: tuple[timedelta, ...]
    channel_pause: timedelta = CHANNEL_PAUSE

    def __post_init__(self) -> None:
        """Refuse a policy that cannot be kept, saying which part of it. Raises ValueError."""
        if len(self.retry_after) > RETRIES_MAX:
            raise ValueError(f"retry days must be at most {RETRIES_MAX}, and there are {len(self.retry_after)}")
        for early, late in pairwise((timedelta(0), *self.retry_after)):
            if late <= timedelta(0):
                raise ValueError(f"retry days must be positive, and {_days(late)} is not")
            if late <= early:
                raise ValueError(f"retry days must increase, and {_days(late)} comes after {_days(early)}")
            if late > RETRY_AFTER_MAX:
                raise ValueError(f"retry days must be at most {RETRY_AFTER_MAX.days}, and {_days(late)} is more")
        if self.channel_pause <= timedelta(0):
            raise ValueError("channel pause must be positive")

    @classmethod
    def of_days(cls, days: Iterable[float], *, channel_pause: timedelta = CHANNEL_PAUSE) -> "DunningPolicy":
        """The policy of a setting such as 1,3,5,7; half a day is twelve hours. Raises ValueError."""
        spans = tuple(days)
        # This also stops what is no number at all and what no timedelta can hold.
        if any(not abs(span) <= RETRY_AFTER_MAX.days for span in spans):
            raise ValueError(f"retry days must be numbers, at most {RETRY_AFTER_MAX.days}")
        return cls(retry_after=tuple(timedelta(days=span) for span in spans), channel_pause=channel_pause)


# The first rule that matches decides, so their order is part of them. Messages come with their spaces taken out.
_RULES: tuple[tuple[re.Pattern[str], DeclineKind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        # The PG says that it may have the money already. Asking it again could take it twice, so a person looks.
        (r"(주문번호|거래|요청|전문|승인).*중복|기승인|이미(승인|결제|처리)|duplicate", DeclineKind.DUPLICATE),
        # The merchant's own limit or contract, which is no fault of the card: before limits and before every hard word.
        (r"가맹점|상점|업체|서브몰|단말기|계약|merchant|terminal", DeclineKind.SOFT),
        (r"(비밀번호|인증).*(횟수|회수).*초과", DeclineKind.HARD),
        # "거래불가카드(월최대승인한도초과)" is a limit, and it will be reset: limits and funds before the hard words.
        (r"(한도|횟수|회수|금액).*초과|limit|exceed", DeclineKind.SOFT),
        (r"(잔액|잔고).*부족|insufficient|notenoughbalance", DeclineKind.SOFT),
        (
            r"점검|장애|작업중|마감|업무종료|무응답|심야|서비스.{0,4}(정지|중지|중단)|시간.?(초과|만료)",
            DeclineKind.SOFT,
        ),
        (r"timeout|timedout|maintenance|temporar|unavailable", DeclineKind.SOFT),
        (
            r"(빌링?키|결제키).*(없|삭제|해지|만료|무효|비활성|미등록|오류|유효하지)|billingkey.*(notfound|deleted)",
            DeclineKind.HARD,
        ),
        (
            r"분실|도난|위변조|도용|정지|해지|탈회|유효기간|만료|카드번호|미등록카드|연체|불량|부정사용",
            DeclineKind.HARD,
        ),
        (r"사용불가|이용불가|거래불가|거래제한|비밀번호|cvc|생년월일|주민|미수령|신규발급|대손", DeclineKind.HARD),
        (
            r"lost|stolen|expir|suspended|blocked|closedaccount|pickup|invalid(card|cvc|account)|cardnumber",
            DeclineKind.HARD,
        ),
    )
)


def decline_kind(declined: Declined) -> DeclineKind:
    """Soft or hard, by the words of the PG's message: PGs share no codes, and some put every reason under one."""
    message = unicodedata.normalize("NFKC", declined.message[:_MESSAGE_MAX]).casefold()
    words = re.sub(r"\s+", "", message)
    return next((kind for pattern, kind in _RULES if pattern.search(words)), DeclineKind.SOFT)


def counts_as_decline(verdict: Declined | Refused) -> bool:
    """Whether a verdict uses up one of the policy's tries. A broken channel says nothing about the card."""
    return isinstance(verdict, Declined) or verdict.scope is RefusalScope.CARD


def next_try(
    policy: DunningPolicy, verdict: Declined | Refused, *, first_declined_at: datetime, declines: int, now: datetime
) -> NextTry:
    """What becomes of a cycle after a verdict that was not paid. declines includes this one, if it counts as one."""
    match verdict:
        case Declined():
            kind = decline_kind(verdict)
            return next_retry(policy, first_declined_at=first_declined_at, declines=declines, now=now, kind=kind)
        case Refused():
            return refusal_retry(policy, verdict, first_declined_at=first_declined_at, declines=declines, now=now)
        case _:
            assert_never(verdict)


def next_retry(
    policy: DunningPolicy, *, first_declined_at: datetime, declines: int, now: datetime, kind: DeclineKind
) -> NextTry:
    """When a cycle declined that many times is tried again. A hard decline is final; so is that of the last retry."""
    assert declines >= 1, "a retry follows a decline"
    if kind is DeclineKind.HARD:
        return GiveUp(GiveUpReason.HARD_DECLINE)
    if kind is DeclineKind.DUPLICATE:
        return Hold("the PG says that it has been paid already")
    if declines > len(policy.retry_after):
        return GiveUp(GiveUpReason.RETRIES_EXHAUSTED)
    planned = policy.retry_after[declines - 1]
    step = planned - (policy.retry_after[declines - 2] if declines > 1 else timedelta(0))
    # A policy of seconds is for trying things out, and there the gap must not swallow the schedule.
    return RetryAt(max(first_declined_at + planned, now + min(RETRY_GAP, step)))


def refusal_retry(
    policy: DunningPolicy, refused: Refused, *, first_declined_at: datetime, declines: int, now: datetime
) -> NextTry:
    """What becomes of a cycle that PortOne refused to bring before a PG, by how far the refusal reaches."""
    match refused.scope:
        case RefusalScope.CHANNEL:
            return RetryAt(now + policy.channel_pause)
        case RefusalScope.CYCLE:
            return Hold(refused.error_type)
        case RefusalScope.CARD if refused.error_type == "BILLING_KEY_ALREADY_DELETED":
            return GiveUp(GiveUpReason.BILLING_KEY_DELETED)
        case RefusalScope.CARD:
            # A wrong store or secret makes every key unknown, so one such answer must not end anybody's cycle.
            soft = DeclineKind.SOFT
            return next_retry(policy, first_declined_at=first_declined_at, declines=declines, now=now, kind=soft)
        case _:
            assert_never(refused.scope)


def unbooked_until(policy: DunningPolicy, refused: Refused, *, due_at: datetime, now: datetime) -> datetime:
    """When a cycle goes on whose booking PortOne has refused: it is charged when it is due, and then told why not.

    A broken channel is mended before that, as a rule, and then it may be booked again.
    """
    charged_at = max(due_at, now)
    return min(now + policy.channel_pause, charged_at) if refused.scope is RefusalScope.CHANNEL else charged_at


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):g}"
