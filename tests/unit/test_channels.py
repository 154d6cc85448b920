"""What each PG takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_worker.billing.channels import KPN, OTHER, PROFILES, ChannelProfile, order_name_faults
from billing_worker.billing.money import MINOR_DIGITS


@pytest.mark.parametrize("profile", PROFILES.values())
def test_a_profile_is_found_by_its_pg_and_takes_only_money_we_know(profile: ChannelProfile) -> None:
    assert PROFILES[profile.pg] is profile
    assert profile.currencies <= set(MINOR_DIGITS)


@pytest.mark.parametrize(("profile", "characters"), [(KPN, 85), (OTHER, 13)])
def test_an_order_name_is_measured_in_bytes(profile: ChannelProfile, characters: int) -> None:
    # given
    fits, is_too_long = "가" * characters, "가" * (characters + 1)

    # when
    faults = order_name_faults(profile, is_too_long)

    # then
    assert order_name_faults(profile, fits) == ()
    assert faults == (
        f"has {3 * characters + 3} bytes in UTF-8, and {profile.pg} takes {profile.order_name_bytes_max}",
    )


def test_what_nice_refuses_is_refused_for_other_pgs_only() -> None:
    name = "Pro [월간] 50% + α"

    assert order_name_faults(KPN, name) == ()
    assert order_name_faults(OTHER, name) == ("has % + [ ], which OTHER does not take",)


@pytest.mark.parametrize("name", ["Pro 월간 이용권", "Pro 2026년 8월"])
def test_usual_names_are_good_everywhere(name: str) -> None:
    assert all(order_name_faults(profile, name) == () for profile in PROFILES.values())


@pytest.mark.parametrize(
    ("name", "fault"), [("", "empty"), ("  ", "empty"), ("Pro\n월간", "invisible"), ("Pro\u200b", "invisible")]
)
def test_a_name_that_nobody_could_read_is_refused(name: str, fault: str) -> None:
    assert any(fault in text for text in order_name_faults(KPN, name))


def test_every_fault_of_a_name_is_told_at_once() -> None:
    assert len(order_name_faults(OTHER, "%\n" + "가" * 40)) == 3


@given(name=st.text(st.characters(exclude_categories=())))
def test_no_name_raises(name: str) -> None:
    for profile in PROFILES.values():
        assert isinstance(order_name_faults(profile, name), tuple)


def test_a_name_may_be_as_long_as_its_pg_takes_to_the_byte() -> None:
    assert order_name_faults(OTHER, "x" * 40) == ()
    assert order_name_faults(KPN, "x" * 256) == ()
    assert order_name_faults(OTHER, "x" * 41) == ("has 41 bytes in UTF-8, and OTHER takes 40",)


def test_what_the_two_profiles_take_is_what_the_guides_of_the_pgs_say() -> None:
    assert set(PROFILES) == {"KPN", "OTHER"}
    assert (KPN.order_name_bytes_max, OTHER.order_name_bytes_max) == (256, 40)
    assert (KPN.customer_name_required, OTHER.customer_name_required) == (True, False)
    assert (KPN.currencies, OTHER.currencies) == ({"KRW"}, {"KRW", "USD", "JPY"})
    assert (KPN.forbidden_in_order_name, OTHER.forbidden_in_order_name) == (set(), set("%&|$-+=[]"))
