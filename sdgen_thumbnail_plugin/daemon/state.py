"""The state file, and how the watcher is. The watcher writes the file, everybody may read it: ``docs/schemas.md``.

Any process of this user can write that file, and a disk can damage it. So reading it gives a ``WatcherState`` in which
every value has been checked, or says why there is none; and what it says is checked against the process itself.
"""

from __future__ import annotations

import contextlib
import enum
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdgen_thumbnail_plugin.daemon.identity import RunningWatcher, is_locked, prove_watcher
from sdgen_thumbnail_plugin.model import Problem
from sdgen_thumbnail_plugin.paths import Home, replace_text
from sdgen_thumbnail_plugin.settings import Settings

STATE_SCHEMA = 1
HEARTBEAT_S = 5.0
"""While the watcher lives, it writes the state file at least this often."""

STALLED_S = 30.0
"""A watcher that has written no state for this long is stalled."""

_LIMIT_BYTES = 4 * 1024 * 1024
_LIMIT = 10**15
"""No number of ours is larger, and some larger ones cannot even be shown."""

_RESTART = "restart it: sdgen-thumbnails restart"

# Strict, so that neither true nor "1" passes for a number. Text may hold anything: it is escaped where it is shown.
_Text = Annotated[str, Field(strict=True)]
_Count = Annotated[int, Field(strict=True, ge=0, lt=_LIMIT)]
_Number = Annotated[float, Field(strict=True, gt=-_LIMIT, lt=_LIMIT, allow_inf_nan=False)]
_Empty = Annotated[dict[str, Any], Field(max_length=0)]


class Problems:
    """What is wrong with the watcher at the moment, by name. Safe to use from several threads."""

    def __init__(self) -> None:
        self._found: dict[str, Problem] = {}

    def report(self, name: str, message: str, remedy: str) -> bool:
        """Something is wrong, or still is; with an empty message it is over. Returns whether it is wrong since now."""
        if not message:
            self.end(name)
            return False
        before = self._found.get(name)
        self._found[name] = Problem(message, remedy, before.since_s if before is not None else time.time())
        return before is None

    def end(self, name: str) -> bool:
        """Nothing of this name is wrong any more. Returns whether anything was."""
        return self._found.pop(name, None) is not None

    def all(self) -> dict[str, Problem]:
        return self._found.copy()


class _Part(BaseModel):
    """Every field is required; keys of later versions are ignored. Made from JSON, or from our own values."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ObserverState(_Part):
    """What the watcher watches with, ``native`` or ``polling``, and why."""

    kind: _Text
    reason: _Text


class CatchUpState(_Part):
    """How far catch-up has come: images, and the session being processed. ``total`` is None while it looks."""

    phase: _Text
    done: _Count
    total: _Count | None
    session: _Text


class SessionsState(_Part):
    """How many sessions are complete, and how many are not."""

    complete: _Count
    incomplete: _Count


class LastImageState(_Part):
    """The last thumbnail made. ``latency_s`` is None for an image that catch-up found."""

    key: _Text
    at_s: _Number
    build_s: _Number
    latency_s: _Number | None


class ProblemState(_Part):
    """A ``Problem`` as the file holds it."""

    message: _Text
    remedy: _Text
    since_s: _Number | None


class WatcherState(_Part):
    """What the watcher is doing. Times are in seconds since the epoch, durations in seconds.

    Attributes:
        schema_version: ``schema`` in the file; it rises when a key changes its meaning or goes.
        identity: the process's start time, to distinguish it from a later one with the same PID.
        source_dir, target_dir: absolute folders, links resolved.
        updated_monotonic_s: when this was written, in seconds since the machine started: no change of the clock alters
            it.
        progress: empty unless catching up.
        queue: jobs that wait, by priority.
        making: keys of the images being made.
        images_per_s: thumbnails per second, over the last ten seconds.
        counts: outcomes since the start, by kind.
        images, thumbnails: in all directories, as they were last counted.
        failures: images that failed.
        orphans_held_back: thumbnails without a source that wait for ``clean``.
        tick_interval_s: the pause between two ticks.
    """

    schema_version: _Count = Field(alias="schema")
    version: _Text
    pid: _Count
    identity: _Text
    source_dir: _Text
    target_dir: _Text
    started_at_s: _Number
    updated_at_s: _Number
    updated_monotonic_s: _Number
    phase: _Text
    observer: ObserverState
    progress: CatchUpState | _Empty
    queue: dict[_Text, _Count]
    making: list[_Text]
    images_per_s: _Number
    counts: dict[_Text, _Count]
    sessions: SessionsState
    images: _Count
    thumbnails: _Count
    failures: _Count
    orphans_held_back: _Count
    last_image: LastImageState | None
    problems: list[ProblemState]
    tick_interval_s: _Number

    @property
    def age_s(self) -> float:
        """Seconds since this was written; never negative, whatever happened to the clock."""
        if self.updated_monotonic_s:
            # All processes share this clock since the machine started.
            return max(0.0, time.monotonic() - self.updated_monotonic_s)
        return max(0.0, time.time() - self.updated_at_s)

    def document(self) -> dict[str, Any]:
        """The state as the file holds it, ready for ``json.dumps``."""
        return self.model_dump(by_alias=True)


class StateFault(enum.Enum):
    """Why there is no state to read, as a person would say it."""

    MISSING = "missing"
    DAMAGED = "damaged"
    NEWER = "of a newer version"


def write_state(path: Path, state: WatcherState) -> None:
    """Replaces the state file; silent where that is impossible, because ``status`` notices a state that grows old."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(state.document(), ensure_ascii=True))


def load_state(path: Path) -> WatcherState | StateFault:
    """The state that a file holds, or why it holds none that can be relied on."""
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            return StateFault.DAMAGED
        # Not parsed by pydantic, which rejects the halves of surrogates that stand for undecodable bytes of file names.
        content = json.loads(path.read_bytes())
        schema = content.get("schema") if isinstance(content, dict) else None
        if type(schema) is int and STATE_SCHEMA < schema < _LIMIT:
            return StateFault.NEWER
        return WatcherState.model_validate(content)
    except FileNotFoundError:
        return StateFault.MISSING
    except (OSError, ValueError, RecursionError, ValidationError):
        return StateFault.DAMAGED


def find_watcher(home: Home) -> RunningWatcher | None:
    """The watcher of this home, if one is alive and its identity can be proved."""
    state = load_state(home.state_file)
    if isinstance(state, WatcherState):
        watcher = prove_watcher(home, state.pid)
        if watcher is not None and watcher.identity == state.identity:
            return RunningWatcher(watcher.pid, watcher.identity, state.source_dir, state.target_dir)
    # The state file may be lost or damaged.
    pid = home.read_pid()
    return prove_watcher(home, pid) if pid is not None else None


class Health(enum.Enum):
    """How the watcher is, in the words of ``status``."""

    HEALTHY = "healthy"
    NOT_RUNNING = "not running"
    STALLED = "stalled"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the watcher is, and what is wrong, the worst first."""

    health: Health
    problems: Sequence[Problem] = ()


def judge(state: WatcherState | StateFault, *, found: bool, locked: bool, left_behind: bool) -> Verdict:
    """The verdict on a watcher.

    Args:
        state: what it last wrote, or why that cannot be read.
        found: whether its process is alive and proved to be it.
        locked: whether some process holds the lock.
        left_behind: whether there is a PID file, which a watcher removes when it ends.
    """
    if not found and not locked:
        ended = Problem("the last watcher ended without tidying up", "start it again: sdgen-thumbnails start")
        return Verdict(Health.NOT_RUNNING, [ended] if left_behind else [])
    if not found:
        what = state.value if isinstance(state, StateFault) else "of another process"
        unknown = Problem(f"a watcher runs, but its state file is {what}", "update, or restart it")
        return Verdict(Health.DEGRADED, [unknown])
    if isinstance(state, StateFault):
        return Verdict(Health.DEGRADED, [Problem(f"its state file is {state.value}", _RESTART)])
    problems = [Problem(one.message, one.remedy, one.since_s) for one in state.problems]
    silent_s = state.age_s
    if silent_s > STALLED_S:
        silence = Problem(f"no sign of life for {silent_s:.0f} s", _RESTART, time.time() - silent_s)
        return Verdict(Health.STALLED, [silence, *problems])
    return Verdict(Health.DEGRADED if problems else Health.HEALTHY, problems)


def watcher_report(home: Home, settings: Settings) -> dict[str, Any]:
    """The document that ``status --json`` prints.

    Args:
        home: holds the state file, the lock and the PID file.
        settings: the folders a person asks about, shown where no watcher runs.
    """
    state = load_state(home.state_file)
    watcher = find_watcher(home)
    locked = watcher is None and is_locked(home)
    verdict = judge(state, found=watcher is not None, locked=locked, left_behind=home.pid_file.exists())
    report: dict[str, Any] = {
        "schema": STATE_SCHEMA,
        "running": verdict.health is not Health.NOT_RUNNING,
        "health": verdict.health.value,
    }
    if verdict.health is Health.NOT_RUNNING:
        report |= {"source_dir": str(settings.source_dir), "target_dir": str(settings.target_dir)}
    elif watcher is not None:
        report["pid"] = watcher.pid
        if isinstance(state, WatcherState):
            report |= {key: value for key, value in state.document().items() if key not in ("schema", "identity")}
            report |= _costs_of(watcher.pid)
            report["uptime_s"] = round(max(0.0, time.time() - state.started_at_s), 1)
    report["problems"] = [asdict(problem) for problem in verdict.problems]
    return report


def _costs_of(pid: int) -> dict[str, Any]:
    """Share of one core since its start, in percent, and resident memory, in bytes; nothing where they are unknown."""
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            age_s = max(0.001, time.time() - process.create_time())
            memory_bytes = process.memory_info().rss
    except psutil.Error:
        return {}
    return {"cpu_percent": round(100 * (times.user + times.system) / age_s, 2), "memory_bytes": memory_bytes}
