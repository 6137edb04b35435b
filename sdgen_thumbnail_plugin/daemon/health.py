"""How the watcher is: its state file, checked against the process itself. What ``status`` and the web pages show.

The verdict is pure; ``watcher_report`` gathers what it needs. The document is described in ``docs/schemas.md``.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sdgen_thumbnail_plugin.daemon.identity import find_watcher, is_locked
from sdgen_thumbnail_plugin.daemon.state import STALLED_S, STATE_SCHEMA, StateFault, WatcherState, load_state
from sdgen_thumbnail_plugin.model import Problem
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings

_RESTART = "restart it: sdgen-thumbnails restart"


class Health(enum.Enum):
    """How the watcher is, in the words of the document."""

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
        return Verdict(
            Health.DEGRADED, [Problem(f"a watcher runs, but its state file is {what}", "update, or restart it")]
        )
    if isinstance(state, StateFault):
        return Verdict(Health.DEGRADED, [Problem(f"its state file is {state.value}", _RESTART)])
    problems = state.all_problems()
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
