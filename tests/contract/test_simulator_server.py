"""Serving: a free port, a URL when ready, and an orderly end."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from billing_worker.simulator.app import SimulatorOptions
from billing_worker.simulator.server import in_background, serve

OPTIONS = SimulatorOptions("practice-secret", "store-practice")

AUTHORIZATION = "Authorization: PortOne practice-secret"

PROGRAM = """
from billing_worker.simulator.app import SimulatorOptions
from billing_worker.simulator.server import run
run(SimulatorOptions("practice-secret", "store-practice"), port=0, ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


async def test_it_says_its_url_when_it_listens_and_ends_when_cancelled():
    urls = asyncio.Queue()
    serving = asyncio.create_task(serve(OPTIONS, port=0, ready=urls.put_nowait))

    url = await asyncio.wait_for(urls.get(), 10)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/_control/truth")
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert answer.status_code == 200
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_although_a_call_hangs(number):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], **pipes, text=True) as program, _hanging(program):
        program.send_signal(number)
        said, complained = program.communicate(timeout=10)

    assert (said.strip(), complained, program.returncode) == ("ended", "", 0)


@contextlib.contextmanager
def _hanging(program):
    """A client that stays on the line while the simulator says nothing."""
    url = httpx.URL(program.stdout.readline().strip())
    body = json.dumps({"billingKey": "bk-hang-1", "orderName": "a", "amount": {"total": 1}, "currency": "KRW"})
    head = f"POST /payments/a1/billing-key HTTP/1.1\r\nContent-Length: {len(body)}\r\n{AUTHORIZATION}"
    with socket.create_connection((url.host, url.port)) as line:
        line.sendall(f"{head}\r\n\r\n{body}".encode())
        query = {"stage": "hanging", "at_least": 1, "wait_seconds": 10}
        assert httpx.get(f"{url}/_control/inflight", params=query).json()["came_true"]
        yield


def test_two_simulators_in_one_program_know_nothing_of_each_other():
    with in_background(OPTIONS) as first, in_background(OPTIONS) as second:
        httpx.post(f"{first}/_control/scripts", json={"behaviour": "401"})

        assert httpx.get(f"{second}/_control/scripts").json() == {"scripts": []}


def test_the_options_refuse_what_could_never_be_called_and_hide_the_secret():
    for wrong in ({"api_secret": ""}, {"api_secret": "비밀"}, {"store_id": ""}, {"pg": "KCP"}, {"latency_ms": -1}):
        with pytest.raises(ValueError, match=r"."):
            SimulatorOptions(**{"api_secret": "practice-secret", "store_id": "store", **wrong})
    assert "practice-secret" not in repr(OPTIONS)


def test_it_ends_with_nothing_open_after_webhooks_were_sent():
    told = 'SimulatorOptions("practice-secret", "store-practice", webhook_urls=("http://127.0.0.1:9/hook",))'
    program_text = PROGRAM.replace('SimulatorOptions("practice-secret", "store-practice")', told)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program_text], **pipes, text=True) as program:
        url = program.stdout.readline().strip()
        body = {"billingKey": "bk-ok-1", "orderName": "a", "amount": {"total": 1}, "currency": "KRW"}
        httpx.post(f"{url}/payments/a1/billing-key", json=body, headers={"Authorization": "PortOne practice-secret"})
        assert httpx.get(f"{url}/_control/webhooks", params={"wait_seconds": 10}).json()["is_idle"]
        program.send_signal(signal.SIGTERM)
        said, complained = program.communicate(timeout=10)

    assert (said.strip(), complained, program.returncode) == ("ended", "", 0)
