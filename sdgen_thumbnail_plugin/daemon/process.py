"""The background process: being the one watcher, starting it and stopping it.

No process is signalled before its identity is proved.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import filelock

from sdgen_thumbnail_plugin.daemon.identity import MODULE, RunningWatcher, find_old_watchdog, identity_of, is_locked
from sdgen_thumbnail_plugin.daemon.logs import last_lines
from sdgen_thumbnail_plugin.daemon.state import find_watcher
from sdgen_thumbnail_plugin.errors import (
    AlreadyRunningError,
    NotRunningError,
    SettingsError,
    StartFailedError,
    StopFailedError,
    ThumbnailError,
)
from sdgen_thumbnail_plugin.paths import Home, replace_text
from sdgen_thumbnail_plugin.settings import Settings, flag_of
from sdgen_thumbnail_plugin.text import printable

READY_VARIABLE = "SDGEN_WATCHER_READY_FD"
"""Names the file descriptor on which a watcher says that it is watching, or why it is not."""

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
"""After so many seconds a watcher that was asked to stop is killed (the host gives it the same)."""

_HURRIED_STOP_S = 1.0  # for the watcher of other folders, where ``sdgen webui start`` waits for us
_KILL_TIMEOUT_S = 2.0
_LOCK_PATIENCE_S = 0.5  # others have the lock for a moment, to find out whether a watcher is alive
_FLAGS = ("source_dir", "target_dir", "observer", "polling_interval_s", "workers")


# -- being the watcher


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
        try:
            replace_text(home.pid_file, str(os.getpid()))
        except OSError as error:
            what = (error.strerror or str(error)).lower()
            raise SettingsError(f"cannot be written: {what}", path=str(home.pid_file), remedy="move it away") from error
        yield
    finally:
        if home.read_pid() == os.getpid():
            home.pid_file.unlink(missing_ok=True)
        lock.release()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a watcher says in one line to the process that started it.

    Attributes:
        watching: no change can be missed any more.
        already: another watcher is running.
        error: why it is not watching.
        remedy: what to do about that, if anything.
        late: there was no line in time.
    """

    watching: bool = False
    already: bool = False
    error: str = ""
    remedy: str = ""
    late: bool = False


@contextlib.contextmanager
def answering(descriptor: int | None) -> Iterator[Callable[[], None]]:
    """Answers once, at the latest when the context ends; silent where nothing waits for the answer.

    Args:
        descriptor: the pipe's end to write to; None in the foreground.

    Yields:
        a function that says that this process is watching.
    """
    waiting = [] if descriptor is None else [descriptor]

    def answer(said: Answer) -> None:
        while waiting:
            with contextlib.suppress(OSError), open(waiting.pop(), "wb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor
                pipe.write(json.dumps(asdict(said)).encode("ascii") + b"\n")

    try:
        yield lambda: answer(Answer(watching=True))
    except ThumbnailError as error:
        answer(Answer(already=isinstance(error, AlreadyRunningError), error=str(error), remedy=error.remedy))
        raise
    except BaseException as error:
        answer(Answer(error=f"unexpected: {type(error).__name__}: {error}"))
        raise
    else:
        answer(Answer(error="it ended before it was watching"))


def read_answer(descriptor: int, deadline_s: float) -> Answer:
    """Waits for the line, until the monotonic clock shows the deadline; an empty answer where there is none."""
    received = b""
    with open(descriptor, "rb", buffering=0) as pipe:
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                return Answer(late=True)
            chunk = pipe.read(4096)
            if not chunk:
                return Answer()
            received += chunk
    return Answer(**json.loads(received))


# -- starting


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
    running = _wait_for_watcher(home, deadline_s) if find_watcher(home) is not None else None
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
    while (found := find_watcher(home)) is None or not found.source_dir:
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.02)
    return found


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


# -- stopping


def stop_watcher(home: Home, *, timeout_s: float = STOP_TIMEOUT_S) -> RunningWatcher:
    """Ends the watcher: first politely, after a while by killing it. Images being made are finished.

    Returns:
        the watcher that ran.

    Raises:
        NotRunningError: none is running.
        StopFailedError: it is still there, or is not provably ours.
    """
    deadline_s = time.monotonic() + timeout_s
    while (watcher := find_watcher(home)) is None and is_locked(home):
        if time.monotonic() > deadline_s:
            remedy = f"find it with: lsof {home.lock_file}"
            message = "a watcher is alive, but which process it is cannot be proved"
            raise StopFailedError(message, path=str(home.lock_file), remedy=remedy)
        time.sleep(0.02)  # it started a moment ago, and is about to say which process it is
    watcher = watcher or find_old_watchdog(home)
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


def clean_stale_pid_file(home: Home) -> bool:
    """Removes a PID file whose watcher is dead. Returns whether there was one."""
    if home.pid_file.exists() and not is_locked(home):
        with contextlib.suppress(OSError):
            home.pid_file.unlink()
            return True
    return False
