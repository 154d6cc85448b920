"""The pages for machines, over real sockets in the loop that they share with everything else."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from billing_worker import web
from billing_worker.telemetry import Metrics


class Answers:
    """What liveness and readiness say, set by the test."""

    def __init__(self) -> None:
        self.alive: dict[str, str] = {}
        self.ready: dict[str, str] = {}
        self.hanging = False

    def liveness(self) -> Mapping[str, str]:
        return self.alive

    async def readiness(self) -> Mapping[str, str]:
        if self.hanging:
            await asyncio.Event().wait()
        return self.ready


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(answers: Answers, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    app = web.create_app(liveness=answers.liveness, readiness=answers.readiness, registry=metrics.registry)
    async with (
        web.serve(app, "127.0.0.1:0") as address,
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as asking,
    ):
        yield asking


async def test_a_daemon_without_problems_is_live_and_ready(client: httpx.AsyncClient) -> None:
    live, ready = await client.get("/livez"), await client.get("/readyz")

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert ready.headers["cache-control"] == "no-store"


async def test_problems_are_named(client: httpx.AsyncClient, answers: Answers) -> None:
    answers.alive = {"charger": "last ran 95 s ago"}
    answers.ready = {"database": "schema 3 is older than 4"}

    live, ready = await client.get("/livez"), await client.get("/readyz")

    assert (live.status_code, live.json()["problems"]) == (503, answers.alive)
    assert (ready.status_code, ready.json()["problems"]) == (503, answers.ready)


async def test_a_database_that_does_not_answer_makes_unready_but_not_dead(
    client: httpx.AsyncClient, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "READINESS_SECONDS", 0.05)
    answers.hanging = True

    ready, live = await client.get("/readyz"), await client.get("/livez")

    assert ready.status_code == 503
    assert "no answer within" in ready.json()["problems"]["readiness"]
    assert live.status_code == 200


async def test_metrics_are_shown_in_both_formats(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.charges.labels(outcome="paid").inc(3)

    plain = await client.get("/metrics")
    open_metrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert 'billing_charges_total{outcome="paid"} 3.0' in plain.text
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_metrics.text.endswith("# EOF\n")
    assert "process_resident_memory_bytes" in plain.text
    assert "_created" not in plain.text


async def test_nothing_else_is_served_and_nothing_is_changed(client: httpx.AsyncClient) -> None:
    root, posted = await client.get("/"), await client.post("/livez")

    assert root.status_code == 404
    assert posted.status_code == 405
    assert "server" not in posted.headers


async def test_signals_stay_the_daemons(answers: Answers, metrics: Metrics) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    app = web.create_app(liveness=answers.liveness, readiness=answers.readiness, registry=metrics.registry)

    async with web.serve(app, "127.0.0.1:0"):
        during = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert during == before


async def test_an_address_in_use_is_an_error_that_can_be_caught(answers: Answers, metrics: Metrics) -> None:
    app = web.create_app(liveness=answers.liveness, readiness=answers.readiness, registry=metrics.registry)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with web.serve(app, f"127.0.0.1:{taken.getsockname()[1]}"):
            pytest.fail("two servers on one port")


async def test_a_page_that_hangs_does_not_keep_the_daemon_from_stopping(
    answers: Answers, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "READINESS_SECONDS", 600)
    monkeypatch.setattr(web, "SHUTDOWN_SECONDS", 1)
    answers.hanging = True
    app = web.create_app(liveness=answers.liveness, readiness=answers.readiness, registry=metrics.registry)

    async with asyncio.timeout(10):
        async with web.serve(app, "127.0.0.1:0") as address:
            host, port = address.split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            await writer.drain()
        writer.close()


async def test_an_ipv6_address_stands_in_brackets(answers: Answers, metrics: Metrics) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    app = web.create_app(liveness=answers.liveness, readiness=answers.readiness, registry=metrics.registry)

    async with web.serve(app, "[::1]:0") as address, httpx.AsyncClient(trust_env=False) as asking:
        answer = await asking.get(f"http://{address}/livez")

    assert address.startswith("[::1]:")
    assert answer.status_code == 200
