"""When a card that has said no may be asked again, counted by hand from the days of the plan and PortOne's own records.

The product's dunning is what is judged, so nothing of it is used here.
"""

from collections import defaultdict
from collections.abc import Iterator

from tests.simulation.portone_books import Execution, Payment, PortOneBooks, Try
from tests.simulation.portone_cards import DUPLICATE, HARD
from tests.simulation.world import DAY, HOUR

# After an outage several tries may be overdue; card issuers count tries in a row.
GAP_SECONDS = 6 * HOUR
# A worker counts by a clock that may be off by as much as its gate allows, and so may the one before it.
OFF_SECONDS = 65.0


def faults(portone: PortOneBooks, days: tuple[float, ...]) -> Iterator[str]:
    """Every execution that came too soon or should not have come."""
    executions: dict[str, list[Execution]] = defaultdict(list)
    for execution in portone.executions:
        executions[execution.payment_id].append(execution)
    for execution in portone.executions:
        payment = portone.payments[execution.payment_id]
        declines = _declines_before(payment, execution, executions[execution.payment_id])
        if declines and (why := _why_not(declines, execution, days)):
            yield f"asked again: {execution.key} at {execution.began_at:.0f} s, and {why}"


def _declines_before(payment: Payment, execution: Execution, executions: list[Execution]) -> list[Try]:
    """The first decline under each older key. One key may be executed twice, and that is one try."""
    first: dict[str | None, Try] = {}
    for one in payment.tries:
        if (
            one.failure
            and one.key != execution.key
            and one.ended_at <= execution.began_at
            and _was_shown(one, executions)
        ):
            first.setdefault(one.key, one)
    return list(first.values())


def _was_shown(decline: Try, executions: list[Execution]) -> bool:
    """Whether anybody could see it before the next try. What PortOne keeps back for hours is found as nothing."""
    later = [one.began_at for one in executions if one.key != decline.key and one.began_at >= decline.ended_at]
    return decline.visible_from <= min(later)


def _why_not(declines: list[Try], execution: Execution, days: tuple[float, ...]) -> str:
    for one in declines:
        if one.failure in HARD:
            return f"{one.key} was a hard decline"
        if one.failure in DUPLICATE:
            return f"of {one.key} the PG said that it has been paid"
    count = len(declines)
    if count > len(days):
        return f"{count} declines were the last"
    step = (days[count - 1] - (days[count - 2] if count > 1 else 0.0)) * DAY
    earliest = max(declines[0].ended_at + days[count - 1] * DAY, declines[-1].ended_at + min(GAP_SECONDS, step))
    if execution.began_at < earliest - OFF_SECONDS:
        return f"after {count} declines it may come from {earliest:.0f} s on"
    return ""
