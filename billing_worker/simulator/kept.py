"""Kept lists: the last of each kind, so that a reader of a hundred pages does not have it sorted a hundred times."""

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from billing_worker.simulator.bank import Payment
from billing_worker.simulator.schedules import Schedule

T = TypeVar("T")


class Kept(Generic[T]):
    """The last list that was made, for whoever asks for the same one before anything changes."""

    def __init__(self) -> None:
        self._key: object = None
        self._found: list[T] = []

    def list(self, key: object, make: Callable[[], list[T]]) -> list[T]:
        """The list of this key, made anew if it is not the last one."""
        if key != self._key:
            self._found, self._key = make(), key
        return self._found


class KeptLists:
    """What one world keeps."""

    def __init__(self) -> None:
        self.schedules: Kept[Schedule] = Kept()
        self.payments: Kept[Payment] = Kept()
        self.by_creation: Kept[tuple[datetime, str]] = Kept()
