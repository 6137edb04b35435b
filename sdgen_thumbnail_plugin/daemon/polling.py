"""Looking instead of waiting for notifications: at all directories, and how often.

One look costs two ``stat`` calls a directory; only in active sessions are the files looked at too, because a file that
is overwritten does not change its directory.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sdgen_thumbnail_plugin.engine.catchup import ACTIVE_S
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.base import SessionStorage

_NEWEST_SESSIONS = 5
_MANIFEST_EVERY_S = 5.0


class Pace:
    """Spaces out something that is done again and again.

    Wall time counts, not processor time: waiting for a network mount is not free for others who use it. Of the last
    three times the cheapest counts, because something that lost the processor to another program for a moment costs no
    more than usual. So the first three follow one another with the shortest pause.

    Args:
        pause_s: the first pause, in seconds.
    """

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        """The pause that was chosen last, in seconds."""
        self.due_at_s = 0.0
        """When it is due next, on the monotonic clock; at once in the beginning."""
        self._costs_s = deque([0.0] * 3, maxlen=3)

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due_at_s

    def note(self, cost_s: float, *, share: float, shortest_s: float = 0.0) -> None:
        """Chooses the next pause; to be called when it was done.

        Args:
            cost_s: the wall time that it took, in seconds.
            share: the part of all time that it may take.
            shortest_s: the shortest pause, in seconds.
        """
        self._costs_s.append(cost_s)
        self.pause_s = max(shortest_s, min(self._costs_s) / share)
        self.wait()

    def wait(self) -> None:
        """Makes it due after another pause."""
        self.due_at_s = time.monotonic() + self.pause_s

    def hasten(self, within_s: float) -> None:
        """Makes it due within so many seconds."""
        self.due_at_s = min(self.due_at_s, time.monotonic() + within_s)


@dataclass(frozen=True, slots=True)
class Findings:
    """What one look found.

    Attributes:
        directories: keys of the directories that are not as they were when last found complete.
        files: keys of the images in active sessions that were overwritten since they were last listed.
        cost_s: wall time of the look at directories, in seconds.
    """

    directories: Sequence[str]
    files: Sequence[str]
    cost_s: float


class DirectoryPoll:
    """Looks at all known directories. Not thread-safe: one thread looks.

    Args:
        directories: knows the directories and their last complete state.
        sessions: says which sessions are still being generated.
    """

    def __init__(self, directories: DirectoryReconciler, sessions: SessionStorage) -> None:
        self._directories = directories
        self._sessions = sessions
        self._active: set[str] = set()
        self._seen: dict[str, dict[str, Stamp]] = {}
        self._listing = Pace()
        self._ongoing: frozenset[str] = frozenset()
        self._manifests_at_s = -math.inf

    def look(self, *, share: float, besides: Collection[str] | None = None) -> Findings:
        """Looks at all directories, or quickly at some.

        Args:
            besides: look at these, at the root and at the active directories, and no others.
            share: the part of the time that listing the files of active sessions may take.

        Raises:
            MachineError: the root cannot be looked at.
        """
        started_s = time.monotonic()
        known = self._directories.catalog.directories() if besides is None else list({"", *self._active, *besides})
        changed = self._directories.changed_directories(known)
        if besides is None:
            self._active = self._active_among(known)
        else:
            # One that differs from the catalog may only wait for the catch-up, which is at work on all of them.
            self._active |= self._directories.recently_changed(changed, ACTIVE_S)
        cost_s = time.monotonic() - started_s
        return Findings(changed, self._overwritten(share) if self._listing.is_due else [], cost_s)

    def _overwritten(self, share: float) -> list[str]:
        """Images in active directories whose stamp changed since they were last listed. At a pace of its own: a folder
        of 20,000 files does not slow down the look at all the others."""
        started_s = time.monotonic()
        files: list[str] = []
        for directory in self._active:
            try:
                images = dict(self._directories.images.source.list_directory(directory).images)
            except ThumbnailError:
                continue  # the directory's own job reports it
            before = self._seen.get(directory)
            if before is not None:
                # A new one changed its directory, and may be an old one with a new name.
                files += [key for key, stamp in images.items() if before.get(key, stamp) != stamp]
            self._seen[directory] = images
        for directory in self._seen.keys() - self._active:
            del self._seen[directory]
        self._listing.note(time.monotonic() - started_s, share=share)
        return files

    def _active_among(self, known: Sequence[str]) -> set[str]:
        if time.monotonic() - self._manifests_at_s > _MANIFEST_EVERY_S:
            self._manifests_at_s = time.monotonic()
            newest = sorted((directory for directory in known if directory and "/" not in directory), reverse=True)
            self._ongoing = frozenset(name for name in newest[:_NEWEST_SESSIONS] if self._is_ongoing(name))
        ongoing = {directory for directory in known if directory.partition("/")[0] in self._ongoing}
        return ongoing | self._directories.recently_changed(known, ACTIVE_S)

    def _is_ongoing(self, session: str) -> bool:
        manifest = self._sessions.read_manifest(session)
        return manifest is not None and manifest.get("status") == "ongoing"
