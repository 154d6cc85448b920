"""The pace: every time of the worker and of the simulated PortOne, scaled down: a month of dunning takes seconds.

The settings' own relations still hold, or no worker would start. Real values are in config/env.example; none of these
may be used with money.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing_worker.billing.channels import KPN
from billing_worker.demo.stories import HALF_DUE

STORE_ID = "store-demo"

# It protects nothing: whoever reaches the simulator may also ask its control address.
API_SECRET = "demo-secret"  # noqa: S105
WEBHOOK_SECRET = "whsec_ZGVtby13ZWJob29rLXNlY3JldA=="  # noqa: S105 - the same
WEBHOOK_PATH = "/webhooks/portone"

_DAY_SECONDS = 86_400.0

# A worker that is killed is followed up after its lease, and the lease must outlast the window, the longest charge,
# two looks and the writes: 12.5 seconds with what stands below.
_ATTEMPT_LEASE_SECONDS = 13

# PortOne turns a reported failure into a payment before the first recheck, and the first retry comes after that.
LATE_SUCCESS_SECONDS = 0.5
_RECHECK_SECONDS = (1, 3)
_RETRY_SECONDS = (2.5, 3.5, 4.5)

# Of schedule mode: opened and booked days before its time, charged directly where that is nearer than six seconds
# (which must outlast the send window and the longest charge), asked about a second after it.
_LEAD_SECONDS = 3 * _DAY_SECONDS
_NEAR_SECONDS = 6
GRACE_SECONDS = 1.0
_LOST_AFTER_SECONDS = 5

# When the first of them is due, counted from the workers' start, and within how long the others are. All must be booked
# while the first is not near.
_FIRST_DUE_SECONDS = 14.0
_DUE_WITHIN_SECONDS = 9.0

# When somebody changes prices and cancels, whatever is booked by then.
_CHANGES_SECONDS_MAX = 8.0

# A schedule that PortOne charges late, or takes long over.
_SLOW_FIRING_SECONDS = 1.5

# The shares of webhooks that never come and that come twice, and the unit of PortOne's waits before it sends again.
_WEBHOOKS_LOST, _WEBHOOKS_TWICE = 0.2, 0.2
_WEBHOOK_MINUTE_SECONDS = 0.2

# What a call takes: enough that a kill always meets charges that are under way.
_LATENCY_MS = 300.0
_JITTER_MS = 200.0

# In how many seconds the first request of every period would leave, if nothing else did. Looks, retries and rechecks
# are twice as many again, so the charging takes some ten seconds and can be watched.
_FIRST_REQUESTS_SECONDS = 3.0
_REQUESTS_PER_SECOND = (8.0, 400.0)  # of one worker; more than the upper one is a benchmark and no demonstration

# The whole run, set-up aside. A thousand periods take 40 seconds on two cores; whoever asks for more waits longer.
_RUN_SECONDS_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run goes, by how many periods are due and how many workers share them."""

    due: int
    workers: int

    @property
    def requests_per_second(self) -> float:
        """Of one worker."""
        lowest, highest = _REQUESTS_PER_SECOND
        return min(highest, max(lowest, self.due / _FIRST_REQUESTS_SECONDS / self.workers))

    @property
    def stretch(self) -> float:
        """How many times longer than usual the first requests take, because there are so many."""
        return max(1.0, self.due / (self.requests_per_second * self.workers) / _FIRST_REQUESTS_SECONDS)

    @property
    def run_seconds_max(self) -> float:
        """After this the run is stopped, whatever is open."""
        return _RUN_SECONDS_MAX + 10 * self.due / (self.requests_per_second * self.workers)

    @property
    def changes_seconds_max(self) -> float:
        """When prices change and subscriptions are cancelled, counted from the workers' start, at the latest."""
        return _CHANGES_SECONDS_MAX * self.stretch

    @property
    def webhooks_seconds(self) -> float:
        """How long webhooks are on: until half of what is booked is due, which is about half of the run."""
        return self.due_seconds(HALF_DUE)

    def due_seconds(self, share: float) -> float:
        """When a subscription of schedule mode is due, counted from the workers' start."""
        return (_FIRST_DUE_SECONDS + share * _DUE_WITHIN_SECONDS) * self.stretch

    def simulator_options(self) -> Mapping[str, Any]:
        """What the simulated PortOne is told once it serves."""
        return {
            "latency_ms": _LATENCY_MS,
            "jitter_ms": _JITTER_MS,
            "hang_seconds": 6.0,
            "late_success_seconds": LATE_SUCCESS_SECONDS,
            "invisible_seconds": 2.0,
            "firing_late_seconds": _SLOW_FIRING_SECONDS,
            "started_seconds": _SLOW_FIRING_SECONDS,
            "webhook_secrets": [WEBHOOK_SECRET],
            "webhook_loss": _WEBHOOKS_LOST,
            "webhook_duplication": _WEBHOOKS_TWICE,
            "webhook_minute_seconds": _WEBHOOK_MINUTE_SECONDS,
        }

    def worker_settings(self) -> Mapping[str, str]:
        """The settings of a worker, but for the database, PortOne's address and its own name."""
        rate = self.requests_per_second
        burst = max(4, int(rate / 5))
        return {
            "BILLING_PORTONE_STORE_ID": STORE_ID,
            "BILLING_PORTONE_API_SECRET": API_SECRET,
            "BILLING_PORTONE_PG": KPN.pg,
            "BILLING_PORTONE_LIVE": "false",
            "BILLING_PORTONE_CONNECT_SECONDS": "0.5",
            "BILLING_PORTONE_READ_SECONDS": "2",
            "BILLING_PORTONE_LOOK_READ_SECONDS": "1",
            "BILLING_PORTONE_REQUESTS_PER_SECOND": f"{rate:.1f}",
            "BILLING_PORTONE_BURST": str(burst),
            "BILLING_PORTONE_IN_FLIGHT_MAX": str(min(500, max(8, int(rate)))),
            "BILLING_DATABASE_COMMAND_TIMEOUT_SECONDS": "2",
            "BILLING_CLAIM_BATCH_MAX": str(burst),
            "BILLING_CLAIM_LEASE_SECONDS": "5",
            "BILLING_SEND_WINDOW_SECONDS": "1",
            "BILLING_ATTEMPT_LEASE_SECONDS": str(_ATTEMPT_LEASE_SECONDS),
            "BILLING_SWEEP_SECONDS": "0.25",
            "BILLING_ASK_FIRST_SECONDS": "1",
            "BILLING_ASK_WIDEST_SECONDS": "2",
            "BILLING_VERIFY_AFTER_SECONDS": "2",
            "BILLING_RECHECK_AFTER_SECONDS": ",".join(map(str, _RECHECK_SECONDS)),
            "BILLING_DUNNING_RETRY_DAYS": ",".join(f"{seconds / _DAY_SECONDS:.9f}" for seconds in _RETRY_SECONDS),
            "BILLING_REFUSED_RETRY_SECONDS": "1",
            "BILLING_CHANNEL_PAUSE_SECONDS": "1",
            "BILLING_SCHEDULE_LEAD_SECONDS": f"{_LEAD_SECONDS:.0f}",
            "BILLING_SCHEDULE_NEAR_SECONDS": str(_NEAR_SECONDS),
            "BILLING_SCHEDULE_GRACE_SECONDS": f"{GRACE_SECONDS:g}",
            "BILLING_SCHEDULE_LOST_AFTER_SECONDS": str(_LOST_AFTER_SECONDS),
            "BILLING_WEBHOOK_ADDRESS": "127.0.0.1:0",
            "BILLING_WEBHOOK_PATH": WEBHOOK_PATH,
            "BILLING_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "BILLING_SHUTDOWN_GRACE_SECONDS": "20",
            "BILLING_HTTP_ADDRESS": "127.0.0.1:0",
            "BILLING_LOG_FORMAT": "json",
        }
