"""Metrics: every name that /metrics shows, in one place.

Base units, one registry for one daemon, and never a customer, a subscription or a payment in a label: a label's values
must be few, and known when the code is written.
"""

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

BOOKING_OUTCOMES = ("booked", "refused", "no_verdict")
REVOCATION_OUTCOMES = ("done", "already_processed", "already_revoked", "not_found", "refused", "no_verdict")
CHARGE_OUTCOMES = ("paid", "declined", "refused", "no_verdict")

# A card answers within a few seconds, PortOne gives up at about a minute, and we a little after it.
_CHARGE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 90)
_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# Milliseconds when all is well; hours where the database was away and PortOne had to send again.
_WEBHOOK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)
_SWEEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one daemon. Workers count on the attributes; the names are only here."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # A creation time beside every series doubles what is scraped and tells nothing that build_info does not.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._about_charges()
        self._about_what_waits()
        self._about_webhooks()
        self._about_the_pull_side()
        self._about_sweeps()
        self._about_the_daemon()

    def names(self) -> frozenset[str]:
        """The names of all our samples that are exported once every labelled series was used."""
        families = [family for family in self.registry.collect() if family.name.startswith("billing_")]
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
        return frozenset(family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",)))

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"billing_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"billing_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"billing_{name}", about, labels, buckets=buckets, registry=self.registry)

    def _about_charges(self) -> None:
        self.claims = self._counter("claims_total", "Due cycles claimed.")
        self.charges = self._counter(
            "charges_total",
            "Charges tried, by what became of them; no_verdict also where the send window closed before a send.",
            "outcome",
        )
        self.bookings = self._counter(
            "bookings_total", "Bookings tried, by what became of them; as for charges.", "outcome"
        )
        self.revocations = self._counter(
            "revocations_total", "Bookings that PortOne was asked to take back, by what became of it.", "outcome"
        )
        self.booking_seconds = self._histogram(
            "booking_seconds", "From a booking's wait for its turn to its answer.", _CHARGE_SECONDS
        )
        self.settled = self._counter(
            "settled_total", "Attempts settled, by verdict and how it was learnt.", "verdict", "source"
        )
        self.charge_seconds = self._histogram(
            "charge_seconds", "From a charge's wait for its turn to its answer.", _CHARGE_SECONDS
        )
        self.amount_minor = self._counter(
            "amount_minor_total", "Collected, in minor units (won, cents), by currency.", "currency"
        )
        self.looks = self._counter("looks_total", "Looks at PortOne's payments, by what they found.", "result")
        self.resends = self._counter("resends_total", "Same bytes sent again under the same key.")
        self.in_flight = self._gauge("in_flight", "Charges that wait for their turn, for an answer or to be written.")
        self.settle_batch_size = self._histogram(
            "settle_batch_size", "Outcomes written by one transaction.", _BATCH_SIZES
        )
        self.verdicts_waiting = self._gauge("verdicts_waiting", "Outcomes learnt and not yet written.")
        for outcome in CHARGE_OUTCOMES:
            # A series that appears with its first event hides that event from rate().
            self.charges.labels(outcome=outcome)
        for outcome in BOOKING_OUTCOMES:
            self.bookings.labels(outcome=outcome)
        for outcome in REVOCATION_OUTCOMES:
            self.revocations.labels(outcome=outcome)

    def _about_what_waits(self) -> None:
        self.due_backlog = self._gauge("due_backlog", "Cycles that are due and not collected.")
        self.oldest_due_seconds = self._gauge("oldest_due_seconds", "How long the oldest due cycle has been due.")
        self.open_attempts = self._gauge("open_attempts", "Attempts without a verdict.")
        self.oldest_open_attempt_seconds = self._gauge(
            "oldest_open_attempt_seconds", "How long the oldest attempt has been without a verdict."
        )
        self.bookings_to_take_back = self._gauge(
            "bookings_to_take_back", "Bookings that PortOne is still to take back, for a change or a cancellation."
        )
        self.unwanted_charge_in_seconds = self._gauge(
            "unwanted_charge_in_seconds",
            "When PortOne charges the first of them, unless it is taken back; +Inf for none.",
        )
        self.exceptions = self._gauge("exceptions", "Cycles set aside for a person to decide.")

    def _about_webhooks(self) -> None:
        self.webhooks_received = self._counter(
            "webhooks_received_total", "Requests to the webhook address, by what became of them.", "result"
        )
        self.webhooks_read = self._counter("webhooks_read_total", "Hints read, by what they came to.", "result")
        self.webhooks_unread = self._gauge("webhooks_unread", "Hints that are kept and not yet read.")
        self.webhook_seconds = self._histogram(
            "webhook_seconds", "From a webhook's arrival to the order of its look.", _WEBHOOK_SECONDS
        )

    def _about_the_pull_side(self) -> None:
        self.feed_changes = self._counter(
            "feed_changes_total", "Changes at PortOne that speak of a payment of ours, by what they came to.", "result"
        )
        self.feed_reached = self._gauge(
            "feed_reached_timestamp_seconds", "Up to when PortOne's changes have been read from here, in Unix time."
        )
        self.differences = self._gauge(
            "differences", "In what PortOne's books and ours differ, by class; counted every half minute.", "class"
        )
        self.comparisons = self._counter(
            "comparisons_total", "Comparisons with PortOne's books that were made whole.", "of"
        )

    def _about_sweeps(self) -> None:
        self.sweep_runs = self._counter("sweep_runs_total", "Sweeps that ended well.", "sweep")
        self.sweep_failures = self._counter("sweep_failures_total", "Sweeps that ended with an error.", "sweep")
        self.sweep_seconds = self._histogram(
            "sweep_seconds", "How long a sweep that ended well took.", _SWEEP_SECONDS, "sweep"
        )
        self.sweep_last_run = self._gauge(
            "sweep_last_run_timestamp_seconds", "When a sweep last ended well, in Unix time.", "sweep"
        )

    def _about_the_daemon(self) -> None:
        self.clock_skew_seconds = self._gauge("clock_skew_seconds", "The host's clock minus the primary's.")
        self.database_failovers = self._counter(
            "database_failovers_total", "Times that the database had lost, or may have lost, its last commits."
        )
        self.sending_halted = self._gauge("sending_halted", "1 while nothing is sent to PortOne, by reason.", "reason")
        build = Info("billing_build", "What runs here.", registry=self.registry)
        build.info({"version": _version(), "python": platform.python_version()})


def _version() -> str:
    try:
        return version("billing-worker")
    except PackageNotFoundError:
        return "unknown"  # run from a tree that was never installed
