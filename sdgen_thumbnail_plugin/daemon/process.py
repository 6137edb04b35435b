"""Starting and stopping the background process. No process is signalled before its identity is proved."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sdgen_thumbnail_plugin.daemon.identity import (
    MODULE,
    RunningWatcher,
    clean_stale_pid_file,
    find_old_watchdog,
    find_watcher,
    identity_of,
    is_locked,
)
from sdgen_thumbnail_plugin.daemon.logs import last_lines
from sdgen_thumbnail_plugin.daemon.readiness import READY_VARIABLE, Answer, read_answer
from sdgen_thumbnail_plugin.errors import NotRunningError, StartFailedError, StopFailedError
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings, flag_of

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
"""After so many seconds a watcher that was asked to stop is killed (the host gives it the same)."""

_HURRIED_STOP_S = 1.0  # for the watcher of other folders, where ``sdgen webui start`` waits for us
_KILL_TIMEOUT_S = 2.0
_FLAGS = ("source_dir", "target_dir", "observer", "polling_interval_s", "workers")


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


def start_watcher(settings: Settings, home: Home, *, folder: Path, hurried_s: float | None = None) -> Started:
    """Starts the watcher in the background, and returns when it *is watching*.

    Args:
        settings: what it is to watch, already checked.
        home: where its lock, PID file and log are.
        folder: its working directory, where ``sdgen_config.json`` is read.
        hurried_s: return after so many seconds in any case, with the watcher still on its way if need be. Without it, a
            watcher that is not watching after 30 s has failed, and is ended.

    Raises:
        StartFailedError: it ended, or did not begin to watch in time; with the last lines of its log.
        StopFailedError: the watcher of other folders would not stop.
    """
    hurried = hurried_s is not None
    deadline_s = time.monotonic() + (START_TIMEOUT_S if hurried_s is None else hurried_s)
    stop_timeout_s = _HURRIED_STOP_S if hurried else STOP_TIMEOUT_S
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
        stop_watcher(home, timeout_s=stop_timeout_s)
    elif (old := find_old_watchdog(home)) is not None:
        _end(old, stop_timeout_s)
    clean_stale_pid_file(home)
    process, descriptor = _spawn(home, _flags_for(settings), folder)
    answer = read_answer(descriptor, deadline_s)
    if answer.watching and (found := find_watcher(home)) is not None:
        _let_go(process)
        return Started(found, replaced=replaced)
    if answer.already:  # another start was faster, and ours is about to end
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
        found = _wait_for_watcher(home, deadline_s)
        if found is not None and (found.watches(settings) or (hurried and not found.source_dir)):
            return Started(found, already=True, watching=bool(found.source_dir))
    if answer.late and hurried and (identity := identity_of(process.pid)) is not None:
        _let_go(process)
        folders = (os.path.realpath(settings.source_dir), os.path.realpath(settings.target_dir))
        return Started(RunningWatcher(process.pid, identity, *folders), replaced=replaced, watching=False)
    raise _failure(process, answer, home)


def _wait_for_watcher(home: Home, deadline_s: float) -> RunningWatcher | None:
    """The watcher that is just starting, as soon as its state file says what it watches; at most 5 seconds."""
    deadline_s = min(deadline_s, time.monotonic() + 5.0)
    while True:
        found = find_watcher(home)
        if (found is not None and found.source_dir) or time.monotonic() > deadline_s:
            return found
        time.sleep(0.02)


def _flags_for(settings: Settings) -> list[str]:
    """What gives a new process the settings that were checked in this one, of those that ``watch`` has flags for."""
    values = {name: getattr(settings, name) for name in _FLAGS}
    return [part for name, value in values.items() if value is not None for part in (flag_of(name), str(value))]


def _spawn(home: Home, flags: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the process; returns it, and the descriptor that its one line comes from."""
    reading, writing = os.pipe()
    try:
        # What escapes logging (a crash of the interpreter) goes to the log's end too.
        with _log_or_nothing(home) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE, "watch", *flags],
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
    return process, reading


def _log_or_nothing(home: Home) -> BinaryIO:
    """The log's end; where it cannot be opened, the watcher starts all the same."""
    try:
        return home.log_file.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """It outlives us; Popen's finalizer would warn of a process that is still running."""
    process.returncode = 0


def _failure(process: subprocess.Popen[bytes], answer: Answer, home: Home) -> StartFailedError:
    """Makes sure that a process which did not begin to watch has ended, and says why it did not."""
    if answer == Answer():
        with contextlib.suppress(subprocess.TimeoutExpired):  # it closed its end of the pipe, and is about to end
            process.wait(5)
    if process.poll() is None:
        process.kill()
        process.wait()
    ended = "it did not begin to watch in time" if answer.late else f"it ended with exit code {process.returncode}"
    lines = [] if answer.error else last_lines(home.log_file, 5)
    text = f"the watcher did not start: {answer.error or ended}" + "".join(f"\n  | {line}" for line in lines)
    return StartFailedError(text, remedy=answer.remedy or None)


def stop_watcher(home: Home, *, timeout_s: float = STOP_TIMEOUT_S) -> RunningWatcher:
    """Ends the watcher: first politely, after a while by killing it. Images being made are finished.

    Returns:
        the watcher that ran.

    Raises:
        NotRunningError: none is running.
        StopFailedError: it is still there, or is not provably ours.
    """
    watcher = find_watcher(home)
    deadline_s = time.monotonic() + timeout_s
    while watcher is None and is_locked(home) and time.monotonic() < deadline_s:
        time.sleep(0.02)  # it started a moment ago, and is about to say which process it is
        watcher = find_watcher(home)
    if watcher is None:
        if is_locked(home):
            raise StopFailedError(
                "a watcher is alive, but which process it is cannot be proved",
                path=str(home.lock_file),
                remedy=f"find it with: lsof {home.lock_file}",
            )
        watcher = find_old_watchdog(home)
    if watcher is None:
        stale = clean_stale_pid_file(home)
        raise NotRunningError("no watcher is running" + (" (a stale PID file was removed)" if stale else ""))
    _end(watcher, timeout_s)
    clean_stale_pid_file(home)
    return watcher


def _end(watcher: RunningWatcher, timeout_s: float) -> None:
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        if identity_of(watcher.pid) == watcher.identity:
            with contextlib.suppress(ProcessLookupError):
                os.kill(watcher.pid, number)
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if identity_of(watcher.pid) != watcher.identity:
                return
            time.sleep(0.01)
    raise StopFailedError(f"process {watcher.pid} does not end", remedy=f"end it with: kill -9 {watcher.pid}")
