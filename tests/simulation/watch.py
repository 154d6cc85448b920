"""What may never happen, judged at the moment at which it would: between workers, store twin and PortOne twin.

It is told of every statement and every request and changes nothing. It must not excuse a broken rule; where the world
itself breaks a premise (a failover has lost a row, a frozen worker's decision was made in time) the premise is checked.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from billing_worker.billing.states import ATTEMPT_MOVES, CYCLE_MOVES, AttemptStatus, CycleStatus, Source
from tests.simulation.clocks import ServerClock
from tests.simulation.faults import Point
from tests.simulation.loop import Host
from tests.simulation.portone_books import PortOneBooks
from tests.simulation.store_twin import StoreTwin
from tests.simulation.world import World

INTENT, RESEND, CLAIM_LOOK = Point.INTENT.value, Point.NOTE_RESEND.value, Point.CLAIM_LOOK.value

# A failover loses leases that were written shortly before. After so long each of them has run out.
LEASES_LOST_SECONDS = 300.0
# A worker counts by the primary's clock, and may be off by what its gate allows.
EARLY_MAX = timedelta(seconds=35)

Row = dict[str, Any]
RowKey = tuple[int, int]


class Watch:
    """Compares what is done with what may be."""

    def __init__(
        self,
        world: World,
        twin: StoreTwin,
        portone: PortOneBooks,
        *,
        send_window_seconds: float,
        answer_seconds: float = 65.0,
    ) -> None:
        self._world = world
        self._books = twin._books
        self._portone = portone
        self._send_window_seconds = send_window_seconds
        self.walls: dict[Host, ServerClock] = {}
        self._asked: dict[tuple[Host, str], float] = {}
        self._may_send: dict[tuple[Host, str], float] = {}
        self._body_of: dict[str, bytes] = {}
        self._shard_of: dict[str, int] = {}
        self._lost: set[str] = set()
        self._wanted_back: set[str] = set()
        self.opened: Callable[[Row], None] = lambda _attempt: None
        self.held: Callable[[Row], None] = lambda _cycle: None
        self._answer_seconds = answer_seconds
        self._restored_at = -math.inf
        self._under_way: dict[str, float] = {}
        self._told_to_halt: dict[Host, float] = {}
        self._told_held: dict[tuple[Host, str], float] = {}
        self._opened_anew: set[str] = set()
        self._closed_at: dict[str, float] = {}
        self._attempts: dict[RowKey, Row] = {}
        self._cycles: dict[RowKey, Row] = {}
        self._entries: list[Row] = []

    # --- statements ------------------------------------------------------------------------------------------------

    def asked(self, host: Host, name: str, arguments: tuple[object, ...]) -> None:
        """A worker is about to write an intent, or that it will send again."""
        if name in {INTENT, RESEND}:
            self._clock_is_right(host, name)
        if name == INTENT:
            for shard, key in _intents(arguments):
                self._asked[host, key] = self._world.loop.now
                self._shard_of[key] = shard
        elif name == RESEND:
            self._asked[host, _key_in(arguments)] = self._world.loop.now

    def _clock_is_right(self, host: Host, name: str) -> None:
        """Who has had a wrong clock for two minutes, and was awake, begins no send."""
        wrong_since, now = self.walls[host].wrong_since, self._world.loop.now
        if wrong_since is not None and now - max(wrong_since, host.thawed_at) > 120.0:
            self._world.find(f"{host} begins {name} with a clock that is wrong for {now - wrong_since:.0f} s")

    def acknowledged(self, host: Host, name: str, arguments: tuple[object, ...], rows: Sequence[Row]) -> None:
        """The worker has been told that it is written."""
        if name == INTENT:
            opened = {row["payment_id"] for row in rows}
            for _, key in _intents(arguments):
                if key.rpartition("-")[0] in opened:
                    self._may_send[host, key] = self._asked[host, key]
        elif name == RESEND and rows:
            key = _key_in(arguments)
            self._may_send[host, key] = self._asked[host, key]
        elif name == "read_control":
            if rows and rows[0]["value"] == "halted":
                self._told_to_halt.setdefault(host, self._world.loop.now)
            else:
                self._told_to_halt.pop(host, None)
        elif name == CLAIM_LOOK:
            for row in rows:
                told = (host, row["idempotency_key"])
                if row["cycle_status"] == CycleStatus.HELD:
                    self._told_held.setdefault(told, self._world.loop.now)
                else:
                    self._told_held.pop(told, None)

    def written(self, name: str) -> bool:
        """A statement may have changed rows: every change must be a move that the tables of states.py allow.

        Returns whether anything has changed.
        """
        changed = False
        attempts, cycles, entries = self._books.attempts.rows, self._books.cycles.rows, self._books.ledger.rows
        for row_key, row in attempts.items():
            old = self._attempts.get(row_key)
            if old is not row:
                self._attempts[row_key] = row
                changed = True
                self._attempt_moved(old, row, name)
        for row_key, row in cycles.items():
            old = self._cycles.get(row_key)
            if old is not row:
                self._cycles[row_key] = row
                changed = True
                self._cycle_moved(old, row, name)
        before = len(self._entries)
        if len(entries) < before or (before and entries[before - 1] is not self._entries[-1]):
            self._world.find(f"the ledger was changed by {name}")
        self._entries.extend(entries[before:])
        return changed

    def restored(self) -> None:
        """A failover has put an older state in the place of this one; what is gone was lost by the server."""
        attempts = self._books.attempts.rows
        there = {row["idempotency_key"] for row in attempts.values()}
        self._lost |= {row["idempotency_key"] for row in self._attempts.values()} - there
        self._portone.keys_lost |= self._lost
        self._attempts = dict(attempts)
        self._cycles = dict(self._books.cycles.rows)
        self._entries = list(self._books.ledger.rows)
        self._restored_at = self._world.loop.now

    def _attempt_moved(self, old: Row | None, new: Row, name: str) -> None:
        key = new["idempotency_key"]
        if new["revoke_reason"] is not None:
            self._wanted_back.add(key)
        if old is None:
            if new["status"] != AttemptStatus.OPEN:
                self._world.find(f"{name}: attempt {key} was not opened")
            if name != INTENT:
                self._world.find(f"{name}: attempt {key} was opened without an intent")
            # Of two who have claimed it, at different prices or on either side of its time, one opens it.
            body = new["request_sha256"]
            if self._body_of.setdefault(key, body) != body and key not in self._portone.keys_lost:
                self._world.find(f"other bytes under one key: {key}")
            self._body_of[key] = body
            self._older_are_proven(new)
            if key in self._lost:
                self._lost.remove(key)
                self._opened_anew.add(key)
            self.opened(new)
            return
        if old["idempotency_key"] != key or old["payment_id"] != new["payment_id"]:
            self._world.find(f"{name}: attempt {key} has become another one")
        if old["status"] != new["status"]:
            if AttemptStatus(new["status"]) not in ATTEMPT_MOVES[AttemptStatus(old["status"])]:
                self._world.find(f"{name}: attempt {key} went from {old['status']} to {new['status']}")
            self._closed_at.setdefault(key, self._world.loop.now)
            self._world.counts[f"attempt {new['status']}"] += 1
            self._verdict_is_true(new)

    def _cycle_moved(self, old: Row | None, new: Row, name: str) -> None:
        if old is None or old["status"] == new["status"]:
            return
        if CycleStatus(new["status"]) not in CYCLE_MOVES[CycleStatus(old["status"])]:
            self._world.find(f"{name}: cycle {new['payment_id']} went from {old['status']} to {new['status']}")
        if new["status"] == CycleStatus.HELD:
            self.held(new)

    def _older_are_proven(self, new: Row) -> None:
        """No key is new on a payment while an older try of it may still take money.

        Of a booking that a failover has lost nobody here knows. What is sent beside it is another question.
        """
        running = self._portone.running_keys(new["payment_id"]) - {new["idempotency_key"]} - self._portone.keys_lost
        if running:
            self._world.find(f"attempt {new['idempotency_key']} opened while {', '.join(sorted(running))} is executed")
        living = self._portone.living(new["payment_id"])
        if living is not None and living.key != new["idempotency_key"] and living.key not in self._portone.keys_lost:
            self._world.find(
                f"attempt {new['idempotency_key']} opened while {living.schedule_id} of {living.key} lives"
            )

    def _verdict_is_true(self, row: Row) -> None:
        """What an attempt is closed as must be so at PortOne, at this very moment."""
        key, status = row["idempotency_key"], AttemptStatus(row["status"])
        if row["source"] == Source.OPERATOR:
            return  # A person has decided, whatever PortOne has.
        wrong = ""
        match status:
            case AttemptStatus.PAID:
                answered = key if row["source"] == Source.ANSWER else ""
                believed = self._portone.may_be_believed(row["payment_id"], answered=answered)
                wrong = "" if believed else "nothing is paid that is what was asked for"
            case AttemptStatus.DECLINED:
                # The decline of a try whose row went with its server shows on the one before, which is open again.
                keys = {key} | {lost for lost in self._lost if lost.rpartition("-")[0] == row["payment_id"]}
                if not any(self._portone.has_declined(each) for each in keys):
                    wrong = "nothing was declined"
                elif not any(self._portone.has_shown_decline(each) for each in keys):
                    wrong = "no look has been told so"
            case AttemptStatus.REFUSED | AttemptStatus.VOIDED | AttemptStatus.REVOKED:
                wrong = self._why_not_over(row)
            case AttemptStatus.OPEN:
                wrong = "nothing opens an attempt again"
        if wrong:
            self._world.find(f"attempt {key} is written down as {status}, and at PortOne {wrong}")

    def _why_not_over(self, row: Row) -> str:
        key = row["idempotency_key"]
        if self._portone.is_running(key):
            return "it is being executed"
        if self._portone.lives(key) and key not in self._portone.keys_lost:
            return "it is booked"
        return "it has been paid" if self._portone.has_paid(key) and not self._was_skipped(row) else ""

    def _was_skipped(self, row: Row) -> bool:
        """A person has skipped a period for which PortOne took what nobody had asked for."""
        cycle = self._books.cycles.rows[row["shard"], row["cycle_id"]]
        believed = self._portone.may_be_believed(row["payment_id"])
        booked = row["time_to_pay"] is not None and row["status"] == AttemptStatus.VOIDED
        return bool(booked and cycle["status"] == CycleStatus.SKIPPED and not believed)

    # --- requests --------------------------------------------------------------------------------------------------

    def revokes(self, host: Host, question: Mapping[str, Any]) -> None:
        """A worker has bookings taken back: one, by its own id, and one that is wanted back."""
        if "billingKey" in question or len(question.get("scheduleIds", ())) != 1:
            self._world.find(f"{host} takes bookings back by {sorted(question)}: {question.get('scheduleIds')}")
            return
        [schedule_id] = question["scheduleIds"]
        booking = self._portone.bookings.get(schedule_id)
        key = booking.key if booking is not None else ""
        if key not in self._wanted_back and not self._is_followed_by_an_older_try(key):
            self._world.find(f"{host} takes back {schedule_id} of {key}, which nobody wants back")

    def _is_followed_by_an_older_try(self, key: str) -> bool:
        """The booking of a row that a server has lost is the try's before it, which is open again and wanted back."""
        payment_id = key.rpartition("-")[0]
        return key in self._lost and any(each.rpartition("-")[0] == payment_id for each in self._wanted_back)

    def _nothing_is_booked(self, key: str, payment_id: str) -> None:
        """A charge of ours leaves only where no booking of ours may charge, as long as no server has lost its row."""
        living = self._portone.living(payment_id)
        if living is not None and living.key not in self._portone.keys_lost:
            self._world.find(f"{key} was sent while {living.schedule_id} of {living.key} is {living.status}")

    def sends(self, host: Host, payment_id: str, key: str | None, body: bytes, *, books: bool = False) -> None:
        """The bytes of a charge or of a booking leave a worker."""
        if key is None:
            self._world.find(f"a charge of {payment_id} was sent without a key")
            return
        asked_at = self._may_send.get((host, key))
        if asked_at is None:
            self._world.find(f"{key} was sent without an acknowledged intent of {host}")
            return
        late = self._world.loop.now - asked_at - self._send_window_seconds
        if late >= 0.0:
            self._world.find(f"{key} was sent {late:.1f} s after its deadline")
        if self._body_of.get(key) != hashlib.sha256(body).digest():
            self._world.find(f"{key} was sent with bytes that are not its intent's")
        if key.rpartition("-")[0] != payment_id:
            self._world.find(f"{key} was sent for {payment_id}")
        if not books:
            self._nothing_is_booked(key, payment_id)
        self._row_allows(key, asked_at, books=books)
        self._nobody_else_sends(key)
        self._nobody_forbids(host, key, asked_at, books=books)

    def answered(self, key: str | None) -> None:
        """The worker that sent the key has its answer, or has given it up."""
        self._under_way.pop(key or "", None)

    def _nobody_else_sends(self, key: str) -> None:
        """An attempt is its sender's until the call has ended, as long as the database has lost no lease."""
        now, left_at = self._world.loop.now, self._under_way.get(key, -math.inf)
        if now - left_at < self._answer_seconds and left_at > self._restored_at + LEASES_LOST_SECONDS:
            self._world.find(f"{key} was sent while the call that left {now - left_at:.1f} s ago is under way")
        self._under_way[key] = now

    def _nobody_forbids(self, host: Host, key: str, asked_at: float, *, books: bool) -> None:
        """What was decided before the order may leave within its window.

        A booking that is set aside is looked at while its sender has it: nothing is settled before the send has ended.
        """
        since = self._world.loop.now - self._told_to_halt.get(host, math.inf)
        if since > self._send_window_seconds:
            self._world.find(f"{host} sent {key} {since:.0f} s after it was told that sending is halted")
        told_at = self._told_held.get((host, key), math.inf)
        if told_at < (asked_at if books else math.inf):
            self._world.find(f"{host} sent {key} and had been told that its cycle is held")

    def _row_allows(self, key: str, asked_at: float, *, books: bool) -> None:
        """The database has the attempt, it is open, and its cycle is not paid.

        An attempt that a failover lost and that was opened anew has two senders with the same bytes and the same key:
        the one may be paid after the other was allowed to send.
        """
        shard = self._shard_of[key]
        found = self._books.attempts.unique("attempts_idempotency_key").entries.get((shard, key))
        if found is None:
            if key not in self._lost:
                self._world.find(f"{key} was sent, and the database has no such attempt")
            return
        row = self._books.attempts.rows[found]
        cycle = self._books.cycles.rows[shard, row["cycle_id"]]
        if (row["time_to_pay"] is not None) != books and key not in self._portone.keys_lost:
            self._world.find(f"{key} was sent as a {'booking' if books else 'charge'} and is none")
        if not books and cycle["due_at"] > self._world.primary.now() + EARLY_MAX:
            self._world.find(f"{key} was sent before its cycle is due at {cycle['due_at']}")
        if key in self._opened_anew and self._closed_at.get(key, 0.0) > asked_at:
            return
        if row["status"] != AttemptStatus.OPEN or cycle["status"] == CycleStatus.PAID:
            self._world.find(f"{key} was sent while it was {row['status']} and its cycle {cycle['status']}")


def _intents(arguments: tuple[object, ...]) -> list[tuple[int, str]]:
    """Shard and key of every intent in the arguments of open_attempts."""
    shards, keys = arguments[0], arguments[5]
    return list(zip(shards, keys, strict=True))  # type: ignore[call-overload]


def _key_in(arguments: tuple[object, ...]) -> str:
    """The idempotency key among the arguments of note_resend."""
    key = arguments[2]
    assert isinstance(key, str), "note_resend names the attempt's key"
    return key
