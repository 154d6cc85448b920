"""How fast requests may leave: a token bucket on the loop's clock. It delays, and decides nothing about any charge."""

import asyncio

# PortOne's Retry-After is a wish of seconds; one wrong header must not stop the collection for a day.
PAUSE_SECONDS_MAX = 300.0


class TokenBucket:
    """A bucket of at most `burst` tokens that gains `rate` tokens a second. Waiters are served in their order."""

    def __init__(self, *, rate: float, burst: int) -> None:
        """A full bucket. Raises ValueError where it could never give a token."""
        if not rate > 0 or burst < 1:
            raise ValueError("the rate must be above 0 a second and the burst at least 1")
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        # Before the first take the bucket is full whatever the clock says. A pause puts this into the future.
        self._filled_at = float("-inf")
        self._turn = asyncio.Lock()

    def available(self) -> int:
        """How many tokens could be taken now without waiting."""
        if self._turn.locked():
            return 0
        self._fill()
        return int(self._tokens)

    async def take(self, *, before: float | None = None) -> bool:
        """Take one token, waiting for it; False where none can be had before the loop time `before`."""
        loop = asyncio.get_running_loop()
        if before is not None and loop.time() >= before:
            return False
        if not self._turn.locked() and self._take_now():
            return True
        try:
            async with asyncio.timeout_at(before), self._turn:
                while not self._take_now():
                    await self._refilled()
        except TimeoutError:
            return False
        return True

    def pause(self, seconds: float) -> None:
        """Give no token for that long, and start empty afterwards: PortOne said that we are too fast."""
        self._fill()
        until = asyncio.get_running_loop().time() + min(max(seconds, 0.0), PAUSE_SECONDS_MAX)
        self._filled_at = max(self._filled_at, until)
        self._tokens = 0.0

    def _take_now(self) -> bool:
        self._fill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now

    async def _refilled(self) -> None:
        paused_seconds = max(0.0, self._filled_at - asyncio.get_running_loop().time())
        await asyncio.sleep(paused_seconds + (1.0 - self._tokens) / self._rate)
