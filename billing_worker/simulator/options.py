"""What a simulated PortOne can be told before it starts: who may call it, which PG stands behind it, how fast it is."""

import re
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Everything that is fixed for one run. `POST /_control/reset` may replace what is not identity.

    The seconds of keys and of late truths pass on the simulated clock; those of slowness and hanging are real ones.
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
    seed: int = 1  # of jitter and of the flaky behaviour

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
