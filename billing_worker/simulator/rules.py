"""The rules a request must keep before any PG is asked: types, required fields, and what the PG behind it allows.

Each check names the first fault it finds in the words PortOne's own messages use (`paymentId MAX_LENGTH 32`). Nothing
here looks at what exists; that is for the calls.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing_worker.simulator.answers import Answer, invalid, refusal
from billing_worker.simulator.bank import Order

Fields = Mapping[str, Any]

AMOUNT_MAX = 2**63 - 1  # the contract's int64


@dataclass(frozen=True, slots=True)
class PgRules:
    """What one PG takes."""

    payment_id_pattern: re.Pattern[str]
    payment_id_chars_max: int
    order_name_bytes_max: int
    currencies: frozenset[str] | None  # None: any
    issue_needs_everything: bool  # KPN wants the customer's name and every field of the card


PG_RULES: Mapping[str, PgRules] = {
    "KPN": PgRules(re.compile(r"[0-9A-Za-z]+"), 32, 256, frozenset({"KRW", "USD"}), issue_needs_everything=True),
    "OTHER": PgRules(re.compile(r"[0-9A-Za-z_-]+"), 64, 40, None, issue_needs_everything=False),
}

_CURRENCY = re.compile(r"[A-Z]{3}")
_OPTIONAL_STRINGS = ("storeId", "channelKey", "customData", "promotionId", "country", "locale")
_CUSTOMER_STRINGS = ("id", "birthYear", "birthMonth", "birthDay", "gender", "email", "phoneNumber", "zipcode")
_CARD_PATTERNS = {
    "number": re.compile(r"\d{13,19}"),
    "expiryYear": re.compile(r"\d{2}"),
    "expiryMonth": re.compile(r"0[1-9]|1[0-2]"),
    "birthOrBusinessRegistrationNumber": re.compile(r"\d{6}|\d{10}"),
    "passwordTwoDigits": re.compile(r"\d{2}"),
}
_CARD_REQUIRED = ("number", "expiryYear", "expiryMonth")


def read_order(payment_id: str, fields: Fields, raw: bytes, pg: PgRules, *, key: str | None) -> Order | Answer:
    """The order of a charge, or the refusal it earns."""
    fault = (
        _payment_id_fault(payment_id, pg)
        or _text_fault(fields, "billingKey")
        or _order_name_fault(fields, pg)
        or _amount_fault(fields.get("amount"))
        or _currency_fault(fields.get("currency"), pg)
        or _optional_fault(fields)
        or _customer_fault(fields.get("customer"))
    )
    if fault is not None:
        return invalid(fault)
    amount = fields["amount"]
    tax_free = amount.get("taxFree") or 0
    if tax_free + (amount.get("vat") or 0) > amount["total"]:
        return refusal("SUM_OF_PARTS_EXCEEDS_TOTAL_AMOUNT", "하위 항목의 합이 전체 결제 금액을 초과했습니다.")
    return Order(
        billing_key=fields["billingKey"],
        total=amount["total"],
        tax_free=tax_free,
        currency=fields["currency"],
        channel_key=fields.get("channelKey"),
        idempotency_key=key,
        raw=raw,
        notice_urls=tuple(fields.get("noticeUrls") or ()),
        skips_webhook=fields.get("skipWebhook", False),
    )


def issue_fault(fields: Fields, pg: PgRules) -> str | None:
    """What is wrong with a request to issue a billing key."""
    if fields.get("channelKey") is None and fields.get("channelGroupId") is None:
        return "channelKey REQUIRED"
    return (
        _optional_fault(fields)
        or _card_fault(fields.get("method"), pg)
        or _customer_fault(fields.get("customer"))
        or _issue_name_fault(fields.get("customer"), pg)
    )


def cancel_fault(fields: Fields) -> str | None:
    """What is wrong with a request to cancel."""
    if fields.get("amount") is not None and not _is_amount(fields["amount"], least=1):
        return "amount INVALID"
    for name in ("taxFreeAmount", "vatAmount", "currentCancellableAmount"):
        if fields.get(name) is not None and not _is_amount(fields[name], least=0):
            return f"{name} INVALID"
    return _text_fault(fields, "reason") or _optional_fault(fields)


def _payment_id_fault(payment_id: str, pg: PgRules) -> str | None:
    if len(payment_id) > pg.payment_id_chars_max:
        return f"paymentId MAX_LENGTH {pg.payment_id_chars_max}"
    if pg.payment_id_pattern.fullmatch(payment_id) is None:
        return f"paymentId PATTERN {pg.payment_id_pattern.pattern}"
    return None


def _text_fault(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return f"{name} REQUIRED"
    return None if isinstance(value, str) else f"{name} TYPE string"


def _order_name_fault(fields: Fields, pg: PgRules) -> str | None:
    fault = _text_fault(fields, "orderName")
    if fault is not None:
        return fault
    # A lone surrogate is legal in JSON's escapes and in no encoding; it counts as the one byte that replaces it.
    if len(fields["orderName"].encode(errors="replace")) > pg.order_name_bytes_max:
        return f"orderName MAX_BYTES {pg.order_name_bytes_max}"
    return None


def _amount_fault(amount: object) -> str | None:
    if not isinstance(amount, dict):
        return "amount REQUIRED"
    if not _is_amount(amount.get("total"), least=1):
        return "amount.total INVALID"
    for name in ("taxFree", "vat"):
        if amount.get(name) is not None and not _is_amount(amount[name], least=0):
            return f"amount.{name} INVALID"
    return None


def _is_amount(value: object, *, least: int) -> bool:
    return type(value) is int and least <= value <= AMOUNT_MAX  # a JSON true is an int to isinstance


def _currency_fault(currency: object, pg: PgRules) -> str | None:
    if not isinstance(currency, str) or _CURRENCY.fullmatch(currency) is None:
        return "currency INVALID"
    if pg.currencies is not None and currency not in pg.currencies:
        return f"currency NOT_SUPPORTED {currency}"
    return None


def _optional_fault(fields: Fields) -> str | None:
    for name in _OPTIONAL_STRINGS:
        if name in fields and fields[name] is not None and not isinstance(fields[name], str):
            return f"{name} TYPE string"
    if not isinstance(fields.get("skipWebhook", False), bool):
        return "skipWebhook TYPE boolean"
    urls = fields.get("noticeUrls")
    if urls is not None and not (isinstance(urls, list) and all(isinstance(url, str) for url in urls)):
        return "noticeUrls TYPE array of string"
    return None


def _customer_fault(customer: object) -> str | None:
    if customer is None:
        return None
    if not isinstance(customer, dict):
        return "customer TYPE object"
    for name in _CUSTOMER_STRINGS:
        if name in customer and customer[name] is not None and not isinstance(customer[name], str):
            return f"customer.{name} TYPE string"
    return _name_fault(customer.get("name"))


def _name_fault(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, dict):
        return "customer.name TYPE object"  # on output it is a string, which is how clients come to send one
    separated = name.get("separated")
    if separated is None:
        return None if isinstance(name.get("full"), str) and name["full"] else "customer.name.full REQUIRED"
    if not isinstance(separated, dict):
        return "customer.name.separated TYPE object"
    if not all(isinstance(separated.get(part), str) for part in ("first", "last")):
        return "customer.name.separated REQUIRED first, last"
    return None


def _card_fault(method: object, pg: PgRules) -> str | None:
    card = method.get("card") if isinstance(method, dict) else None
    credential = card.get("credential") if isinstance(card, dict) else None
    if not isinstance(credential, dict):
        return "method.card.credential REQUIRED"
    for name, pattern in _CARD_PATTERNS.items():
        value = credential.get(name)
        if value is None and name not in _CARD_REQUIRED and not pg.issue_needs_everything:
            continue
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            return f"method.card.credential.{name} INVALID"
    return None


def _issue_name_fault(customer: object, pg: PgRules) -> str | None:
    if not pg.issue_needs_everything:
        return None
    named = isinstance(customer, dict) and customer.get("name") is not None
    return None if named else "customer.name REQUIRED"
