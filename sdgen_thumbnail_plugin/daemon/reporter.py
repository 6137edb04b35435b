"""What the watcher reports: a line in the log for every new image, and the state file that ``status`` reads."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from sdgen_thumbnail_plugin.daemon.identity import identity_of
from sdgen_thumbnail_plugin.daemon.logs import log_trouble
from sdgen_thumbnail_plugin.daemon.observers import Choice
from sdgen_thumbnail_plugin.daemon.state import STATE_SCHEMA, LastImageState, Problems, WatcherState, write_state
from sdgen_thumbnail_plugin.engine.catalog import DirectoryRecord
from sdgen_thumbnail_plugin.engine.catchup import Progress
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.text import printable
from sdgen_thumbnail_plugin.version import __version__

log = logging.getLogger(__name__)

_RATE_S = 10.0
_LIVE_LIMIT = 100_000  # names kept for log lines; a larger burst leaves some out


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over the catalog's records.

    Attributes:
        complete, incomplete: sessions.
        images, thumbnails: in all directories, as they were last counted.
    """

    complete: int
    incomplete: int
    images: int
    thumbnails: int


def count(records: Mapping[str, DirectoryRecord]) -> Totals:
    """Adds up all directories' records. A session is complete if all its directories are."""
    sessions: dict[str, bool] = {}
    images = thumbnails = 0
    for directory, record in records.items():
        images += record.images
        thumbnails += record.thumbnails
        if directory:
            name = directory.partition("/")[0]
            sessions[name] = sessions.get(name, True) and record.complete
    complete = sum(sessions.values())
    return Totals(complete, len(sessions) - complete, images, thumbnails)


class Reporter:
    """Counts what happens, logs it and writes the state file.

    Args:
        home: holds the state file.
        directories: knows the roots and the catalog.
        problems: what is wrong.
    """

    def __init__(self, home: Home, directories: DirectoryReconciler, problems: Problems) -> None:
        self._home = home
        self._directories = directories
        self._problems = problems
        self._identity = identity_of(os.getpid()) or ""
        self._started_at_s = time.time()
        self._started_monotonic_s = time.monotonic()
        self._created_at_s: deque[float] = deque(maxlen=10_000)
        self._last_image: LastImageState | None = None
        self._live: set[str] = set()
        self._counted: tuple[int, Totals] | None = None

    def note_live(self, key: str) -> None:
        """An image appeared or changed just now: its outcome is worth a line in the log."""
        if len(self._live) < _LIVE_LIMIT:
            self._live.add(key)

    def note(self, outcome: Outcome, waited_s: float) -> None:
        """A try at an image ended, so many seconds after it was asked for. Called in the workers' threads."""
        live = outcome.key in self._live
        self._live.discard(outcome.key)
        name = printable(outcome.key)
        if outcome.kind is OutcomeKind.CREATED:
            self._created_at_s.append(time.monotonic())
            self._last_image = LastImageState(
                key=name,
                at_s=time.time(),
                build_s=round(outcome.build_s, 4),
                latency_s=round(waited_s, 4) if live else None,  # else it waited for its turn, not to be seen
            )
            if live:
                log.info("🆕 New image detected: %s", name)
                log.info("✓ Created thumbnail: %s (%.0f ms)", name, waited_s * 1000)
        elif outcome.kind is OutcomeKind.FAILED:
            log.error("✗ %s: %s", name, outcome.error)
        elif outcome.kind is OutcomeKind.DELETED:
            log.info("✓ Deleted thumbnail: %s (its source is gone)", name)

    def check(self) -> None:
        """Looks for problems that are not reported by those who have them."""
        trouble, held_back = log_trouble(), self._directories.held_orphans()
        what = f"the log cannot be written: {trouble}" if trouble is not None else ""
        self._problems.report("log", what, "make its folder writable")
        what = f"{held_back} thumbnails without a source are held back" if held_back else ""
        remedy = "look at them with: sdgen-thumbnails clean --dry-run; then: sdgen-thumbnails clean"
        self._problems.report("orphans", what, remedy)

    def write(
        self, workers: Workers, *, phase: str, observer: Choice, progress: Progress | None, tick_interval_s: float
    ) -> None:
        """Writes the state file.

        Args:
            workers: whose queue, counts and problems it holds.
            phase: what the watcher is doing.
            observer: what it watches with.
            progress: how far catch-up has come; None once it is done.
            tick_interval_s: the pause between two ticks, in seconds.
        """
        totals = self._totals()
        images = self._directories.images
        state = {
            "schema": STATE_SCHEMA,
            "version": __version__,
            "pid": os.getpid(),
            "identity": self._identity,
            "source_dir": images.source.location,
            "target_dir": images.target.location,
            "started_at_s": self._started_at_s,
            "updated_at_s": time.time(),
            "updated_monotonic_s": time.monotonic(),
            "phase": phase,
            "observer": observer,
            "progress": progress or {},
            "queue": {priority.name.lower(): waiting for priority, waiting in workers.queued().items()},
            "making": [printable(key) for key in workers.running()],
            "images_per_s": self._rate(),
            "counts": {kind.value: ended for kind, ended in workers.counts.items()},
            "sessions": totals,
            "images": totals.images,
            "thumbnails": totals.thumbnails,
            "failures": self._directories.catalog.count_failures(),
            "orphans_held_back": self._directories.held_orphans(),
            "last_image": self._last_image,
            "problems": [*self._problems.all().values(), *workers.problems()],
            "tick_interval_s": tick_interval_s,
        }
        write_state(self._home.state_file, WatcherState.model_validate(state))

    def _rate(self) -> float:
        """Thumbnails per second, over the last ten, or since the start."""
        now_s = time.monotonic()
        since_s = max(now_s - _RATE_S, self._started_monotonic_s)
        while self._created_at_s and self._created_at_s[0] <= since_s:  # the workers only append
            self._created_at_s.popleft()
        return len(self._created_at_s) / max(1.0, now_s - since_s)

    def _totals(self) -> Totals:
        """Counted again only after a change: over ten thousand sessions it takes 2 ms."""
        catalog = self._directories.catalog
        revision = catalog.revision
        if self._counted is None or self._counted[0] != revision:
            self._counted = revision, count(catalog.records())
        return self._counted[1]
