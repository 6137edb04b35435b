"""Which process is the watcher: the lock says whether one is alive, the state file says which one it is.

The PID file is a label for the host. A watcher's identity is proved by what others do not have by accident: it wrote
its PID and its start time into the state file, its command line is ours, and it has the lock file open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from sdgen_thumbnail_plugin.daemon.state import WatcherState, load_state
from sdgen_thumbnail_plugin.errors import AlreadyRunningError, SettingsError
from sdgen_thumbnail_plugin.paths import Home, replace_text
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.text import printable

MODULE = "sdgen_thumbnail_plugin"
"""What a watcher's command line names."""

_LOCK_PATIENCE_S = 0.5  # others have the lock for a moment, to find out whether a watcher is alive
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


def _command_of(pid: int) -> list[str]:
    """A process's command line; empty where it has none that we may read."""
    import psutil

    try:
        return psutil.Process(pid).cmdline()
    except (psutil.Error, OverflowError):  # the PID file may hold any number
        return []


def _is_a_watcher(home: Home, pid: int) -> bool:
    """Whether a process's command line is that of a watcher, and it holds the lock."""
    command = _command_of(pid)
    ours = "watch" in command and any(MODULE in part or "sdgen" in Path(part).name for part in command)
    return ours and _holds_the_lock(home, pid)


@contextlib.contextmanager
def holding_the_lock(home: Home) -> Iterator[None]:
    """Makes this process the one watcher until the context ends: holds the lock and keeps the PID file.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    home.prepare()
    lock = filelock.FileLock(home.lock_file)
    try:
        lock.acquire(timeout=_LOCK_PATIENCE_S, poll_interval=0.01)
    except filelock.Timeout as error:
        watcher = find_watcher(home)
        who = (
            f"process {watcher.pid} watches {printable(watcher.source_dir)}"
            if watcher
            else "another process holds its lock"
        )
        raise AlreadyRunningError(f"a watcher is running already: {who}") from error
    try:
        _write_pid_file(home)
        yield
    finally:
        if home.read_pid() == os.getpid():
            home.pid_file.unlink(missing_ok=True)
        lock.release()


def _write_pid_file(home: Home) -> None:
    try:
        replace_text(home.pid_file, str(os.getpid()))
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise SettingsError(f"cannot be written: {what}", path=str(home.pid_file), remedy="move it away") from error


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


def find_watcher(home: Home) -> RunningWatcher | None:
    """The watcher of this home, if one is alive and its identity can be proved."""
    state = load_state(home.state_file)
    if (
        isinstance(state, WatcherState)
        and state.pid > 1
        and identity_of(state.pid) == state.identity
        and _is_a_watcher(home, state.pid)
    ):
        return RunningWatcher(state.pid, state.identity, state.source_dir, state.target_dir)
    # The state file may be lost or damaged. Then the PID file counts, if a watcher is alive at all.
    pid = home.read_pid()
    if pid is not None and _is_a_watcher(home, pid) and (found := identity_of(pid)):
        return RunningWatcher(pid, found)
    return None


def clean_stale_pid_file(home: Home) -> bool:
    """Removes a PID file whose watcher is dead. Returns whether there was one."""
    if home.pid_file.exists() and not is_locked(home):
        with contextlib.suppress(OSError):
            home.pid_file.unlink()
            return True
    return False


def find_old_watchdog(home: Home) -> RunningWatcher | None:
    """The host's own thumbnail watchdog, which an earlier ``sdgen webui start`` may have left in our PID file."""
    pid = home.read_pid()
    if pid is None or is_locked(home):
        return None
    command = _command_of(pid)
    identity = identity_of(pid) if _OLD_MODULE in command and "thumbnail" in command else None
    return RunningWatcher(pid, identity) if identity is not None else None
