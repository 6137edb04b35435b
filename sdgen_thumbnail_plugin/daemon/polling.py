"""Looking at directory times instead of files: the tick, and the observer where no notifications come.

One pass costs two ``stat`` calls a directory; only in active sessions are the files looked at too, because a file that
is overwritten does not change its directory's time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.events import DirModifiedEvent, FileModifiedEvent
from watchdog.observers.api import BaseObserver, EventEmitter, EventQueue, ObservedWatch

from sdgen_thumbnail_plugin.engine.keeper import Keeper
from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.base import SessionStorage

__all__ = ["ACTIVE_S", "DirectoryPoll", "Findings", "SessionPollingObserver"]

ACTIVE_S = 600.0
"""A directory in which something happened within so many seconds is active: its files are looked at in every pass."""

_NEWEST_SESSIONS = 5
_MANIFEST_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What one pass found.

    Attributes:
        directories: keys of the directories that are not as they were when last found complete.
        files: keys of the images in active sessions that were written over since the last pass.
        cost_s: processor seconds the pass took.
    """

    directories: Sequence[str]
    files: Sequence[str]
    cost_s: float


class DirectoryPoll:
    """Passes over all known directories. Not thread-safe: one thread passes.

    Args:
        keeper: knows the directories and their last complete state.
        sessions: says which sessions are still being generated.
    """

    def __init__(self, keeper: Keeper, sessions: SessionStorage) -> None:
        self._keeper = keeper
        self._sessions = sessions
        self._seen: dict[str, dict[str, Stamp]] = {}
        self._ongoing: frozenset[str] = frozenset()
        self._manifests_at_s = 0.0

    def look(self) -> Findings:
        """One pass. Raises ``MachineError``."""
        started_s = time.thread_time()
        known = self._keeper.catalog.directories()
        changed = self._keeper.changed_directories(known)
        files: list[str] = []
        active = self._active(known)
        for directory in active:
            try:
                images = dict(self._keeper.source.list_directory(directory).images)
            except ThumbnailError:
                continue  # the directory's own job says what is wrong with it
            before = self._seen.get(directory)
            if before is not None:
                # One that is new changed its directory's time, and may be an old one with a new name.
                files += [key for key, stamp in images.items() if before.get(key, stamp) != stamp]
            self._seen[directory] = images
        for directory in self._seen.keys() - active:
            del self._seen[directory]
        return Findings(changed, files, time.thread_time() - started_s)

    def _active(self, known: Sequence[str]) -> set[str]:
        now_s = time.time()
        if now_s - self._manifests_at_s > _MANIFEST_EVERY_S:
            self._manifests_at_s = now_s
            newest = sorted((directory for directory in known if directory and "/" not in directory), reverse=True)
            self._ongoing = frozenset(name for name in newest[:_NEWEST_SESSIONS] if self._is_ongoing(name))
        since_ns = int((now_s - ACTIVE_S) * 1e9)
        times = self._keeper.last_times()
        active = {directory for directory in known if (times.get(directory) or 0) > since_ns}
        return active | {directory for directory in known if directory.partition("/")[0] in self._ongoing}

    def _is_ongoing(self, session: str) -> bool:
        manifest = self._sessions.read_manifest(session)
        return manifest is not None and manifest.get("status") == "ongoing"


class _SessionPollingEmitter(EventEmitter):
    """Turns passes into watchdog's events: a changed directory is modified, and so is a changed image.

    Args:
        poll: looks.
        share: the part of a core that passes may take; the pause between two grows with their cost.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        timeout: float = 1.0,
        *,
        poll: DirectoryPoll | None = None,
        share: float = 0.1,
        **_: Any,
    ) -> None:
        super().__init__(event_queue, watch, timeout=timeout)
        self._poll = poll
        self._share = share
        self._pause_s = timeout

    def queue_events(self, timeout: float) -> None:  # noqa: ARG002 - watchdog's signature
        if self.stopped_event.wait(self._pause_s) or self._poll is None:
            return
        root = os.fsdecode(self.watch.path)
        try:
            findings = self._poll.look()
        except ThumbnailError:
            return  # a root that cannot be read is the watcher's business, and it looks too
        for directory in findings.directories:
            self.queue_event(DirModifiedEvent(f"{root}/{directory}" if directory else root))
        for key in findings.files:
            self.queue_event(FileModifiedEvent(f"{root}/{key}"))
        self._pause_s = max(self.timeout, findings.cost_s / self._share)


class SessionPollingObserver(BaseObserver):
    """watchdog's observer over directory times.

    Args:
        timeout: the shortest pause between two passes, in seconds.
        poll: looks; without one it reports nothing.
    """

    def __init__(self, timeout: float = 1.0, *, poll: DirectoryPoll | None = None) -> None:
        def emitter(event_queue: EventQueue, watch: ObservedWatch, **options: Any) -> EventEmitter:
            return _SessionPollingEmitter(event_queue, watch, poll=poll, **options)

        super().__init__(emitter, timeout=timeout)  # type: ignore[arg-type]  # called, never subclassed
