"""One build per thumbnail, however many threads and processes want it at the same moment.

A claim is a lock on one byte of one file, at a place that the thumbnail's address decides. So any number of thumbnails
needs one file, nothing has to be cleaned up, and a process that dies lets go of all its claims. A claim saves work and
nothing else: without it two builders write the same bytes, each whole, one after the other. Hence nobody waits for one
for ever, and a home that cannot be written costs claims across processes, never a thumbnail.
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

__all__ = ["BuildLocks"]

PATIENCE_S = 10.0
"""Longer than any build of a usual size; whoever holds a claim for longer may be stopped, and is not waited for."""

_LOOK_EVERY_S = 0.01

# Record locks belong to the process, and closing *any* descriptor of the file gives all of them up (fcntl(2)). So there
# is one descriptor per file and process, never closed, and what threads hold is kept track of here.
_held: set[tuple[Path | None, int]] = set()
_let_go = threading.Condition()
_files: dict[Path, int | None] = {}


def _begin_anew_in_child() -> None:
    global _let_go
    _held.clear()
    _let_go = threading.Condition()


os.register_at_fork(after_in_child=_begin_anew_in_child)


class BuildLocks:
    """BuildLocks on thumbnails.

    Args:
        path: the file that the processes of one user share; None for claims within this process only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @contextlib.contextmanager
    def claiming(self, address: str, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Holds the claim on a thumbnail while the context lasts, after waiting for whoever held it.

        Args:
            address: names the thumbnail, the same in all processes.
            patience_s: after so many seconds of waiting it goes on without the claim.
        """
        place = int.from_bytes(hashlib.sha256(address.encode("utf-8", "surrogateescape")).digest()[:7], "big")
        claim = (self._path, place)
        deadline_s = time.monotonic() + patience_s
        with _let_go:
            mine = _let_go.wait_for(lambda: claim not in _held, patience_s)
            if mine:
                _held.add(claim)
        file = self._file() if mine else None
        try:
            locked = file is not None and _lock(file, place, deadline_s)
            try:
                yield
            finally:
                if locked and file is not None:
                    with contextlib.suppress(OSError):
                        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
        finally:
            if mine:
                with _let_go:
                    _held.discard(claim)
                    _let_go.notify_all()

    def _file(self) -> int | None:
        if self._path is None:
            return None
        with _let_go:
            if self._path not in _files:
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    _files[self._path] = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                except OSError:
                    _files[self._path] = None
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
