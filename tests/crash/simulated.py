"""The shipped simulator in a process of its own, and its control address."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

import httpx

from tests.crash.doomed_worker import die_with_parent

STORE_ID = "store-crash"
API_SECRET = "crash-test-secret"

# Every request of a test is compared, so none may fall out of the log.
REQUEST_LOG_SIZE = 500_000

Json = dict[str, Any]


class Simulated:
    """A PortOne that keeps the truth."""

    def __init__(self) -> None:
        command = ["simulator", "--port", "0", "--api-secret", API_SECRET, "--store-id", STORE_ID, "--json"]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "billing_worker", *command],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one call of the kernel, and no lock
        )
        assert self._server.stdout is not None
        self.url: str = json.loads(self._server.stdout.readline())["url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._server.terminate()
        self._server.wait()

    async def reset(self, **options: object) -> None:
        """Begin a new world, with these options changed; the others are what they were."""
        await self._post("/reset", {"options": {"request_log_size": REQUEST_LOG_SIZE} | options})

    async def truth(self) -> Json:
        """Every charge really made, every overlap, every violation."""
        return await self._get("/truth")

    async def payment(self, payment_id: str) -> Json:
        """Every try on one payment."""
        return await self._get(f"/truth/{payment_id}")

    async def posts(self, since: int = 0) -> list[Json]:
        """Every charge and booking that was asked for, in the order of arrival."""
        found = (await self._get("/requests", since=since))["requests"]
        return [one for one in found if one["method"] == "POST"]

    async def schedules(self) -> list[Json]:
        """Every schedule, in the order they were made."""
        found: list[Json] = (await self._get("/schedules"))["schedules"]
        return found

    async def console(self, path: str, **asked: object) -> Json:
        """Do what a merchant's people do in PortOne's console, such as /schedules/fire."""
        return await self._post(path, asked)

    async def asked(self, method: str) -> list[Json]:
        """Every request of one method, in the order of arrival."""
        return [one for one in (await self._get("/requests"))["requests"] if one["method"] == method]

    async def advance(self, seconds: float, *, ahead_seconds: float) -> None:
        """Move its clock forward; what was to happen meanwhile happens. Its Date header is so much ahead then."""
        await self._post("/clock", {"advance_seconds": seconds, "date_skew_seconds": ahead_seconds})

    async def script(self, behaviour: str, *, on: str, times: int = 1) -> None:
        """Let the next calls of a kind meet something."""
        await self._post("/scripts", {"behaviour": behaviour, "on": on, "times": times})

    async def webhooks(self, **settings: object) -> Json:
        """Send webhooks as it is told from now on; what became of them so far."""
        await self._post("/webhooks", settings)
        return await self.webhook_counts()

    async def webhook_counts(self) -> Json:
        """What became of webhooks so far."""
        counts: Json = (await self._get("/webhooks"))["counts"]
        return counts

    async def posted(self) -> int:
        """How many charges were asked for so far."""
        return int((await self._get("/truth", summary=1))["counters"]["posts"])

    async def in_flight(self, at_least: int, wait_seconds: float, stage: str | None = None) -> int:
        """How many requests are there, once that many are or the wait is over."""
        wanted = {"at_least": at_least, "wait_seconds": wait_seconds} | ({"stage": stage} if stage else {})
        return int((await self._get("/inflight", **wanted))["count"])

    async def hold(self, at: str, billing_key_prefix: str = "") -> int:
        """Shut a gate, before_charge or after_charge."""
        asked = {"at": at} | ({"billing_key_prefix": billing_key_prefix} if billing_key_prefix else {})
        return int((await self._post("/hold", asked))["hold_id"])

    async def release(self) -> None:
        """Open every gate."""
        await self._post("/release", {})

    async def _get(self, path: str, **query: object) -> Json:
        async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
            return _answer(await client.get(f"{self.url}/_control{path}", params=query))  # type: ignore[arg-type]

    async def _post(self, path: str, asked: Mapping[str, object]) -> Json:
        async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
            return _answer(await client.post(f"{self.url}/_control{path}", json=asked))


def _answer(response: httpx.Response) -> Json:
    response.raise_for_status()
    answer: Json = response.json()
    return answer
