"""What the settings come to: the bounds, the rules and the requests that the daemon and the commands hand to the rooms.

Nothing is opened and nothing is sent here.
"""

from collections.abc import Callable
from datetime import time, timedelta

from billing_worker.billing.charging import ChargingRules
from billing_worker.billing.deployment import Ours
from billing_worker.billing.dunning import DunningPolicy
from billing_worker.billing.model import ClaimedCycle
from billing_worker.clock import SystemClock
from billing_worker.portone import wire
from billing_worker.portone.client import ClientOptions, PortOneClient
from billing_worker.settings import Settings
from billing_worker.store import db
from billing_worker.store.db import Executor
from billing_worker.telemetry import Metrics
from billing_worker.workers.charger import ChargerLimits
from billing_worker.workers.collector import CollectorLimits
from billing_worker.workers.comparer import Comparer, ComparerLimits
from billing_worker.workers.feed import Feed, FeedLimits
from billing_worker.workers.findings import Findings
from billing_worker.workers.schedule_comparer import ScheduleComparer, ScheduleComparerLimits
from billing_worker.workers.sweep import Worker

# A pass of a comparison ends within a minute and begins nothing after that; see PASS_SECONDS_MAX of each.
_COMPARING = timedelta(minutes=1)


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
        at_work_for=timedelta(seconds=settings.send_window_seconds + settings.longest_charge_seconds),
        resend_until=timedelta(seconds=settings.resend_until_seconds),
        void_after=timedelta(seconds=settings.void_after_seconds),
        ask_first=timedelta(seconds=settings.ask_first_seconds),
        ask_widest=timedelta(seconds=settings.ask_widest_seconds),
        verify_after=timedelta(seconds=settings.verify_after_seconds),
        recheck_after=tuple(timedelta(seconds=seconds) for seconds in settings.recheck_after_seconds),
        book_near=timedelta(seconds=settings.schedule_near_seconds),
        book_grace=timedelta(seconds=settings.schedule_grace_seconds),
        book_lost_after=timedelta(seconds=settings.schedule_lost_after_seconds),
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


def dunning_policy(settings: Settings) -> DunningPolicy:
    """When a decline is tried again, and when no more."""
    return DunningPolicy.of_days(
        settings.dunning_retry_days, channel_pause=timedelta(seconds=settings.refused_retry_seconds)
    )


def collector_limits(settings: Settings) -> CollectorLimits:
    """How long an attempt is its sender's."""
    return CollectorLimits(
        send_window=timedelta(seconds=settings.send_window_seconds),
        attempt_lease=timedelta(seconds=settings.attempt_lease_seconds),
    )


def charger_limits(settings: Settings) -> ChargerLimits:
    """How much is claimed at once, and for how long."""
    return ChargerLimits(
        in_flight_max=settings.portone_in_flight_max,
        batch_max=settings.claim_batch_max,
        claim_lease=timedelta(seconds=settings.claim_lease_seconds),
        attempt_lease=timedelta(seconds=settings.attempt_lease_seconds),
    )


def pullers(
    settings: Settings,
    claims: Executor,
    portone: PortOneClient,
    clock: SystemClock,
    metrics: Metrics,
    *,
    ring: Callable[[], None],
    actor: str,
) -> dict[str, Worker]:
    """Who asks PortOne what it has beside us, by the names of their sweeps."""
    found = Findings(claims, clock, metrics, ring=ring, actor=actor)
    workers: dict[str, Worker] = {
        "compare": comparer(settings, claims, portone, clock, found),
        "compare_schedules": schedule_comparer(settings, claims, portone, clock, found),
    }
    if settings.feed_source != "off":
        limits = FeedLimits(
            source=settings.feed_source,
            every=timedelta(seconds=settings.feed_seconds),
            overlap=timedelta(seconds=settings.feed_overlap_seconds),
            lease=2 * _page_time(settings),
            skew_max=timedelta(seconds=settings.clock_skew_max_seconds),
        )
        workers["feed"] = Feed(claims, portone, clock, metrics, limits=limits, ring=ring)
    return workers


def comparer(
    settings: Settings, claims: Executor, portone: PortOneClient, clock: SystemClock, findings: Findings
) -> Comparer:
    """Who compares payments."""
    limits = ComparerLimits(
        store_id=settings.portone_store_id,
        at=time.fromisoformat(settings.compare_at),
        back=timedelta(days=settings.compare_days),
        lease=2 * (_COMPARING + _page_time(settings)),
    )
    return Comparer(claims, portone, clock, findings, limits=limits)


def schedule_comparer(
    settings: Settings, claims: Executor, portone: PortOneClient, clock: SystemClock, findings: Findings
) -> ScheduleComparer:
    """Who compares bookings."""
    limits = ScheduleComparerLimits(
        store_id=settings.portone_store_id,
        every=timedelta(seconds=settings.compare_schedules_seconds),
        lead=timedelta(seconds=settings.schedule_lead_seconds),
        lease=2 * (_COMPARING + _page_time(settings)),
    )
    return ScheduleComparer(claims, portone, clock, findings, limits=limits)


def _page_time(settings: Settings) -> timedelta:
    """The longest that one page of a list takes with what is written by it."""
    return timedelta(seconds=settings.longest_look_seconds + 2 * settings.database_command_timeout_seconds)
