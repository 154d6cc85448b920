"""What the workers log, as far as a run listens: nothing below ERROR, and of that what says that we were wrong."""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from billing_worker.store.db import DatabaseGoneError
from tests.simulation.world import World

# These mean that something of ours has raised what nobody expected.
_OURS = frozenset({"sweep.failed", "call.failed", "settler.broken", "settlement.refused", "intent.refused"})


class _Ear:
    world: World | None = None


def _hear(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    name = event.get("event")
    error = event.get("exc_info")
    if _Ear.world is not None:
        said = {key: value for key, value in sorted(event.items()) if key not in {"exc_info", "event"}}
        _Ear.world.counts[f"log {name}"] += 1
        _Ear.world.tell(f"log {name} {said}")
        if name in _OURS and not isinstance(error, DatabaseGoneError):
            _Ear.world.find(f"the worker says {name}: {_described(error)} {said}")
    raise structlog.DropEvent


def _described(error: object) -> str:
    if error is True:
        import sys  # noqa: PLC0415

        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return ""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" in {last.tb_frame.f_code.co_name}, line {last.tb_lineno}" if last is not None else ""
    return f"{type(error).__name__}: {error}{where}"


@contextmanager
def listen(world: World) -> Iterator[None]:
    """Hear what the workers of this world say. What is heard outside a run is dropped."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[_hear],
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        )
    _Ear.world = world
    try:
        yield
    finally:
        _Ear.world = None
