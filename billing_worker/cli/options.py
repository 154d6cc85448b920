"""Options that several commands share, and the checks of what a person types into them."""

import getpass
import re
from enum import StrEnum
from typing import Annotated

import typer

from billing_worker.cli.exits import Exit, Failure

# Of a ledger entry's message; keep in step with billing/ledger.py.
REASON_CHARS_MAX = 500
ACTOR_CHARS_MAX = 100

# What a payment id of ours looks like; it is asked of PortOne and printed, so nothing else may pass.
_PAYMENT_ID = re.compile(r"[0-9A-Za-z_-]{6,64}")


class Pg(StrEnum):
    """The PG behind the channel."""

    KPN = "KPN"
    OTHER = "OTHER"


def _reason(text: str) -> str:
    if not text.strip() or len(text) > REASON_CHARS_MAX or not text.isprintable():
        raise typer.BadParameter(f"must be 1 to {REASON_CHARS_MAX} printable characters")
    return text.strip()


def _actor(text: str | None) -> str | None:
    if text is not None and (not text.strip() or len(text) > ACTOR_CHARS_MAX or not text.isprintable()):
        raise typer.BadParameter(f"must be 1 to {ACTOR_CHARS_MAX} printable characters")
    return text


def _payment_id(text: str) -> str:
    if not _PAYMENT_ID.fullmatch(text):
        raise typer.BadParameter("is no payment id; ours have 30 lower-case letters and digits and begin with rb1")
    return text


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Reason = Annotated[str, typer.Option("--reason", callback=_reason, help="Why; it is kept.")]
By = Annotated[
    str | None, typer.Option("--by", callback=_actor, help="Who decides; the user of the operating system if left out.")
]
PaymentId = Annotated[str, typer.Argument(metavar="PAYMENT_ID", callback=_payment_id, help="A cycle's payment id.")]
BusinessKey = Annotated[str, typer.Argument(metavar="BUSINESS_KEY", help="The subscription's own key.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")]
PgOption = Annotated[
    Pg,
    typer.Option("--pg", envvar="BILLING_PORTONE_PG", help="The PG whose limits on names and currencies are checked."),
]
CollectPast = Annotated[
    bool, typer.Option("--collect-past", help="Collect every period that has begun already, however many they are.")
]


def actor(by: str | None) -> str:
    """Who decides. Raises Failure where neither the option nor the system says it."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user often has a number and no name.
        raise Failure(
            Exit.REFUSED, "usage", "this user has no name that could be written down", remedy="add --by NAME"
        ) from None
