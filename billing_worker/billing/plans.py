"""Planned subscriptions: what a subscription is to be, and what may change in it when it is planned again.

What it costs, whose card pays and how it is collected may change. What moves a date may not: a moved anchor would
charge a period twice or leave one out, so it is refused, and a person ends the subscription and adds another.
"""

from dataclasses import dataclass, field

from billing_worker.billing.billing_key import BillingKey
from billing_worker.billing.csv_rows import Fault
from billing_worker.billing.model import Customer
from billing_worker.billing.money import Money
from billing_worker.billing.periods import Cadence
from billing_worker.billing.states import Mode


@dataclass(frozen=True, slots=True)
class PlannedSubscription:
    """A subscription as the merchant wants it. Cycles before first_cycle_number are not collected here.

    line is where the file has it, 0 where no file is concerned.
    """

    business_key: str
    customer: Customer = field(repr=False)
    billing_key: BillingKey
    order_name: str
    price: Money
    cadence: Cadence
    first_cycle_number: int
    mode: Mode = Mode.CHARGE
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Change:
    """One field that is planned otherwise than it was. Secrets and what names a person are not quoted."""

    field: str
    old: str
    new: str


_MOVES_DATES = "moves dates; end this subscription and add another"
_OTHER_MONEY = "cannot change; end this subscription and add another"

_PERSONAL = frozenset({"customer_name", "customer_phone", "customer_email"})


def changes(existing: PlannedSubscription, new: PlannedSubscription) -> tuple[Change, ...]:
    """What may change and does, by the names of the columns; empty when the subscription stays as it is."""
    old_values, new_values = _changeable(existing), _changeable(new)
    return tuple(
        Change(name, old=_shown(name, value), new=_shown(name, new_values[name]))
        for name, value in old_values.items()
        if value != new_values[name]
    )


def refused_changes(existing: PlannedSubscription, new: PlannedSubscription) -> tuple[Fault, ...]:
    """What would change and must not; unless this is empty, nothing at all of the new plan may be applied."""
    assert existing.business_key == new.business_key, "two plans of one subscription are compared"
    old_values, new_values = _fixed(existing), _fixed(new)
    return tuple(
        Fault(new.line, name, _OTHER_MONEY if name == "currency" else _MOVES_DATES)
        for name, value in old_values.items()
        if value != new_values[name]
    )


def _changeable(plan: PlannedSubscription) -> dict[str, object]:
    return {
        "customer_id": plan.customer.customer_id,
        "customer_name": plan.customer.name,
        "customer_phone": plan.customer.phone,
        "customer_email": plan.customer.email,
        "billing_key": plan.billing_key,
        "order_name": plan.order_name,
        "amount": plan.price.amount_minor,
        "mode": plan.mode,
    }


def _fixed(plan: PlannedSubscription) -> dict[str, object]:
    return {
        "currency": plan.price.currency,
        "period_unit": plan.cadence.unit,
        "period_count": plan.cadence.count,
        "anchor_on": plan.cadence.anchor_on,
        "zone": plan.cadence.zone,
        "charge_at": plan.cadence.charge_at,
        "start_on": plan.first_cycle_number,
    }


def _shown(name: str, value: object) -> str:
    if name not in _PERSONAL:
        return str(value)
    return "given" if value else "none"
