"""The PortOne twin keeps the contract's rules, told by what a worker would see."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.simulation.faults import Cell, Fault, Point, Side
from tests.simulation.loop import Host
from tests.simulation.portone_books import STORE_ID, PortOneBooks
from tests.simulation.portone_cards import Temper
from tests.simulation.portone_transport import TwinTransport
from tests.simulation.portone_twin import KEY_MEMORY, PortOneTwin
from tests.simulation.scenario import START
from tests.simulation.store_twin import StoreTwin
from tests.simulation.watch import Watch
from tests.simulation.world import HOUR, Aim, World

PAYMENT_ID = "rb1" + "a" * 27
KEY = f"{PAYMENT_ID}-g0001"
HOST = Host("somebody")


class Bench:
    """A twin with one card, and a host that asks it without a worker."""

    def __init__(self, *, soft: float = 0.0, atomic: bool = True, fault: Fault | None = None, seed: int = 1) -> None:
        aims = [Aim(Cell(Point.POST, Side.AT, fault), nth=1)] if fault else []
        self.world = World(seed, START, aims=aims, rates=())
        self.books = PortOneBooks()
        self.twin = PortOneTwin(self.world, self.books, atomic=atomic, slow=0.0)
        self.twin.tempers["card"] = Temper(soft=soft)
        store = StoreTwin(primary_now=self.world.primary.now)
        self.watch = Watch(self.world, store, self.books, send_window_seconds=30.0)
        self.transport = TwinTransport(self.twin, self.watch, HOST)

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


def test_a_stale_record_says_failed_for_hours_after_the_money_has_moved() -> None:
    bench, answers = Bench(fault=Fault.STALE_RECORD), list[str]()

    async def play(bench: Bench) -> None:
        answers.append(said(await bench.post()))
        for pause in (60.0, 6 * HOUR):
            await bench.world.pause(pause)
            answers.append(json.loads((await bench.look()).content)["status"])

    bench.run(play)

    assert answers == ["200", "FAILED", "PAID"]


def test_a_payment_that_differs_is_somebody_else_s_or_ours_and_each_kind_comes_about() -> None:
    kinds = set()

    for seed in range(150):
        bench = Bench(fault=Fault.DIFFERS, seed=seed)
        bench.run(_post_and_wait_for_a_day)
        [paid] = bench.books.paid(PAYMENT_ID)
        kinds.add((paid.key is None, paid.differs))

    assert kinds == {
        *((True, kind) for kind in ("amount", "currency", "store", "channel", "")),
        *((False, kind) for kind in ("amount", "channel")),
    }


async def _post_and_wait_for_a_day(bench: Bench) -> None:
    await bench.post()
    await bench.world.pause(24 * HOUR)


def test_a_second_send_while_the_first_is_under_way_is_a_finding() -> None:
    bench = Bench()

    async def play(bench: Bench) -> None:
        bench.watch._may_send |= dict.fromkeys([(HOST, KEY)], 0.0)
        bench.watch._shard_of[KEY] = 0
        await asyncio.gather(bench.post(), bench.post())

    bench.run(play)

    assert any("is under way" in finding for finding in bench.world.findings)
