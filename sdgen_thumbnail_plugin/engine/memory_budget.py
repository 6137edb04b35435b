"""Memory for decoded images: how many pixels may be in flight, in all threads of a process together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class MemoryBudget:
    """Bounds the memory of all builders together, by the pixels they hold decoded.

    An image that fits never waits for one that does not: those larger than the whole budget take turns in a place of
    their own. So the bound is the budget plus one image of ``max_pixels``, at four bytes a pixel; kinds of images that
    take more while they are decoded ask for more pixels than they have.

    Args:
        budget_pixels: how many pixels may be in flight.
    """

    def __init__(self, budget_pixels: int) -> None:
        self._budget = budget_pixels
        self._free = budget_pixels
        self._giant_inside = False
        self._changed = threading.Condition()

    def _fits(self, pixels: int) -> bool:
        return not self._giant_inside if pixels > self._budget else pixels <= self._free

    @contextlib.contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        """Reserves memory for this many pixels while the context lasts, after waiting for it."""
        giant = pixels > self._budget
        with self._changed:
            self._changed.wait_for(lambda: self._fits(pixels))
            if giant:
                self._giant_inside = True
            else:
                self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                if giant:
                    self._giant_inside = False
                else:
                    self._free += pixels
                self._changed.notify_all()
