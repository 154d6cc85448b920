"""The PortOne twin keeps the contract's rules, told by what a worker would see."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.simulation.loop import Host
from tests.simulation.portone_books import STORE_ID, PortOneBooks
from tests.simulation.portone_cards import Temper
from tests.simulation.portone_transport import TwinTransport
from tests.simulation.portone_twin import KEY_MEMORY, PortOneTwin
from tests.simulation.scenario import START
from tests.simulation.store_twin import StoreTwin
from tests.simulation.watch import Watch
from tests.simulation.world import World

PAYMENT_ID = "rb1" + "a" * 27
KEY = f"{PAYMENT_ID}-g0001"


class Bench:
    """A twin with one card, and a host that asks it without a worker."""

    def __init__(self, *, soft: float = 0.0, atomic: bool = True) -> None:
        self.world = World(1, START, aims=(), rates=())
        self.books = PortOneBooks()
        self.twin = PortOneTwin(self.world, self.books, atomic=atomic, slow=0.0)
        self.twin.tempers["card"] = Temper(soft=soft)
        watch = Watch(self.world, StoreTwin(primary_now=self.world.primary.now), self.books, send_window_seconds=30.0)
        self.transport = TwinTransport(self.twin, watch, Host("somebody"))

    async def post(self, key: str | None = KEY, *, total: int = 1000) -> httpx.Response:
        body = {"billingKey": "card", "amount": {"total": total}, "currency": "KRW", "storeId": STORE_ID}
        headers = {"Idempotency-Key": f'"{key}"'} if key else {}
        return await self._ask("POST", f"/payments/{PAYMENT_ID}/billing-key", headers, json.dumps(body).encode())

    async def look(self) -> httpx.Response:
        return await self._ask("GET", f"/payments/{PAYMENT_ID}", {}, b"")

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        request = httpx.Request(
            method,
            f"https://api.portone.io{path}",
            headers=headers,
            content=body,
            extensions={"timeout": {"connect": 5.0, "write": 10.0, "read": 65.0}},
        )
        return await self.transport.handle_async_request(request)

    def run(self, play: Callable[["Bench"], Awaitable[object]]) -> None:
        async def main() -> None:
            await play(self)

        self.world.loop.run_until_complete(main())
        self.world.loop.close()


def said(answer: httpx.Response) -> str:
    return str(json.loads(answer.content).get("type", "")) or str(answer.status_code)


def test_the_same_key_gets_the_same_answer_and_no_second_try() -> None:
    bench, answers = Bench(), list[bytes]()

    async def play(bench: Bench) -> None:
        for _ in range(2):
            answers.append((await bench.post()).content)

    bench.run(play)

    assert answers[0] == answers[1]
    assert len(bench.books.executions) == 1


def test_a_decline_is_replayed_too_until_the_key_is_forgotten() -> None:
    bench, answers = Bench(soft=1.0), list[str]()

    async def play(bench: Bench) -> None:
        for pause in (0.0, KEY_MEMORY - 60.0, 120.0):
            await bench.world.pause(pause)
            answers.append(said(await bench.post()))

    bench.run(play)

    assert answers == ["PG_PROVIDER"] * 3
    assert len(bench.books.executions) == 2


def test_a_paid_payment_is_never_paid_again_under_any_key() -> None:
    bench, answers = Bench(), list[str]()

    async def play(bench: Bench) -> None:
        for key in (KEY, f"{PAYMENT_ID}-g0002"):
            answers.append(said(await bench.post(key)))

    bench.run(play)

    assert answers == ["200", "ALREADY_PAID"]
    assert len(bench.books.paid(PAYMENT_ID)) == 1


def test_a_key_in_flight_is_outstanding() -> None:
    bench, answers = Bench(), list[str]()

    async def play(bench: Bench) -> None:
        both = await asyncio.gather(bench.post(), bench.post())
        answers.extend(sorted(said(answer) for answer in both))

    bench.run(play)

    assert answers == ["200", "IDEMPOTENCY_OUTSTANDING_REQUEST"]


def test_other_bytes_under_one_key_are_a_finding() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        await bench.post()
        await bench.post(total=2000)

    bench.run(play)

    assert any("other bytes" in finding for finding in bench.world.findings)


@pytest.mark.parametrize(("atomic", "paid"), [(True, 1), (False, 2)])
def test_two_keys_at_once_pay_twice_only_where_the_paid_check_is_not_atomic(atomic: bool, paid: int) -> None:
    bench = Bench(atomic=atomic)

    async def play(bench: Bench) -> None:
        await asyncio.gather(bench.post(), bench.post(f"{PAYMENT_ID}-g0002"))

    bench.run(play)

    assert len(bench.books.paid(PAYMENT_ID)) == paid
    assert any("PAID TWICE" in finding for finding in bench.world.findings) == (paid == 2)
    assert any("two executions" in finding for finding in bench.world.findings)


def test_a_send_without_a_key_or_without_an_intent_is_a_finding() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        await bench.post(None)
        await bench.post()

    bench.run(play)

    assert any("without a key" in finding for finding in bench.world.findings)
    assert any("without an acknowledged intent" in finding for finding in bench.world.findings)


def test_a_look_finds_nothing_until_a_try_has_ended() -> None:
    bench, answers = Bench(), list[str]()

    async def play(bench: Bench) -> None:
        answers.append(said(await bench.look()))
        await bench.post()
        answers.append(json.loads((await bench.look()).content)["status"])

    bench.run(play)

    assert answers == ["PAYMENT_NOT_FOUND", "PAID"]
