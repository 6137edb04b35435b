"""Staying out of the way: the watcher runs at low priority, so that generating images does not feel it."""

from __future__ import annotations

import contextlib
import os

import psutil

__all__ = ["be_polite"]

NICENESS = 10


def be_polite() -> None:
    """Lowers this process's priority for processor and disk, as far as the system has such a thing."""
    with contextlib.suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    if hasattr(psutil, "IOPRIO_CLASS_IDLE"):
        with contextlib.suppress(psutil.Error, OSError):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
