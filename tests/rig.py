"""Everything between one database and one simulated PortOne, put together as the daemon does it, without its bells.

Time is a FakeClock and the simulator's, moved together; a test makes each pass itself and waits for what it started.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
from pydantic import SecretStr

from billing_worker import bounds
from billing_worker.billing.charging import ChargingRules
from billing_worker.billing.dunning import DunningPolicy
from billing_worker.billing.model import ClaimedCycle, payment_id
from billing_worker.billing.periods import due_at, nth_period
from billing_worker.billing.plans import PlannedSubscription
from billing_worker.portone.client import ClientOptions, PortOneClient
from billing_worker.portone.transport import AiohttpTransport
from billing_worker.simulator import server
from billing_worker.simulator.options import SimulatorOptions
from billing_worker.store import db, subscriptions
from billing_worker.store.deployment import Acceptance
from billing_worker.telemetry import Metrics
from billing_worker.workers.booker import Booker
from billing_worker.workers.charger import Charger, ChargerLimits
from billing_worker.workers.collector import Collector, CollectorLimits
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.reconciler import Reconciler
from billing_worker.workers.renewer import Renewer
from billing_worker.workers.settler import Settler
from billing_worker.workers.sweep import Counts, Slots
from billing_worker.workers.verdicts import Verdicts
from tests.builders import STORE_ID, FakeClock, a_plan, a_policy, eventually, some_rules
from tests.conftest import DatabaseUrls

API_SECRET = "rig-secret-0123456789"
CLAIM_LEASE = timedelta(seconds=60)
ATTEMPT_LEASE = timedelta(seconds=120)
LEAD = timedelta(days=3)


class RigClock(FakeClock):
    """A FakeClock whose seconds pass by themselves as well: a peer that hangs hangs for real."""

    def monotonic(self) -> float:
        return super().monotonic() + time.monotonic()


@dataclass(slots=True)
class Crew:
    """One worker's parts; a rig may have several crews on one database."""

    name: str
    gate: SendingGate
    settler: Settler
    verdicts: Verdicts
    collector: Collector
    renewer: Renewer
    charger: Charger
    reconciler: Reconciler
    charges: Slots
    looks: Slots
    metrics: Metrics


@dataclass(slots=True)
class Rig:
    """A database, a PortOne, a clock and a first crew."""

    database: db.Database
    admin: Any
    portone: PortOneClient
    control: httpx.AsyncClient
    clock: FakeClock
    rules: ChargingRules
    policy: DunningPolicy
    sending_seconds: float  # by the real clock: how long a send may start after its intent, how long an answer may take
    crews: list[Crew] = field(default_factory=list)

    @property
    def crew(self) -> Crew:
        """The first crew."""
        return self.crews[0]

    def hire(
        self,
        name: str = "worker-1",
        *,
        database: db.Database | None = None,
        acceptance: Acceptance | None = None,
        watched: bool = True,
    ) -> Crew:
        """One more crew on the same database and PortOne, or on pools of its own that let in what was accepted."""
        crew = make_crew(self, database or self.database, name, acceptance)
        crew.settler.start()
        if watched:
            crew.gate.operator_order("")  # the watcher has looked, and nobody has halted anything
        self.crews.append(crew)
        return crew

    async def subscribe(self, *plans: PlannedSubscription) -> None:
        """Add subscriptions."""
        dated = [(plan, due_at(plan.cadence, nth_period(plan.cadence, plan.first_cycle_number))) for plan in plans]
        await subscriptions.add_subscriptions(self.database.claims, dated)

    async def cancel(self, business_key: str = "sub-1") -> None:
        """Cancel a subscription, as a person does."""
        await subscriptions.cancel_subscription(
            self.database.claims, business_key, reason="asked for it", actor="kim", now=self.clock.now()
        )

    async def owe(self, business_key: str = "sub-1", billing_key: str = "bk-ok-1", **changes: Any) -> str:
        """A subscription whose newest period has just come, with its cycle open; the cycle's payment_id."""
        plan = a_plan(business_key, billing_key, **changes)
        number = 1
        while due_at(plan.cadence, nth_period(plan.cadence, number + 1)) <= self.clock.now():
            number += 1
        plan = a_plan(business_key, billing_key, first_cycle_number=number, **changes)
        await self.subscribe(plan)
        await self.crew.renewer.run_once(self.clock.now())
        start_on = nth_period(plan.cadence, number).start_on
        return payment_id(store_id=STORE_ID, business_key=business_key, period_start_on=start_on)

    async def charge(self, crew: Crew | None = None) -> Counts:
        """One pass of a charger, and the calls that it started."""
        crew = crew or self.crew
        counts = await crew.charger.run_once(self.clock.now())
        await crew.charges.drained()
        return counts

    async def reconcile(self, crew: Crew | None = None) -> Counts:
        """One pass of a reconciler, and the looks that it started."""
        crew = crew or self.crew
        counts = await crew.reconciler.run_once(self.clock.now())
        await crew.looks.drained()
        return counts

    async def pass_time(self, **span: float) -> None:
        """Let time pass for us and for PortOne."""
        self.clock.advance(**span)
        await self.ask("POST", "/clock", advance_seconds=timedelta(**span).total_seconds())

    async def reconcile_after(self, **span: float) -> Counts:
        """A pass of the reconciler when that much time has passed."""
        await self.pass_time(**span)
        return await self.reconcile()

    async def ask(self, method: str, path: str, **asked: Any) -> Any:
        """Something of the simulator's control address."""
        response = await self.control.request(method, f"/_control{path}", json=asked if method != "GET" else None)
        assert response.status_code == 200, response.text
        return response.json()

    async def tries(self, of: str) -> list[dict[str, Any]]:
        """What PortOne really did on one paymentId."""
        found: list[dict[str, Any]] = (await self.ask("GET", f"/truth/{of}"))["transactions"]
        return found

    async def posts(self) -> list[dict[str, Any]]:
        """The charges that have arrived at PortOne, oldest first."""
        return [one for one in (await self.ask("GET", "/requests"))["requests"] if one["method"] == "POST"]

    async def refund(self, payment_id: str, amount_minor: int) -> None:
        """Have PortOne cancel a part of a payment, as somebody at its console would."""
        headers = {"Authorization": f"PortOne {API_SECRET}"}
        body = {"storeId": STORE_ID, "amount": amount_minor, "reason": "goodwill"}
        response = await self.control.post(f"/payments/{payment_id}/cancel", json=body, headers=headers)
        assert response.status_code == 200, response.text

    async def held_requests(self, stage: str) -> None:
        """Return when a charge has come to that stage inside PortOne."""

        async def there() -> bool:
            return bool((await self.ask("GET", f"/inflight?stage={stage}"))["count"])

        await eventually(there)

    async def cycle(self, business_key: str = "sub-1") -> Any:
        """The subscription's newest cycle."""
        query = "SELECT * FROM billing.cycles c JOIN billing.subscriptions s USING (shard, subscription_id) "
        return await self.admin.fetchrow(
            query.replace("*", "c.*") + "WHERE business_key = $1 ORDER BY cycle_number DESC LIMIT 1", business_key
        )

    async def attempts(self, business_key: str = "sub-1") -> list[Any]:
        """The attempts on the subscription's newest cycle."""
        cycle = await self.cycle(business_key)
        return list(
            await self.admin.fetch(
                "SELECT * FROM billing.attempts WHERE cycle_id = $1 ORDER BY attempt_number", cycle["cycle_id"]
            )
        )

    async def attempt(self, business_key: str = "sub-1") -> Any:
        """The newest attempt on the subscription's newest cycle."""
        return (await self.attempts(business_key))[-1]

    async def entries(self, business_key: str = "sub-1") -> list[Any]:
        """The subscription's ledger entries."""
        query = "SELECT * FROM billing.ledger_entries WHERE business_key = $1 ORDER BY sequence"
        return list(await self.admin.fetch(query, business_key))

    async def kinds(self, business_key: str = "sub-1") -> list[str]:
        """The kinds of the subscription's ledger entries."""
        return [entry["kind"] for entry in await self.entries(business_key)]


def make_crew(rig: Rig, database: db.Database, name: str, acceptance: Acceptance | None = None) -> Crew:
    """One worker's parts, connected as the daemon connects them."""
    metrics, clock = Metrics(), rig.clock
    gate = SendingGate(
        clock,
        skew_max_seconds=30,
        pause=timedelta(minutes=5),
        portone_skew_seconds=lambda: 0.0,
        database_moved=acceptance.refusal if acceptance else str,
    )
    settler = Settler(database.outcomes, clock, metrics, actor=name, database_gone=gate.database_gone)
    verdicts, booker, collector = _senders(rig, database, name=name, gate=gate, settler=settler, metrics=metrics)
    charges, looks = Slots(50), Slots(20)
    charger = Charger(
        claims=database.claims,
        collector=collector,
        gate=gate,
        clock=clock,
        slots=charges,
        metrics=metrics,
        rules=rig.rules,
        limits=ChargerLimits(in_flight_max=50, batch_max=50, claim_lease=CLAIM_LEASE, attempt_lease=ATTEMPT_LEASE),
        request_body=request_body,
        sends_available=rig.portone.limiter.available,
        worker=name,
    )
    reconciler = Reconciler(
        claims=database.claims,
        outcomes=database.outcomes,
        collector=collector,
        verdicts=verdicts,
        booker=booker,
        gate=gate,
        clock=clock,
        slots=looks,
        rules=rig.rules,
        lease=ATTEMPT_LEASE,
    )
    renewer = Renewer(database.claims, store_id=STORE_ID, lead=LEAD, batch_max=100, actor=name)
    return Crew(name, gate, settler, verdicts, collector, renewer, charger, reconciler, charges, looks, metrics)


def _senders(
    rig: Rig, database: db.Database, *, name: str, gate: SendingGate, settler: Settler, metrics: Metrics
) -> tuple[Verdicts, Booker, Collector]:
    """Who meets PortOne about one attempt, and who writes down what it says."""
    verdicts = Verdicts(
        outcomes=database.outcomes,
        settler=settler,
        clock=rig.clock,
        metrics=metrics,
        rules=rig.rules,
        policy=rig.policy,
        actor=name,
    )
    booker = Booker(
        portone=rig.portone,
        outcomes=database.outcomes,
        verdicts=verdicts,
        clock=rig.clock,
        metrics=metrics,
        rules=rig.rules,
        gate=gate,
        actor=name,
    )
    collector = Collector(
        portone=rig.portone,
        outcomes=database.outcomes,
        verdicts=verdicts,
        booker=booker,
        gate=gate,
        clock=rig.clock,
        metrics=metrics,
        rules=rig.rules,
        limits=CollectorLimits(send_window=timedelta(seconds=rig.sending_seconds), attempt_lease=ATTEMPT_LEASE),
    )
    return verdicts, booker, collector


def request_body(cycle: ClaimedCycle) -> bytes:
    """The bytes of a charge."""
    return bounds.request_body(cycle, store_id=STORE_ID, channel_key=None)


@asynccontextmanager
async def a_rig(
    urls: DatabaseUrls,
    *,
    rules: ChargingRules | None = None,
    policy: DunningPolicy | None = None,
    sending_seconds: float = 5.0,
    transport: Callable[[], httpx.AsyncBaseTransport] = AiohttpTransport,
    **simulator: Any,
) -> AsyncIterator[Rig]:
    """A rig on a migrated database. Keywords are the simulator's options."""
    told = {"slow_seconds": 0.2, "hang_seconds": 0.2, "late_success_seconds": 7200.0} | simulator
    options = SimulatorOptions(api_secret=API_SECRET, store_id=STORE_ID, **told)
    clock = RigClock(datetime.now(UTC))
    with server.in_background(options) as base_url:
        options_of_client = client_options(base_url, sending_seconds)
        client = PortOneClient(options_of_client, host_time=clock.now, seconds=clock.monotonic, transport=transport)
        async with client, httpx.AsyncClient(base_url=base_url, timeout=20) as control, a_database(urls) as database:
            admin = await asyncpg.connect(urls.admin_url)
            rig = Rig(
                database, admin, client, control, clock, rules or some_rules(), policy or a_policy(), sending_seconds
            )
            rig.hire()
            try:
                yield rig
            finally:
                for crew in rig.crews:
                    await crew.settler.stop()
                await admin.close()


@asynccontextmanager
async def a_database(urls: DatabaseUrls, **limits: Any) -> AsyncIterator[db.Database]:
    """The pools, as the worker's role."""
    database = await db.connect(urls.worker_url, db.PoolLimits(**limits), application_name="billing-worker test")
    try:
        yield database
    finally:
        await database.close()


def client_options(base_url: str, sending_seconds: float) -> ClientOptions:
    """PortOne on loopback, with short waits."""
    return ClientOptions(
        base_url=base_url,
        api_secret=SecretStr(API_SECRET),
        store_id=STORE_ID,
        read_seconds=sending_seconds,
        look_read_seconds=sending_seconds,
        resend_window_seconds=sending_seconds,
        resends_max=1,
        resend_pause_seconds=0.01,
        requests_per_second=5000,
        burst=1000,
    )
