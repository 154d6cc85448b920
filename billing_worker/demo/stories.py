"""The stories: what the simulated PortOne does to which share of the subscriptions, and how each ends.

They are foretold before anything runs; what really happened is for others to find.
"""

from dataclasses import dataclass
from enum import StrEnum

# The ends that a story foretells.
PAID = "paid"
GIVEN_UP = "given_up"
SKIPPED = "skipped"
NOT_DUE = "not due"

CHARGE, SCHEDULE = "charge", "schedule"


class Change(StrEnum):
    """What somebody does to a subscription that is booked already."""

    PRICE = "price"
    CANCEL = "cancelled"


# When a story of schedule mode is due: 0 is the first due moment of a run and 1 the last. Declines come early, for
# their retries come after. What is booked anew comes late, for it is booked behind everything that is owed already.
_EARLY, _USUAL, _LATE = (0.0, 0.4), (0.0, 0.5), (0.9, 1.0)
# Half of what PortOne charges by itself is due by then.
HALF_DUE = 0.25


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to some of the subscriptions: how many of a thousand have which beginning of a billing key."""

    title: str
    end: str
    per_mille: tuple[tuple[str, int], ...]
    mode: str = CHARGE
    due: tuple[float, float] = _USUAL
    change: Change | None = None


# The beginnings of the billing keys whose booking is cut off. Whether PortOne has the booking then is the difference.
BOOKED_UNHEARD, NOT_BOOKED_UNHEARD = "bk-ok-unheard", "bk-ok-unsaid"

STORIES: tuple[Story, ...] = (
    Story("charged and answered at once", PAID, (("bk-ok", 350),)),
    Story(
        "declined softly at first: no funds, limit, maintenance",
        PAID,
        (("bk-soft-funds", 30), ("bk-soft-limit", 20), ("bk-soft-daily", 20), ("bk-transient", 10)),
    ),
    Story("declined softly at every try", GIVEN_UP, (("bk-soft-funds-xall", 20),)),
    Story(
        "declined for good: card lost, expired, closed, stopped",
        GIVEN_UP,
        (("bk-hard-lost", 10), ("bk-hard-expired", 5), ("bk-hard-closed", 5), ("bk-hard-stopped", 5)),
    ),
    Story("charged, then the connection drops", PAID, (("bk-drop-charged", 35),)),
    Story("charged, then silence until the time-out", PAID, (("bk-hang", 15),)),
    Story("the connection drops before the charge", PAID, (("bk-drop-uncharged", 20),)),
    Story("an HTML page with status 502, charged or not", PAID, (("bk-html502", 8), ("bk-html502-charged", 8))),
    Story("turned away for now: 429, 503", PAID, (("bk-429", 8), ("bk-503", 7))),
    Story(
        "charged, and the answer makes no sense",
        PAID,
        (("bk-unparsable", 10), ("bk-new-type-charged", 5), ("bk-invisible", 5)),
    ),
    Story("reported as declined, paid all the same", PAID, (("bk-late-success", 10),)),
    Story("the billing key was deleted, or never was", GIVEN_UP, (("bk-deleted", 8), ("no-such-key", 6))),
    Story("not due yet", NOT_DUE, (("bk-ok", 80),)),
    Story("booked, and charged at its time", PAID, (("bk-ok", 175),), SCHEDULE),
    Story(
        "declined softly at its time, then collected by retries",
        PAID,
        (("bk-soft-funds", 20), ("bk-soft-limit", 10), ("bk-transient", 10)),
        SCHEDULE,
        due=_EARLY,
    ),
    Story(
        "declined for good at its time", GIVEN_UP, (("bk-hard-lost", 8), ("bk-hard-expired", 7)), SCHEDULE, due=_EARLY
    ),
    Story(
        "the answer to the booking is lost, booked or not",
        PAID,
        ((BOOKED_UNHEARD, 15), (NOT_BOOKED_UNHEARD, 10)),
        SCHEDULE,
    ),
    Story(
        "PortOne charges late, or takes long over it", PAID, (("bk-fires-late", 5), ("bk-stays-started", 5)), SCHEDULE
    ),
    Story("reported as failed, paid all the same", PAID, (("bk-late-success", 5),), SCHEDULE, due=_EARLY),
    Story("not booked, the billing key was deleted", GIVEN_UP, (("bk-deleted", 5),), SCHEDULE),
    Story(
        "booked, then the price changes: taken back, booked anew",
        PAID,
        (("bk-ok", 15),),
        SCHEDULE,
        due=_LATE,
        change=Change.PRICE,
    ),
    Story(
        "booked, then cancelled: taken back, never charged",
        SKIPPED,
        (("bk-ok", 10),),
        SCHEDULE,
        due=_LATE,
        change=Change.CANCEL,
    ),
)
