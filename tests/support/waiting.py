"""The one way to wait for other threads and processes: for a condition, with a deadline."""

from __future__ import annotations

import subprocess
import sys
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


def begin_together(code: str, *arguments: str, count: int) -> list[subprocess.Popen[str]]:
    """Starts processes that run the same code, and lets all of them go on at the same moment.

    Args:
        code: prints ``ready``, and then reads a line.
        arguments: its command line.
        count: how many processes.
    """
    command = [sys.executable, "-c", code, *arguments]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return processes
