"""One build per thumbnail, whichever threads and processes ask for it at the same moment.

A lock is on one byte of one file, at a place that the thumbnail's address decides: any number of thumbnails needs one
file, nothing has to be cleaned up, and a process that dies releases all its locks. Locking and releasing cost two calls
to the file system, neither of which opens or looks at anything (a lock file per stripe, by filelock, costs one open
and three stats a build, and makes unrelated thumbnails wait for each other). A lock saves work and nothing else:
without it two builders write the same bytes, each whole, one after the other. So every wait is bounded, and a home that
cannot be written costs locks across processes, never a thumbnail.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 10.0
"""Longer than any build of a usual size; a process that holds a lock for longer may be stopped."""

_LOOK_EVERY_S = 0.01

# Record locks belong to the process, and closing *any* descriptor of the file releases all of them (fcntl(2)). So there
# is one descriptor per file and process, which is never closed, and what threads hold is kept track of here.
_held: set[tuple[Path | None, int]] = set()
_released = threading.Condition()
_files: dict[Path, int] = {}


def _forget_in_child() -> None:
    global _released
    _held.clear()
    _released = threading.Condition()


os.register_at_fork(after_in_child=_forget_in_child)


class BuildLocks:
    """Locks on thumbnails.

    Args:
        path: the file that the processes of one user share; None for locks within this process only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @contextlib.contextmanager
    def holding(self, address: str, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Holds the lock of a thumbnail while the context lasts, after waiting for the one who held it.

        Args:
            address: names the thumbnail, the same in all processes.
            patience_s: after so many seconds of waiting it goes on without the lock.
        """
        place = int.from_bytes(hashlib.sha256(address.encode("utf-8", "surrogateescape")).digest()[:7], "big")
        lock = (self._path, place)
        deadline_s = time.monotonic() + patience_s
        with _released:
            is_ours = _released.wait_for(lambda: lock not in _held, patience_s)
            if is_ours:
                _held.add(lock)
        file = self._file() if is_ours else None
        try:
            is_locked = file is not None and _lock(file, place, deadline_s)
            try:
                yield
            finally:
                if is_locked and file is not None:
                    with contextlib.suppress(OSError):
                        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
        finally:
            if is_ours:
                with _released:
                    _held.discard(lock)
                    _released.notify_all()

    def _file(self) -> int | None:
        if self._path is None:
            return None
        with _released:
            if self._path not in _files:
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    _files[self._path] = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                except OSError:
                    return None
            return _files[self._path]


def _lock(file: int, place: int, deadline_s: float) -> bool:
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_LOOK_EVERY_S)
        except OSError:
            return False  # a file system without locks
