"""Images that may still be being written: they wait until their stamp holds still."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Stamp

QUIET_S = 0.15
"""Seconds without a new stamp after which a file counts as whole (if it is not, the decoder notices)."""

_LOOK_EVERY_S = 0.05


class Debounce:
    """The images that wait. Not thread-safe.

    Args:
        stamp_of: returns an image's stamp as it is now; None where it is gone.
    """

    def __init__(self, stamp_of: Callable[[str], Stamp | None]) -> None:
        self._stamp_of = stamp_of
        self._waiting: dict[str, tuple[Stamp | None, float]] = {}  # the stamp that it has, and since when
        self._look_at_s = 0.0

    def add(self, key: str) -> None:
        """Waits for an image that appeared or changed."""
        self._waiting.setdefault(key, (None, time.monotonic()))

    def drop(self, key: str) -> None:
        """Waits for it no more: something better is known."""
        self._waiting.pop(key, None)

    def due_at_s(self) -> float:
        """When to call ``settled`` next, on the monotonic clock; infinity while nothing waits."""
        return self._look_at_s if self._waiting else math.inf

    def settled(self) -> list[str]:
        """Takes out the images that hold still, or are gone."""
        now_s = time.monotonic()
        if not self._waiting or now_s < self._look_at_s:
            return []
        ready: list[str] = []
        for key, (before, since_s) in self._waiting.items():
            if before is not None and now_s - since_s < QUIET_S / 2:
                continue
            try:
                stamp = self._stamp_of(key)
            except ThumbnailError:
                stamp = None  # reconciling the image reports what is wrong
            if stamp is None or (stamp == before and now_s - since_s >= QUIET_S):
                ready.append(key)
            elif stamp != before:
                self._waiting[key] = stamp, now_s
        for key in ready:
            del self._waiting[key]
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        return ready
