"""Money: whole minor units of one currency. The won has no smaller unit, so 9,900 won is 9900 and is never multiplied
by 100.
"""

from dataclasses import dataclass

# Currencies that a billing key is charged in through the PGs we know, with the digits of their minor unit (ISO 4217).
MINOR_DIGITS = {"KRW": 0, "USD": 2, "JPY": 0}

# Far above any subscription and far below what a bigint or a PG's amount field overflows at.
AMOUNT_MINOR_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (won, cents) of an ISO 4217 currency; always positive."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        """Refuse what is no amount of money. Raises ValueError."""
        if self.currency not in MINOR_DIGITS:
            raise ValueError(f"currency must be one of {', '.join(MINOR_DIGITS)}")
        if isinstance(self.amount_minor, bool) or not isinstance(self.amount_minor, int):
            raise ValueError("amount must be a whole number of minor units")  # noqa: TRY004 - one error type for bad money
        if not 0 < self.amount_minor <= AMOUNT_MINOR_MAX:
            raise ValueError(f"amount must be between 1 and {AMOUNT_MINOR_MAX} minor units")

    def __str__(self) -> str:
        digits = MINOR_DIGITS[self.currency]
        if digits == 0:
            return f"{self.amount_minor:,} {self.currency}"
        return f"{self.amount_minor // 10**digits:,}.{self.amount_minor % 10**digits:0{digits}d} {self.currency}"
