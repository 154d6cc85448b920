"""Conduct: which behaviour meets this request. Scripts come before the billing key's own temper, oldest first.

Faults of the wire strike when a request arrives; declines strike when the PG executes. A replay of a stored answer is
no execution, so it uses up no decline.
"""

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum

from billing_worker.simulator.behaviours import PLAIN, Behaviour, Temper, choice_of


class Call(StrEnum):
    """The calls of the contract, by the names that scripts use."""

    CHARGE = "charge"
    LOOK = "look"
    CANCEL = "cancel"
    KEYS = "keys"
    SCHEDULE = "schedule"
    REVOKE = "revoke"
    LOOK_AT_SCHEDULE = "look_at_schedule"
    LIST = "list"
    RESEND = "resend"
    FIRE = "fire"  # no call of a client's: PortOne's own at a schedule's time


@dataclass(slots=True)
class Script:
    """A behaviour queued for the next requests that match. An empty matcher matches everything."""

    behaviour: Behaviour
    remaining: int
    on: Call | None = Call.CHARGE  # None: any call
    payment_id: str = ""
    billing_key_prefix: str = ""

    def matches(self, call: Call, payment_id: str, billing_key: str) -> bool:
        """Whether this request is one of those waited for."""
        return (
            self.on in (None, call)
            and self.payment_id in ("", payment_id)
            and billing_key.startswith(self.billing_key_prefix)
        )


class Conduct:
    """Chooses behaviours and counts how often a paymentId has met its key's own."""

    def __init__(self, seed: int) -> None:
        self.scripts: list[Script] = []
        self._met: Counter[str] = Counter()
        self._seed = seed

    def on_arrival(self, call: Call, payment_id: str, billing_key: str, temper: Temper | None) -> Behaviour:
        """The fault that strikes the request itself, or PLAIN."""
        script = self._script(call, payment_id, billing_key)
        if script is not None:
            return self._spent(script) if script.behaviour.strikes_on_arrival else PLAIN
        if temper is None or not temper.behaviour.strikes_on_arrival:
            return PLAIN
        return self._met_by(temper, payment_id)

    def on_execution(self, call: Call, payment_id: str, billing_key: str, temper: Temper | None) -> Behaviour:
        """What the PG does with a try, or PLAIN."""
        script = self._script(call, payment_id, billing_key)
        if script is not None:
            return PLAIN if script.behaviour.strikes_on_arrival else self._spent(script)
        if temper is None or temper.behaviour is PLAIN or temper.behaviour.strikes_on_arrival:
            return PLAIN
        return self._met_by(temper, payment_id)

    def on_firing(self, payment_id: str, billing_key: str, temper: Temper | None) -> Behaviour:
        """What befalls a schedule at its time, or PLAIN. Nobody is on the line, so no fault of the wire is met."""
        script = next(
            (one for one in self.scripts if one.on is Call.FIRE and one.matches(Call.FIRE, payment_id, billing_key)),
            None,
        )
        if script is not None:
            return self._spent(script)
        if temper is None or temper.behaviour is PLAIN:
            return PLAIN
        return self._met_by(temper, payment_id)

    def _script(self, call: Call, payment_id: str, billing_key: str) -> Script | None:
        if not self.scripts:
            return None
        return next((script for script in self.scripts if script.matches(call, payment_id, billing_key)), None)

    def _spent(self, script: Script) -> Behaviour:
        script.remaining -= 1
        if script.remaining <= 0:
            self.scripts.remove(script)
        return script.behaviour

    def _met_by(self, temper: Temper, payment_id: str) -> Behaviour:
        turn = self._met[payment_id]
        if temper.times is not None and turn >= temper.times:
            return PLAIN
        self._met[payment_id] = turn + 1
        return choice_of(temper.behaviour, payment_id=payment_id, turn=turn, seed=self._seed)


def scripted(behaviour: Behaviour, *, seconds: float | None, pg_code: str | None, pg_message: str | None) -> Behaviour:
    """A behaviour with a script's own figures and words in place of the usual ones."""
    decline = behaviour.decline
    if decline is not None:
        decline = replace(
            decline,
            pg_code=pg_code if pg_code is not None else decline.pg_code,
            pg_message=pg_message if pg_message is not None else decline.pg_message,
        )
    return replace(behaviour, seconds=seconds if seconds is not None else behaviour.seconds, decline=decline)
