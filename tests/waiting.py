"""Waiting for something that other threads or processes do: for a condition, with a deadline, never for luck."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Returns as soon as the condition holds; fails the test if it does not within so many seconds. They are many,
    because a watcher in a process of its own gets only what is left of a machine that runs other tests."""
    deadline_s = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout} s: {condition}"
        time.sleep(0.01)
