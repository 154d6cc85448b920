"""Asking: what a control request wants, read from its body and query, or the words for why it cannot be had."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest

from billing_worker.simulator.behaviours import BEHAVIOURS, Behaviour, Temper, key_name, temper_of
from billing_worker.simulator.conduct import Call, Script, scripted
from billing_worker.simulator.world import World

Json = dict[str, Any]
E = TypeVar("E", bound=StrEnum)

COUNT_MAX = 1_000_000  # of keys at once, of times: a slip of the hand should not fill the memory
SECONDS_MAX = 10 * 366 * 24 * 60 * 60  # ten years: further on, dates themselves come to an end


class AskedWronglyError(Exception):
    """A control request that cannot be done; its text says why."""


SCRIPT_FIELDS = {
    "behaviour",
    "times",
    "on",
    "paymentId",
    "billing_key_prefix",
    "seconds",
    "pgCode",
    "pgMessage",
}


async def members(request: HttpRequest, known: set[str]) -> Json:
    """The members of a control request's body; an unknown one is a slip that would otherwise pass unseen."""
    raw = await request.body()
    if not raw:
        return {}
    try:
        asked = await request.json()
    except (ValueError, RecursionError) as error:
        raise AskedWronglyError("the body must be JSON") from error
    if not isinstance(asked, dict):
        raise AskedWronglyError("the body must be a JSON object")
    unknown = sorted(set(asked) - known)
    if unknown:
        raise AskedWronglyError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return asked


def script(asked: Mapping[str, Any]) -> Script:
    """A behaviour to queue, and the requests it waits for."""
    unknown = sorted(set(asked) - SCRIPT_FIELDS)
    if unknown:
        raise AskedWronglyError(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(SCRIPT_FIELDS))}")
    behaviour = scripted(
        _behaviour(asked),
        seconds=number(asked, "seconds"),
        pg_code=text(asked, "pgCode") or None,
        pg_message=text(asked, "pgMessage") or None,
    )
    on = asked.get("on", Call.CHARGE.value)
    return Script(
        behaviour,
        remaining=count(asked, "times", usual=1),
        on=None if on == "any" else member(Call, on, "on"),
        payment_id=text(asked, "paymentId"),
        billing_key_prefix=text(asked, "billing_key_prefix"),
    )


def keys_made(world: World, asked: Mapping[str, Any]) -> list[str]:
    """Put keys of one behaviour on the ring; their names."""
    behaviour = _behaviour(asked)
    times = asked.get("times")
    if times is not None and times != "all":
        times = str(count(asked, "times", usual=1))
    given = asked.get("billingKeys")
    if given is not None:
        if not isinstance(given, list) or not all(isinstance(name, str) and name for name in given):
            raise AskedWronglyError("billingKeys must be a list of names")
        return [_registered(world, name, behaviour, times) for name in given]
    wanted = count(asked, "count", usual=1)
    label = text(asked, "label")
    labels = (f"{label}-{n:06d}" if label else world.keys.next_label() for n in range(1, wanted + 1))
    return [_registered(world, key_name(behaviour.name, times=times, label=one), behaviour, times) for one in labels]


def _registered(world: World, name: str, behaviour: Behaviour, times: str | None) -> str:
    temper = temper_of(name)
    if temper is None or temper.behaviour is not behaviour or times is not None:
        often = behaviour.times if times is None else None if times == "all" else int(times)
        temper = Temper(behaviour, often)
    return world.keys.register(name, temper, world.now()).name


def _behaviour(asked: Mapping[str, Any]) -> Behaviour:
    behaviour = BEHAVIOURS.get(str(asked.get("behaviour")))
    if behaviour is None:
        raise AskedWronglyError(f"behaviour must be one of {', '.join(BEHAVIOURS)}")
    return behaviour


def count(asked: Mapping[str, Any], name: str, *, usual: int) -> int:
    """A whole number of the body, at least one."""
    value = asked.get(name, usual)
    if type(value) is not int or not 1 <= value <= COUNT_MAX:
        raise AskedWronglyError(f"{name} must be a whole number from 1 to {COUNT_MAX}")
    return value


def number(asked: Mapping[str, Any], name: str) -> float | None:
    """A number of the body, if there is one."""
    value = asked.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AskedWronglyError(f"{name} must be a number")
    if not abs(value) <= SECONDS_MAX:  # written so that it refuses what is not a number, too
        raise AskedWronglyError(f"{name} must be within {SECONDS_MAX} either way")
    return float(value)


def text(asked: Mapping[str, Any], name: str) -> str:
    """A text of the body; empty when there is none."""
    value = asked.get(name) or ""
    if not isinstance(value, str):
        raise AskedWronglyError(f"{name} must be text")
    return value


def whole(value: str | None, name: str) -> int | None:
    """A whole number of the query, if there is one."""
    if value is None:
        return None
    if not value.isascii() or not value.isdigit():
        raise AskedWronglyError(f"{name} must be a whole number")
    return int(value)


def real(value: str | None, name: str) -> float:
    """A number of the query; nothing when there is none."""
    try:
        return float(value or 0)
    except ValueError as error:
        raise AskedWronglyError(f"{name} must be a number") from error


def member(kind: type[E], value: object, name: str) -> E | None:
    """The member of an enumeration by its word; None when nothing was said."""
    if value is None:
        return None
    try:
        return kind(str(value))
    except ValueError as error:
        raise AskedWronglyError(f"{name} must be one of {', '.join(kind)}") from error
