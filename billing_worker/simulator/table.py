"""The table of calls: which function answers which. The charge is not in it; it alone waits for a PG."""

from collections.abc import Callable, Mapping

from billing_worker.simulator import booking, calls, lists
from billing_worker.simulator.answers import Answer
from billing_worker.simulator.routes import Endpoint, Route
from billing_worker.simulator.rules import Fields
from billing_worker.simulator.world import World

_ABOUT_ONE: Mapping[Endpoint, Callable[[World, str], Answer]] = {
    Endpoint.LOOK: calls.look,
    Endpoint.TRANSACTIONS: calls.transactions,
    Endpoint.LOOK_AT_KEY: calls.look_at_key,
    Endpoint.DELETE_KEY: calls.delete_key,
    Endpoint.LOOK_AT_SCHEDULE: booking.look,
}
_ABOUT_ONE_WITH_FIELDS: Mapping[Endpoint, Callable[[World, str, Fields], Answer]] = {
    Endpoint.CANCEL: calls.cancel,
    Endpoint.SCHEDULE: booking.book,
    Endpoint.RESEND: calls.resend_webhook,
}
_ABOUT_MANY: Mapping[Endpoint, Callable[[World, Fields], Answer]] = {
    Endpoint.ISSUE_KEY: calls.issue_key,
    Endpoint.REVOKE: booking.revoke,
    Endpoint.LIST_SCHEDULES: lists.schedules,
    Endpoint.LIST_PAYMENTS: lists.payments,
    Endpoint.LIST_PAYMENTS_BY_CURSOR: lists.payments_by_cursor,
    Endpoint.LIST_EVENTS: lists.events,
}


def answered(world: World, route: Route, fields: Fields) -> Answer:
    """The answer to any call but the charge. Raises UnreadableError for what cannot be understood."""
    about_one = _ABOUT_ONE.get(route.endpoint)
    if about_one is not None:
        return about_one(world, route.subject)
    with_fields = _ABOUT_ONE_WITH_FIELDS.get(route.endpoint)
    if with_fields is not None:
        return with_fields(world, route.subject, fields)
    return _ABOUT_MANY[route.endpoint](world, fields)
