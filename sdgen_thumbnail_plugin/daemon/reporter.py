"""What the watcher reports: a line in the log for every new image, and the state file that ``status`` reads."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sdgen_thumbnail_plugin.daemon.identity import identity_of
from sdgen_thumbnail_plugin.daemon.logs import log_trouble
from sdgen_thumbnail_plugin.daemon.observers import Choice
from sdgen_thumbnail_plugin.daemon.state import (
    STATE_SCHEMA,
    CatchUpState,
    LastImageState,
    ObserverState,
    ProblemState,
    SessionsState,
    WatcherState,
    write_state,
)
from sdgen_thumbnail_plugin.engine.catalog import DirectoryRecord
from sdgen_thumbnail_plugin.engine.catchup import Progress
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Problem
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

    """

    def __init__(self, home: Home, directories: DirectoryReconciler) -> None:
        self._home = home
        self._directories = directories
        self._identity = identity_of(os.getpid()) or ""
        self._started_at_s = time.time()
        self._started_monotonic_s = time.monotonic()
        self._created_at_s: deque[float] = deque(maxlen=10_000)
        self._last_image: LastImageState | None = None
        self._live: set[str] = set()
        self._counted: tuple[int, Totals] | None = None
        self._log_failed_at_s: float | None = None
        self._held_back_at_s: float | None = None

    def note_live(self, key: str) -> None:
        """An image appeared or changed just now: its outcome is worth a line in the log."""
        if len(self._live) < _LIVE_LIMIT:
            self._live.add(key)

    def note(self, outcome: Outcome, waited_s: float) -> None:
        """A try at an image ended. Called in the workers' threads.

        Args:
            outcome: how it ended.
            waited_s: seconds since it was asked for.
        """
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

    def write(
        self,
        workers: Workers,
        *,
        phase: str,
        observer: Choice,
        progress: Progress | None,
        problems: Sequence[Problem],
        tick_interval_s: float,
    ) -> None:
        """Writes the state file.

        Args:
            workers: whose queue, counts and problems it holds.
            phase: what the watcher is doing.
            observer: what it watches with.
            progress: how far catch-up has come; None once it is done.
            problems: the watcher's own; those of workers, log and catalog are added.
            tick_interval_s: the pause between two ticks, in seconds.
        """
        totals = self._totals()
        held_back = self._directories.held_orphans()
        all_problems = [*problems, *workers.problems(), *self._log_problems(), *self._orphan_problems(held_back)]
        state = WatcherState(
            schema=STATE_SCHEMA,
            version=__version__,
            pid=os.getpid(),
            identity=self._identity,
            source_dir=self._directories.images.source.location,
            target_dir=self._directories.images.target.location,
            started_at_s=self._started_at_s,
            updated_at_s=time.time(),
            updated_monotonic_s=time.monotonic(),
            phase=phase,
            observer=ObserverState(**asdict(observer)),
            progress=CatchUpState(**asdict(progress)) if progress is not None else {},
            queue={priority.name.lower(): waiting for priority, waiting in workers.queued().items()},
            making=[printable(key) for key in workers.running()],
            images_per_s=self._rate(),
            counts={kind.value: ended for kind, ended in workers.counts.items()},
            sessions=SessionsState(complete=totals.complete, incomplete=totals.incomplete),
            images=totals.images,
            thumbnails=totals.thumbnails,
            failures=self._directories.catalog.count_failures(),
            orphans_held_back=held_back,
            last_image=self._last_image,
            problems=[ProblemState(**asdict(problem)) for problem in all_problems],
            tick_interval_s=tick_interval_s,
        )
        write_state(self._home.state_file, state)

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

    def _log_problems(self) -> list[Problem]:
        reason = log_trouble()
        if reason is None:
            self._log_failed_at_s = None
            return []
        self._log_failed_at_s = self._log_failed_at_s or time.time()
        return [Problem(f"the log cannot be written: {reason}", "make its folder writable", self._log_failed_at_s)]

    def _orphan_problems(self, held_back: int) -> list[Problem]:
        if not held_back:
            self._held_back_at_s = None
            return []
        self._held_back_at_s = self._held_back_at_s or time.time()
        remedy = "look at them with: sdgen-thumbnails clean --dry-run; then: sdgen-thumbnails clean"
        return [Problem(f"{held_back} thumbnails without a source are held back", remedy, self._held_back_at_s)]
