"""A worker that stands still beyond its lease, as a virtual machine does: when it wakes, its time to send is over."""

import signal

from tests.crash.doomed_worker import Doom
from tests.crash.harness import Stage


async def test_a_worker_that_wakes_after_its_lease_sends_nothing(stage: Stage) -> None:
    # given: one worker frozen between its resend's note and the send, one between its intent and the send
    await stage.add(["bk-ok-1"])
    await stage.start(Doom("after", "open_attempts")).ended()
    await stage.ask_now()
    frozen_resender = stage.start(Doom("after", "note_resend", signal.SIGSTOP))
    await frozen_resender.stopped()
    await stage.add(["bk-soft-funds-1"])
    frozen_charger = stage.start(Doom("after", "open_attempts", signal.SIGSTOP))
    await frozen_charger.stopped()
    assert await stage.portone.posts() == []

    # when: their leases end, another worker finishes both (one of them by its third attempt), and they wake
    other = stage.start()
    await stage.ends_true(seconds_max=40)
    posts = len(await stage.portone.posts())
    for frozen in (frozen_resender, frozen_charger):
        frozen.send(signal.SIGCONT)
        (said,) = await frozen.said("attempt.without_verdict")
        assert said["reason"] == "send deadline passed"

    # then
    await stage.ends_true()
    assert len(await stage.portone.posts()) == posts == 4
    assert other.exit_code is None


async def test_a_worker_that_was_overtaken_while_it_stood_still_resends_nothing(stage: Stage) -> None:
    # given: a worker frozen when it was about to note a resend, and another one that resends meanwhile
    await stage.add(["bk-ok-1"])
    await stage.start(Doom("after", "open_attempts")).ended()
    await stage.ask_now()
    frozen = stage.start(Doom("before", "note_resend", signal.SIGSTOP))
    await frozen.stopped()
    await stage.portone.hold("before_charge")
    await stage.ask_now()
    stage.start()
    await stage.portone.in_flight(1, wait_seconds=20, stage="held_before_charge")

    # when
    frozen.send(signal.SIGCONT)
    frozen.send(signal.SIGTERM)
    assert await frozen.ended() == 0

    # then: the attempt is still open, and still nobody else has sent it
    assert len(await stage.portone.posts()) == 1
    await stage.portone.release()
    await stage.ends_true()
