"""The state file: the watcher writes it, everybody may read it. Documented in ``docs/schemas.md``.

Any process of this user can write that file, and a disk can damage it. So reading it gives a ``WatcherState`` in which
every value has been checked, or says why there is none.
"""

from __future__ import annotations

import contextlib
import enum
import json
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdgen_thumbnail_plugin.model import Problem
from sdgen_thumbnail_plugin.paths import replace_text

STATE_SCHEMA = 1
HEARTBEAT_S = 5.0
"""While the watcher lives, it writes the state file at least this often."""

STALLED_S = 30.0
"""A watcher that has written no state for this long is stalled."""

_LIMIT_BYTES = 4 * 1024 * 1024
_LIMIT = 10**15
"""No number of ours is larger, and some larger ones cannot even be shown."""

# Strict, so that neither true nor "1" passes for a number. Text may hold anything: it is escaped where it is shown.
_Text = Annotated[str, Field(strict=True)]
_Count = Annotated[int, Field(strict=True, ge=0, lt=_LIMIT)]
_Number = Annotated[float, Field(strict=True, gt=-_LIMIT, lt=_LIMIT, allow_inf_nan=False)]
_Empty = Annotated[dict[str, Any], Field(max_length=0)]


class _Part(BaseModel):
    """Every field is required; keys of later versions are ignored."""

    model_config = ConfigDict(frozen=True)


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

    def all_problems(self) -> list[Problem]:
        """What the watcher reports as wrong."""
        return [Problem(one.message, one.remedy, one.since_s) for one in self.problems]

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
    except FileNotFoundError:
        return StateFault.MISSING
    except (OSError, ValueError, RecursionError):
        return StateFault.DAMAGED
    if not isinstance(content, dict):
        return StateFault.DAMAGED
    schema = content.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and STATE_SCHEMA < schema < _LIMIT:
        return StateFault.NEWER
    try:
        return WatcherState.model_validate(content)
    except ValidationError:
        return StateFault.DAMAGED
