"""Behaviours: what the simulator does with a charge, and the names by which a billing key asks for it.

A billing key `bk-<behaviour>-<anything>` exists from the start; `bk-<behaviour>-x3-…` misbehaves the first three times
for one paymentId and `…-xall-…` always. Deciding only: nothing here waits, sends or counts.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from billing_worker.simulator.declines import DECLINES, Decline


class Delivery(StrEnum):
    """What becomes of the answer on the wire."""

    ANSWER = "answer"
    DROP = "drop"
    HANG = "hang"
    HTML_502 = "html502"
    GARBAGE = "garbage"
    RATE_LIMITED = "429"
    UNAUTHORIZED = "401"
    UNAVAILABLE = "503"
    NEW_TYPE = "new-type"


class Firing(StrEnum):
    """When a schedule fires, and how long it takes."""

    ON_TIME = "on-time"
    LATE = "late"
    LONG = "long"
    NOT_UNTIL_TOLD = "not-until-told"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to treat a request. A request that is not executed leaves no trace at the PG nor in the key memory."""

    name: str
    explanation: str
    times: int | None = 1  # how often for one paymentId before it behaves; None: always
    delivery: Delivery = Delivery.ANSWER
    executes: bool = True
    decline: Decline | None = None
    pays_late: bool = False
    slow: bool = False
    invisible: bool = False
    one_of: tuple[str, ...] = ()
    firing: Firing = Firing.ON_TIME
    seconds: float | None = None  # a script's own figure in place of the option's

    @property
    def strikes_on_arrival(self) -> bool:
        """Whether it is the request that meets it, replays included, rather than an execution at the PG."""
        return self.delivery is not Delivery.ANSWER or bool(self.one_of)


PLAIN = Behaviour("ok", "Charges and answers.", times=None)

_FLAKY_CHOICES = (
    "ok",
    "ok",
    "drop-charged",
    "drop-uncharged",
    "html502",
    "html502-charged",
    "unparsable",
    "503",
    "429",
    "soft-funds",
)


def _declining(name: str, times: int | None, explanation: str) -> Behaviour:
    return Behaviour(name, explanation, times=times, decline=DECLINES[name])


def _broken(name: str, delivery: Delivery, explanation: str, *, executes: bool, invisible: bool = False) -> Behaviour:
    return Behaviour(name, explanation, delivery=delivery, executes=executes, invisible=invisible)


_ALL = (
    PLAIN,
    _declining("soft-funds", 2, "Declines for want of funds twice; the third try is paid."),
    _declining("soft-limit", 2, "Declines for the card's limit twice; the third try is paid."),
    _declining("soft-daily", 1, "Declines for the daily limit once; the second try is paid."),
    _declining("transient", 1, "Declines because the card company is under maintenance, once."),
    _declining("timeout-decline", 1, "Declines because the card company did not answer the PG, once."),
    _declining("ambiguous", 2, "Declines with 'ask the card company' twice."),
    _declining("hard-lost", None, "Declines for ever: lost or stolen card."),
    _declining("hard-expired", None, "Declines for ever: the card has expired."),
    _declining("hard-closed", None, "Declines for ever: the card was closed."),
    _declining("hard-stopped", None, "Declines for ever: the card is stopped."),
    _declining("merchant", None, "Declines for ever: the merchant's own limit, not the customer's fault."),
    _declining("duplicate", 1, "Declines with 'duplicate order number', once."),
    _declining("unclassified", 2, "Declines twice with words that fit no class."),
    Behaviour("slow", "Charges, but takes slow_seconds.", times=None, slow=True),
    _broken("hang", Delivery.HANG, "Charges, then says nothing for hang_seconds and drops the line.", executes=True),
    _broken("hang-uncharged", Delivery.HANG, "Says nothing for hang_seconds and never charges.", executes=False),
    _broken("drop-charged", Delivery.DROP, "Charges, then drops the connection without an answer.", executes=True),
    _broken("drop-uncharged", Delivery.DROP, "Drops the connection; nothing is charged.", executes=False),
    _broken("html502", Delivery.HTML_502, "A gateway's HTML page with status 502; nothing is charged.", executes=False),
    _broken("html502-charged", Delivery.HTML_502, "Charges; the answer is a gateway's HTML 502.", executes=True),
    _broken("429", Delivery.RATE_LIMITED, "429 with Retry-After in seconds; nothing is charged.", executes=False),
    _broken("401", Delivery.UNAUTHORIZED, "401 UNAUTHORIZED although the secret is right.", executes=False),
    _broken("503", Delivery.UNAVAILABLE, "503 with a plain text body; nothing is charged.", executes=False),
    _broken("new-type", Delivery.NEW_TYPE, "An error type that no document lists; nothing is charged.", executes=False),
    _broken("new-type-charged", Delivery.NEW_TYPE, "Charges; the answer is an unknown error type.", executes=True),
    _broken("unparsable", Delivery.GARBAGE, "Charges; the answer is 200 with half a body.", executes=True),
    _broken(
        "invisible",
        Delivery.DROP,
        "Charges and drops the line; GET answers 404 for invisible_seconds.",
        executes=True,
        invisible=True,
    ),
    Behaviour(
        "late-success",
        "Reports a decline and FAILED, then turns PAID after late_success_seconds.",
        decline=DECLINES["timeout-decline"],
        pays_late=True,
    ),
    Behaviour("flaky", "Any of the above by paymentId, repeatably, three times.", times=3, one_of=_FLAKY_CHOICES),
    Behaviour("fires-late", "A schedule of this key fires firing_late_seconds late.", firing=Firing.LATE),
    Behaviour("stays-started", "A schedule of this key stays STARTED for started_seconds.", firing=Firing.LONG),
    Behaviour("never-fires", "A schedule of this key fires only when told to.", firing=Firing.NOT_UNTIL_TOLD),
    Behaviour("deleted", "The key was deleted: 409 BILLING_KEY_ALREADY_DELETED.", times=None),
)

BEHAVIOURS: Mapping[str, Behaviour] = {behaviour.name: behaviour for behaviour in _ALL}

# Longest first, so that `html502-charged` is not read as `html502` with a label.
_NAMES = "|".join(sorted(map(re.escape, BEHAVIOURS), key=len, reverse=True))
_KEY = re.compile(rf"bk-({_NAMES})(?:-x(\d{{1,4}}|all))?-.+")


@dataclass(frozen=True, slots=True)
class Temper:
    """A behaviour and how often a paymentId meets it."""

    behaviour: Behaviour
    times: int | None


def temper_of(billing_key: str) -> Temper | None:
    """What the name of a billing key asks for; None when it asks for nothing."""
    if billing_key.startswith("bk-ok-") and len(billing_key) > len("bk-ok-"):
        return _PLAIN_TEMPER  # by far the most common, and worth no pattern
    match = _KEY.fullmatch(billing_key)
    if match is None:
        return None
    behaviour = BEHAVIOURS[match[1]]
    if match[2] is None:
        return Temper(behaviour, behaviour.times)
    return Temper(behaviour, None if match[2] == "all" else int(match[2]))


def key_name(behaviour: str, *, times: str | None, label: str) -> str:
    """The billing key that asks for a behaviour by its name."""
    return f"bk-{behaviour}-{f'x{times}-' if times is not None else ''}{label}"


def choice_of(behaviour: Behaviour, *, payment_id: str, turn: int, seed: int) -> Behaviour:
    """What a flaky key does this time: the same for the same paymentId, turn and seed."""
    if not behaviour.one_of:
        return behaviour
    number = zlib.crc32(f"{seed}:{payment_id}:{turn}".encode())
    return BEHAVIOURS[behaviour.one_of[number % len(behaviour.one_of)]]


_PLAIN_TEMPER = Temper(PLAIN, None)
