"""The state file: written by the watcher, read by everybody. Documented in ``docs/schemas.md``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sdgen_thumbnail_plugin.home import replace_text
from sdgen_thumbnail_plugin.version import __version__

__all__ = ["HEARTBEAT_S", "STALLED_S", "STATE_SCHEMA", "Problem", "WatcherState", "age_s", "read_state", "write_state"]

STATE_SCHEMA = 1
HEARTBEAT_S = 5.0
"""The state file is written at least this often while the watcher lives."""

STALLED_S = 30.0
"""A watcher that has not written its state for so long is stalled."""

_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, and what to do about it."""

    message: str
    remedy: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class WatcherState:
    """What the watcher is doing. Times in seconds since the epoch, durations in seconds."""

    pid: int
    identity: str
    source_dir: str
    target_dir: str
    started_at_s: float
    updated_at_s: float
    phase: str
    observer: Mapping[str, str]
    progress: Mapping[str, Any] = field(default_factory=dict)
    queue: Mapping[str, int] = field(default_factory=dict)
    making: list[str] = field(default_factory=list)
    images_per_s: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    sessions: Mapping[str, int] = field(default_factory=dict)
    images: int = 0
    thumbnails: int = 0
    failures: int = 0
    orphans_held_back: int = 0
    last_image: Mapping[str, Any] | None = None
    problems: list[Mapping[str, Any]] = field(default_factory=list)
    tick_interval_s: float = 0.0
    updated_monotonic_s: float = 0.0
    schema: int = STATE_SCHEMA
    version: str = __version__


def write_state(path: Path, state: WatcherState) -> None:
    """Replaces the state file; silent where that is impossible, because ``status`` notices a state that grows old."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(asdict(state), ensure_ascii=True))


def read_state(path: Path) -> dict[str, Any] | None:
    """The state file's content; None where there is none, or none that we understand.

    A file of a newer schema is not understood: its ``schema`` is the only key returned.
    """
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            return None
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        return None
    if content["schema"] > STATE_SCHEMA:
        return {"schema": content["schema"]}
    wanted: dict[str, type | tuple[type, ...]] = {
        "pid": int, "identity": str, "source_dir": str, "target_dir": str, "started_at_s": (int, float),
        "updated_at_s": (int, float), "phase": str, "problems": list, "queue": dict, "observer": dict,
    }  # fmt: skip
    if not all(isinstance(content.get(key), kind) for key, kind in wanted.items()):
        return None
    return content


def age_s(state: Mapping[str, Any]) -> float:
    """Seconds since the state was written; never negative, whatever happened to the clock."""
    monotonic_s = state.get("updated_monotonic_s")
    if isinstance(monotonic_s, (int, float)) and monotonic_s:
        return max(0.0, time.monotonic() - monotonic_s)  # the same for all processes since the machine was started
    return max(0.0, time.time() - float(state["updated_at_s"]))
