"""The command refund: gives back a sum of one payment, once, and only when a person says so.

Without --confirm it only proposes. With it, who and why is in the ledger before PortOne is asked; what was given back
is entered by a worker's look.
"""
# Commands import what they need when they run: --help must not wait for an HTTP client.
# ruff: noqa: PLC0415

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from billing_worker.billing.outcomes import Cancellation, CancelOutcome, NoVerdict, Refused
from billing_worker.billing.refunding import NoRefund, Proposal, is_done, is_under_way, propose
from billing_worker.cli import output
from billing_worker.cli.exits import Exit, Failure
from billing_worker.cli.options import AsJson, By, PaymentId, Reason, actor

if TYPE_CHECKING:
    from billing_worker.portone.client import PortOneClient
    from billing_worker.settings import Settings
    from billing_worker.store.db import Database

Result = Literal["proposed", "refunded", "requested", "failed", "refused", "unknown", "nothing"]

_EXITS: dict[Result, Exit] = {
    "proposed": Exit.OK,
    "refunded": Exit.OK,
    "requested": Exit.OK,
    "failed": Exit.FOUND,
    "refused": Exit.FOUND,
    "unknown": Exit.GONE,
    "nothing": Exit.FOUND,
}


@dataclass(frozen=True, slots=True)
class _Order:
    """What the person wants."""

    payment_id: str
    amount_minor: int | None
    reason: str
    actor: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class _Told:
    """What became of it, in a word and in a sentence."""

    result: Result
    text: str
    proposal: Proposal | None = field(default=None)


def refund(
    payment_id: PaymentId,
    reason: Reason,
    amount: Annotated[
        int | None,
        typer.Option("--amount", min=1, help="How much, in minor units (won); all that is left if left out."),
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Do it; without this it is only proposed.")] = False,
    *,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Give back a payment, or a part of it. The same command given twice gives back once."""
    from billing_worker.cli.database import on_database, settings

    given = settings()
    order = _Order(payment_id, amount, reason, actor(by), confirm)
    told = on_database(lambda database: _refund(given, database, order), writes=confirm)
    if as_json:
        output.document(_document(order, told))
    else:
        output.say(output.printable(told.text))
    raise typer.Exit(_EXITS[told.result])


async def _refund(given: "Settings", database: "Database", order: _Order) -> _Told:
    from billing_worker.cli.portone import portone_client
    from billing_worker.store import attempts, refunds

    if not await attempts.show_attempts(database.claims, order.payment_id):
        message = f"there is no attempt on {order.payment_id}: what is not ours is refunded in PortOne's console"
        raise Failure(Exit.NOT_FOUND, "not_found", message)
    async with portone_client(given) as portone:
        look = await portone.find(order.payment_id)
        # After the look: of whatever it shows to be given back the intent stands, so two commands at once are one.
        intents = await refunds.refund_intents(database.claims, order.payment_id, reason=order.reason)
        wanted = propose(order.payment_id, look, order.amount_minor, intents, store_id=given.portone_store_id)
        if isinstance(wanted, NoRefund):
            return _Told("nothing", f"Nothing is given back: {wanted.why}")
        if not order.confirmed:
            return _Told("proposed", _proposed(wanted, order), wanted)
        if not wanted.repeated:
            await refunds.enter_refund_intent(database.claims, wanted, reason=order.reason, actor=order.actor)
        told = _told(wanted, await _ask(portone, wanted, order))
    await _look_soon(database, order.payment_id)
    return told


async def _ask(portone: "PortOneClient", wanted: Proposal, order: _Order) -> CancelOutcome:
    from billing_worker.portone.refunds import cancel_payment

    return await cancel_payment(
        portone,
        order.payment_id,
        amount_minor=wanted.amount_minor,
        current_cancellable_minor=wanted.left_minor,
        reason=order.reason,
        idempotency_key=wanted.idempotency_key,
        requester="ADMIN",
    )


async def _look_soon(database: "Database", payment_id: str) -> None:
    """Have a worker enter what was given back."""
    from billing_worker.store import control, positions

    await positions.look_anyway(database.claims, [payment_id], now=await control.primary_clock(database.claims))


def _proposed(wanted: Proposal, order: _Order) -> str:
    return (
        f"Paid {_money(wanted, wanted.paid_minor)}, given back {_money(wanted, wanted.refunded_minor)}, "
        f"left {_money(wanted, wanted.left_minor)}.\n"
        f"With --confirm {_money(wanted, wanted.amount_minor)} are given back: "
        f"POST /payments/{order.payment_id}/cancel, "
        f"amount {wanted.amount_minor}, currentCancellableAmount {wanted.left_minor}, "
        f"Idempotency-Key {wanted.idempotency_key}."
    )


def _told(wanted: Proposal, outcome: CancelOutcome) -> _Told:
    sum_ = _money(wanted, wanted.amount_minor)
    match outcome:
        case Cancellation() if is_done(outcome.status):
            text = f"{sum_} were given back ({outcome.cancellation_id}); a worker enters it when it has looked"
            return _Told("refunded", text, wanted)
        case Cancellation() if is_under_way(outcome.status):
            text = f"The PG was asked to give back {sum_} ({outcome.cancellation_id}) and has not said yet that it did"
            return _Told("requested", text, wanted)
        case Cancellation():
            text = (
                f"Nothing was given back: PortOne has the refund {outcome.status}, and says so again for three hours; "
                "after that the same command tries again"
            )
            return _Told("failed", text, wanted)
        case Refused():
            text = f"Nothing was given back: PortOne refuses ({outcome.error_type} {outcome.message})"
            return _Told("refused", text, wanted)
        case NoVerdict():
            text = (
                f"Whether {sum_} were given back is unknown ({outcome.reason}). Give the same command again: it is the "
                "same refund and is not made twice"
            )
            return _Told("unknown", text, wanted)


def _money(wanted: Proposal, amount_minor: int) -> str:
    return output.money({"amount_minor": amount_minor, "currency": wanted.currency})


def _document(order: _Order, told: _Told) -> dict[str, object]:
    wanted = told.proposal
    return {
        "payment_id": order.payment_id,
        "result": told.result,
        "text": told.text,
        "amount_minor": wanted.amount_minor if wanted else None,
        "currency": wanted.currency if wanted else None,
        "paid_minor": wanted.paid_minor if wanted else None,
        "refunded_before_minor": wanted.refunded_minor if wanted else None,
        "idempotency_key": wanted.idempotency_key if wanted else None,
    }
