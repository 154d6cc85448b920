"""One run: a world is set up from its plan, goes wrong for as long as planned, comes to rest, and is judged."""

import gc
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from billing_worker.billing.periods import due_at, nth_period
from billing_worker.store import subscriptions
from tests.simulation import oracle
from tests.simulation.bell import Bell
from tests.simulation.clocks import ServerClock
from tests.simulation.crew import ALL, Crew, settings_of, spare_what_decides_nothing
from tests.simulation.faults import Cell, Fault
from tests.simulation.listening import listen
from tests.simulation.loop import Host, StuckError
from tests.simulation.person import Person
from tests.simulation.pool import Server
from tests.simulation.portone_books import PortOneBooks
from tests.simulation.portone_cards import Temper
from tests.simulation.portone_twin import PortOneTwin
from tests.simulation.scenario import Plan, plan_of
from tests.simulation.store_twin import StoreTwin
from tests.simulation.watch import Watch
from tests.simulation.webhooks import Webhooks
from tests.simulation.world import DAY, HOUR, MINUTE, World


@dataclass(slots=True)
class Result:
    """What one run came to."""

    seed: int
    findings: list[str]
    cells: Counter[Cell]
    counts: Counter[str]
    virtual_seconds: float
    sha256: str
    lines: list[str] = field(repr=False)


class Direct:
    """The twin without anything between, for what a person does before the run."""

    def __init__(self, twin: StoreTwin) -> None:
        self._twin = twin

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        """Run it."""
        return self._twin.run(name, *arguments)


class Run:
    """The world of a plan, with its servers and its workers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan.seed, plan.started_at, aims=plan.aims, rates=plan.rates)
        self.twin = StoreTwin(primary_now=self.world.primary.now)
        self.books = PortOneBooks()
        names = [f"w{number}" for number in range(1, plan.workers + 1)]
        lead = plan.lead_seconds
        self._settings = {name: settings_of(name, plan.dunning, plan.rechecks, lead) for name in names}
        settings = self._settings["w1"]
        self.watch = Watch(
            self.world,
            self.twin,
            self.books,
            send_window_seconds=settings.send_window_seconds,
            answer_seconds=settings.portone_read_seconds,
        )
        self.server = Server(
            self.world, self.twin, self.watch, command_seconds=settings.database_command_timeout_seconds
        )
        self.portone = PortOneTwin(self.world, self.books, atomic=plan.atomic, slow=plan.slow)
        self.crews: dict[str, Crew] = {}
        self.bell = Bell(self.world, self.twin, self._all_crews, lead_seconds=lead)
        self.person = Person(
            self.world, self.server, self.books, self._all_crews, sets_aside=plan.sets_aside, new_card=self._new_card
        )
        self.watch.opened, self.watch.held = self.person.has_seen_opened, self.person.has_seen_held
        self._lives: Counter[str] = Counter()
        self._walls = {
            name: ServerClock(self.world.loop, plan.started_at, self.world.random.uniform(-1.0, 1.0)) for name in names
        }
        self.server.written = self.bell.poke
        self.server.suffers = self.suffers
        self.portone.suffers = self.suffers
        self.webhooks = Webhooks(self.world, self.server)
        if plan.webhooks:
            self.portone.tells = self.webhooks.send
        self.server.keeps_history = any(aim.cell.fault is Fault.FAILOVER for aim in plan.aims)

    async def play(self) -> None:
        """From the first subscription to the judgement."""
        world = self.world
        await self._subscribe()
        for name in self._settings:
            self._start(name)
        for moment in self.plan.stops:
            world.loop.call_later(moment, self._stop_somebody)
        self._expect_people()
        for moment, span, jump in self.plan.portone_clock:
            world.loop.call_later(moment, world.portone_clock.jump, jump)
            world.loop.call_later(moment + span, world.portone_clock.jump, -jump)
        self.bell.poke()
        await world.pause(self.plan.days * DAY)
        world.end_faults()
        world.tell("faults end")
        if self.plan.halts:
            self.person.resume()
        await world.pause(self.plan.rest_days * DAY)
        for crew in self.crews.values():
            for failure in crew.unasked():
                world.find(f"{crew.host}: a task failed and nobody asked: {failure}")
        for finding in oracle.faults(self.twin, self.books, self.plan, world.primary.now()):
            world.find(finding)

    def _expect_people(self) -> None:
        for moment, span in self.plan.halts:
            if moment < self.plan.days * DAY:
                self.world.loop.call_later(moment, self.person.halt)
                self.world.loop.call_later(moment + span, self.person.resume)
        for moment, business_key, what in self.plan.changes:
            self.world.loop.call_later(moment, self.person.change, business_key, what)

    async def _subscribe(self) -> None:
        rows = []
        for each in self.plan.subscriptions:
            plan = each.plan
            first = nth_period(plan.cadence, plan.first_cycle_number)
            rows.append((plan, due_at(plan.cadence, first)))
            self.portone.tempers[plan.billing_key.reveal()] = Temper(soft=each.soft, hard=each.hard)
        await subscriptions.add_subscriptions(Direct(self.twin), rows)

    def _new_card(self, billing_key: str) -> str:
        """A card that behaves as the old one did."""
        new = f"{billing_key}x"
        old = self.portone.tempers[billing_key]
        self.portone.tempers[new] = Temper(soft=old.soft, hard=old.hard)
        return new

    def _all_crews(self) -> list[Crew]:
        return list(self.crews.values())

    # --- workers ---------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        self._lives[name] += 1
        crew = Crew(self.world, f"{name}.{self._lives[name]}", self._walls[name], self._settings[name])
        crew.ended = self._gone
        self.watch.walls[crew.host] = self._walls[name]
        self.crews[name] = crew
        crew.start(self.server, self.portone, self.watch)

    def _gone(self, host: Host) -> None:
        """The worker is no more; somebody starts it again."""
        world, name = self.world, host.name.partition(".")[0]
        world.loop.kill(host)
        self.server.unlock(host)
        long = world.random.random() < 0.15
        seconds = world.random.uniform(MINUTE, 8 * HOUR) if long else world.random.uniform(0.5, 40.0)
        world.loop.call_later(seconds, self._start, name, context=world.loop.driver.context)

    def _stop_somebody(self) -> None:
        living = [crew for crew in self.crews.values() if not crew.host.dead and not crew.host.frozen]
        if living:
            crew = self.world.random.choice(living)
            self.world.tell(f"SIGTERM {crew.host}")
            self.world.counts["stops"] += 1
            self.world.loop.call_soon(crew.stop, context=crew.host.context)

    def suffers(self, host: Host, fault: Fault) -> None:
        """A fault of a worker's machine."""
        chance = self.world.random.uniform
        match fault:
            case Fault.KILL:
                self.world.counts["kills"] += 1
                self._gone(host)
            case Fault.FREEZE:
                self._freeze(host, chance(0.5, 60.0))
            case Fault.FREEZE_LEASE:
                self._freeze(host, chance(241.0, 2 * HOUR))
            case Fault.FREEZE_KEYS:
                self._freeze(host, chance(3.1 * HOUR, 30 * HOUR))
            case Fault.SLEEP:
                self._freeze(host, chance(20.0, 6 * HOUR), asleep=True)
            case Fault.CLOCK_AHEAD | Fault.CLOCK_BACK:
                jump = chance(1.0, 29.0) if self.world.random.random() < 0.3 else chance(31.0, 3 * HOUR)
                self._set_clock(host, jump if fault is Fault.CLOCK_AHEAD else -jump)

    def _freeze(self, host: Host, seconds: float, *, asleep: bool = False) -> None:
        self.world.counts["freezes"] += 1
        self.world.loop.freeze(host)
        self.world.loop.call_later(seconds, self._thaw, host, asleep, context=self.world.loop.driver.context)

    def _thaw(self, host: Host, asleep: bool) -> None:
        if not host.dead:
            self.world.tell(f"thaws {host}")
            self.world.loop.thaw(host, asleep=asleep)
            self.world.loop.call_soon(self.crews[host.name.partition(".")[0]].ring, ALL, context=host.context)

    def _set_clock(self, host: Host, jump: float) -> None:
        wall = self._walls[host.name.partition(".")[0]]
        wall.jump(jump)
        back = self.world.random.uniform(MINUTE, 4 * HOUR)
        self.world.loop.call_later(back, wall.jump, -jump, context=self.world.loop.driver.context)


def simulate(seed: int) -> Result:
    """One seed, from its plan to its judgement."""
    return play(plan_of(seed))


def simulate_without_trace(seed: int) -> Result:
    """A result without its trace, which nobody reads and everybody would have to carry."""
    result = simulate(seed)
    result.lines = []
    return result


def play(plan: Plan) -> Result:
    """One plan, which a kept scenario may have written by hand."""
    spare_what_decides_nothing()
    random.seed(plan.seed)  # tenacity's jitter draws from the module's own generator
    run = Run(plan)
    world = run.world
    gc_was_on = gc.isenabled()
    gc.disable()  # A collection half way would take coroutines of killed workers apart while the run goes on.
    try:
        with listen(world):
            world.loop.run_until_complete(run.play())
    except StuckError as error:
        world.find(f"stuck: {error}")
    finally:
        world.loop.close()
        if gc_was_on:
            gc.enable()
    world.counts["requests"] = sum(count for name, count in world.counts.items() if name.startswith("requests "))
    return Result(plan.seed, world.findings, world.cells, world.counts, world.loop.now, world.sha256(), world.lines)


def as_text(plan: Plan) -> str:
    """The plan in a few lines."""
    aims = "; ".join(f"{aim.cell} #{aim.nth}" for aim in plan.aims)
    until = plan.started_at + timedelta(days=plan.days)
    return (
        f"seed {plan.seed}: {len(plan.subscriptions)} subscriptions, {plan.workers} workers, {plan.started_at:%F %T} "
        f"to {until:%F}, retries after {plan.dunning} days, paid-check {'' if plan.atomic else 'not '}atomic\n"
        f"  aims: {aims}"
    )
