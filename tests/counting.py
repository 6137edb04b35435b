"""How many faults a test tries."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Faults"]


class Faults:
    """Counts what one test does to the program; a test that says nothing tries one.

    Args:
        note: is told of every count.
    """

    def __init__(self, note: Callable[[int], None]) -> None:
        self._note = note

    def try_one(self) -> None:
        """Another one is about to happen."""
        self._note(1)

    def try_several(self, count: int) -> None:
        """So many are about to happen, one after the other or at once."""
        self._note(count)
