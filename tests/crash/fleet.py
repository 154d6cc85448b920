"""A fleet: workers that are always there. Who dies is replaced at once, often by one that is doomed at some point.

It decides who is struck and by what, from the campaign's seed; when exactly is the operating system's affair.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.builders import eventually
from tests.crash import figures
from tests.crash.doomed_worker import BOUNDARIES, EXIT_GONE, Doom
from tests.crash.figures import Figures
from tests.crash.harness import HURRIED, Stage
from tests.crash.spells import last
from tests.crash.workers import ForkedWorker

KILLED = -9
# Drained, left early, or not yet there to hear the signal.
TERMINATED = {0, 70, -signal.SIGTERM}

FLEET_SIZE = 3

# A campaign's workers are told less patience than their fellows: what follows a death comes sooner.
LEASE_SECONDS = 8.0
PACE = {
    "ATTEMPT_LEASE_SECONDS": str(LEASE_SECONDS),
    "SHUTDOWN_GRACE_SECONDS": "8",
    "PORTONE_REQUESTS_PER_SECOND": "15",
    "PORTONE_BURST": "6",
    "PORTONE_IN_FLIGHT_MAX": "12",
    "CLAIM_BATCH_MAX": "8",
    "FRUITLESS_CLAIMS_MAX": "1000",
    # Beyond the late truths of this campaign's PortOne, as the shipped day is beyond a real one's.
    "RECHECK_AFTER_SECONDS": "1,5",
}
SEND_WINDOW_SECONDS = float(HURRIED["SEND_WINDOW_SECONDS"])

# Longer than a doomed worker needs to meet its point where there is work for it; then it is killed like the others.
DOOM_SECONDS_MAX = 3.0
# How long a worker that has woken is left alone with its old answers.
WAKING_SECONDS = 1.5

FAILPOINTS: Sequence[Doom] = tuple(
    Doom(when, boundary)
    for boundary in BOUNDARIES
    for when in ("before", "after")
    if (when, boundary) != ("before", "_open_together")  # the same moment as before the first row is locked
)

FIRST_POINTS = tuple(doom for doom in FAILPOINTS if doom.boundary == "record_deployment")

# Where a worker is frozen on purpose: with a claim, an intent, an answer, a finding or a noted resend in its hands.
FREEZING_POINTS = (
    ("after", "claim_due_cycles"),
    ("after", "open_attempts"),
    ("after", "charge"),
    ("before", "settle_attempts"),
    ("after", "find"),
    ("before", "note_resend"),
    ("after", "note_resend"),
    ("after", "lock_due_subscriptions"),
    ("after", "book"),
    ("before", "note_booked"),
    ("after", "find_schedule"),
    ("before", "revoke"),
    ("after", "revoke"),
)
BOOKING_POINTS = ("book", "note_booked", "find_schedule", "revoke")


def failpoint_name(doom: Doom) -> str:
    """As the figures have it."""
    return f"{doom.when} {doom.boundary.lstrip('_')}"


class Wishes:
    """The failpoints that this campaign has not hit yet, and who is to be next. All lanes share them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        met_by_chance = [doom for doom in FAILPOINTS if doom not in FIRST_POINTS]
        self._waiting = deque(chance.sample(met_by_chance, len(met_by_chance)))

    @property
    def all_granted(self) -> bool:
        """Whether each was hit."""
        return not self._waiting

    def next(self) -> Doom:
        """A failpoint that was not hit yet, or any."""
        if not self._waiting:
            return self._chance.choice(FAILPOINTS[len(FIRST_POINTS) :])
        self._waiting.rotate(-1)
        return self._waiting[-1]

    def granted(self, doom: Doom) -> None:
        """It was hit."""
        if doom in self._waiting:
            self._waiting.remove(doom)


@dataclass(slots=True, eq=False)
class Member:
    """A worker of the fleet. Until then it is left alone, be it frozen, awake again or on its way to its doom."""

    worker: ForkedWorker
    doom: Doom | None
    spared_until: float = 0.0
    killed: bool = False
    terminated: bool = False

    @property
    def spared(self) -> bool:
        return time.monotonic() < self.spared_until

    @property
    def alive(self) -> bool:
        return self.worker.exit_code is None


class Fleet:
    """Its members and what befalls them."""

    def __init__(
        self,
        stage: Stage,
        chance: random.Random,
        told: Figures,
        wishes: Wishes,
        *,
        address: Callable[[], str],
        size: int,
    ) -> None:
        self._stage = stage
        self._chance = chance
        self._told = told
        self._wishes = wishes
        self._address = address
        self._freezing: set[asyncio.Task[None]] = set()
        self.kills = 0
        self.frozen: list[str] = []  # who, where, from when until when: for whoever looks for a finding's cause
        # The first worker on a database writes down which one it is: the only chance to die around that.
        first = min(FIRST_POINTS, key=lambda doom: (told.failpoints[failpoint_name(doom)], chance.random()))
        self._members = [self._start(first), *(self._start() for _ in range(size - 1))]

    @property
    def members(self) -> Sequence[Member]:
        """Whoever is there now."""
        return self._members

    async def kill_one(self) -> None:
        """Let some charges be on their way, or not, and kill a worker without warning."""
        wanted = self._chance.randint(0, 8)
        in_flight = await self._stage.portone.in_flight(wanted, wait_seconds=self._chance.uniform(0.0, 0.25))
        self.replace_the_dead()
        victim = self._pick()
        if victim is None:
            return  # All are frozen, waking, or on their way to a point where they die by themselves.
        victim.killed = True
        victim.worker.kill()
        self._note_kill()
        self._told.counts[figures.IN_FLIGHT] += in_flight > 0
        await victim.worker.ended()
        self.replace_the_dead()

    def stop_one(self) -> None:
        """SIGTERM: it drains, or it is killed while it drains."""
        if victim := self._pick():
            victim.terminated = True
            victim.worker.send(signal.SIGTERM)
            victim.spared_until = time.monotonic() + self._chance.uniform(0.0, 3.0)
            self._told.counts[figures.TERMS] += 1

    def freeze_one(self) -> None:
        """Let a worker stand still past its lease, wherever it is or where it has something in its hands, and wake."""
        if self._chance.random() < 0.3 and (victim := self._pick()):
            self._keep(self._stand_still(victim))
            return
        when, boundary = self._chance.choice(FREEZING_POINTS)
        doomed = Doom(when, boundary, signal.SIGSTOP)
        self._keep(self._stand_still(self._start(doomed)))

    def _keep(self, freezing: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(freezing)
        self._freezing.add(task)

    async def _stand_still(self, member: Member) -> None:
        member.spared_until = time.monotonic() + 2 * LEASE_SECONDS
        if member not in self._members:
            self._members.append(member)
        if member.doom is None:
            member.worker.send(signal.SIGSTOP)
        if await self._stands_still(member):
            since = datetime.now(UTC)
            await last(LEASE_SECONDS + self._chance.uniform(0.2, 1.0))
            if member.alive:
                self._told.counts[figures.FREEZES] += 1
                if member.doom and member.doom.boundary in BOOKING_POINTS:
                    self._told.counts[figures.FROZEN_BOOKING] += 1
                where = failpoint_name(member.doom) if member.doom else "anywhere"
                self.frozen.append(f"{member.worker.log.stem}, {where}, {since} to {datetime.now(UTC)}")
                member.worker.send(signal.SIGCONT)
                member.spared_until = time.monotonic() + WAKING_SECONDS
                await last(WAKING_SECONDS)
        member.doom, member.spared_until = None, 0.0

    async def _stands_still(self, member: Member) -> bool:
        async def decided() -> bool:
            return not member.alive or member.worker.stands_still

        with contextlib.suppress(AssertionError):  # It has not come to that point.
            await eventually(decided, seconds_max=DOOM_SECONDS_MAX)
        return member.alive and member.worker.stands_still

    async def all_awake(self) -> None:
        """Wait until nobody is frozen any more."""
        await asyncio.gather(*self._freezing)
        self._freezing.clear()

    def kill_all(self) -> None:
        """Everybody at once. Nobody is replaced."""
        for member in self._members:
            member.killed = True
            if member.alive:
                self._note_kill()
            member.worker.kill()

    async def all_ended(self) -> None:
        """Wait for the dead, and note how they ended."""
        for member in self._members:
            await member.worker.ended()
            self._note_end(member)
        self._members.clear()

    def start_anew(self, size: int) -> None:
        """So many new ones."""
        self._members = [self._start() for _ in range(size)]

    def replace_the_dead(self) -> None:
        """Note how the dead ended, and start one for each."""
        for member in [member for member in self._members if not member.alive]:
            self._members.remove(member)
            self._note_end(member)
            if member.doom is None or member.doom.strike is not signal.SIGSTOP:
                self._members.append(self._start_maybe_doomed())

    def _note_kill(self) -> None:
        self.kills += 1
        self._told.counts[figures.KILLS] += 1

    def _note_end(self, member: Member) -> None:
        code = member.worker.exit_code
        self._told.exits[str(code)] += 1
        if code == KILLED and not member.killed and member.doom is not None:
            self._note_kill()
            self._told.failpoints[failpoint_name(member.doom)] += 1
            self._wishes.granted(member.doom)
            return
        fine = {KILLED, EXIT_GONE} | (TERMINATED if member.terminated else set())
        if code not in fine:
            self._told.found(f"a worker ended by itself with {code}: {' / '.join(_last_words(member))}")

    def _pick(self) -> Member | None:
        choice = [member for member in self._members if member.alive and not member.spared]
        return self._chance.choice(choice) if choice else None

    def _start_maybe_doomed(self) -> Member:
        wanted = 0.25 if self._wishes.all_granted else 0.5
        return self._start(self._wishes.next() if self._chance.random() < wanted else None)

    def _start(self, doom: Doom | None = None) -> Member:
        self._told.counts[figures.STARTS] += 1
        worker = self._stage.start(doom, DATABASE_URL=self._address(), **PACE)
        spared = DOOM_SECONDS_MAX if doom else 0.0
        return Member(worker, doom, spared_until=time.monotonic() + spared)


def _last_words(member: Member) -> list[str]:
    if not member.worker.log.exists():
        return ["(it said nothing)"]
    return member.worker.log.read_text(encoding="utf-8").splitlines()[-3:]
