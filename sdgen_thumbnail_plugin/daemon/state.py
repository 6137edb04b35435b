"""The state file: written by the watcher, read by everybody. Documented in ``docs/schemas.md``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sdgen_thumbnail_plugin.paths import replace_text
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

    A file of a newer schema is not understood: its ``schema`` is the only key returned. Anybody may have written the
    file: what is returned has every key of ``WatcherState``, each of its type, and no others. Texts may hold anything.
    """
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            return None
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not _is_count(content.get("schema")):
        return None
    if content["schema"] > STATE_SCHEMA:
        return {"schema": content["schema"]}
    if not all(key in content and is_right(content[key]) for key, is_right in _SHAPE.items()):
        return None
    return {key: content[key] for key in _SHAPE}


_Check = Callable[[object], bool]

_MOST = 10.0**15
"""Larger numbers are nobody's, and some cannot even be shown."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _or_none(is_right: _Check) -> _Check:
    return lambda value: value is None or is_right(value)


def _are(is_right: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def _each(is_right: _Check) -> _Check:
    return lambda value: isinstance(value, dict) and all(map(is_right, value.values()))


def _with(**parts: _Check) -> _Check:
    return lambda value: (
        isinstance(value, dict) and all(name in value and is_right(value[name]) for name, is_right in parts.items())
    )


def _nothing_or(is_right: _Check) -> _Check:
    return lambda value: value == {} or is_right(value)


_SHAPE: Mapping[str, _Check] = {
    "schema": _is_count,
    "version": _is_text,
    "pid": _is_count,
    "identity": _is_text,
    "source_dir": _is_text,
    "target_dir": _is_text,
    "started_at_s": _is_number,
    "updated_at_s": _is_number,
    "updated_monotonic_s": _is_number,
    "phase": _is_text,
    "observer": _with(kind=_is_text, reason=_is_text),
    "progress": _nothing_or(_with(phase=_is_text, done=_is_count, total=_or_none(_is_count), session=_is_text)),
    "queue": _each(_is_count),
    "making": _are(_is_text),
    "images_per_s": _is_number,
    "counts": _each(_is_count),
    "sessions": _with(complete=_is_count, incomplete=_is_count),
    "images": _is_count,
    "thumbnails": _is_count,
    "failures": _is_count,
    "orphans_held_back": _is_count,
    "last_image": _or_none(_with(key=_is_text, at_s=_is_number, build_s=_is_number, latency_s=_or_none(_is_number))),
    "problems": _are(_with(message=_is_text, remedy=_is_text, since_s=_or_none(_is_number))),
    "tick_interval_s": _is_number,
}


def age_s(state: Mapping[str, Any]) -> float:
    """Seconds since the state was written; never negative, whatever happened to the clock."""
    monotonic_s = state.get("updated_monotonic_s")
    if isinstance(monotonic_s, (int, float)) and monotonic_s:
        return max(0.0, time.monotonic() - monotonic_s)  # the same for all processes since the machine was started
    return max(0.0, time.time() - float(state["updated_at_s"]))
