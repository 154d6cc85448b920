"""The command reconcile: what PortOne has beside what we have, for one payment id.

It writes nothing but the wish that a worker looks soon: only a worker settles, and by what it finds itself.
"""
# Commands import what they need when they run: --help must not wait for an HTTP client.
# ruff: noqa: PLC0415

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from billing_worker.billing.outcomes import PAYMENT_FAILED, PAYMENT_PAID, Absent, Look, Payment, Unanswered
from billing_worker.cli import output
from billing_worker.cli.exits import Exit
from billing_worker.cli.options import AsJson, PaymentId

if TYPE_CHECKING:
    from billing_worker.settings import Settings
    from billing_worker.store.attempts import LookOrder
    from billing_worker.store.db import Database


class Verdict(StrEnum):
    """How the two sides compare."""

    EQUAL = "equal"
    DIFFERENT = "different"
    OPEN = "open"  # one of the two has no final word yet
    UNANSWERED = "unanswered"


_EXITS = {
    Verdict.EQUAL: Exit.OK,
    Verdict.DIFFERENT: Exit.FOUND,
    Verdict.OPEN: Exit.FOUND,
    Verdict.UNANSWERED: Exit.GONE,
}
_LATER = "a running worker looks within seconds and settles the attempt by what it finds"
_WHAT_HAPPENS = {
    Verdict.EQUAL: "nothing: both sides say the same",
    Verdict.DIFFERENT: f"{_LATER}, or puts the cycle on the list of exceptions",
    Verdict.OPEN: _LATER,
    Verdict.UNANSWERED: f"PortOne did not answer now; {_LATER}",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The verdict, and each way in which the sides differ."""

    verdict: Verdict
    differences: tuple[str, ...] = ()


def compare(ours: Mapping[str, Any], look: Look, *, store_id: str, live: bool) -> Comparison:
    """What the newest attempt and PortOne's payment say of each other."""
    match look:
        case Unanswered():
            return Comparison(Verdict.UNANSWERED, (look.reason,))
        case Payment() if look.status in PAYMENT_PAID:
            differences = _differences(ours, look, store_id=store_id, live=live)
            if ours["status"] == "open" and not differences:
                return Comparison(Verdict.OPEN)
            if ours["status"] != "paid":
                differences = (f"PortOne has it {look.status}, and here it is {ours['status']}", *differences)
            return Comparison(Verdict.DIFFERENT if differences else Verdict.EQUAL, differences)
        case Payment() if look.status not in PAYMENT_FAILED:
            return Comparison(Verdict.OPEN, (f"PortOne has it {look.status}",))
        case Payment() | Absent():
            return _without_money(ours, "FAILED" if isinstance(look, Payment) else "not at all")


def reconcile(payment_id: PaymentId, as_json: AsJson = False) -> None:
    """Ask PortOne about a payment id now, and have a worker settle the newest attempt by what it finds."""
    from billing_worker.cli.database import on_database, settings
    from billing_worker.cli.operating import no_attempt
    from billing_worker.store import attempts, control

    given = settings()

    async def ask(database: "Database") -> tuple[Mapping[str, Any], Look, Comparison, "LookOrder | None"] | None:
        rows = await attempts.show_attempts(database.claims, payment_id)
        if not rows:
            return None
        look = await _look(given, payment_id)
        comparison = compare(rows[-1], look, store_id=given.portone_store_id, live=given.portone_live)
        order = None
        if comparison.verdict is not Verdict.EQUAL:
            now = await control.primary_clock(database.claims)
            order = await attempts.look_soon(database.claims, payment_id, now=now)
        return rows[-1], look, comparison, order

    found = on_database(ask, writes=True)
    if found is None:
        raise no_attempt(payment_id)
    _show(*found, as_json=as_json)
    raise typer.Exit(_EXITS[found[2].verdict])


async def _look(given: "Settings", payment_id: str) -> Look:
    from billing_worker.cli.portone import portone_client

    async with portone_client(given) as portone:
        return await portone.find(payment_id)


def _differences(ours: Mapping[str, Any], payment: Payment, *, store_id: str, live: bool) -> tuple[str, ...]:
    pairs = {
        "amount": (ours["amount_minor"], payment.amount_minor),
        "currency": (ours["currency"], payment.currency),
        "store": (store_id, payment.store_id),
        "kind": (_kind(live), _kind(live if payment.is_test is None else not payment.is_test)),
        "PG transaction": (ours["pg_tx_id"] or payment.pg_tx_id, payment.pg_tx_id or ours["pg_tx_id"]),
    }
    return tuple(
        f"{what} is {theirs} there and {here} here" for what, (here, theirs) in pairs.items() if here != theirs
    )


def _without_money(ours: Mapping[str, Any], there: str) -> Comparison:
    match ours["status"]:
        case "open":
            return Comparison(Verdict.OPEN, (f"PortOne has it {there}",))
        case "paid":
            return Comparison(Verdict.DIFFERENT, (f"PortOne has it {there}, and here it is paid",))
        case _:
            return Comparison(Verdict.EQUAL)


def _kind(live: bool) -> str:
    return "LIVE" if live else "TEST"


def _next(verdict: Verdict, order: "LookOrder | None") -> str:
    if order is not None and order.being_sent:
        return f"its worker is sending it; if that does not settle it, a look does at {output.shown(order.look_at)}"
    return _WHAT_HAPPENS[verdict]


def _show(
    ours: Mapping[str, Any], look: Look, comparison: Comparison, order: "LookOrder | None", *, as_json: bool
) -> None:
    if as_json:
        output.document(
            {
                "payment_id": ours["payment_id"],
                "verdict": comparison.verdict.value,
                "differences": list(comparison.differences),
                "ours": dict(ours),
                "portone": asdict(look) if isinstance(look, Payment) else None,
                "next": _next(comparison.verdict, order),
                "look_at": order.look_at if order else None,
            }
        )
        return
    rows = [
        {"what": what, "here": here, "there": there}
        for what, here, there in (
            ("status", ours["status"], _status(look)),
            ("amount", output.money(ours), output.money(asdict(look)) if isinstance(look, Payment) else ""),
            ("paid", ours["paid_at"], getattr(look, "paid_at", None)),
            ("PG transaction", ours["pg_tx_id"], getattr(look, "pg_tx_id", None)),
            ("decline", ours["decline_code"], getattr(look, "failure_code", None)),
        )
    ]
    output.table((("", "what"), ("here", "here"), ("at PortOne", "there")), rows)
    for difference in comparison.differences:
        output.say(f"  {output.printable(difference)}")
    output.say(f"{comparison.verdict.value}; next: {_next(comparison.verdict, order)}")


def _status(look: Look) -> str:
    match look:
        case Payment():
            return look.status
        case Absent():
            return "(no such payment)"
        case Unanswered():
            return f"(no answer: {look.reason})"
