"""What a PG says when it does not charge: messages as Korean card companies word them, under codes of our own making.

No PG's code table is reproduced: KPN publishes none, so a client has to go by the message, and this is what it sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decline:
    """One reason not to charge, as the PG words it."""

    pg_code: str
    pg_message: str


DECLINES: Mapping[str, Decline] = {
    "soft-funds": Decline("SF51", "잔액부족"),
    "soft-limit": Decline("SL61", "카드 사용한도초과"),
    "soft-daily": Decline("SL65", "1일 사용한도초과 카드"),
    "transient": Decline("TR91", "카드사 시스템 점검중입니다. 잠시 후 다시 시도해 주세요"),
    "timeout-decline": Decline("TR68", "카드사 응답지연 (TIMEOUT)"),
    "ambiguous": Decline("AM05", "거래거절, 카드사 문의 요망"),
    "hard-lost": Decline("HL41", "분실·도난 카드"),
    "hard-expired": Decline("HE54", "유효기간 만료 카드"),
    "hard-closed": Decline("HC14", "해지된 카드"),
    "hard-stopped": Decline("HS62", "정지 카드 사용불가"),
    "merchant": Decline("MC92", "가맹점 월 한도초과"),
    "duplicate": Decline("DU94", "주문번호 중복 요청"),
    "unclassified": Decline("ZZ00", "승인 불가 (기준 미달)"),
}
