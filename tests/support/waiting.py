"""The one way to wait for other threads and processes: for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(
    condition: Callable[[], object], timeout_s: float = 30.0, failure: Callable[[], object] | None = None
) -> None:
    """Returns as soon as the condition holds.

    Args:
        condition: is called every 10 ms, and once more at the deadline.
        timeout_s: 30 by default, because a watcher in its own process gets only what other tests leave of the machine.
        failure: what the test then fails with; the condition itself by default.

    Raises:
        AssertionError: the condition did not hold in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {failure() if failure else condition}"
        time.sleep(0.01)
