"""The campaign: rounds of work under every fault that an operating system and a database can have.

Each round begins with subscriptions that are due and an empty PortOne, and ends at rest with PortOne's truth compared
with the ledger, row by row. The seed repeats every choice; who is scheduled when is the operating system's and is not
repeated.
"""

import asyncio
import contextlib
import functools
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tests.builders import eventually
from tests.crash import figures, oracle
from tests.crash.books import Books, Bounds, read_books
from tests.crash.figures import FAULTS, KILLS, Figures
from tests.crash.fleet import FAILPOINTS, FLEET_SIZE, PACE, SEND_WINDOW_SECONDS, Fleet, Wishes, failpoint_name
from tests.crash.front import Front
from tests.crash.harness import Stage, mixed_keys
from tests.crash.lanes import Lane, Scene
from tests.crash.spells import last
from tests.crash.strikes import AIMS, CALAMITIES, LOSSES, Battle, several_addresses

KILLS_A_ROUND = 75
# The last part of a round's kills falls on workers that only follow what others have left.
KILLS_OF_FOLLOWERS = 20
SUBSCRIPTIONS = 100
DAYS_BEHIND = 4  # each owes so many periods, so that work is left until the last kill
# Every second round owes little, or no worker would come to book anything: what is owed goes first.
OWED_BESIDE_BOOKINGS = (25, 1)

BEHAVIOURS = (
    ("ok", 60),
    ("soft-funds", 6),
    ("hard-lost", 3),
    ("drop-charged", 6),
    ("drop-uncharged", 6),
    ("html502-charged", 3),
    ("unparsable", 3),
    ("503", 3),
    ("invisible", 2),
    ("late-success", 3),
    ("flaky", 5),
)
PORTONE = {"latency_ms": 120.0, "jitter_ms": 200.0, "late_success_seconds": 3.0, "invisible_seconds": 2.0}
PORTONE |= {"firing_late_seconds": 1.5, "started_seconds": 1.5}

# What befalls the calls that book and take back; a billing key's own faults are those of charges.
OF_BOOKINGS = (
    ("drop-charged", "schedule", 4),
    ("drop-uncharged", "schedule", 4),
    ("unparsable", "schedule", 2),
    ("503", "schedule", 2),
    ("drop-charged", "revoke", 2),
    ("drop-uncharged", "revoke", 2),
    ("503", "look_at_schedule", 2),
)
FEED_SOURCES = ("payments", "events", "off")
# Half of the rounds are told of what becomes of their payments, by webhooks that fare badly.
TOLD_SHARE = 0.5
WEBHOOKS = {
    "loss": 0.2,
    "duplication": 0.2,
    "delay": 0.2,
    "delay_seconds": 2.0,
    "forgery": 0.2,
    "minute_seconds": 0.05,
    "timeout_seconds": 2.0,
}

# Workers that nothing befalls need not be slow.
UNHURT = PACE | {"PORTONE_REQUESTS_PER_SECOND": "1000", "PORTONE_BURST": "100", "PORTONE_IN_FLIGHT_MAX": "40"}

BOUNDS = Bounds(send_window=timedelta(seconds=SEND_WINDOW_SECONDS), resend_until=timedelta(hours=2, minutes=30))

FIGHT_SECONDS_MAX = 60.0
REST_SECONDS_MAX = 120.0
# Rounds beyond the planned ones, for kills that a busy machine has not fitted in and for what nobody has met yet.
EXTRA_ROUNDS_MAX = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, by which choices, and for how long at most."""

    kills: int
    seed: int
    minutes_max: float = 600.0
    lanes: int = 3
    calamity: str = ""  # only this one, in every round

    @property
    def rounds(self) -> int:
        """How many rounds that many kills take; enough for every calamity when there are enough kills."""
        return max(round(self.kills / KILLS_A_ROUND), 1)


# How a booking looks whose wish to be taken back was lost after it was fulfilled.
WISH_LOST = "its schedule was revoked at PortOne, and not by us"


class Campaign:
    """All lanes, and what they have in common."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._wishes = Wishes(self._chance)
        self._calamities = self._in_turn()
        self._rounds_begun = 0
        self._until = time.monotonic() + plan.minutes_max * 60
        self.told = Figures(seed=plan.seed)

    async def run(self) -> Figures:
        """Play every round; whatever happens, leave no server and no worker."""
        started = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(self._plan.lanes, self._plan.rounds)):
                    group.create_task(self._play_lane(number))
        finally:
            self.told.seconds = time.monotonic() - started
        return self.told

    async def _play_lane(self, number: int) -> None:
        async with Lane(number) as lane:
            while self._goes_on():
                self._rounds_begun += 1
                await self._play_round(lane, next(self._calamities), random.Random(self._chance.random()))

    def _goes_on(self) -> bool:
        if time.monotonic() > self._until or self.told.findings:
            return False
        if self._rounds_begun < self._plan.rounds:
            return True
        return not self._complete() and self._rounds_begun < self._plan.rounds * 5 // 4 + EXTRA_ROUNDS_MAX

    def _complete(self) -> bool:
        """Whether a campaign of this size has shown all it should; small ones are not held to it."""
        if self._plan.rounds < len(CALAMITIES):
            return True
        enough = self.told.counts[KILLS] >= self._plan.kills and len(self.told.cuts) == len(AIMS)
        return enough and self._wishes.all_granted and all(self.told.counts[name] for name in FAULTS)

    def _in_turn(self) -> Iterator[str]:
        """Every calamity before any comes again; after that, those that have not come off come first."""
        yield from itertools.cycle([self._plan.calamity] if self._plan.calamity else CALAMITIES)

    async def _play_round(self, lane: Lane, calamity: str, chance: random.Random) -> None:
        name = f"round {self._rounds_begun} ({calamity})"
        playing = lane.scene(seed=chance.randrange(1_000_000), **PORTONE)
        async with playing as scene, self._told_of(scene, chance):
            self._follow_changes(scene, chance)
            battle = await self._begin(scene, chance, calamity)
            await self._fight(battle, calamity)
            await self._follow(battle)
            battle.aim_no_more()
            await self._end(battle, name)
        self.told.counts[figures.ROUNDS] += 1

    def _follow_changes(self, scene: Scene, chance: random.Random) -> None:
        """By which of PortOne's lists this round's workers learn of changes: by any or none, all must end the same."""
        source = chance.choice(FEED_SOURCES)
        scene.stage.settings |= {"FEED_SOURCE": source, "FEED_SECONDS": "1"}
        self.told.counts[figures.ROUNDS_FED] += source != "off"

    @contextlib.asynccontextmanager
    async def _told_of(self, scene: Scene, chance: random.Random) -> AsyncIterator[None]:
        """Webhooks for this round, or none: without them all must end the same."""
        if chance.random() >= TOLD_SHARE and self.told.counts[figures.ROUNDS_TOLD]:
            yield
            return
        portone = scene.stage.portone
        self.told.counts[figures.ROUNDS_TOLD] += 1
        async with Front(lambda: scene.stage.living) as front:
            scene.stage.settings |= front.settings
            await portone.webhooks(urls=[front.url], **WEBHOOKS)
            try:
                yield
            finally:
                counts = await portone.webhooks(urls=[])
                self.told.counts[figures.WEBHOOKS_LOST] += counts["lost"]
                self.told.counts[figures.WEBHOOKS_AGAIN] += counts["duplicated"]
                self.told.counts[figures.WEBHOOKS_FORGED] += counts["forged"]

    async def _begin(self, scene: Scene, chance: random.Random, calamity: str) -> Battle:
        count, days_behind = OWED_BESIDE_BOOKINGS if self._rounds_begun % 2 else (SUBSCRIPTIONS, DAYS_BEHIND)
        keys = await scene.stage.add(mixed_keys(count, BEHAVIOURS, chance), days_behind=days_behind)
        assert keys
        for behaviour, on, times in OF_BOOKINGS:
            await scene.stage.portone.script(behaviour, on=on, times=times)
        replica = await scene.lane.make_replica() if calamity == "promotion" else None
        if replica:
            primary = scene.stage.database.worker_url
            other = several_addresses(primary, primary.replace(f":{scene.server.port}/", f":{replica.server.port}/"))
            scene.addresses = (other,)
        fleet = Fleet(
            scene.stage, chance, self.told, self._wishes, address=lambda: scene.address(chance), size=FLEET_SIZE
        )
        battle = Battle(scene, fleet, chance, self.told)
        if replica:
            battle.replica = replica
        await battle.owe_ahead()
        return battle

    async def _fight(self, battle: Battle, calamity: str) -> None:
        kills = KILLS_A_ROUND - KILLS_OF_FOLLOWERS
        # Each at its place among the kills, so that every round of a seed has the same order of events.
        events = [(at, battle.freeze) for at in battle.chance.sample(range(kills // 2), 2)]
        events += [(kills // 3, battle.cancel_some), (kills // 2, lambda: CALAMITIES[calamity](battle))]
        # People change their minds before a calamity alone: a change that a loss takes back is theirs to repeat.
        change_minds = functools.partial(battle.change_minds, prices=calamity not in LOSSES)
        events += [(at, change_minds) for at in (kills // 8, kills // 4, kills // 3, 2 * kills // 5)]
        events += [(kills // 5, battle.owe_ahead), (3 * kills // 4, battle.owe_ahead)]
        events.sort(key=lambda event: event[0])
        until = time.monotonic() + FIGHT_SECONDS_MAX
        while battle.fleet.kills < kills and time.monotonic() < until:
            while events and battle.fleet.kills >= events[0][0]:
                await events.pop(0)[1]()
            await battle.fleet.kill_one()
            await battle.strike()
        for _, event in events:
            await event()

    async def _follow(self, battle: Battle) -> None:
        """Everybody dies at once; those that come after have what was left to follow at once, and die as well."""
        await battle.fleet.all_awake()
        battle.fleet.kill_all()
        await battle.fleet.all_ended()
        await battle.scene.stage.due_now()
        battle.fleet.start_anew(FLEET_SIZE)
        until = time.monotonic() + FIGHT_SECONDS_MAX
        while battle.fleet.kills < KILLS_A_ROUND and time.monotonic() < until:
            await battle.fleet.kill_one()
            await battle.strike()
        await battle.fleet.all_awake()
        battle.fleet.kill_all()
        await battle.fleet.all_ended()

    async def _end(self, battle: Battle, name: str) -> None:
        """Workers that are let live finish it; then both sides are compared."""
        scene, stage = battle.scene, battle.scene.stage
        await stage.due_now()
        for _ in range(2):
            stage.start(DATABASE_URL=scene.direct_address, **UNHURT)
        try:
            await eventually(self._rests(battle), seconds_max=REST_SECONDS_MAX)
        except AssertionError:
            self.told.found(f"{name}: not at rest after {REST_SECONDS_MAX:.0f} s: {await stage.at_work()}")
            for stuck in await stage.stuck():
                self.told.found(f"{name}: stuck: {stuck}")
        stage.kill_all()
        books = await read_books(
            stage.portone,
            stage.database,
            bounds=BOUNDS,
            history_lost_at=battle.history_lost_at,
            keys_lost=battle.keys_lost,
        )
        self._note(books)
        for fault, listed in oracle.faults(books).items():
            self.told.found(f"{name}: {fault}: {len(listed)} times, such as {listed[0]}")
            self._tell_known(battle, books, listed[0])
        exceptions = await stage.fetch("SELECT held_reason FROM billing.exceptions")
        if exceptions:
            self.told.found(f"{name}: on the exceptions list: {dict(exceptions[0])}")
        self._hear(scene)

    def _tell_known(self, battle: Battle, books: Books, fault: str) -> None:
        """Everything that there is about one fault: its round cannot be played again."""
        for known in oracle.known_of(books, fault):
            self.told.knows(known)
        for frozen in battle.fleet.frozen:
            self.told.knows(f"frozen: {frozen}")
        payments = oracle.payments_in(books, fault)
        for log in sorted(battle.scene.logs.glob("*.log")):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                if any(payment_id in line for payment_id in payments):
                    self.told.knows(f"{log.stem} said {line}")

    def _rests(self, battle: Battle):  # type: ignore[no-untyped-def]
        stage = battle.scene.stage

        async def at_rest() -> bool:
            await last(0.05)
            if battle.history_lost_at is not None:
                await _decide(stage)
            return not await stage.at_work()

        return at_rest

    def _note(self, books: Books) -> None:
        self.told.counts[figures.CYCLES] += len(books.cycles)
        self.told.counts[figures.POSTS] += len(books.posts)
        self.told.counts[figures.CHARGES] += len(books.charges)
        self.told.counts[figures.BOOKINGS] += len(books.schedules)
        self.told.counts[figures.FIRED] += sum(schedule.fired_at is not None for schedule in books.schedules)
        self.told.counts[figures.TAKEN_BACK] += sum(attempt.status == "revoked" for attempt in books.attempts)
        self.told.counts[figures.TOO_LATE] += books.charged_in_vain
        self.told.counts[figures.HINTS] += books.hints_read
        self.told.counts[figures.FED] += books.readings
        self.told.counts[figures.VERDICTS] += sum(attempt.settled_at is not None for attempt in books.attempts)

    def _hear(self, scene: Scene) -> None:
        """What the workers said, by event: it shows which of their defences were called upon."""
        for log in scene.logs.glob("*.log"):
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, AttributeError):
                    self.told.said[json.loads(line)["event"]] += 1


def conclude(told: Figures, plan: Plan) -> None:
    """Hold a campaign to what it should have shown, unless it ended early because it found something."""
    unseen = missing(told, plan)
    if told.findings:
        told.unseen += unseen
    else:
        told.findings += [f"not shown: {name}" for name in unseen]


def missing(told: Figures, plan: Plan) -> Sequence[str]:
    """What a campaign of this size should have shown and did not."""
    if plan.rounds < len(CALAMITIES):
        return []
    names = [name for name in FAULTS if not told.counts[name]]
    names += [f"cut {' '.join(aim)}" for aim in AIMS if not told.cuts[" ".join(aim)]]
    names += [
        f"failpoint {name}" for name in (failpoint_name(doom) for doom in FAILPOINTS) if not told.failpoints[name]
    ]
    return names


async def _decide(stage: Stage) -> None:
    """What a person does where the history that was lost had a wish in it, and PortOne has taken the booking back."""
    for held in await stage.fetch("SELECT payment_id FROM billing.exceptions WHERE held_reason = $1", WISH_LOST):
        await stage.command("cycle", "retry", held["payment_id"], "--reason", "its wish was lost", "--by", "campaign")
