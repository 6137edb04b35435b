"""Looking at directory times instead of files: the tick, and the observer where no notifications come.

One pass costs two ``stat`` calls a directory; only in active sessions are the files looked at too, because a file that
is overwritten does not change its directory's time.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.events import DirModifiedEvent, FileModifiedEvent
from watchdog.observers.api import BaseObserver, EventEmitter, EventQueue, ObservedWatch

from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.scan import ACTIVE_S
from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.base import SessionStorage

__all__ = ["DirectoryPoll", "Findings", "SessionPollingObserver"]

_NEWEST_SESSIONS = 5
_MANIFEST_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What one pass found.

    Attributes:
        directories: keys of the directories that are not as they were when last found complete.
        files: keys of the images in active sessions that were written over since the last pass.
        cost_s: processor seconds the look at directories took.
    """

    directories: Sequence[str]
    files: Sequence[str]
    cost_s: float


class DirectoryPoll:
    """Passes over all known directories. Not thread-safe: one thread passes.

    Args:
        reconciler: knows the directories and their last complete state.
        sessions: says which sessions are still being generated.
    """

    def __init__(self, reconciler: Reconciler, sessions: SessionStorage) -> None:
        self._reconciler = reconciler
        self._sessions = sessions
        self._active: set[str] = set()
        self._seen: dict[str, dict[str, Stamp]] = {}
        self._list_at_s = 0.0
        self._ongoing: frozenset[str] = frozenset()
        self._manifests_at_s = -math.inf

    def look(self, *, share: float, besides: Collection[str] | None = None) -> Findings:
        """One pass: over all directories, or a quick one.

        Args:
            besides: look at these, at the root and at the active directories, and no others.
            share: the part of a core that listing the files of active sessions may take.

        Raises:
            MachineError: the root cannot be looked at.
        """
        started_s = time.thread_time()
        known = self._reconciler.catalog.directories() if besides is None else list({"", *self._active, *besides})
        changed = self._reconciler.changed_directories(known)
        if besides is None:
            self._active = self._active_among(known)
        else:
            self._active.update(changed)
        cost_s = time.thread_time() - started_s
        return Findings(changed, self._written_over(share), cost_s)

    def _written_over(self, share: float) -> list[str]:
        """Images in active directories whose stamp changed since they were last listed, at a pace of its own: a folder
        of 20,000 files is not to slow down the look at all the others."""
        if time.monotonic() < self._list_at_s:
            return []
        started_s = time.thread_time()
        files: list[str] = []
        for directory in self._active:
            try:
                images = dict(self._reconciler.source.list_directory(directory).images)
            except ThumbnailError:
                continue  # the directory's own job says what is wrong with it
            before = self._seen.get(directory)
            if before is not None:
                # One that is new changed its directory's time, and may be an old one with a new name.
                files += [key for key, stamp in images.items() if before.get(key, stamp) != stamp]
            self._seen[directory] = images
        for directory in self._seen.keys() - self._active:
            del self._seen[directory]
        self._list_at_s = time.monotonic() + (time.thread_time() - started_s) / share
        return files

    def _active_among(self, known: Sequence[str]) -> set[str]:
        now_s = time.time()
        if time.monotonic() - self._manifests_at_s > _MANIFEST_EVERY_S:
            self._manifests_at_s = time.monotonic()
            newest = sorted((directory for directory in known if directory and "/" not in directory), reverse=True)
            self._ongoing = frozenset(name for name in newest[:_NEWEST_SESSIONS] if self._is_ongoing(name))
        since_ns = int((now_s - ACTIVE_S) * 1e9)
        times = self._reconciler.last_times()
        return {
            directory
            for directory in known
            if (times.get(directory) or 0) > since_ns or directory.partition("/")[0] in self._ongoing
        }

    def _is_ongoing(self, session: str) -> bool:
        manifest = self._sessions.read_manifest(session)
        return manifest is not None and manifest.get("status") == "ongoing"


class _SessionPollingEmitter(EventEmitter):
    """Turns passes into watchdog's events: a changed directory is modified, and so is a changed image.

    Args:
        poll: looks.
        share: the part of a core that looking at directories may take, and listing active ones as much again; the
            pauses grow with their cost.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        timeout: float = 1.0,
        *,
        poll: DirectoryPoll | None = None,
        share: float = 0.05,
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
            findings = self._poll.look(share=self._share)
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
