"""What the PGs behind the PortOne twin say of a card, and how one card behaves."""

from random import Random

from tests.simulation.faults import Fault

Words = tuple[str, str]

SOFT = (("51", "잔액부족"), ("61", "한도초과"), ("91", "카드사 시스템 점검중"))
HARD = (("41", "분실카드"), ("54", "유효기간 만료"))
DUPLICATE = (("80", "이미 승인된 거래입니다"), ("82", "주문번호 중복"))

# This share of the declines says that the PG has been paid already.
DUPLICATE_SHARE = 0.05

_SOFT_FAULTS = frozenset({Fault.DECLINE_SOFT, Fault.LATE_SUCCESS})


class Temper:
    """How one billing key's card behaves: its chances to be declined."""

    __slots__ = ("deleted", "hard", "soft")

    def __init__(self, *, soft: float = 0.0, hard: float = 0.0) -> None:
        self.soft = soft
        self.hard = hard
        self.deleted = False

    def declines(self, fault: Fault | None, chance: Random) -> Words | None:
        """The PG's words where it says no."""
        drawn = chance.random()
        if fault is Fault.DECLINE_DUPLICATE:
            return chance.choice(DUPLICATE)
        if fault is Fault.DECLINE_HARD or drawn < self.hard:
            return chance.choice(HARD)
        if fault in _SOFT_FAULTS:
            return chance.choice(SOFT)
        if drawn < self.hard + self.soft:
            return chance.choice(DUPLICATE if chance.random() < DUPLICATE_SHARE else SOFT)
        return None
