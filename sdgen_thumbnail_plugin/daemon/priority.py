"""Staying out of the way: the watcher runs at low priority, and returns memory that it does not need any more."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

NICENESS = 19
"""At this value the watcher at work takes 1 to 2 % of two cores that others use fully. At 10 it took a tenth."""


def be_polite() -> None:
    """Lowers this process's priority for processor and disk, as far as the system has such a thing."""
    # Linux divides the processor among sessions first, and the watcher has a session of its own: without this its nice
    # value would rank it against itself alone (sched(7), "The autogroup feature"). In the foreground the session is the
    # terminal's, with all that runs there, and is left alone.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS), "ascii")
    import psutil  # 30 ms, which a host's process need not spend

    with contextlib.suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    if hasattr(psutil, "IOPRIO_CLASS_IDLE"):
        with contextlib.suppress(psutil.Error, OSError):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def be_polite_in_this_thread() -> None:
    """The same for one thread of a process that is not ours, where threads have priorities of their own (Linux)."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            # sched(7): a thread's nice value is its own on Linux, whatever POSIX says.
            os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


_IDLE_S = 10.0  # images that are generated one after the other come more often


def _trim_heap() -> None:
    """glibc keeps what is freed in the middle of its heaps until it is asked (malloc_trim(3)): a few milliseconds."""
    with contextlib.suppress(ImportError, OSError, TypeError, AttributeError):  # no ctypes, or another C library
        import ctypes

        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


class IdleTrim:
    """Returns memory once after the start, and once after each time in which images were made.

    Args:
        trim: does it.
    """

    def __init__(self, trim: Callable[[], None] = _trim_heap) -> None:
        self._trim = trim
        self._images = -1
        self._trim_at_s = math.inf

    def note(self, images: int, now_s: float) -> None:
        """To be called now and then.

        Args:
            images: how many were tried so far.
            now_s: the monotonic clock.
        """
        if images != self._images:
            self._images, self._trim_at_s = images, now_s + _IDLE_S
        elif now_s >= self._trim_at_s:
            self._trim_at_s = math.inf
            self._trim()
