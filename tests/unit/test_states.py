"""The tables of statuses: complete, closed, and nothing leads out of paid."""

from collections.abc import Mapping
from enum import StrEnum

import pytest

from billing_worker.billing.states import (
    ATTEMPT_MOVES,
    CYCLE_MOVES,
    SUBSCRIPTION_MOVES,
    AttemptStatus,
    CycleStatus,
    SubscriptionStatus,
    may_move,
)
from tests.states_page import PAGE_FILE, page

TABLES = [
    pytest.param(SubscriptionStatus, SUBSCRIPTION_MOVES, SubscriptionStatus.ACTIVE, id="subscription"),
    pytest.param(CycleStatus, CYCLE_MOVES, CycleStatus.DUE, id="cycle"),
    pytest.param(AttemptStatus, ATTEMPT_MOVES, AttemptStatus.OPEN, id="attempt"),
]
Moves = Mapping[StrEnum, frozenset[StrEnum]]


@pytest.mark.parametrize(("statuses", "moves", "first"), TABLES)
def test_every_status_has_its_row(statuses: type[StrEnum], moves: Moves, first: StrEnum) -> None:
    assert set(moves) == set(statuses)
    assert first in moves


@pytest.mark.parametrize(("statuses", "moves", "first"), TABLES)
def test_moves_lead_to_other_statuses_of_the_same_thing(statuses: type[StrEnum], moves: Moves, first: StrEnum) -> None:
    for old, targets in moves.items():
        assert targets <= set(statuses)
        assert old not in targets
    assert isinstance(first, statuses)


@pytest.mark.parametrize(("statuses", "moves", "first"), TABLES)
def test_every_status_can_be_reached(statuses: type[StrEnum], moves: Moves, first: StrEnum) -> None:
    # given
    reached, frontier = {first}, {first}

    # when
    while frontier:
        frontier = {new for old in frontier for new in moves[old]} - reached
        reached |= frontier

    # then
    assert reached == set(statuses)


def test_nothing_leads_out_of_paid() -> None:
    assert CYCLE_MOVES[CycleStatus.PAID] == frozenset()
    assert ATTEMPT_MOVES[AttemptStatus.PAID] == frozenset()
    assert not any(may_move(CYCLE_MOVES, old=CycleStatus.PAID, new=new) for new in CycleStatus)
    assert not any(may_move(ATTEMPT_MOVES, old=AttemptStatus.PAID, new=new) for new in AttemptStatus)


def test_money_that_arrived_can_be_recorded_whatever_was_believed() -> None:
    assert all(may_move(CYCLE_MOVES, old=old, new=CycleStatus.PAID) for old in CycleStatus if old != CycleStatus.PAID)
    unpaid = set(AttemptStatus) - {AttemptStatus.PAID}
    assert all(may_move(ATTEMPT_MOVES, old=old, new=AttemptStatus.PAID) for old in unpaid)


def test_a_cycle_with_an_open_attempt_cannot_be_skipped() -> None:
    assert not may_move(CYCLE_MOVES, old=CycleStatus.COLLECTING, new=CycleStatus.SKIPPED)


def test_no_attempt_is_opened_again() -> None:
    assert not any(may_move(ATTEMPT_MOVES, old=old, new=AttemptStatus.OPEN) for old in AttemptStatus)


def test_the_page_about_states_says_what_the_tables_say() -> None:
    assert PAGE_FILE.read_text(encoding="utf-8") == page(), "run python -m tests.states_page"
