"""The token bucket: how fast requests may leave."""

import asyncio

import pytest

from billing_worker.portone.limiter import PAUSE_SECONDS_MAX, TokenBucket


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_burst_is_given_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket(rate=200, burst=5)
    started = now()

    for _ in range(5):
        assert await bucket.take()
    burst_seconds = now() - started
    for _ in range(10):
        assert await bucket.take()

    assert burst_seconds < 0.04
    assert now() - started >= 10 / 200 - 0.001


async def test_waiters_together_get_no_more_than_the_rate() -> None:
    bucket = TokenBucket(rate=500, burst=1)
    started = now()

    await asyncio.gather(*(bucket.take() for _ in range(51)))

    assert now() - started >= 50 / 500 - 0.001


async def test_waiters_are_served_in_their_order() -> None:
    bucket = TokenBucket(rate=500, burst=1)
    served: list[int] = []

    async def wait(number: int) -> None:
        await bucket.take()
        served.append(number)

    await asyncio.gather(*(wait(number) for number in range(8)))

    assert served == list(range(8))


async def test_a_newcomer_does_not_overtake_one_who_waits() -> None:
    bucket = TokenBucket(rate=50, burst=1)
    await bucket.take()
    waiter = asyncio.create_task(bucket.take())
    await asyncio.sleep(0)

    refilled_at = now() + 0.03
    while now() < refilled_at:  # the loop is kept busy, so that the waiter cannot wake before the newcomer asks
        continue
    newcomer = await bucket.take(before=now() + 0.005)

    assert not newcomer
    assert await waiter


async def test_available_counts_what_could_be_taken_now() -> None:
    bucket = TokenBucket(rate=0.001, burst=3)
    counts = [bucket.available()]

    await bucket.take()
    counts.append(bucket.available())
    await bucket.take()
    await bucket.take()
    counts.append(bucket.available())

    assert counts == [3, 2, 0]


async def test_a_token_that_would_come_too_late_is_not_waited_for_longer() -> None:
    bucket = TokenBucket(rate=0.01, burst=1)
    await bucket.take()
    started = now()

    taken = await bucket.take(before=started + 0.05)

    assert not taken
    assert 0.04 <= now() - started < 1


async def test_nothing_is_given_once_the_time_is_over() -> None:
    bucket = TokenBucket(rate=100, burst=10)

    assert not await bucket.take(before=now())
    assert bucket.available() == 10


async def test_a_pause_stops_everybody_and_ends_in_no_burst() -> None:
    bucket = TokenBucket(rate=100, burst=50)
    started = now()

    bucket.pause(0.1)
    during = bucket.available()
    for _ in range(5):
        await bucket.take()

    assert during == 0
    assert now() - started >= 0.1 + 5 / 100 - 0.002


async def test_a_pause_stops_those_who_wait_already() -> None:
    bucket = TokenBucket(rate=50, burst=1)
    await bucket.take()
    started = now()
    waiter = asyncio.create_task(bucket.take())
    await asyncio.sleep(0)

    bucket.pause(0.1)
    await waiter

    assert now() - started >= 0.1


async def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    bucket = TokenBucket(rate=100, burst=1)

    bucket.pause(30)
    bucket.pause(0)

    assert not await bucket.take(before=now() + 0.05)


async def test_an_absurd_pause_is_cut() -> None:
    bucket = TokenBucket(rate=1e9, burst=1)

    bucket.pause(1e9)

    assert bucket._filled_at <= now() + PAUSE_SECONDS_MAX


async def test_a_cancelled_waiter_keeps_no_turn() -> None:
    bucket = TokenBucket(rate=100, burst=1)
    await bucket.take()
    waiter = asyncio.create_task(bucket.take())
    await asyncio.sleep(0)

    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)

    assert await bucket.take(before=now() + 1)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0)])
def test_a_bucket_that_never_gives_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate must be above 0"):
        TokenBucket(rate=rate, burst=burst)
