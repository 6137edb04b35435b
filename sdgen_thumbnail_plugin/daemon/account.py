"""What the watcher tells: a log line for what happened to a new image, and the state file that ``status`` reads."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sdgen_thumbnail_plugin.daemon.logs import log_trouble
from sdgen_thumbnail_plugin.daemon.observers import Choice
from sdgen_thumbnail_plugin.daemon.process import identity_of
from sdgen_thumbnail_plugin.daemon.state import Problem, WatcherState, write_state
from sdgen_thumbnail_plugin.engine.catchup import Progress
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.records import DirectoryRecord
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.text import printable

__all__ = ["Account"]

log = logging.getLogger(__name__)

_RATE_S = 10.0
_LIVE_LIMIT = 100_000  # names kept for log lines; in a larger burst some go unmentioned


@dataclass(frozen=True, slots=True)
class Totals:
    """What the catalog's records come to.

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


class Account:
    """Keeps count, and writes the state file.

    Args:
        home: where the state file is.
        reconciler: knows the roots and the catalog.
    """

    def __init__(self, home: Home, reconciler: Reconciler) -> None:
        self.workers: Workers | None = None
        self._home = home
        self._reconciler = reconciler
        self._identity = identity_of(os.getpid()) or ""
        self._started_at_s = time.time()
        self._started_monotonic_s = time.monotonic()
        self._created_at_s: deque[float] = deque(maxlen=10_000)
        self._last_image: dict[str, object] | None = None
        self._live: set[str] = set()
        self._counted: tuple[int, Totals] | None = None

    def note_live(self, key: str) -> None:
        """An image appeared or changed just now: what becomes of it is worth a line in the log."""
        if len(self._live) < _LIVE_LIMIT:
            self._live.add(key)

    def note(self, outcome: Outcome, waited_s: float) -> None:
        """A try at an image ended, so many seconds after it was asked for. Called in the workers' threads."""
        live = outcome.key in self._live
        self._live.discard(outcome.key)
        name = printable(outcome.key)
        if outcome.kind is OutcomeKind.CREATED:
            self._created_at_s.append(time.monotonic())
            self._last_image = {
                "key": name,
                "at_s": time.time(),
                "build_s": round(outcome.build_s, 4),
                "latency_s": round(waited_s, 4) if live else None,  # else it waited for its turn, not to be seen
            }
            if live:
                log.info("🆕 New image detected: %s", name)
                log.info("✓ Created thumbnail: %s (%.0f ms)", name, waited_s * 1000)
        elif outcome.kind is OutcomeKind.FAILED:
            log.error("✗ %s: %s", name, outcome.error)
        elif outcome.kind is OutcomeKind.DELETED:
            log.info("✓ Deleted thumbnail: %s (its source is gone)", name)

    def _rate(self) -> float:
        """Thumbnails per second, over the last ten, or since the start."""
        now_s = time.monotonic()
        since_s = max(now_s - _RATE_S, self._started_monotonic_s)
        while self._created_at_s and self._created_at_s[0] <= since_s:  # the workers only append
            self._created_at_s.popleft()
        return len(self._created_at_s) / max(1.0, now_s - since_s)

    def _totals(self) -> Totals:
        """Counted anew only after a change: over ten thousand sessions it takes 2 ms."""
        catalog = self._reconciler.catalog
        revision = catalog.revision
        if self._counted is None or self._counted[0] != revision:
            self._counted = revision, count(catalog.records())
        return self._counted[1]

    def write(
        self,
        *,
        phase: str,
        observer: Choice,
        progress: Progress | None,
        problems: Sequence[Problem],
        tick_interval_s: float,
    ) -> None:
        """Writes the state file.

        Args:
            phase: what the watcher is doing.
            observer: with what it watches.
            progress: how far catching up has come; None when it has.
            problems: the watcher's own; the workers' are added.
            tick_interval_s: the pause between two ticks, in seconds.
        """
        workers = self.workers
        if workers is None:
            return
        totals = self._totals()
        all_problems = [*problems, *(Problem(one.message, one.remedy, one.since_s) for one in workers.troubles())]
        trouble = log_trouble()
        if trouble is not None:
            all_problems.append(Problem(f"the log cannot be written: {trouble}", "make its folder writable"))
        held_back = self._reconciler.held_orphans()
        if held_back:
            remedy = "look at them with: sdgen-thumbnails clean --dry-run; then: sdgen-thumbnails clean"
            all_problems.append(Problem(f"{held_back} thumbnails without a source are held back", remedy))
        state = WatcherState(
            pid=os.getpid(),
            identity=self._identity,
            source_dir=self._reconciler.source.location,
            target_dir=self._reconciler.target.location,
            started_at_s=self._started_at_s,
            updated_at_s=time.time(),
            updated_monotonic_s=time.monotonic(),
            phase=phase,
            observer=asdict(observer),
            progress=asdict(progress) if progress is not None else {},
            queue={priority.name.lower(): count for priority, count in workers.queued().items()},
            making=[printable(key) for key in workers.running()],
            images_per_s=self._rate(),
            counts={kind.value: count for kind, count in workers.counts.items()},
            sessions={"complete": totals.complete, "incomplete": totals.incomplete},
            images=totals.images,
            thumbnails=totals.thumbnails,
            failures=len(self._reconciler.catalog.failures()),
            orphans_held_back=held_back,
            last_image=self._last_image,
            problems=[asdict(problem) for problem in all_problems],
            tick_interval_s=tick_interval_s,
        )
        write_state(self._home.state_file, state)
