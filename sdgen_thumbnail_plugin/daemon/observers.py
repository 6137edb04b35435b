"""The observers: which one serves which folder, and the native one with what watchdog does not report of it.

The *mount* decides, not the kernel: inside WSL 2 a folder on ext4 delivers inotify events, one on ``/mnt/c`` does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import logging
import os
import struct
import termios
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import psutil
from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from sdgen_thumbnail_plugin.daemon.hints import Hint, hint_from
from sdgen_thumbnail_plugin.settings import ObserverChoice

_REMOTE_TYPES = (
    "9p", "drvfs", "nfs", "cifs", "smb", "fuse", "vboxsf", "virtiofs", "vmhgfs", "afs", "ceph", "gluster", "sshfs",
    "lustre", "webdav", "prl_fs",
)  # fmt: skip
"""File systems that other machines (or Windows) change behind the kernel's back, by the start of their type's name."""

_LOCAL_FUSE_TYPES = ("fuseblk",)  # ntfs-3g and exfat: a local disk; every change goes through this kernel

_WANTED_EVENTS = (
    "FileCreatedEvent", "FileModifiedEvent", "FileAttribEvent", "FileMovedEvent", "FileDeletedEvent",
    "FileClosedEvent", "DirCreatedEvent", "DirModifiedEvent", "DirAttribEvent", "DirMovedEvent", "DirDeletedEvent",
)  # fmt: skip
"""Everything but opening and reading: those double the load, and make watchdog 7.1 loop for ever on overflow. Some are
missing in older versions."""


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
    """The mount that holds a path (which need not exist), links followed; type ``?`` where the system does not say."""
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
    """The class of watchdog's observers that serves a folder, by the mount it lies on.

    Args:
        path: the folder; the working directory where None.

    Returns:
        watchdog's ``Observer``, or its ``PollingObserver`` where no notifications come.
    """
    is_native = choose_observer(path or Path.cwd()).kind == "native"
    return cast("type[BaseObserver]", Observer if is_native else PollingObserver)


def inotify_limits() -> dict[str, int]:
    """The kernel's limits for this user by name; empty where there is no inotify."""
    limits = {}
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        with contextlib.suppress(OSError, ValueError):
            limits[name] = int(Path("/proc/sys/fs/inotify", name).read_text("ascii"))
    return limits


class NativeObserver(events.FileSystemEventHandler):
    """The operating system's own notifications for one folder, through watchdog.

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
        self._observer = observer = Observer()  # from watchdog 7.1 on, this may fail already
        options: dict[str, Any] = {}
        if "event_filter" in inspect.signature(observer.schedule).parameters:  # from watchdog 4.0 on
            options["event_filter"] = [getattr(events, name) for name in _WANTED_EVENTS if hasattr(events, name)]
        observer.schedule(self, str(self._root), recursive=True, **options)
        observer.start()

    def dispatch(self, event: events.FileSystemEvent) -> None:
        """Called by watchdog for every event."""
        self.events += 1
        if event.is_directory and os.fsdecode(event.src_path) == str(self._root):
            self._root_changed.set()
        hint = hint_from(event, str(self._root))
        if hint is not None:
            self._put(hint)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends, also what did not start."""
        if self._observer is None:
            return
        with contextlib.suppress(KeyError, OSError, RuntimeError):  # watchdog's own bookkeeping of watches may fail
            self._observer.stop()
        with contextlib.suppress(RuntimeError):  # it did not start
            self._observer.join(timeout_s)

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

    _LOGGER = logging.getLogger("watchdog.observers.inotify_c")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self.count += 1

    def attach(self) -> None:
        self._LOGGER.addHandler(self)

    def detach(self) -> None:
        self._LOGGER.removeHandler(self)


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
        with contextlib.suppress(OSError):
            found += struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * struct.calcsize("i")))[0]
    return found
