"""Waiting until an image holds still."""

from __future__ import annotations

import math
import time

from sdgen_thumbnail_plugin.daemon.debounce import QUIET_S, Debounce
from sdgen_thumbnail_plugin.errors import AccessDeniedError
from sdgen_thumbnail_plugin.model import Stamp
from support.waiting import wait_for


class Files:
    """Stamps that a test sets."""

    def __init__(self) -> None:
        self.stamps: dict[str, Stamp] = {}
        self.settled: list[str] = []
        self.debounce = Debounce(self.stamp_of)

    def stamp_of(self, key: str) -> Stamp | None:
        if key.startswith("denied"):
            raise AccessDeniedError("permission denied", path=key)
        return self.stamps.get(key)

    def settle(self) -> bool:
        self.settled += self.debounce.settled()
        return bool(self.settled)


def test_an_image_is_settled_when_its_stamp_holds_still() -> None:
    files = Files()
    files.stamps["a.png"] = Stamp(1, 1)
    assert files.debounce.due_at_s() == math.inf
    files.debounce.add("a.png")
    for size in range(2, 6):
        files.settle()
        time.sleep(QUIET_S / 2)
        files.stamps["a.png"] = Stamp(1, size)
    assert not files.settled
    changed_s = time.monotonic()
    wait_for(files.settle)
    assert time.monotonic() - changed_s >= QUIET_S / 2
    assert files.settled == ["a.png"]
    assert files.debounce.due_at_s() == math.inf


def test_an_image_that_is_gone_or_cannot_be_asked_for_does_not_wait() -> None:
    files = Files()
    for key in ("gone.png", "denied.png"):
        files.debounce.add(key)
    assert files.settle()
    assert sorted(files.settled) == ["denied.png", "gone.png"]


def test_an_image_that_is_dropped_is_not_settled() -> None:
    files = Files()
    files.debounce.add("gone.png")
    files.debounce.drop("gone.png")
    files.debounce.drop("another.png")
    assert not files.settle()
