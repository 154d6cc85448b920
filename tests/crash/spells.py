"""How long a fault lasts. That is a part of the fault, not a wait for something: what is waited for is polled."""

import asyncio
import contextlib


async def last(seconds: float) -> None:
    """Let so much time pass."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
