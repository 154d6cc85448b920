"""What a simulated PortOne can be told before it starts: who may call it, which PG stands behind it, how fast it is."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Literal

# It protects nothing: whoever reaches the simulator may also ask its control address.
PRACTICE_WEBHOOK_SECRET = "whsec_c2ltdWxhdG9yLXdlYmhvb2stc2VjcmV0"  # noqa: S105

SECONDS_MAX = 366 * 24 * 60 * 60  # of what is put off; what is put off further never comes in any test


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Everything that is fixed for one run. `POST /_control/reset` may replace what is not identity.

    The seconds of keys, of late truths, of schedules and between webhooks pass on the simulated clock; those of
    slowness, of hanging and of a webhook's time-out are real ones.
    """

    api_secret: str = field(repr=False)
    store_id: str
    channel_keys: tuple[str, ...] = ()  # empty: any channelKey is taken
    pg: Literal["KPN", "OTHER"] = "KPN"
    is_test: bool = True  # the channel's type in answers: TEST or LIVE
    latency_ms: float = 0.0
    jitter_ms: float = 0.0  # added to the latency, evenly between nothing and this
    key_memory_seconds: float = 10_800.0  # PortOne's three hours
    attempt_cap: int = 20  # PortOne has a cap and does not publish it
    slow_seconds: float = 3.0
    hang_seconds: float = 120.0
    late_success_seconds: float = 600.0
    invisible_seconds: float = 30.0
    retry_after_seconds: int = 1
    paid_check_is_atomic: bool = True  # False lets two simultaneous tries of one paymentId both succeed
    request_log_size: int = 10_000
    body_bytes_max: int = 1_000_000  # far above any request of the contract
    seed: int = 1  # of jitter, of the flaky behaviour and of what befalls webhooks
    firing_late_seconds: float = 60.0
    started_seconds: float = 60.0
    # What a revoked schedule still keeps its paymentId from. PortOne does not say.
    revoked_schedules_block: Literal["nothing", "bookings", "everything"] = "nothing"
    webhook_urls: tuple[str, ...] = ()  # empty: nothing is sent, but to a request's own noticeUrls
    webhook_secrets: tuple[str, ...] = field(default=(PRACTICE_WEBHOOK_SECRET,), repr=False)  # two while they change
    webhook_version: Literal["2024-04-25", "2024-01-01"] = "2024-04-25"
    webhook_as_form: bool = False  # of 2024-01-01 alone
    webhook_clock: Literal["simulated", "real"] = "simulated"  # the one that webhook-timestamp is read from
    webhook_minute_seconds: float = 60.0  # the unit of the waits between sends
    webhook_timeout_seconds: float = 30.0
    webhook_queue_size: int = 10_000
    webhook_log_size: int = 10_000
    webhook_loss: float = 0.0  # the share that is never sent
    webhook_duplication: float = 0.0  # the share that is sent twice
    webhook_delay: float = 0.0  # the share that is sent up to webhook_delay_seconds late, and so out of order
    webhook_delay_seconds: float = 600.0
    webhook_forgery: float = 0.0  # the share that a forged one comes with

    def __post_init__(self) -> None:
        """Refuse what could not be called or would never answer. Raises ValueError."""
        if re.fullmatch(r"[\x21-\x7e]+", self.api_secret) is None:
            raise ValueError("api_secret must be printable ASCII without spaces: it travels in a header")
        if not self.store_id:
            raise ValueError("store_id must not be empty")
        if self.pg not in ("KPN", "OTHER"):
            raise ValueError("pg must be KPN or OTHER")
        if self.attempt_cap < 1 or self.request_log_size < 1 or self.body_bytes_max < 1:
            raise ValueError("attempt_cap, request_log_size and body_bytes_max must be at least 1")
        if min(self.latency_ms, self.jitter_ms, self.slow_seconds, self.hang_seconds) < 0:
            raise ValueError("latency and seconds must not be negative")
        if min(self.key_memory_seconds, self.late_success_seconds, self.invisible_seconds) < 0:
            raise ValueError("latency and seconds must not be negative")
        if not all(0 <= seconds <= SECONDS_MAX for seconds in (self.firing_late_seconds, self.started_seconds)):
            raise ValueError(f"firing_late_seconds and started_seconds must be from 0 to {SECONDS_MAX}")
        if self.revoked_schedules_block not in ("nothing", "bookings", "everything"):
            raise ValueError("revoked_schedules_block must be nothing, bookings or everything")
        self._refuse_webhooks()

    def _refuse_webhooks(self) -> None:
        if not all(re.fullmatch(r"https?://[^\s]+", url) for url in self.webhook_urls):
            raise ValueError("webhook_urls must begin with http:// or https://")
        if not 1 <= len(self.webhook_secrets) <= 2 or not all(map(_is_secret, self.webhook_secrets)):
            raise ValueError("webhook_secrets must be one or two, each whsec_ and base64")
        if self.webhook_version not in ("2024-04-25", "2024-01-01"):
            raise ValueError("webhook_version must be 2024-04-25 or 2024-01-01")
        if self.webhook_as_form and self.webhook_version != "2024-01-01":
            raise ValueError("webhook_as_form goes with webhook_version 2024-01-01 only")
        if self.webhook_clock not in ("simulated", "real"):
            raise ValueError("webhook_clock must be simulated or real")
        shares = (self.webhook_loss, self.webhook_duplication, self.webhook_delay, self.webhook_forgery)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError("shares of webhooks must be from 0 to 1")
        if not all(0 <= it <= SECONDS_MAX for it in (self.webhook_minute_seconds, self.webhook_delay_seconds)):
            raise ValueError(f"webhook_minute_seconds and webhook_delay_seconds must be from 0 to {SECONDS_MAX}")
        if not 0 < self.webhook_timeout_seconds <= SECONDS_MAX:
            raise ValueError(f"webhook_timeout_seconds must be above 0, and at most {SECONDS_MAX}")
        if self.webhook_queue_size < 1 or self.webhook_log_size < 1:
            raise ValueError("webhook_queue_size and webhook_log_size must be at least 1")


def _is_secret(secret: str) -> bool:
    try:
        return bool(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        return False
