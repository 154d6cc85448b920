"""What systemd is told, over real datagram sockets."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_worker.notify import Systemd


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd's, and what NOTIFY_SOCKET calls it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@billing-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listener.settimeout(5)
        yield listener, name


def test_systemd_hears_each_message(listening: tuple[socket.socket, str]) -> None:
    listener, name = listening
    systemd = Systemd({"NOTIFY_SOCKET": name})

    sent = [systemd.ready("due 0\nopen 0"), systemd.watchdog(), systemd.stopping()]

    heard = [listener.recv(1024).decode() for _ in sent]
    assert heard == ["READY=1\nSTATUS=due 0 open 0", "WATCHDOG=1", "STOPPING=1"]
    assert sent == [True] * 3


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "/nowhere/at/all"])
def test_without_systemd_nothing_is_sent_and_nothing_breaks(name: str) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": name})

    assert systemd.ready() is False
    assert systemd.watchdog_interval_seconds is None


def test_a_full_queue_does_not_make_us_wait(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        systemd = Systemd({"NOTIFY_SOCKET": name})

        taken = [systemd.ready("x" * 1000) for _ in range(2000)]

    assert taken[0] is True
    assert taken[-1] is False


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_limit(environ: dict[str, str], seconds: float | None) -> None:
    assert Systemd(environ).watchdog_interval_seconds == seconds
