"""The columns of a file of subscriptions: what may stand in a cell of each.

A check returns when the cell is good and raises ValueError with the reason when it is not; the reason never quotes the
cell. Bounds that a value type has are asked of that type and not written here again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, time

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.channels import ChannelProfile, order_name_faults
from billing_worker.billing.money import MINOR_DIGITS, Money
from billing_worker.billing.periods import Cadence, PeriodUnit
from billing_worker.billing.states import Mode

# Keys and names are printed in tables and sent to PGs; the longest seen in practice are a third of this.
TEXT_CHARS_MAX = 120

EMAIL_CHARS_MAX = 254  # the longest address that mail can be sent to

REQUIRED = frozenset({"business_key", "customer_id", "billing_key", "amount", "anchor_on"})

# A sign at the start of these means something, or is refused for a better reason than that it looks like a formula.
MAY_START_WITH_SIGN = frozenset({"amount", "period_count", "customer_phone"})

Check = Callable[[str], object]

# A cell is put into this in the place of one field, so that the rules of Cadence judge it.
_SOUND_CADENCE = Cadence(unit=PeriodUnit.MONTH, count=1, anchor_on=date(2000, 1, 1), zone="UTC", charge_at=time(10))

_NOT_WHOLE = (
    (re.compile(r"-.*"), "is not positive"),
    (re.compile(r"[0-9]+(,[0-9]+)+"), "has commas; write 10000, not 10,000"),
    (re.compile(r"[0-9]*\.[0-9]*"), "has a decimal point"),
    (re.compile(r"0[0-9]*"), "is zero or begins with one"),
    (re.compile(r"[1-9][0-9]{15,}"), "is far too large"),
    (re.compile(r"\d+"), "has digits other than 0 to 9, such as full-width ones"),
)


def _text(cell: str) -> None:
    if len(cell) > TEXT_CHARS_MAX:
        raise ValueError(f"must have at most {TEXT_CHARS_MAX} characters")


def _phone(cell: str) -> None:
    if not re.fullmatch(r"\+?[0-9][0-9 -]{5,18}[0-9]", cell):
        raise ValueError("must be a phone number, such as 010-1234-5678")


def _email(cell: str) -> None:
    if len(cell) > EMAIL_CHARS_MAX or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", cell):
        raise ValueError("must be an e-mail address")


def _whole(cell: str) -> int:
    if re.fullmatch(r"[1-9][0-9]{0,14}", cell):
        return int(cell)
    reason = next((reason for pattern, reason in _NOT_WHOLE if pattern.fullmatch(cell)), "is no number")
    raise ValueError(f"must be a whole positive number, and {reason}")


def _amount(cell: str) -> None:
    # The bound is the same in every currency, and the currency is judged in its own column.
    Money(_whole(cell), next(iter(MINOR_DIGITS)))


def _unit(cell: str) -> None:
    if cell not in set(PeriodUnit):
        raise ValueError(f"must be one of {', '.join(PeriodUnit)}")


def _mode(cell: str) -> None:
    if cell not in set(Mode):
        raise ValueError(f"must be one of {', '.join(Mode)}")


def _count(cell: str) -> None:
    replace(_SOUND_CADENCE, count=_whole(cell))


def _zone(cell: str) -> None:
    replace(_SOUND_CADENCE, zone=cell)


def _anchor(cell: str) -> None:
    replace(_SOUND_CADENCE, anchor_on=_date(cell))


def _date(cell: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cell):
        raise ValueError("must be written YYYY-MM-DD")
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise ValueError("is no date in the calendar") from None


def _wall_time(cell: str) -> None:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", cell):
        raise ValueError("must be written HH:MM, such as 09:00")


# What is the same at every PG; order_name and currency are the channel's.
_CHECKS: Mapping[str, Check] = {
    "business_key": _text,
    "customer_id": _text,
    "customer_name": _text,
    "customer_phone": _phone,
    "customer_email": _email,
    "billing_key": BillingKey,
    "amount": _amount,
    "period_unit": _unit,
    "period_count": _count,
    "anchor_on": _anchor,
    "zone": _zone,
    "charge_at": _wall_time,
    "start_on": _date,
    "mode": _mode,
}

COLUMNS = frozenset(_CHECKS) | {"order_name", "currency"}


def checks_for(profile: ChannelProfile) -> Mapping[str, Check]:
    """What judges the cells of every column, for one channel."""

    def order_name(cell: str) -> None:
        if faults := order_name_faults(profile, cell):
            raise ValueError("; ".join(faults))

    def currency(cell: str) -> None:
        if cell not in profile.currencies:
            raise ValueError(f"must be one of {', '.join(sorted(profile.currencies))} at {profile.pg}")

    return {**_CHECKS, "order_name": order_name, "currency": currency}
