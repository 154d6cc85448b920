"""What the daemon says about itself: log lines and metrics."""

from billing_worker.telemetry.logs import REDACTED, redact_text, start_logging
from billing_worker.telemetry.metrics import Metrics

__all__ = ["REDACTED", "Metrics", "redact_text", "start_logging"]
