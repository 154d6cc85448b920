"""The sending gate: each reason keeps it shut by itself, and the most telling one is named."""

from datetime import timedelta

import pytest

from billing_worker.workers.gate import ClosedBy, SendingGate
from tests.builders import FakeClock


class Skew:
    """How far PortOne's clock is from ours."""

    seconds = 0.0
    last_seconds = 0.0


def a_gate(clock: FakeClock, skew: Skew | None = None, *, watched: bool = True) -> SendingGate:
    told = skew or Skew()
    gate = SendingGate(
        clock,
        skew_max_seconds=30,
        pause=timedelta(minutes=5),
        portone_skew_seconds=lambda: told.seconds,
        portone_skew_last_seconds=lambda: told.last_seconds,
    )
    if watched:
        gate.operator_order("")
    return gate


def why(gate: SendingGate) -> ClosedBy | None:
    closed = gate.closed()
    return closed.by if closed else None


def test_the_gate_is_shut_until_somebody_has_looked_for_an_order() -> None:
    gate = a_gate(FakeClock(), watched=False)

    before = why(gate)
    gate.operator_order("")

    assert (before, why(gate)) == (ClosedBy.OPERATOR, None)


def test_an_order_shuts_the_gate_and_another_one_opens_it() -> None:
    gate = a_gate(FakeClock())

    gate.operator_order("wrong price")
    closed = gate.closed()
    gate.operator_order("")

    assert closed is not None
    assert (closed.by, closed.why) == (ClosedBy.OPERATOR, "wrong price")
    assert gate.closed() is None


def test_what_was_learnt_of_clocks_and_orders_is_good_for_a_minute() -> None:
    # given
    clock = FakeClock()
    gate = a_gate(clock)
    gate.watched()

    # when
    clock.advance(seconds=60)
    at_first = why(gate)
    clock.advance(seconds=1)
    later = why(gate)
    gate.watched()

    # then
    assert (at_first, later, why(gate)) == (None, ClosedBy.UNWATCHED, None)


@pytest.mark.parametrize("seconds", [31, -31])
def test_a_host_whose_clock_is_wrong_sends_nothing(seconds: float) -> None:
    clock = FakeClock()
    gate, portone = a_gate(clock), Skew()

    clock.skew_seconds = seconds
    portone.seconds = seconds

    assert why(gate) is ClosedBy.CLOCK
    assert why(a_gate(FakeClock(), portone)) is ClosedBy.CLOCK


@pytest.mark.parametrize("seconds", [30, -30, 0])
def test_a_skew_within_the_bound_is_no_reason(seconds: float) -> None:
    clock, portone = FakeClock(skew_seconds=seconds), Skew()
    portone.seconds = seconds

    assert why(a_gate(clock, portone)) is None


def test_verdicts_that_cannot_be_written_stop_the_sending() -> None:
    gate = a_gate(FakeClock())

    gate.database_gone(gone=True)
    shut = why(gate)
    gate.database_gone(gone=False)

    assert (shut, why(gate)) == (ClosedBy.DATABASE, None)


def test_a_refused_channel_waits_and_then_tries_with_care_until_it_answers() -> None:
    # given
    clock = FakeClock()
    gate = a_gate(clock)

    # when
    gate.channel_refused("UNAUTHORIZED")
    at_once, probing_at_once = why(gate), gate.probing
    clock.advance(minutes=5)
    later, probing_later = why(gate), gate.probing
    gate.channel_answered()

    # then
    assert (at_once, probing_at_once) == (ClosedBy.CHANNEL, True)
    assert (later, probing_later) == (None, True)
    assert not gate.probing


def test_a_channel_that_goes_on_refusing_stays_shut() -> None:
    clock = FakeClock()
    gate = a_gate(clock)

    gate.channel_refused("UNAUTHORIZED")
    clock.advance(minutes=4)
    gate.channel_refused("UNAUTHORIZED")
    clock.advance(minutes=4)

    assert why(gate) is ClosedBy.CHANNEL


def test_a_person_s_order_is_named_before_anything_else() -> None:
    gate = a_gate(FakeClock(skew_seconds=99))

    gate.database_gone(gone=True)
    gate.channel_refused("UNAUTHORIZED")
    gate.operator_order("wrong price")

    assert why(gate) is ClosedBy.OPERATOR


@pytest.mark.parametrize("last_seconds", [31, -31])
def test_a_clock_that_was_wrong_is_tried_with_one_charge_in_five_minutes(last_seconds: float) -> None:
    # given
    clock, portone = FakeClock(), Skew()
    gate = a_gate(clock, portone)
    portone.last_seconds = last_seconds  # and no answer is recent

    # when
    before = (why(gate), gate.probing)
    gate.charge_begins()
    at_once = why(gate)
    clock.advance(seconds=299)
    later = why(gate)
    clock.advance(seconds=1)

    # then
    assert before == (None, True)
    assert (at_once, later) == (ClosedBy.CLOCK, ClosedBy.CLOCK)
    assert (why(gate), gate.probing) == (None, True)


def test_an_answer_that_shows_the_clock_right_opens_the_gate_at_once() -> None:
    # given
    portone = Skew()
    gate = a_gate(FakeClock(), portone)
    portone.last_seconds = 31
    gate.charge_begins()

    # when
    portone.last_seconds = portone.seconds = 1

    # then
    assert (why(gate), gate.probing) == (None, False)


def test_a_clock_that_was_right_is_not_in_doubt_for_want_of_answers() -> None:
    portone = Skew()
    gate = a_gate(FakeClock(), portone)
    portone.last_seconds = 30

    gate.charge_begins()

    assert (why(gate), gate.probing) == (None, False)
