"""What befalls a round beside kills: small strikes at any moment, and one calamity in its middle.

A strike returns when the world is whole again as far as it broke it; whether all is well the oracle says at the end.
"""

import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.builders import eventually
from tests.crash import bookings, figures, full_disk, losses
from tests.crash.figures import Figures
from tests.crash.fleet import FLEET_SIZE, SEND_WINDOW_SECONDS, Fleet
from tests.crash.harness import mixed_keys
from tests.crash.lanes import Scene
from tests.crash.losses import Written
from tests.crash.servers import Replica, in_thread
from tests.crash.spells import last
from tests.crash.wire_cutter import COMMIT, Cut

# Statements around which a cut is aimed: every one that a worker writes by.
AIMED_AT = (
    "lock_due_subscriptions",
    "open_cycles",
    COMMIT,
    "claim_due_cycles",
    "open_attempts",
    "settle_attempts",
    "claim_looks",
    "note_resend",
    "ask_again",
    "verify_attempt",
    "note_booked",
    "keep_hints",
    "read_hints",
)
AIMS = tuple((when, statement) for statement in AIMED_AT for when in ("before", "after"))
AIM_SECONDS = 2.0
AIMS_AT_ONCE = 3

# Beyond what the workers tolerate between the host's clock and the primary's: 30 s, as shipped.
JUMP_SECONDS = 45.0
# What was on its way when a clock jumped may still arrive, and its resends within the send window.
CALM_AFTER_SECONDS = SEND_WINDOW_SECONDS + 0.7
# The primary's clock is read when a worker starts and every five seconds.
PRIMARY_SEEN_SECONDS = 5.5

NO_ROOM_SECONDS = 2.0

CANCELLED = 5

# A wave of bookings: how many, when the first and the last of them are due, and how many of each kind of change.
AHEAD = 40
AHEAD_FIRST_SECONDS = 8.0
AHEAD_SECONDS = 20.0
CHANGED = 4
AHEAD_BEHAVIOURS = (
    ("ok", 10),
    ("soft-funds", 2),
    ("hard-lost", 1),
    ("fires-late", 2),
    ("stays-started", 2),
    ("late-success", 1),
)
_CANCEL = """
UPDATE billing.subscriptions SET status = 'cancelled' WHERE (shard, subscription_id) IN
(SELECT shard, subscription_id FROM billing.cycles
 WHERE status = 'due' AND mode = 'charge' AND attempts_count = 0 LIMIT $1)
"""
# Those that are booked, or about to be: what comes between the booking and its time.
_AHEAD = """
SELECT s.business_key
FROM billing.subscriptions s
JOIN billing.cycles c ON c.shard = s.shard AND c.subscription_id = s.subscription_id
WHERE c.mode = 'schedule' AND s.status = 'active' AND s.business_key LIKE '%-w%' AND c.due_at > clock_timestamp()
  AND c.status IN ('due', 'collecting')
ORDER BY c.status, md5(s.business_key)
"""
_BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'billing-worker%'
"""
_GROWING = (
    "SELECT pg_relation_filepath(t) AS path FROM unnest(ARRAY['billing.ledger', 'billing.attempts']::regclass[]) AS t"
)


@dataclass(slots=True)
class Battle:
    """A round under way."""

    scene: Scene
    fleet: Fleet
    chance: random.Random
    told: Figures
    history_lost_at: datetime | None = None
    keys_lost: set[str] = field(default_factory=set)
    _aimed: list[Cut] = field(default_factory=list)
    _aimed_at: float = 0.0
    _waves: int = 0

    def note(self, name: str, times: int = 1) -> None:
        """Count something."""
        self.told.counts[name] += times

    def found(self, what: str) -> None:
        """Something is wrong."""
        self.told.found(what)

    async def freeze(self) -> None:
        """Let a worker stand still past its lease."""
        self.fleet.freeze_one()

    async def cancel_some(self) -> None:
        """Let some subscriptions end with a period due, which is set aside by whoever claims it."""
        await self.scene.stage.fetch(_CANCEL, CANCELLED)

    async def owe_ahead(self) -> None:
        """Let periods of schedule mode come into their lead, each with its time a little later than the one before."""
        self._waves += 1
        keys = mixed_keys(AHEAD, AHEAD_BEHAVIOURS, self.chance)
        keys = [f"{key}-w{self._waves}" for key in keys]
        step = AHEAD_SECONDS / AHEAD
        await bookings.add_ahead(
            self.scene.stage, keys, lambda number: timedelta(seconds=AHEAD_FIRST_SECONDS + number * step)
        )

    async def change_minds(self, *, prices: bool) -> None:
        """Another price, another card or the end of a subscription, while periods are booked or about to be."""
        keys = [row["business_key"] for row in await self.scene.stage.fetch(_AHEAD)]
        for change in (*((bookings.change_price,) if prices else ()), bookings.change_card, bookings.cancel):
            chosen, keys = keys[:CHANGED], keys[CHANGED:]
            if chosen:
                await change(self.scene.stage, *chosen)

    # --- small strikes ----------------------------------------------------------------------------------------------

    async def strike(self) -> None:
        """Perhaps one more strike beside the last kill."""
        self._look_after_aims()
        small: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.10, self._end_backend),
            (0.05, self._end_writing_backend),
            (0.04, self._cut_all),
            (0.03, self._stop_postgres),
            (0.04, self._terminate),
        ]
        for chance, blow in small:
            if self.chance.random() < chance:
                await blow()

    def _look_after_aims(self) -> None:
        """Keep some cuts aimed all the time; those that have not fallen soon make room for the next."""
        if time.monotonic() - self._aimed_at < AIM_SECONDS and not any(cut.fell.is_set() for cut in self._aimed):
            return
        self._note_fallen()
        rarest = sorted(AIMS, key=lambda aim: (self.told.cuts[" ".join(aim)], self.chance.random()))
        self._aimed = [Cut("before" if when == "before" else "after", name) for when, name in rarest[:AIMS_AT_ONCE]]
        self._aimed_at = time.monotonic()
        self.scene.wire.aim(*self._aimed)

    def _note_fallen(self) -> None:
        for cut in self._aimed:
            if cut.fell.is_set():
                self.told.cuts[f"{cut.when} {cut.statement}"] += 1
                self.note(figures.CUTS_BEFORE if cut.when == "before" else figures.CUTS_AFTER)

    def aim_no_more(self) -> None:
        """Call off what is aimed."""
        self._note_fallen()
        self._aimed = []
        self.scene.wire.aim()

    async def _end_backend(self) -> None:
        ended = await self.scene.stage.fetch(
            f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS} ORDER BY random() LIMIT 1) AS one"
        )
        self.note(figures.ENDED, len(ended))

    async def _end_writing_backend(self) -> None:
        """The statement is kept waiting by a lock, so that the blow falls in the middle of it."""
        # A deadlock with a writer ends one of the two; should it be ours, there is nothing to strike at.
        with contextlib.suppress(asyncpg.PostgresError, AssertionError, OSError):
            async with self.scene.stage.ledger_locked():
                pid = await self.scene.stage.waiting_writer(seconds_max=0.5)
                await self.scene.stage.end_backend(pid)
                self.note(figures.ENDED_WRITING)

    async def _cut_all(self) -> None:
        self.scene.wire.cut()
        self.note(figures.CUTS)

    async def _stop_postgres(self) -> None:
        await in_thread(self.scene.server.restart_immediate)
        self.note(figures.STOPS)

    async def _terminate(self) -> None:
        self.fleet.stop_one()

    # --- calamities -------------------------------------------------------------------------------------------------

    async def disk_full(self) -> None:
        """The tables cannot grow for a while. Nobody may die of it."""
        await self._without_room(figures.DISK_FULL, await self._limit_of_tables())

    async def wal_full(self) -> None:
        """Not even the WAL can be written: the server itself goes down, and stays down until there is room."""
        await self._without_room(figures.WAL_FULL, 0)

    async def _limit_of_tables(self) -> int:
        # A new segment of the WAL has no room either, so there must be one to write into from its beginning.
        for statement in ("SELECT pg_switch_wal()", "CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
            await self.scene.stage.fetch(statement)
        paths = [row["path"] for row in await self.scene.stage.fetch(_GROWING)]
        return full_disk.size_of_largest([self.scene.lane.home / "data" / path for path in paths])

    async def _without_room(self, name: str, limit_bytes: int) -> None:
        server = self.scene.server
        log_start = server.log_path.stat().st_size
        self.fleet.replace_the_dead()
        there = [member for member in self.fleet.members if member.alive and not (member.doom or member.terminated)]
        async with full_disk.no_room(server, limit_bytes):
            await last(NO_ROOM_SECONDS)
        # Its log has no room either, so a server that went down says nothing.
        went_down = not server.is_running
        await self.scene.lane.revive()
        with server.log_path.open("rb") as log:
            log.seek(log_start)
            self.note(name, int(went_down or b"File too large" in log.read()))
        # One that was starting just then gives up, as it does when Postgres is away.
        died = [member.worker.exit_code for member in there if not member.alive]
        if any(code != 3 for code in died):
            self.found(f"{name}: workers ended with {died}")

    async def promotion(self) -> None:
        """The replica is cut off, the primary goes on and dies, and the replica takes its place."""
        scene = self.scene
        replica = self.replica
        await replica.cut_off()
        commits = self.chance.randint(10, 120)
        behind = await self._entries()
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self._has_grown(behind + commits), seconds_max=5)
        async with losses.last_written(scene.stage) as before:
            await in_thread(scene.server.kill)
        died_at = datetime.now(UTC)
        await replica.promote()
        await scene.lane.take_over(replica)
        scene.follow_primary()
        await self._note_lost(before, figures.COMMITS_LOST, died_at)
        self.note(figures.PROMOTIONS)

    async def restore_under_workers(self) -> None:
        """An older copy of the directory is put back while the workers live."""
        await self._restore(workers_stopped=False)

    async def restore_between_workers(self) -> None:
        """The same with all workers dead; those that come know nothing of what was lost."""
        await self._restore(workers_stopped=True)

    async def _restore(self, *, workers_stopped: bool) -> None:
        copy = self.scene.lane.cold_copy()
        await in_thread(copy.take, self.scene.server)
        self.note(figures.STOPS)
        behind = await self._entries()
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self._has_grown(behind + self.chance.randint(10, 120)), seconds_max=5)
        if workers_stopped:
            await self.fleet.all_awake()
            self.fleet.kill_all()
            await self.fleet.all_ended()
        async with losses.last_written(self.scene.stage) as before:
            died_at = datetime.now(UTC)
            await in_thread(copy.put_back, self.scene.server)
        copy.drop()
        await self._note_lost(before, figures.COMMITS_RESTORED, died_at)
        self.note(figures.RESTORES)
        if workers_stopped:
            # Nothing tells those who come now that it is an older one: docs/failover.md has a person say it.
            await self.scene.stage.command("adopt", "--yes", "--reason", "restored from a snapshot")
            self.fleet.start_anew(FLEET_SIZE)

    async def _has_grown(self, entries: int) -> bool:
        return await self._entries() >= entries

    async def _entries(self) -> int:
        rows = await self.scene.stage.fetch("SELECT count(*) AS entries FROM billing.ledger")
        return int(rows[0]["entries"])

    async def _note_lost(self, before: Written, name: str, died_at: datetime) -> None:
        left = await losses.written(self.scene.stage)
        self.note(name, len(before.transactions_gone(left)))
        self.keys_lost |= before.keys_gone(left)
        # Whoever had an acknowledged intent may send on it until its window is over.
        self.history_lost_at = max(
            died_at + timedelta(seconds=SEND_WINDOW_SECONDS) + timedelta(seconds=0.5), datetime.now(UTC)
        )

    async def host_clock(self) -> None:
        """The host's clock jumps out of what is tolerated: nothing is sent until it is back."""
        seconds = self.chance.choice((-JUMP_SECONDS, JUMP_SECONDS, 3600.0))
        self.scene.clocks.set(host_seconds=seconds)
        await last(CALM_AFTER_SECONDS)
        await self._nothing_leaves(f"the host's clock is {seconds:.0f} s off")
        self.scene.clocks.set()
        self.note(figures.HOST_JUMPS)
        await self._sends_again("the host's clock")

    async def primary_clock(self) -> None:
        """The primary's clock jumps; workers learn it when they next compare theirs with it."""
        seconds = self.chance.choice((-JUMP_SECONDS, JUMP_SECONDS))
        self.scene.clocks.set(primary_seconds=seconds)
        # Whoever is frozen learns it when it is awake, and until then believes what it learnt before.
        await self.fleet.all_awake()
        await last(PRIMARY_SEEN_SECONDS + CALM_AFTER_SECONDS)
        await self._nothing_leaves(f"the primary's clock is {seconds:.0f} s off")
        self.scene.clocks.set()
        self.note(figures.PRIMARY_JUMPS)
        await self._sends_again("the primary's clock")

    async def _nothing_leaves(self, when: str) -> None:
        before = await self.scene.stage.portone.posted()
        await last(1.5)
        sent = await self.scene.stage.portone.posted() - before
        if sent:
            self.found(f"{sent} charges were sent although {when}")

    async def _sends_again(self, after: str) -> None:
        before = await self.scene.stage.portone.posted()

        async def moved() -> bool:
            left = await self.scene.stage.at_work()
            return await self.scene.stage.portone.posted() > before or not left.get("due")

        try:
            await eventually(moved, seconds_max=15)
        except AssertionError:
            self.found(f"nothing is sent although {after} is right again: {await self.scene.stage.at_work()}")

    replica: Replica = field(init=False)


def several_addresses(*urls: str) -> str:
    """One DSN of several servers, of which the primary is taken."""
    parts = [urlsplit(url) for url in urls]
    user, _, _ = parts[0].netloc.rpartition("@")
    hosts = ",".join(part.netloc.rpartition("@")[2] for part in parts)
    return urlunsplit(parts[0]._replace(netloc=f"{user}@{hosts}", query="target_session_attrs=read-write"))


# What takes commits away. A period that was paid at a new price within what is lost is put before a person, by its sum.
LOSSES = ("promotion", "restore under workers", "restore between workers")

Calamity = Callable[[Battle], Awaitable[Any]]

CALAMITIES: dict[str, Calamity] = {
    "promotion": Battle.promotion,
    "disk full": Battle.disk_full,
    "restore under workers": Battle.restore_under_workers,
    "host clock": Battle.host_clock,
    "restore between workers": Battle.restore_between_workers,
    "WAL full": Battle.wal_full,
    "primary clock": Battle.primary_clock,
}
