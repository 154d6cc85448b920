"""Money: what is an amount and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.money import AMOUNT_MINOR_MAX, MINOR_DIGITS, Money


@given(amount_minor=st.integers(1, AMOUNT_MINOR_MAX), currency=st.sampled_from(sorted(MINOR_DIGITS)))
def test_an_amount_is_kept_and_printed_without_loss(amount_minor: int, currency: str) -> None:
    money = Money(amount_minor, currency)

    assert money.amount_minor == amount_minor
    assert str(money).endswith(f" {currency}")
    assert int("".join(character for character in str(money) if character.isdigit())) == amount_minor


@pytest.mark.parametrize("bad", [0, -1, -9900, AMOUNT_MINOR_MAX + 1])
def test_an_amount_is_positive_and_bounded(bad: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        Money(bad, "KRW")


@pytest.mark.parametrize("bad", [9900.0, True, "9900", None])
def test_an_amount_is_a_whole_number(bad: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        Money(bad, "KRW")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["", "krw", "WON", "KRW ", "EUR"])
def test_a_currency_is_one_we_know(bad: str) -> None:
    with pytest.raises(ValueError, match="currency"):
        Money(9900, bad)


def test_the_won_is_never_multiplied() -> None:
    assert str(Money(9900, "KRW")) == "9,900 KRW"
    assert str(Money(9905, "USD")) == "99.05 USD"
    assert str(Money(500, "JPY")) == "500 JPY"


def test_the_same_number_of_another_currency_is_other_money() -> None:
    assert Money(9900, "KRW") != Money(9900, "JPY")


def test_the_largest_amount_is_a_thousand_million() -> None:
    assert Money(1_000_000_000, "KRW").amount_minor == AMOUNT_MINOR_MAX == 10**9
