"""The event feed: what moved money, in the order it happened, each under a place of its own.

A late event is put where its instant belongs. No reader is past that place by then: whoever asks for the feed does what
is due before he is answered.
"""

import bisect
from datetime import datetime

from billing_worker.simulator.bank import Happening, What

Place = tuple[datetime, int]

EVENT_TYPES = {
    What.PAID: "PAID",
    What.PARTIAL_CANCELLED: "PARTIAL_CANCELLED",
    What.CANCELLED: "CANCELLED",
}


class Feed:
    """Every event of the store."""

    def __init__(self) -> None:
        self._events: list[Happening] = []

    def record(self, happening: Happening) -> None:
        """Put a happening in its place; what moves no money is no event."""
        if happening.what not in EVENT_TYPES:
            return
        events = self._events
        happening.serial = len(events) + 1
        if happening.cancellation is not None:
            happening.cancelled = happening.payment.cancelled_total
            happening.cancelled_tax_free = happening.payment.cancelled_tax_free
        if not events or events[-1].at <= happening.at:
            events.append(happening)
        else:
            bisect.insort(events, happening, key=_place)

    def between(self, start: datetime, until: datetime, *, after: Place | None, size: int) -> list[Happening]:
        """The first events of a window, or those after a place."""
        first = bisect.bisect_left(self._events, (start, 0), key=_place)
        if after is not None:
            first = max(first, bisect.bisect(self._events, after, key=_place))
        return [one for one in self._events[first : first + size] if one.at <= until]


def _place(happening: Happening) -> Place:
    return happening.at, happening.serial
