"""The operating system's own notifications for one folder, through watchdog, and what watchdog does not report: folders
without a watch, threads that died, events that were lost.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from sdgen_thumbnail_plugin.daemon.hints import Hint, hint_from


def _wanted_events() -> list[type[events.FileSystemEvent]]:
    """Everything but opening and reading: those double the load, and make watchdog 7.1 loop for ever on overflow."""
    names = (
        "FileCreatedEvent", "FileModifiedEvent", "FileAttribEvent", "FileMovedEvent", "FileDeletedEvent",
        "FileClosedEvent", "DirCreatedEvent", "DirModifiedEvent", "DirAttribEvent", "DirMovedEvent", "DirDeletedEvent",
    )  # fmt: skip
    return [getattr(events, name) for name in names if hasattr(events, name)]


class NativeObserver(events.FileSystemEventHandler):
    """Watches one folder.

    Args:
        root: the folder, watched with all below it.
        put: gets the hints; called in watchdog's thread.

    Attributes:
        events: how many events came, whether or not they were worth a hint.
    """

    def __init__(self, root: Path, put: Callable[[Hint], None]) -> None:
        self.events = 0
        self._root = root
        self._put = put
        self._observer: BaseObserver | None = None
        self._root_changed = threading.Event()

    def start(self) -> None:
        """Begins to watch. Raises ``OSError``: no watches (28) or no instances (24) left, or no such folder."""
        observer = Observer()
        schedule = functools.partial(observer.schedule, self, str(self._root), recursive=True)
        if "event_filter" in inspect.signature(observer.schedule).parameters:  # from watchdog 4.0 on
            schedule = functools.partial(schedule, event_filter=_wanted_events())
        try:
            schedule()
            observer.start()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                observer.stop()
            raise
        self._observer = observer

    def dispatch(self, event: events.FileSystemEvent) -> None:
        """Called by watchdog for every event."""
        self.events += 1
        if event.is_directory and os.fsdecode(event.src_path) == str(self._root):
            self._root_changed.set()
        hint = hint_from(event, str(self._root))
        if hint is not None:
            self._put(hint)

    def stop(self, timeout_s: float = 2.0) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            with contextlib.suppress(KeyError, OSError, RuntimeError):  # watchdog's own bookkeeping of watches may fail
                observer.stop()
            observer.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether all its threads run. (watchdog's own answer leaves out the emitters.)"""
        observer = self._observer
        return observer is not None and observer.is_alive() and all(e.is_alive() for e in observer.emitters)

    def proves_itself(self, timeout_s: float = 1.0) -> bool:
        """Whether a change of ours is reported: the root gets the permissions that it has, which changes nothing that
        others look at. True also where that cannot be tried."""
        self._root_changed.clear()
        try:
            self._root.chmod(self._root.stat().st_mode & 0o7777)
        except OSError:
            return True
        return self._root_changed.wait(timeout_s)

    def deaf_directories(self, directories: Iterable[str]) -> list[str]:
        """Those of the directories that the kernel has no watch for, by its own table, though they can be read (others
        cannot be watched at all); empty where that cannot be found out.

        watchdog 3 to 6 do not watch a directory that is moved in, and none of them reports that the table is full.

        Args:
            directories: their paths relative to the root; ``""`` is the root itself.
        """
        watched = _watched_inodes()
        deaf: list[str] = []
        try:
            root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return deaf
        try:
            if os.fstat(root).st_ino not in watched:
                return deaf
            for directory in directories:
                with contextlib.suppress(OSError):
                    path = directory or "."
                    inode = os.stat(path, dir_fd=root, follow_symlinks=False).st_ino
                    if inode not in watched and os.access(path, os.R_OK, dir_fd=root):
                        deaf.append(directory)
        finally:
            os.close(root)
        return deaf


class OverflowCounter(logging.Handler):
    """Counts how often the kernel's queue overflowed, as far as watchdog reports it (from 7.1 on): by its warnings,
    since it has no other way. Each overflow is in the log twice; the line from ``inotify_c`` is the one for all.

    From 7.1 on all observers of a process share one queue. So it counts for as long as the process watches, and not for
    one observer: an overflow that is read while one observer replaces another would be missed.
    """

    _LOGGER = "watchdog.observers.inotify_c"

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self.count += 1

    def attach(self) -> None:
        logging.getLogger(self._LOGGER).addHandler(self)

    def detach(self) -> None:
        logging.getLogger(self._LOGGER).removeHandler(self)


def _inotify_descriptors() -> Iterator[int]:
    """This process's own, from the system's table: watchdog keeps them to itself."""
    with contextlib.suppress(OSError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if "inotify" in str(descriptor.readlink()):
                    yield int(descriptor.name)


def _watched_inodes() -> set[int]:
    """The inodes that all inotify instances of this process watch (proc(5), ``fdinfo``)."""
    found: set[int] = set()
    for descriptor in _inotify_descriptors():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii").splitlines()
            watches = (line.split() for line in lines if line.startswith("inotify "))
            found.update(int(field[4:], 16) for watch in watches for field in watch if field.startswith("ino:"))
    return found


def unread_bytes() -> int:
    """How many bytes of events the kernel holds for this process (inotify(7), ``FIONREAD``); 0 where there is no
    inotify."""
    found = 0
    for descriptor in _inotify_descriptors():
        with contextlib.suppress(OSError, ImportError):
            import fcntl  # Windows has neither
            import termios

            answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * struct.calcsize("i"))
            found += struct.unpack("i", answer)[0]
    return found
