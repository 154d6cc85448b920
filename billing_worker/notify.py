"""What systemd is told: ready, stopping, a line of status, and that the watchdog need not bite.

One datagram each (sd_notify(3)). Without NOTIFY_SOCKET nothing is sent. It must never stop the daemon or wait: a
message that systemd does not take is lost, and the watchdog's next one follows.
"""

import os
import socket
from collections.abc import Mapping

# systemd asks for a ping at half of its limit, so that one late ping is no death.
_PINGS_PER_LIMIT = 2
_MICROSECONDS = 1_000_000


class Systemd:
    """The notification socket of the unit that this daemon runs in, if it runs in one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _socket_address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval_seconds = _watchdog_interval_seconds(environ)

    def ready(self, status: str = "") -> bool:
        """Start-up is finished. Says whether systemd took it; so do the others."""
        return self._send("READY=1", f"STATUS={_one_line(status)}" if status else "")

    def stopping(self, status: str = "") -> bool:
        """Shutdown has begun."""
        return self._send("STOPPING=1", f"STATUS={_one_line(status)}" if status else "")

    def watchdog(self) -> bool:
        """The sweeps still move. Send it only after looking."""
        return self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> bool:
        if self._address is None:
            return False
        message = "\n".join(line for line in lines if line)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode(), self._address)
            except OSError:
                return False
        return True


def _socket_address(text: str) -> str | None:
    """A path, or an abstract name, whose @ stands for a NUL byte. Other kinds (vsock) are not for a local daemon."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog_interval_seconds(environ: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear from us; None when it does not watch this program."""
    limit = environ.get("WATCHDOG_USEC", "")
    watched = environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or int(limit) == 0 or (watched and watched != str(os.getpid())):
        return None
    return int(limit) / _MICROSECONDS / _PINGS_PER_LIMIT


def _one_line(text: str) -> str:
    return " ".join(text.split())
