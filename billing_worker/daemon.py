"""The daemon: builds everything once, rings the sweeps, and drains on SIGTERM.

APScheduler only rings; rows decide. The first SIGTERM ends claiming and lets what is in flight finish and be written;
the second leaves at once, which the database survives as it survives a kill.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from billing_worker import telemetry, web
from billing_worker.billing.charging import ChargingRules
from billing_worker.billing.deployment import Ours
from billing_worker.billing.dunning import DunningPolicy
from billing_worker.billing.model import ClaimedCycle
from billing_worker.clock import SystemClock
from billing_worker.notify import Systemd
from billing_worker.portone import wire
from billing_worker.portone.client import ClientOptions, PortOneClient
from billing_worker.settings import Settings
from billing_worker.store import control, db, migrate
from billing_worker.store.db import Database, Executor
from billing_worker.store.deployment import Acceptance
from billing_worker.workers import fitness
from billing_worker.workers.charger import Charger, ChargerLimits, slots_for
from billing_worker.workers.collector import Collector, CollectorLimits
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.reconciler import Reconciler
from billing_worker.workers.renewer import Renewer
from billing_worker.workers.sentry import Alone, Sentry
from billing_worker.workers.settler import Settler
from billing_worker.workers.sweep import Slots, Sweep, Worker
from billing_worker.workers.watcher import Watcher, WatcherLimits

log = structlog.get_logger()

EXIT_DRAINED = 0
EXIT_LEFT_EARLY = 70  # something was in flight; it is in the database, and another worker follows it

# The watcher's look costs two short queries, the sentry's a connection; five seconds is how long a halt takes to be
# obeyed, and how long a database that has moved may go unnoticed.
WATCH_SECONDS = 5.0
# A pass waits for slots and runs a few statements, each of which has its own time-out. Far beyond that it hangs.
SILENT_SECONDS_MAX = 120.0


class Daemon:
    """Everything that runs, made from the settings."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        portone: PortOneClient,
        clock: SystemClock,
        *,
        alone: Alone,
        acceptance: Acceptance,
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self.metrics = telemetry.Metrics()
        self.name = settings.worker_name or f"{socket.gethostname()}:{os.getpid()}"
        self._gate = SendingGate(
            clock,
            skew_max_seconds=settings.clock_skew_max_seconds,
            pause=timedelta(seconds=settings.channel_pause_seconds),
            portone_skew_seconds=lambda: portone.date_skew_seconds or 0.0,
            portone_skew_last_seconds=lambda: portone.last_date_skew_seconds or 0.0,
            database_moved=acceptance.refusal,
        )
        self._settler = Settler(
            database.outcomes, clock, self.metrics, actor=self.name, database_gone=self._gate.database_gone
        )
        self._charges = slots_for(settings.portone_in_flight_max)
        self._looks = Slots(settings.reconcile_batch_max)
        self.metrics.in_flight.set_function(lambda: self._charges.busy)
        collector = self._make_collector(portone)
        self._charger = self._make_charger(portone, collector)
        self._reconciler = Reconciler(
            claims=database.claims,
            outcomes=database.outcomes,
            collector=collector,
            gate=self._gate,
            clock=clock,
            slots=self._looks,
            rules=charging_rules(settings),
            lease=timedelta(seconds=settings.attempt_lease_seconds),
        )
        self._sentry = Sentry(
            alone,
            acceptance,
            self._gate,
            clock,
            self.metrics,
            ours=ours(settings),
            actor=self.name,
            look_again=database.look_again,
        )
        self._sweeps = self._make_sweeps()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin to drain; a second call leaves at once."""
        if self._stop.is_set():
            log.error("daemon.left", in_flight=self._charges.busy)
            os._exit(EXIT_LEFT_EARLY)
        self._stop.set()

    def not_live(self) -> Mapping[str, str]:
        """The sweeps that have not moved for too long."""
        if self._settler.broken():
            return {"settler": "verdicts are no longer written"}
        limit = SILENT_SECONDS_MAX + 3 * self._settings.database_command_timeout_seconds
        return {
            sweep.name: f"no pass for {sweep.silent_seconds():.0f} s"
            for sweep in self._sweeps
            if sweep.silent_seconds() > limit
        }

    async def not_ready(self) -> Mapping[str, str]:
        """Why nothing would be collected from here now."""
        if self._stop.is_set():
            return {"daemon": "stopping"}
        try:
            unfit = await control.unfit_server(
                self._database.claims, migrate.newest_version(), live=self._settings.portone_live
            )
        except (db.DatabaseGoneError, db.RowRefusedError) as error:
            return {"database": str(error)}
        return ({"database": "; ".join(unfit)} if unfit else {}) | self._sentry.not_ready()

    async def serve(self, systemd: Systemd) -> int:
        """Ring the sweeps until somebody stops us, then drain. Returns the exit code."""
        self._settler.start()
        # These two first: no database is known, no clock trusted and no order heard before them.
        for sweep in self._sweeps[:2]:
            await sweep.ring()
        scheduler = self._start_bells()
        try:
            systemd.ready("collecting")
            log.info("daemon.started", worker=self.name, schema=migrate.newest_version())
            await self._until_stopped(systemd)
            systemd.stopping("finishing what is in flight")
            scheduler.pause()
            return await self._drain()
        finally:
            scheduler.shutdown(wait=False)
            await self._settler.stop()

    async def _until_stopped(self, systemd: Systemd) -> None:
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), systemd.watchdog_interval_seconds)
            except TimeoutError:
                if not self.not_live():
                    systemd.watchdog()

    async def _drain(self) -> int:
        log.info("daemon.draining", in_flight=self._charges.busy)
        self._charger.stop()
        self._reconciler.stop()
        for sweep in self._sweeps:
            sweep.stop()
        try:
            async with asyncio.timeout(self._settings.shutdown_grace_seconds):
                for sweep in self._sweeps:
                    await sweep.ended()
                await self._charges.drained()
                await self._looks.drained()
        except TimeoutError:
            log.exception("daemon.grace_over", in_flight=self._charges.busy + self._looks.busy)
            return EXIT_LEFT_EARLY
        log.info("daemon.drained")
        return EXIT_DRAINED

    def _start_bells(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(timezone="UTC")
        for sweep in self._sweeps:
            seconds = WATCH_SECONDS if sweep.name in {"sentry", "watch"} else self._settings.sweep_seconds
            scheduler.add_job(
                sweep.ring,
                "interval",
                seconds=seconds,
                next_run_time=self._clock.now(),
                misfire_grace_time=None,
                coalesce=True,
                max_instances=1,
            )
        scheduler.start()
        return scheduler

    def _make_collector(self, portone: PortOneClient) -> Collector:
        settings = self._settings
        return Collector(
            portone=portone,
            outcomes=self._database.outcomes,
            settler=self._settler,
            gate=self._gate,
            clock=self._clock,
            metrics=self.metrics,
            rules=charging_rules(settings),
            policy=DunningPolicy.of_days(
                settings.dunning_retry_days, channel_pause=timedelta(seconds=settings.refused_retry_seconds)
            ),
            limits=CollectorLimits(
                send_window=timedelta(seconds=settings.send_window_seconds),
                attempt_lease=timedelta(seconds=settings.attempt_lease_seconds),
            ),
            actor=self.name,
        )

    def _make_charger(self, portone: PortOneClient, collector: Collector) -> Charger:
        settings = self._settings
        return Charger(
            claims=self._database.claims,
            collector=collector,
            gate=self._gate,
            clock=self._clock,
            slots=self._charges,
            metrics=self.metrics,
            rules=charging_rules(settings),
            limits=ChargerLimits(
                in_flight_max=settings.portone_in_flight_max,
                batch_max=settings.claim_batch_max,
                claim_lease=timedelta(seconds=settings.claim_lease_seconds),
                attempt_lease=timedelta(seconds=settings.attempt_lease_seconds),
            ),
            request_body=lambda cycle: request_body(
                cycle, store_id=settings.portone_store_id, channel_key=settings.portone_channel_key
            ),
            sends_available=portone.limiter.available,
            worker=self.name,
        )

    def _make_sweeps(self) -> list[Sweep]:
        settings, claims = self._settings, self._database.claims
        renewer = Renewer(
            claims, store_id=settings.portone_store_id, batch_max=settings.renew_batch_max, actor=self.name
        )
        watcher = Watcher(
            claims,
            self._gate,
            self._clock,
            self.metrics,
            limits=WatcherLimits(settings.unresolved_warn_seconds, settings.unresolved_page_seconds),
        )
        workers: dict[str, Worker] = {
            "sentry": self._sentry,
            "watch": watcher,
            "renew": renewer,
            "charge": self._charger,
            "reconcile": self._reconciler,
        }
        return [Sweep(name, worker, self._clock, self.metrics) for name, worker in workers.items()]


async def run(settings: Settings, environ: Mapping[str, str]) -> int:
    """Run the daemon until SIGTERM or SIGINT.

    Returns the exit code. Raises fitness.StartUpRefusedError or DatabaseGoneError.
    """
    telemetry.start_logging(level=settings.log_level, log_format=settings.log_format)
    _leave_no_core()
    _calm_collector()
    systemd = Systemd(environ)
    async with _made(settings) as daemon:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, daemon.stop)
        app = web.create_app(liveness=daemon.not_live, readiness=daemon.not_ready, registry=daemon.metrics.registry)
        async with web.serve(app, settings.http_address) as address:
            log.info("web.listening", address=address)
            return await daemon.serve(systemd)


def _leave_no_core() -> None:
    """Let a crash write no core file: it would hold the API secret and billing keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _calm_collector() -> None:
    """Let the garbage collector look less often.

    With hundreds of calls in flight its default of 700 new objects has it walk the same living ones again and again,
    for a quarter of a charge's processor time (docs/adr/0003). What was imported lives to the end and is not walked.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@asynccontextmanager
async def _made(settings: Settings) -> AsyncIterator[Daemon]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        url, acceptance = settings.database_url.get_secret_value(), Acceptance(clock.monotonic)

        def alone() -> AbstractAsyncContextManager[Executor]:
            return db.alone(
                url,
                application_name="billing-worker sentry",
                command_seconds=settings.database_command_timeout_seconds,
            )

        await fitness.refuse_moved(alone, ours(settings), acceptance)
        database = await db.connect(
            url, pool_limits(settings), application_name="billing-worker", admit=acceptance.admit
        )
        stack.push_async_callback(database.close)
        await fitness.refuse_unfit(database, settings.portone_store_id, live=settings.portone_live)
        # Good for these looks. To send, the sentry must have written down or read what is to be looked at first.
        acceptance.refuse("the database is not written down yet")
        portone = portone_client(settings, clock)
        await stack.enter_async_context(portone)
        yield Daemon(settings, database, portone, clock, alone=alone, acceptance=acceptance)


def ours(settings: Settings) -> Ours:
    """Whose database is wanted."""
    return Ours(settings.deployment, settings.portone_live)


def pool_limits(settings: Settings) -> db.PoolLimits:
    """The pools' bounds."""
    return db.PoolLimits(
        claims_max=settings.database_pool_claims_max,
        outcomes_max=settings.database_pool_outcomes_max,
        command_seconds=settings.database_command_timeout_seconds,
    )


def portone_client(settings: Settings, clock: SystemClock) -> PortOneClient:
    """The way to PortOne. Its deadlines are counted by a clock that runs while the machine sleeps."""
    return PortOneClient(
        client_options(settings),
        host_time=lambda: clock.now() + timedelta(seconds=clock.skew_seconds),
        seconds=clock.monotonic,
    )


def client_options(settings: Settings) -> ClientOptions:
    """How PortOne is reached. Looks share the connections with charges and come on top of them."""
    return ClientOptions(
        base_url=settings.portone_base_url,
        api_secret=settings.portone_api_secret,
        store_id=settings.portone_store_id,
        connect_seconds=settings.portone_connect_seconds,
        write_seconds=settings.portone_write_seconds,
        read_seconds=settings.portone_read_seconds,
        look_read_seconds=settings.portone_look_read_seconds,
        connections_max=settings.portone_in_flight_max + settings.reconcile_batch_max,
        resend_window_seconds=settings.send_window_seconds,
        requests_per_second=settings.portone_requests_per_second,
        burst=settings.portone_burst,
    )


def charging_rules(settings: Settings) -> ChargingRules:
    """The bounds that the rules decide within."""
    return ChargingRules(
        store_id=settings.portone_store_id,
        live=settings.portone_live,
        fruitless_claims_max=settings.fruitless_claims_max,
        clock_skew_max=timedelta(seconds=settings.clock_skew_max_seconds),
        at_work_for=timedelta(seconds=settings.longest_charge_seconds),
        resend_until=timedelta(seconds=settings.resend_until_seconds),
        void_after=timedelta(seconds=settings.void_after_seconds),
        ask_first=timedelta(seconds=settings.ask_first_seconds),
        ask_widest=timedelta(seconds=settings.ask_widest_seconds),
        verify_after=timedelta(seconds=settings.verify_after_seconds),
        recheck_after=tuple(timedelta(seconds=seconds) for seconds in settings.recheck_after_seconds),
    )


def request_body(cycle: ClaimedCycle, *, store_id: str, channel_key: str | None) -> bytes:
    """The exact bytes that charge a cycle."""
    return wire.charge_body(
        store_id=store_id,
        billing_key=cycle.billing_key.reveal(),
        channel_key=channel_key,
        order_name=cycle.order_name,
        customer_id=cycle.customer.customer_id,
        customer_name=cycle.customer.name,
        phone_number=cycle.customer.phone or None,
        email=cycle.customer.email or None,
        subscription_key=cycle.business_key,
        cycle_number=cycle.cycle_number,
        amount=cycle.price,
    )
