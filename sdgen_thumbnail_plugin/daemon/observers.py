"""Which observer serves which folder.

The *mount* decides, not the kernel: inside WSL 2 a folder on ext4 delivers inotify events, one on ``/mnt/c`` does not.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import psutil
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from sdgen_thumbnail_plugin.settings import ObserverChoice

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
        watchdog's own: ``Observer``, or ``PollingObserver`` where no notifications come.
    """
    if choose_observer(path or Path.cwd()).kind == "polling":
        return PollingObserver
    return cast("type[BaseObserver]", Observer)


def inotify_limits() -> dict[str, int]:
    """The kernel's limits for this user by name; empty where there is no inotify."""
    limits = {}
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        with contextlib.suppress(OSError, ValueError):
            limits[name] = int(Path("/proc/sys/fs/inotify", name).read_text("ascii"))
    return limits
