"""Every row of the crash table, hit on purpose: what a death leaves, and that the next worker ends it once.

The order is the table's first column; the reconciler's own moments follow. What dies while Postgres is writing is in
test_acknowledgements.py.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.crash.doomed_worker import Doom
from tests.crash.harness import Stage

KILLED = -9


@dataclass(frozen=True, slots=True)
class Left:
    """What a death leaves: our statuses, and what PortOne has seen."""

    cycle: str
    attempt: str | None
    posts: int
    charges: int


CLAIMED = Left("due", None, posts=0, charges=0)
UNSENT = Left("collecting", "open", posts=0, charges=0)
UNHEARD = Left("collecting", "open", posts=1, charges=0)
CHARGED = Left("collecting", "open", posts=1, charges=1)
DECLINED = Left("collecting", "open", posts=1, charges=0)
SETTLED = Left("paid", "paid", posts=1, charges=1)

DEATHS = {
    "before the claim": (Doom("before", "claim_due_cycles"), CLAIMED),
    "after the claim": (Doom("after", "claim_due_cycles"), CLAIMED),
    "before the intent": (Doom("before", "open_attempts"), CLAIMED),
    "after the intent": (Doom("after", "open_attempts"), UNSENT),
    "before the send": (Doom("before", "charge"), UNSENT),
    "after the answer": (Doom("after", "charge"), CHARGED),
    "before settling": (Doom("before", "settle_attempts"), CHARGED),
    "settled and not told": (Doom("after", "settle_attempts"), SETTLED),
    "before the payment is compared": (Doom("before", "verify_attempt"), SETTLED),
}

# Of the worker that follows an attempt whose intent stands and which PortOne has never seen.
DEATHS_OF_RESENDER = {
    "the look claimed": (Doom("after", "claim_looks"), UNSENT),
    "before the look": (Doom("before", "find"), UNSENT),
    "nothing found, and not acted upon": (Doom("after", "find"), UNSENT),
    "before the resend is noted": (Doom("before", "note_resend"), UNSENT),
    "the resend noted and not sent": (Doom("after", "note_resend"), UNSENT),
    "the resend about to leave": (Doom("before", "charge"), UNSENT),
    "the resend answered, and not settled": (Doom("after", "charge"), CHARGED),
    "the resend's verdict not written": (Doom("before", "settle_attempts"), CHARGED),
    "the resend's verdict written, and not told": (Doom("after", "settle_attempts"), SETTLED),
}

# Of the worker that follows an attempt which PortOne has charged.
DEATHS_OF_LOOKER = {
    "the payment found, and not settled": (Doom("after", "find"), CHARGED),
    "the finding not written": (Doom("before", "settle_attempts"), CHARGED),
    "the finding written, and not told": (Doom("after", "settle_attempts"), SETTLED),
}

# Of a worker whose charge was declined.
DEATHS_AT_DECLINES = {
    "the decline heard, and not confirmed": (Doom("after", "charge"), DECLINED),
    "the decline confirmed, and not settled": (Doom("after", "find"), DECLINED),
    "the decline not written": (Doom("before", "settle_attempts"), DECLINED),
    "the decline written, and not told": (
        Doom("after", "settle_attempts"),
        Left("due", "declined", posts=1, charges=0),
    ),
}


@pytest.mark.parametrize("death", DEATHS)
async def test_a_charger_may_die_anywhere_and_the_cycle_is_paid_once(stage: Stage, death: str) -> None:
    doom, left = DEATHS[death]
    (key,) = await stage.add(["bk-ok-1"])

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await the_next_worker_ends_it(stage, key, status="paid", keys=1)


@pytest.mark.parametrize("gate", ["before_charge", "after_charge"])
async def test_a_worker_may_die_while_its_charge_is_at_portone(stage: Stage, gate: str) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    await stage.portone.hold(gate)
    worker = stage.start()
    assert await stage.portone.in_flight(1, wait_seconds=20, stage=f"held_{gate}") == 1

    worker.kill()

    assert await worker.ended() == KILLED
    assert await what_is_left(stage, key) == (UNHEARD if gate == "before_charge" else CHARGED)
    # The next worker meets its predecessor's charge still under way: PortOne tells it to wait, and it does.
    await stage.ask_now()
    successor = stage.start()
    await successor.said("attempt.without_verdict" if gate == "before_charge" else "attempt.settled")
    await stage.portone.release()
    await the_next_worker_ends_it(stage, key, status="paid", keys=1)


@pytest.mark.parametrize("death", DEATHS_OF_RESENDER)
async def test_a_reconciler_may_die_around_a_resend(stage: Stage, death: str) -> None:
    doom, left = DEATHS_OF_RESENDER[death]
    (key,) = await stage.add(["bk-ok-1"])
    await dies(stage, Doom("after", "open_attempts"))
    await stage.ask_now()

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await the_next_worker_ends_it(stage, key, status="paid", keys=1)


@pytest.mark.parametrize("death", DEATHS_OF_LOOKER)
async def test_a_reconciler_may_die_around_what_a_look_found(stage: Stage, death: str) -> None:
    doom, left = DEATHS_OF_LOOKER[death]
    (key,) = await stage.add(["bk-ok-1"])
    await dies(stage, Doom("after", "charge"))
    await stage.ask_now()

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    await the_next_worker_ends_it(stage, key, status="paid", keys=1)


@pytest.mark.parametrize("death", DEATHS_AT_DECLINES)
async def test_a_worker_may_die_around_a_decline_and_the_retries_go_on(stage: Stage, death: str) -> None:
    doom, left = DEATHS_AT_DECLINES[death]
    (key,) = await stage.add(["bk-soft-funds-1"])

    await dies(stage, doom)

    assert await what_is_left(stage, key) == left
    # Two declines and then the money: three attempts, each under a key of its own.
    await the_next_worker_ends_it(stage, key, status="paid", keys=3)


async def test_a_noted_resend_says_when_the_bytes_may_have_left(stage: Stage) -> None:
    (key,) = await stage.add(["bk-ok-1"])
    await dies(stage, Doom("after", "open_attempts"))
    await stage.ask_now()

    await dies(stage, Doom("after", "note_resend"))

    attempt = (await stage.attempts(key))[0]
    assert attempt["last_sent_at"] > attempt["opened_at"]
    assert attempt["look_at"] > attempt["last_sent_at"]


async def dies(stage: Stage, doom: Doom) -> None:
    """Run a worker to the end that it is doomed to."""
    assert await stage.start(doom).ended() == KILLED


async def what_is_left(stage: Stage, key: str) -> Left:
    """The statuses of the subscription's cycle and newest attempt, and what PortOne has seen."""
    attempts: list[dict[str, Any]] = await stage.attempts(key)
    return Left(
        cycle=(await stage.cycle(key))["status"],
        attempt=attempts[-1]["status"] if attempts else None,
        posts=len(await stage.portone.posts()),
        charges=(await stage.portone.truth())["charges_count"],
    )


async def the_next_worker_ends_it(stage: Stage, key: str, *, status: str, keys: int) -> None:
    """A worker that nothing befalls: the cycle ends, with so many idempotency keys in all."""
    await stage.ask_now()
    stage.start()
    await stage.ends_true()
    assert (await stage.cycle(key))["status"] == status
    assert len({post["idempotency_key"] for post in await stage.portone.posts()}) == keys
