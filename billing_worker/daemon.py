"""The daemon: builds everything once, rings the sweeps, and drains on SIGTERM.

The bells only ring; rows decide. The first SIGTERM ends claiming and lets what is in flight finish and be written;
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

from billing_worker import bounds, telemetry, web, webhooks
from billing_worker.clock import SystemClock
from billing_worker.notify import Systemd
from billing_worker.portone.client import PortOneClient
from billing_worker.portone.webhook import Verifier
from billing_worker.settings import Settings
from billing_worker.settings.fields import webhook_secrets_of
from billing_worker.store import control, db, migrate
from billing_worker.store.db import Database, Executor
from billing_worker.store.deployment import Acceptance
from billing_worker.webhooks import InboxWriter
from billing_worker.workers import fitness
from billing_worker.workers.bells import Bells
from billing_worker.workers.booker import Booker
from billing_worker.workers.charger import Charger, slots_for
from billing_worker.workers.collector import Collector
from billing_worker.workers.gate import SendingGate
from billing_worker.workers.listener import Doorbell, Listener
from billing_worker.workers.reconciler import Reconciler
from billing_worker.workers.renewer import Renewer
from billing_worker.workers.sentry import Alone, Sentry
from billing_worker.workers.settler import Settler
from billing_worker.workers.sweep import Slots, Sweep, Worker
from billing_worker.workers.verdicts import Verdicts
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
        verdicts = self._make_verdicts()
        booker = self._make_booker(portone, verdicts)
        collector = self._make_collector(portone, verdicts, booker)
        self._charger = self._make_charger(portone, collector)
        self._reconciler = Reconciler(
            claims=database.claims,
            outcomes=database.outcomes,
            collector=collector,
            verdicts=verdicts,
            booker=booker,
            gate=self._gate,
            clock=clock,
            slots=self._looks,
            rules=bounds.charging_rules(settings),
            lease=timedelta(seconds=settings.attempt_lease_seconds),
        )
        self._sentry = Sentry(
            alone,
            acceptance,
            self._gate,
            clock,
            self.metrics,
            ours=bounds.ours(settings),
            actor=self.name,
            look_again=database.look_again,
        )
        self._reconcile_bell = Doorbell(lambda: self._sweep("reconcile").ring())
        self._listen_bell = Doorbell(lambda: self._sweep("listen").ring())
        self._sweeps = self._make_sweeps(portone, acceptance)
        self._inbox: InboxWriter | None = None
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
        if self._inbox is not None and self._inbox.broken():
            return {"inbox": "webhooks are no longer kept"}
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
        bells = self._start_bells()
        doorbells = [asyncio.create_task(bell.run()) for bell in (self._reconcile_bell, self._listen_bell)]
        try:
            systemd.ready("collecting")
            log.info("daemon.started", worker=self.name, schema=migrate.newest_version())
            await self._until_stopped(systemd)
            systemd.stopping("finishing what is in flight")
            bells.pause()
            return await self._drain()
        finally:
            bells.stop()
            for doorbell in doorbells:
                doorbell.cancel()
            await self._settler.stop()

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[None]:
        """Take PortOne's webhooks while the block runs, where an address is set for them."""
        settings = self._settings
        if not settings.webhook_address:
            yield
            return
        self._inbox = inbox = InboxWriter(self._database.claims, wake=self._listen_bell.press)
        app = webhooks.create_app(
            Verifier(webhook_secrets_of(settings.webhook_secrets)),
            inbox,
            self._clock,
            self.metrics,
            path=settings.webhook_path,
            store_id=settings.portone_store_id,
            body_bytes_max=settings.webhook_body_bytes_max,
        )
        inbox.start()
        try:
            async with webhooks.serve(app, settings.webhook_address) as address:
                log.info("webhooks.listening", address=address, path=settings.webhook_path)
                yield
        finally:
            await inbox.stop()

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

    def _start_bells(self) -> Bells:
        bells = Bells(self._clock)
        for sweep in self._sweeps:
            watches = sweep.name in {"sentry", "watch"}
            bells.add(sweep.ring, seconds=WATCH_SECONDS if watches else self._settings.sweep_seconds)
        bells.start()
        return bells

    def _make_verdicts(self) -> Verdicts:
        return Verdicts(
            outcomes=self._database.outcomes,
            settler=self._settler,
            clock=self._clock,
            metrics=self.metrics,
            rules=bounds.charging_rules(self._settings),
            policy=bounds.dunning_policy(self._settings),
            actor=self.name,
        )

    def _make_booker(self, portone: PortOneClient, verdicts: Verdicts) -> Booker:
        return Booker(
            portone=portone,
            outcomes=self._database.outcomes,
            verdicts=verdicts,
            clock=self._clock,
            metrics=self.metrics,
            rules=bounds.charging_rules(self._settings),
            gate=self._gate,
            actor=self.name,
        )

    def _make_collector(self, portone: PortOneClient, verdicts: Verdicts, booker: Booker) -> Collector:
        return Collector(
            portone=portone,
            outcomes=self._database.outcomes,
            verdicts=verdicts,
            booker=booker,
            gate=self._gate,
            clock=self._clock,
            metrics=self.metrics,
            rules=bounds.charging_rules(self._settings),
            limits=bounds.collector_limits(self._settings),
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
            rules=bounds.charging_rules(settings),
            limits=bounds.charger_limits(settings),
            request_body=lambda cycle: bounds.request_body(
                cycle, store_id=settings.portone_store_id, channel_key=settings.portone_channel_key
            ),
            sends_available=portone.limiter.available,
            worker=self.name,
        )

    def _sweep(self, name: str) -> Sweep:
        return next(sweep for sweep in self._sweeps if sweep.name == name)

    def _make_sweeps(self, portone: PortOneClient, acceptance: Acceptance) -> list[Sweep]:
        settings, claims = self._settings, self._database.claims
        renewer = Renewer(
            claims,
            store_id=settings.portone_store_id,
            lead=timedelta(seconds=settings.schedule_lead_seconds),
            batch_max=settings.renew_batch_max,
            actor=self.name,
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
            "listen": Listener(
                claims, self._clock, self.metrics, ring=self._reconcile_bell.press, database_moved=acceptance.refusal
            ),
        }
        workers |= bounds.pullers(
            settings, claims, portone, self._clock, self.metrics, ring=self._reconcile_bell.press, actor=self.name
        )
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
        async with web.serve(app, settings.http_address) as address, daemon.hearing():
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

        await fitness.refuse_moved(alone, bounds.ours(settings), acceptance)
        database = await db.connect(
            url, bounds.pool_limits(settings), application_name="billing-worker", admit=acceptance.admit
        )
        stack.push_async_callback(database.close)
        await fitness.refuse_unfit(database, settings.portone_store_id, live=settings.portone_live)
        # Good for these looks. To send, the sentry must have written down or read what is to be looked at first.
        acceptance.refuse("the database is not written down yet")
        portone = bounds.portone_client(settings, clock)
        await stack.enter_async_context(portone)
        yield Daemon(settings, database, portone, clock, alone=alone, acceptance=acceptance)
