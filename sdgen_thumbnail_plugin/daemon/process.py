"""The background process from outside: start, stop, who is it.

The lock decides whether a watcher is alive; the PID file is a label for the host. No process is signalled before its
identity is proved: the one that holds the lock wrote its PID and its start time into the state file, and its command
line is ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import filelock

from sdgen_thumbnail_plugin.daemon.logs import last_lines
from sdgen_thumbnail_plugin.daemon.state import read_state
from sdgen_thumbnail_plugin.errors import (
    AlreadyRunningError,
    NotRunningError,
    SettingsError,
    StartFailedError,
    StopFailedError,
)
from sdgen_thumbnail_plugin.paths import Home, replace_text
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.text import printable

__all__ = [
    "READY_VARIABLE",
    "RunningWatcher",
    "Started",
    "clean_stale_pid_file",
    "find_watcher",
    "holding_the_lock",
    "identity_of",
    "is_locked",
    "start_watcher",
    "stop_watcher",
]

READY_VARIABLE = "SDGEN_WATCHER_READY_FD"
"""Names the file descriptor on which a started watcher says that it is watching, or why not."""

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
"""After so many seconds a watcher that was asked to stop is killed (the host gives it the same)."""

_LOCK_PATIENCE_S = 0.5  # whoever only asks whether a watcher is alive has the lock for a moment
_HURRIED_STOP_S = 1.0  # for the watcher of other folders, where ``sdgen webui start`` waits for us

_MODULE = "sdgen_thumbnail_plugin"
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


@dataclass(frozen=True, slots=True)
class Started:
    """How a start ended well.

    Attributes:
        watcher: the one that runs now.
        already: whether it ran before.
        replaced: the folder another one watched, which was stopped for it.
        watching: whether it is watching already; else it is still on its way there.
    """

    watcher: RunningWatcher
    already: bool = False
    replaced: str | None = None
    watching: bool = True


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
    """Device and inode of the files that a process has open. Raises ``OSError`` where they cannot be told."""
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


def _is_ours(pid: int) -> bool:
    """Whether a process's command line is that of a watcher."""
    import psutil

    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return "watch" in command and any(_MODULE in part or "sdgen" in Path(part).name for part in command)


@contextlib.contextmanager
def holding_the_lock(home: Home) -> Iterator[None]:
    """Being the one watcher: holds the lock and keeps the PID file.

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
        if _pid_in_file(home) == os.getpid():
            home.pid_file.unlink(missing_ok=True)
        lock.release()


def _write_pid_file(home: Home) -> None:
    try:
        replace_text(home.pid_file, str(os.getpid()))
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise SettingsError(f"cannot be written: {what}", path=str(home.pid_file), remedy="move it away") from error


def _pid_in_file(home: Home) -> int | None:
    try:
        return int(home.pid_file.read_text("ascii").strip())
    except (OSError, ValueError):
        return None


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
    state = read_state(home.state_file) or {}
    pid, identity = state.get("pid"), state.get("identity")
    proved = isinstance(pid, int) and pid > 1 and identity and identity_of(pid) == identity
    if isinstance(pid, int) and proved and _is_ours(pid) and _holds_the_lock(home, pid):
        return RunningWatcher(pid, str(identity), str(state["source_dir"]), str(state["target_dir"]))
    # The state file may be lost or garbage. Then the PID file's word counts, if a watcher is alive at all.
    pid = _pid_in_file(home)
    if pid is not None and pid > 1 and _is_ours(pid) and _holds_the_lock(home, pid) and (found := identity_of(pid)):
        return RunningWatcher(pid, found)
    return None


def clean_stale_pid_file(home: Home) -> bool:
    """Removes a PID file whose watcher is dead. Returns whether there was one."""
    if home.pid_file.exists() and not is_locked(home):
        with contextlib.suppress(OSError):
            home.pid_file.unlink()
            return True
    return False


def start_watcher(
    settings: Settings, home: Home, *, arguments: list[str], folder: Path, hurried_s: float | None = None
) -> Started:
    """Starts the watcher in the background, and returns when it *is watching*.

    Args:
        settings: what it is to watch, already checked.
        home: where its lock, PID file and log are.
        arguments: command-line arguments that give the new process the same settings.
        folder: its working directory, where ``sdgen_config.json`` is read.
        hurried_s: return after so many seconds in any case, with the watcher still on its way if need be. Without it, a
            watcher that is not watching after 30 s has failed, and is ended.

    Raises:
        StartFailedError: it ended, or did not begin to watch in time; with the last lines of its log.
        StopFailedError: the watcher of other folders would not stop.
    """
    hurried = hurried_s is not None
    deadline_s = time.monotonic() + (START_TIMEOUT_S if hurried_s is None else hurried_s)
    replaced = None
    home.prepare()
    running = find_watcher(home)
    if running is not None and not running.source_dir:
        running = _wait_for_watcher(home, deadline_s)
    if running is not None:
        if running.watches(settings):
            return Started(running, already=True)
        if hurried and not running.source_dir:
            return Started(running, already=True, watching=False)  # on its way; what it watches is not known yet
        replaced = running.source_dir
        stop_watcher(home, timeout_s=_HURRIED_STOP_S if hurried else STOP_TIMEOUT_S)
    elif (old := _find_old_watchdog(home)) is not None:
        _end(old, _HURRIED_STOP_S if hurried else STOP_TIMEOUT_S)
    clean_stale_pid_file(home)
    answer, process = _spawn(home, arguments, folder, deadline_s)
    if answer.get("watching"):
        found = find_watcher(home)
        if found is not None:
            _let_go(process)
            return Started(found, replaced=replaced)
    if answer.get("already"):  # another start was faster, and ours is on its way out
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
        found = _wait_for_watcher(home, deadline_s)
        if found is not None and (found.watches(settings) or (hurried and not found.source_dir)):
            return Started(found, already=True, watching=bool(found.source_dir))
    if answer.get("late") and hurried:
        identity = identity_of(process.pid)
        if identity is not None:
            _let_go(process)
            folders = (os.path.realpath(settings.source_dir), os.path.realpath(settings.target_dir))
            return Started(RunningWatcher(process.pid, identity, *folders), replaced=replaced, watching=False)
    if process.poll() is None:
        process.kill()
        process.wait()
    reason = answer.get("error") or (
        "it did not begin to watch in time" if answer.get("late") else f"it ended with exit code {process.returncode}"
    )
    lines = [] if answer.get("error") else last_lines(home.log_file, 5)
    text = f"the watcher did not start: {reason}" + "".join(f"\n  | {line}" for line in lines)
    raise StartFailedError(text, remedy=str(answer.get("remedy")) if answer.get("remedy") else None)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """It is to outlive us; Popen's finalizer would complain of a process that nobody waited for."""
    process.returncode = 0


def _wait_for_watcher(home: Home, deadline_s: float) -> RunningWatcher | None:
    """The watcher that is just starting, as soon as its state file says what it watches; at most 5 seconds."""
    deadline_s = min(deadline_s, time.monotonic() + 5.0)
    while True:
        found = find_watcher(home)
        if (found is not None and found.source_dir) or time.monotonic() > deadline_s:
            return found
        time.sleep(0.02)


def _log_or_nothing(home: Home) -> BinaryIO:
    """The log's end; where it cannot be opened, the watcher starts all the same."""
    try:
        return home.log_file.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _spawn(
    home: Home, arguments: list[str], folder: Path, deadline_s: float
) -> tuple[dict[str, object], subprocess.Popen[bytes]]:
    """Starts the process and waits for its one line of JSON."""
    import select

    reading, writing = os.pipe()
    try:
        # What escapes logging (a crash of the interpreter) goes to the log's end too.
        with _log_or_nothing(home) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, "watch", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, READY_VARIABLE: str(writing)},
                pass_fds=(writing,),
                start_new_session=True,
            )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    received = b""
    with open(reading, "rb", buffering=0) as pipe:  # noqa: PTH123 - a file descriptor
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                return {"late": True}, process
            chunk = pipe.read(4096)
            if not chunk:
                break
            received += chunk
    if not received:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        return {}, process
    answer = json.loads(received)
    return (answer if isinstance(answer, dict) else {}), process


def stop_watcher(home: Home, *, timeout_s: float = STOP_TIMEOUT_S) -> RunningWatcher:
    """Ends the watcher: politely, and after a while firmly. Images being made are finished.

    Returns:
        the watcher that ran.

    Raises:
        NotRunningError: there is none.
        StopFailedError: it is still there, or is not provably ours.
    """
    watcher = find_watcher(home)
    deadline_s = time.monotonic() + timeout_s
    while watcher is None and is_locked(home) and time.monotonic() < deadline_s:
        time.sleep(0.02)  # it has begun a moment ago, and is about to say who it is
        watcher = find_watcher(home)
    if watcher is None:
        if is_locked(home):
            raise StopFailedError(
                "a watcher is alive, but which process it is cannot be proved",
                path=str(home.lock_file),
                remedy=f"find it with: lsof {home.lock_file}",
            )
        watcher = _find_old_watchdog(home)
    if watcher is None:
        stale = clean_stale_pid_file(home)
        raise NotRunningError("no watcher is running" + (" (a stale PID file was removed)" if stale else ""))
    _end(watcher, timeout_s)
    clean_stale_pid_file(home)
    return watcher


def _find_old_watchdog(home: Home) -> RunningWatcher | None:
    """The host's own thumbnail watchdog, which an earlier ``sdgen webui start`` may have left in our PID file."""
    import psutil

    pid = _pid_in_file(home)
    if pid is None or pid <= 1 or is_locked(home):
        return None
    try:
        command = psutil.Process(pid).cmdline()
    except (psutil.Error, OverflowError):
        return None
    identity = identity_of(pid)
    is_it = _OLD_MODULE in command and "thumbnail" in command
    return RunningWatcher(pid, identity) if is_it and identity is not None else None


def _end(watcher: RunningWatcher, timeout_s: float) -> None:
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 2.0)):
        if identity_of(watcher.pid) == watcher.identity:
            with contextlib.suppress(ProcessLookupError):
                os.kill(watcher.pid, number)
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if identity_of(watcher.pid) != watcher.identity:
                return
            time.sleep(0.01)
    raise StopFailedError(f"process {watcher.pid} does not end", remedy=f"end it with: kill -9 {watcher.pid}")
