"""Which process is the watcher: the lock says whether one is alive, state file and PID file which one it may be.

Neither file is believed: a process is the watcher only if its command line is ours and it has the lock file open, which
others have for a moment only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings

MODULE = "sdgen_thumbnail_plugin"
"""What a watcher's command line names."""

_OLD_MODULE = "sd_generator_watchdog.cli"  # what the host runs as its thumbnail watchdog


@dataclass(frozen=True, slots=True)
class RunningWatcher:
    """A watcher whose identity is proved.

    Attributes:
        pid: its process.
        identity: its start time, as ``identity_of`` writes it.
        source_dir, target_dir: what it watches; empty where its state file does not say.
    """

    pid: int
    identity: str
    source_dir: str = ""
    target_dir: str = ""

    def watches(self, settings: Settings) -> bool:
        """Whether it is the watcher for these folders."""
        wanted = (os.path.realpath(settings.source_dir), os.path.realpath(settings.target_dir))
        return (self.source_dir, self.target_dir) == wanted


def identity_of(pid: int) -> str | None:
    """A process's start time, in a form that no clock change alters; None where there is no such process."""
    if sys.platform == "linux":
        try:
            # proc(5): field 22, in clock ticks since boot; the command's name may hold blanks and brackets.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X") else f"boot+{fields[19].decode('ascii')}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"at {process.create_time():.2f}"
    except psutil.Error:
        return None


def _holds_the_lock(home: Home, pid: int) -> bool:
    """Whether a watcher is alive, and this process has its lock file open: others have it for a moment only."""
    if not is_locked(home):
        return False
    try:
        there = home.lock_file.stat()
        opened = _opened_files(pid)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) in opened


def _opened_files(pid: int) -> set[tuple[int, int]]:
    """Device and inode of the files that a process has open. Raises ``OSError`` where that cannot be read."""
    import psutil

    if sys.platform == "linux":
        paths = [str(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    else:
        try:
            paths = [file.path for file in psutil.Process(pid).open_files()]
        except psutil.Error as error:
            raise OSError(str(error)) from error
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):  # closed since
            status = os.stat(path)  # noqa: PTH116 - through the link, to what is open
            found.add((status.st_dev, status.st_ino))
    return found


def is_locked(home: Home) -> bool:
    """Whether a watcher is alive, by the lock."""
    try:
        with home.lock_file.open("rb") as file:
            # Shared, so that two who ask at once do not take each other for a watcher; closing lets go of it.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def prove_watcher(home: Home, pid: int) -> RunningWatcher | None:
    """The watcher of this home, if it is this process; what it watches is left open."""
    command = _command_of(pid)
    if "watch" not in command or not any(MODULE in part or "sdgen" in Path(part).name for part in command):
        return None
    identity = identity_of(pid) if _holds_the_lock(home, pid) else None
    return RunningWatcher(pid, identity) if identity is not None else None


def find_old_watchdog(home: Home) -> RunningWatcher | None:
    """The host's own thumbnail watchdog, which an earlier ``sdgen webui start`` may have left in our PID file."""
    pid = home.read_pid()
    if pid is None or is_locked(home):
        return None
    command = _command_of(pid)
    identity = identity_of(pid) if _OLD_MODULE in command and "thumbnail" in command else None
    return RunningWatcher(pid, identity) if identity is not None else None


def _command_of(pid: int) -> list[str]:
    """A process's command line; empty where it has none that we may read."""
    import psutil

    try:
        return psutil.Process(pid).cmdline()
    except (psutil.Error, OverflowError, ValueError):  # the PID file may hold any number
        return []
