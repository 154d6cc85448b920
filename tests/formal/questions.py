"""What is asked of the model: which switches, which bounds, and what the checker must find.

There are two models: protocol.pml is the direct charge, schedule.pml a booking beside one. The design must be found
safe in both worlds of each, and every loosened variant unsafe, each for the promise that it is said to break. An
assumption that is dropped must be found unsafe too, or it would be no assumption.
"""

from dataclasses import dataclass

CHARGE = "protocol.pml"
SCHEDULE = "schedule.pml"

# Small enough that every counterexample is found, and its shortest form printed, within a second or two.
SMALL = (("NW", 2), ("NA", 2), ("DECLINES_MAX", 1))


@dataclass(frozen=True, slots=True)
class Question:
    """One run of the checker: a variant within its bounds, and what must come of it."""

    name: str
    says: str
    switches: tuple[str, ...]
    safe: bool
    bounds: tuple[tuple[str, int], ...] = SMALL
    model: str = CHARGE

    @property
    def flags(self) -> tuple[str, ...]:
        """What the preprocessor is told."""
        return tuple(f"-D{name}={value}" for name, value in self.bounds) + tuple(f"-D{s}" for s in self.switches)


def _bounds(workers: int, attempts: int, declines: int) -> tuple[tuple[str, int], ...]:
    return (("NW", workers), ("NA", attempts), ("DECLINES_MAX", declines))


def _safe(name: str, says: str, *switches: str, bounds: tuple[int, int, int]) -> Question:
    return Question(name, says, switches, safe=True, bounds=_bounds(*bounds))


def _unsafe(name: str, says: str, *switches: str) -> Question:
    return Question(name, says, switches, safe=False)


_BOUNDED = "the key protects where PortOne's paid-check does not; sends arrive while the key is remembered"
_ATOMIC = "the paid-check protects where the key does not; sends are late by any time, keys expire under way"
_CALM = "from every state that can be reached, the cycle can still end"

_CHARGE_DESIGN = (
    _safe("design, 2 workers, 2 declines", _BOUNDED, bounds=(2, 3, 2)),
    _safe("design, 3 workers, 1 decline", _BOUNDED, bounds=(3, 2, 1)),
    _safe("design, expiring keys", _ATOMIC, "ATOMIC", bounds=(2, 2, 1)),
    _safe("design can end", _CALM, "CALM", bounds=(2, 2, 1)),
)

_CHARGE_DESIGN_LONG = (
    _safe("design, 3 workers, 2 declines", _BOUNDED, bounds=(3, 3, 2)),
    _safe("design, expiring keys, 2 declines", _ATOMIC, "ATOMIC", bounds=(2, 3, 2)),
    _safe("design, expiring keys, 3 workers", _ATOMIC, "ATOMIC", bounds=(3, 2, 1)),
    _safe("design, expiring keys, 3 workers, 2 declines", _ATOMIC, "ATOMIC", "REDUCED", bounds=(3, 2, 2)),
    _safe("design can end, 2 declines", _CALM, "CALM", bounds=(2, 3, 2)),
    _safe("design can end, 3 workers", _CALM, "CALM", bounds=(3, 2, 1)),
)

_TWICE = "ONLY_MONEY"
_CONTRADICTED = "ONLY_TRUTH"
_LOST = "ONLY_REST"

_CHARGE_LOOSENED = (
    _unsafe("new id on time-out", "paid twice", "NEW_ID_ON_TIMEOUT", "NO_LATE", _TWICE),
    _unsafe("id per attempt, keys expire", "paid twice", "ID_PER_ATTEMPT", "ATOMIC", "NO_LATE", _TWICE),
    _unsafe("no key, paid-check not atomic", "paid twice", "NO_KEY", "NO_LATE", _TWICE),
    _unsafe("key per send", "paid twice: to PortOne it is no key", "KEY_PER_SEND", "NO_LATE", _TWICE),
    _unsafe("no fence", "paid twice", "NO_FENCE", "NO_LATE", _TWICE),
    _unsafe("no send deadline", "paid twice", "NO_DEADLINE", "NO_LATE", _TWICE),
    _unsafe("404 taken as proof of nothing", "paid twice", "ABSENT_IS_PROOF", "NO_LATE", _TWICE),
    _unsafe("decline believed without a look", "paid twice", "DECLINE_WITHOUT_LOOK", "NO_LATE", _TWICE),
    _unsafe("advance before the outcome", "a payment is lost", "ADVANCE_FIRST", _LOST),
    _unsafe("refusal of a resent attempt believed", "paid twice", "REFUSAL_OF_A_RESENT", "NO_LATE", _TWICE),
    _unsafe("voided by a look made long ago", "PortOne contradicted", "STALE_LOOK", _CONTRADICTED),
)

_CHARGE_ASSUMPTIONS = (
    _unsafe("without T1", "paid twice: a send arrives when its key is forgotten", "DROP_T1", "NO_LATE", _TWICE),
    _unsafe("without T2", "paid twice: an execution lasts for a day", "DROP_T2", "NO_LATE", _TWICE),
    _unsafe("without T3", "PortOne contradicted: a payment is hidden for a day", "DROP_T3", _CONTRADICTED),
    _unsafe("without T4", "paid twice: a decline turns out paid beside a newer try", "DROP_T4", _TWICE),
    _unsafe("without T5", "a payment is lost: it comes after the last recheck", "DROP_T5", _LOST),
    _unsafe("without T1, reduced", "the same is found with fewer ways", "DROP_T1", "NO_LATE", "REDUCED", _TWICE),
    _unsafe("without T5, reduced", "the same is found with fewer ways", "ATOMIC", "DROP_T5", "REDUCED", _LOST),
)


def _booked(name: str, says: str, *switches: str, safe: bool, attempts: int = 2, declines: int = 0) -> Question:
    return Question(f"schedule: {name}", says, switches, safe, _bounds(2, attempts, declines), SCHEDULE)


# What a question is not about is taken away, or the states would be too many.
_NO_WISH = ("NO_PRICE", "NO_CANCEL", "NO_CONSOLE", "NO_LATE")
_PRICE = ("NO_CANCEL", "NO_CONSOLE", "NO_LATE")
_CANCEL = ("NO_PRICE", "NO_CONSOLE", "NO_LATE")
_RECALLED = "ONLY_RECALL"
_TERMS = "ONLY_TERMS"
_WISHES = "a price change and a cancellation while it is booked, at PortOne without an atomic check"

_SCHEDULE_DESIGN = (
    _booked("design, price and cancellation", _WISHES, "NO_CONSOLE", "NO_LATE", safe=True),
    _booked("design, console", "somebody revokes it at the console", "NO_PRICE", "NO_LATE", safe=True),
    _booked("design, expiring keys", f"{_ATOMIC}; schedules are hidden", "ATOMIC", *_NO_WISH, safe=True),
    _booked("design can end", _CALM, "CALM", *_PRICE, safe=True),
)

_SCHEDULE_DESIGN_LONG = (
    _booked("design, declined", _WISHES, "NO_CONSOLE", "NO_LATE", safe=True, declines=1),
    _booked("design, everything", f"{_WISHES}, the console, late declines", safe=True, declines=1),
    _booked(
        "design, booked twice",
        "a booking, another one at the new price, a charge",
        *_PRICE,
        safe=True,
        attempts=3,
        declines=1,
    ),
    _booked("design, expiring keys, price", f"{_ATOMIC}; schedules are hidden", "ATOMIC", *_PRICE, safe=True),
    _booked("design can end, cancelled", _CALM, "CALM", *_CANCEL, safe=True, declines=1),
)

_BESIDE = "paid twice: PortOne fires beside a charge"

_SCHEDULE_LOOSENED = (
    _booked("charge beside an open booking", _BESIDE, "CHARGE_BESIDE", *_NO_WISH, _TWICE, safe=False),
    _booked(
        "revocation believed unconfirmed",
        "revoked, and it fires",
        "BELIEVE_REVOCATION",
        *_CANCEL,
        _RECALLED,
        safe=False,
    ),
    _booked("void when the answer is lost", _BESIDE, "VOID_WHEN_LOST", *_NO_WISH, _TWICE, safe=False),
    _booked(
        "new id for the next try",
        "paid twice, though PortOne's check is atomic",
        "NEW_ID",
        "ATOMIC",
        *_NO_WISH,
        safe=False,
    ),
    _booked(
        "revoke by billing key", "another cycle's schedule goes with it", "REVOKE_BY_KEY", *_CANCEL, _TERMS, safe=False
    ),
    _booked("charge before it is due", "charged ahead of its time", "NO_DUE_CHECK", *_NO_WISH, _TERMS, safe=False),
    _booked("price change without a fence", "booked at the old price", "NO_PRICE_FENCE", *_PRICE, _TERMS, safe=False),
    _booked(
        "price kept when its time came first", "charged at the old price", "PRICE_KEPT", *_PRICE, _TERMS, safe=False
    ),
    _booked(
        "booking without a send deadline", "void, and it is booked", "NO_DEADLINE", *_CANCEL, _RECALLED, safe=False
    ),
)

_SCHEDULE_ASSUMPTIONS = (
    _booked("without T1", "paid twice: a booking arrives when it is void", "DROP_T1", *_NO_WISH, _TWICE, safe=False),
    _booked("without T3", "paid twice: it fires late, and was hidden", "DROP_T3", *_NO_WISH, _TWICE, safe=False),
    _booked(
        "without T7", "revoked: it arrives when it is taken to be at rest", "DROP_T7", *_CANCEL, _RECALLED, safe=False
    ),
    _booked("without T8", "revoked: it is hidden when it is at rest", "DROP_T8", *_CANCEL, _RECALLED, safe=False),
    _booked(
        "without T9",
        "revoked, and brought back at the console",
        "DROP_T9",
        "NO_PRICE",
        "NO_LATE",
        _RECALLED,
        safe=False,
    ),
)

DESIGN = _CHARGE_DESIGN + _SCHEDULE_DESIGN
LOOSENED = _CHARGE_LOOSENED + _SCHEDULE_LOOSENED
ASSUMPTIONS = _CHARGE_ASSUMPTIONS + _SCHEDULE_ASSUMPTIONS

SHORT_RUN = DESIGN + LOOSENED + ASSUMPTIONS
LONG_RUN = DESIGN + _CHARGE_DESIGN_LONG + _SCHEDULE_DESIGN_LONG + LOOSENED + ASSUMPTIONS
