"""Which observer for which folder, and the native one's weaknesses, watched over.

The *mount* decides, not the kernel: inside WSL 2 a folder on ext4 delivers inotify events, one on ``/mnt/c`` does not.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import psutil
from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from sdgen_thumbnail_plugin.settings import ObserverChoice

__all__ = [
    "Choice",
    "Mount",
    "NativeObserver",
    "OverflowCounter",
    "Relay",
    "choose_observer",
    "get_observer_class",
    "inotify_limits",
    "is_wsl",
    "mount_of",
    "polls",
    "unread_bytes",
]

_REMOTE_TYPES = (
    "9p", "drvfs", "nfs", "cifs", "smb", "fuse", "vboxsf", "virtiofs", "vmhgfs", "afs", "ceph", "gluster", "sshfs",
    "lustre", "webdav", "prl_fs",
)  # fmt: skip
"""File systems that other machines (or Windows) change behind the kernel's back, by the start of their type's name."""

_LOCAL_FUSE_TYPES = ("fuseblk",)  # ntfs-3g and exfat: a local disk; every change goes through this kernel


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a folder lies: the mount's folder and its file system's type, as the system names it."""

    point: str
    fstype: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An observer, and why."""

    kind: Literal["native", "polling"]
    reason: str


def is_wsl() -> bool:
    """Whether this is the Windows Subsystem for Linux (1 or 2)."""
    with contextlib.suppress(OSError):
        return "microsoft" in Path("/proc/sys/kernel/osrelease").read_text("ascii", "replace").lower()
    return False


def mount_of(path: Path) -> Mount:
    """The mount that holds a path (which need not exist), links followed; type ``?`` where the system does not tell."""
    real = os.path.realpath(path)
    best = Mount("/", "?")
    for partition in psutil.disk_partitions(all=True):
        point = partition.mountpoint
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best.point):  # of two mounts on one folder, the later one is seen
            best = Mount(point, partition.fstype)
    return best


def polls(fstype: str) -> bool:
    """Whether a file system of this type has to be polled."""
    name = fstype.lower()
    return name.startswith(_REMOTE_TYPES) and name not in _LOCAL_FUSE_TYPES


def choose_observer(path: Path, choice: ObserverChoice = "auto") -> Choice:
    """The observer for a folder: as chosen, else by the mount it lies on."""
    if choice != "auto":
        return Choice(choice, "chosen in the settings")
    mount = mount_of(path)
    if polls(mount.fstype):
        return Choice("polling", f"{mount.fstype} on {mount.point} does not report what others change")
    return Choice("native", f"{mount.fstype} on {mount.point}")


def get_observer_class(path: Path | None = None) -> type[BaseObserver]:
    """watchdog's observer class for a folder (the working directory where None), by the mount it lies on."""
    from sdgen_thumbnail_plugin.daemon.polling import SessionPollingObserver

    if choose_observer(path or Path.cwd()).kind == "polling":
        return SessionPollingObserver
    return cast("type[BaseObserver]", Observer)


def _wanted_events() -> list[type[events.FileSystemEvent]]:
    """Everything but opening and reading: those double the load, and make watchdog 7.1 loop for ever on overflow."""
    names = (
        "FileCreatedEvent", "FileModifiedEvent", "FileAttribEvent", "FileMovedEvent", "FileDeletedEvent",
        "FileClosedEvent", "DirCreatedEvent", "DirModifiedEvent", "DirAttribEvent", "DirMovedEvent", "DirDeletedEvent",
    )  # fmt: skip
    return [getattr(events, name) for name in names if hasattr(events, name)]


class NativeObserver:
    """The system's own notifications for one folder, with what watchdog does not tell: deaf folders, dead threads.

    Args:
        root: the folder, watched with all below it.
        handler: gets every event; called in watchdog's thread.
    """

    def __init__(self, root: Path, handler: Callable[[events.FileSystemEvent], None]) -> None:
        self._root = root
        self._handler = handler
        self._observer: BaseObserver | None = None
        self._heard_root = threading.Event()

    def start(self) -> None:
        """Begins to watch. Raises ``OSError``: no watches (28) or no instances (24) left, or no such folder."""
        observer = Observer()
        schedule = functools.partial(observer.schedule, Relay(self._hear), str(self._root), recursive=True)
        if "event_filter" in inspect.signature(observer.schedule).parameters:
            schedule = functools.partial(schedule, event_filter=_wanted_events())
        try:
            schedule()
            observer.start()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                observer.stop()
            raise
        self._observer = observer

    def _hear(self, event: events.FileSystemEvent) -> None:
        if event.is_directory and os.fsdecode(event.src_path) == str(self._root):
            self._heard_root.set()
        self._handler(event)

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
        """Whether a change of ours arrives: the root gets the permissions it has, which changes nothing that anybody
        looks at. True also where that cannot be tried."""
        self._heard_root.clear()
        try:
            self._root.chmod(self._root.stat().st_mode & 0o7777)
        except OSError:
            return True
        return self._heard_root.wait(timeout_s)

    def deaf_directories(self, directories: Iterable[str]) -> list[str]:
        """Those of the directories that the kernel has no watch for, by its own table, though they can be read (others
        cannot be watched, whatever there is room for); empty where that cannot be told.

        watchdog 3 to 6 do not watch a directory that is moved in, and none of them says so when the table is full.

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
    """Counts how often the kernel's queue overflowed, as far as watchdog tells (from 7.1 on): by its warnings, since it
    has no other way to tell. Two lines say each overflow, and the one from ``inotify_c`` is the one for all of them.

    From 7.1 on all observers of a process share one queue, so it counts for as long as anybody watches, and not for one
    observer: an overflow that is read while one takes another's place would be nobody's.
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


class Relay(events.FileSystemEventHandler):
    """Hands on every event.

    Args:
        hear: gets it, in watchdog's thread.
    """

    def __init__(self, hear: Callable[[events.FileSystemEvent], None]) -> None:
        self._hear = hear

    def dispatch(self, event: events.FileSystemEvent) -> None:
        self._hear(event)


def _inotify_descriptors() -> Iterator[int]:
    """This process's own, from the system's table: watchdog keeps them to itself."""
    with contextlib.suppress(OSError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if "inotify" in str(descriptor.readlink()):
                    yield int(descriptor.name)


def _watched_inodes() -> set[int]:
    """The inodes all inotify instances of this process watch (proc(5), ``fdinfo``)."""
    found: set[int] = set()
    for descriptor in _inotify_descriptors():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii").splitlines()
            watches = (line.split() for line in lines if line.startswith("inotify "))
            found.update(int(field[4:], 16) for watch in watches for field in watch if field.startswith("ino:"))
    return found


def unread_bytes() -> int:
    """How much the kernel has to tell this process that nobody read yet (inotify(7), ``FIONREAD``); 0 where there is no
    inotify."""
    found = 0
    for descriptor in _inotify_descriptors():
        with contextlib.suppress(OSError, ImportError):
            import fcntl  # there is none on Windows
            import termios

            answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * struct.calcsize("i"))
            found += struct.unpack("i", answer)[0]
    return found


def inotify_limits() -> dict[str, int]:
    """The kernel's limits for this user by name; empty where there is no inotify."""
    limits = {}
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        with contextlib.suppress(OSError, ValueError):
            limits[name] = int(Path("/proc/sys/fs/inotify", name).read_text("ascii"))
    return limits
