"""Images that may still be being written: they wait until their stamp holds still."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Stamp

QUIET_S = 0.15
"""Seconds without a new stamp after which a file counts as whole (if it is not, the decoder notices)."""

_LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class _Waiting:
    stamp: Stamp | None
    since_s: float


class Debounce:
    """The images that wait. Not thread-safe.

    Args:
        stamp_of: returns an image's stamp as it is now; None where it is gone.
    """

    def __init__(self, stamp_of: Callable[[str], Stamp | None]) -> None:
        self._stamp_of = stamp_of
        self._waiting: dict[str, _Waiting] = {}
        self._look_at_s = 0.0

    def add(self, key: str) -> None:
        """Waits for an image that appeared or changed."""
        if key not in self._waiting:
            self._waiting[key] = _Waiting(None, time.monotonic())

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
        for key, waiting in self._waiting.items():
            if waiting.stamp is not None and now_s - waiting.since_s < QUIET_S / 2:
                continue
            try:
                stamp = self._stamp_of(key)
            except ThumbnailError:
                stamp = None  # reconciling the image reports what is wrong
            if stamp is None or (stamp == waiting.stamp and now_s - waiting.since_s >= QUIET_S):
                ready.append(key)
            elif stamp != waiting.stamp:
                waiting.stamp, waiting.since_s = stamp, now_s
        for key in ready:
            del self._waiting[key]
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S
        return ready
