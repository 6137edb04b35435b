"""The machine's faults: what they stop, for how long, and what is reported of them.

A fault is at one place (an image, a directory) or stops all writing. What failed is left alone for a while, longer each
time; a fault that stops everything pauses all work.
"""

from __future__ import annotations

import threading
import time

from sdgen_thumbnail_plugin.engine.catalog import parent_of
from sdgen_thumbnail_plugin.errors import MachineError
from sdgen_thumbnail_plugin.model import Problem

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


def _longer(pause_s: float) -> float:
    return min(max(pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)


class Backoff:
    """Remembers faults and says how long to wait. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directories: dict[str, tuple[float, float]] = {}  # until when each is left alone, and for how long
        self._problems: dict[str | None, Problem] = {}  # by the key of what cannot be done; None: nothing can
        self._stopped_by: str | None = None  # the key at which everything last failed
        self._pause_s = 0.0
        self.paused_until_s = 0.0
        """Until when no work begins, on the monotonic clock."""

    def note(self, key: str, directory: str, error: MachineError, *, pauses: bool) -> bool:
        """A job failed by the machine's fault.

        Args:
            key: the image or directory that was worked on.
            directory: the directory that is left alone for a while.
            error: the fault.
            pauses: whether a fault that stops everything pauses all work.

        Returns:
            Whether it is news.
        """
        place = None if error.everywhere else key
        with self._lock:
            self._leave_alone(directory)
            if error.everywhere:
                self._stopped_by = key
                if pauses:
                    self._pause_s = _longer(self._pause_s)
                    self.paused_until_s = time.monotonic() + self._pause_s
            known = self._problems.get(place)
            if known is not None and known.message == str(error):
                return False
            self._problems[place] = Problem(str(error), error.remedy, time.time())
            return True

    def leave_alone(self, directory: str) -> None:
        """A directory could not be finished; the next try comes later each time."""
        with self._lock:
            self._leave_alone(directory)

    def _leave_alone(self, directory: str) -> None:
        delay_s = _longer(self._directories.get(directory, (0.0, 0.0))[1])
        self._directories[directory] = (time.monotonic() + delay_s, delay_s)

    def is_left_alone(self, directory: str) -> bool:
        """Whether a directory failed a moment ago."""
        return self._directories.get(directory, (0.0, 0.0))[0] > time.monotonic()

    def note_success(self, key: str, directory: str, *, is_directory: bool, wrote: bool) -> None:
        """A job succeeded: its own problem is over, and once a directory is as it should be, all of those in it. What
        stopped everything is over when anything could be written, or nothing is left that it stopped.

        Args:
            key: the image or directory that was worked on.
            directory: the directory it is in, or is.
            is_directory: which of the two.
            wrote: whether anything was written or deleted.
        """
        if not self._problems and not self._directories:
            return

        def is_over(place: str) -> bool:
            return place in (key, directory) or (is_directory and parent_of(place) == directory)

        with self._lock:
            self._directories.pop(directory, None)
            for place in [place for place in self._problems if place is not None and is_over(place)]:
                del self._problems[place]
            if wrote or (self._stopped_by is not None and is_over(self._stopped_by)):
                self._problems.pop(None, None)
                self._pause_s = self.paused_until_s = 0.0

    def problems(self) -> list[Problem]:
        """What keeps work from being done, oldest first; of the images of one directory the oldest alone."""
        with self._lock:
            found = sorted(self._problems.items(), key=lambda item: item[1].since_s or 0.0)
        first: dict[str | None, Problem] = {}
        for place, problem in found:
            first.setdefault(place and parent_of(place), problem)
        return list(first.values())
