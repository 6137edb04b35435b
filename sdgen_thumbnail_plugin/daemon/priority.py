"""Staying out of the way: the watcher runs at low priority, so that generating images does not feel it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

__all__ = ["be_polite", "be_polite_in_this_thread"]

NICENESS = 19
"""Of two cores that others use fully, the watcher at work takes 1 to 2 % then. At 10 it took a tenth."""


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
