"""A database of a worker to whom something happens between two of its statements."""

from collections.abc import Awaitable, Callable
from typing import Any


class Interrupted:
    """A database, and what happens once before one of its statements."""

    def __init__(self, claims: Any, before: str, meanwhile: Callable[[], Awaitable[Any]]) -> None:
        self._claims = claims
        self._before = before
        self._meanwhile: Callable[[], Awaitable[Any]] | None = meanwhile

    async def fetch(self, name: str, *arguments: object) -> Any:
        """The statement's rows; before the first one of that name it happens."""
        if name == self._before and self._meanwhile:
            once, self._meanwhile = self._meanwhile, None
            await once()
        return await self._claims.fetch(name, *arguments)
