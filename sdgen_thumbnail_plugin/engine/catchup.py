"""Catching up: newest sessions first with a stop rule, so that a start is instant; then the exact audit."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sdgen_thumbnail_plugin.engine.plan import holds_back
from sdgen_thumbnail_plugin.engine.reconcile import DirectorySurvey, Reconciler
from sdgen_thumbnail_plugin.engine.scan import ACTIVE_S, parent_of
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import CatalogError, MachineError
from sdgen_thumbnail_plugin.model import OutcomeKind, Priority
from sdgen_thumbnail_plugin.storage.base import SessionStorage
from sdgen_thumbnail_plugin.text import printable
from sdgen_thumbnail_plugin.version import __version__

__all__ = ["CatchUp", "Limits", "Phase", "Progress", "Summary", "due_for_a_sweep"]

log = logging.getLogger(__name__)

_AHEAD = 2
"""How many sessions (or directories, in the audit) are given to the workers at a time, so that none of them idles while
the next is looked at."""

_FLUSH_EVERY_S = 1.0
_TOLD_EVERY_S = 1.0  # progress, while nothing else happens


class Phase:
    """What catching up is doing, in the words that ``status`` shows."""

    SMART = "smart catch-up"
    SURVEY = "audit: looking"
    AUDIT = "audit: processing"
    DONE = "up to date"


@dataclass(frozen=True, slots=True)
class Limits:
    """When an audit holds deletes back: more than ``count`` orphans, and more than this ``fraction`` of all."""

    count: int = 100
    fraction: float = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far catching up has come.

    Attributes:
        phase: one of ``Phase``.
        done: images dealt with in this phase.
        total: images to be dealt with, fixed before the first is made; None while looking.
        session: the session being processed; empty where there is none.
    """

    phase: str
    done: int = 0
    total: int | None = None
    session: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What catching up did.

    Attributes:
        sessions: incomplete sessions (directories, for an audit) that were processed.
        created: thumbnails made.
        skipped: images whose thumbnails were fresh already, as far as they were looked at.
        errors: images that failed.
        held_back: orphans that a person should decide about.
    """

    sessions: int = 0
    created: int = 0
    skipped: int = 0
    errors: int = 0
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class _Incomplete:
    session: str
    directories: list[str]
    images: int
    thumbnails: int
    lacking: int


class CatchUp:
    """Brings a target up to date with its source.

    Args:
        reconciler: looks and remembers.
        workers: do the work.
        sessions: the source's sessions.
        limits: when deletes are held back.
        stopping: set by others to end early.
        on_progress: called with every step.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        workers: Workers,
        sessions: SessionStorage,
        *,
        limits: Limits = Limits(),
        stopping: threading.Event | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._reconciler = reconciler
        self._workers = workers
        self._sessions = sessions
        self._limits = limits
        self._stopping = stopping or threading.Event()
        self._on_progress = on_progress
        self._flushed_at_s = time.monotonic()
        self._just_seen: frozenset[str] = frozenset()

    # -- the smart half

    def smart(self) -> Summary:
        """Sessions newest first: complete ones are skipped, incomplete ones processed; the first complete one after an
        incomplete one stops it."""
        started = self._counts()
        log.info("🔄 Starting smart catch-up: newest sessions first")
        known, everything = self._complete_sessions()
        # Where nothing at all changed, not even the root, there is nobody to put into an order.
        sessions = [] if everything else [session.name for session in self._sessions.list_sessions()]
        log.info("📂 Found %d sessions", len(known) if everything else len(sessions))
        begun = self._tried()
        found = total = 0
        waiting: deque[_Incomplete] = deque()
        running: deque[_Incomplete] = deque()

        def tell() -> None:
            done = min(total, self._tried() - begun)
            self._on_progress(Progress(Phase.SMART, done, total, running[0].session if running else ""))

        skipped = len(known) if everything else 0
        # All are looked into while the first are made already, so that it is soon known how many images there are.
        for session in sessions:
            if self._ended():
                break
            incomplete = None if session in known else self._look_into(session)
            if incomplete is None:
                skipped += 1
                if found:
                    log.info("✓ Found complete session: %s, stopping catch-up", printable(session))
                    break
                continue
            found += 1
            total += incomplete.lacking
            skipped += incomplete.thumbnails
            waiting.append(incomplete)
            self._hand_out(waiting, running)
            tell()
        while running and not self._ended():
            self._wait_telling(lambda: self._is_done(running[0]), tell)
            self._hand_out(waiting, running)
            tell()
        summary = self._summary(started, found, skipped)
        if not found:
            log.info("✓ All sessions up-to-date")
        else:
            self._just_seen = frozenset()  # time has passed
        self._report(summary)
        return summary

    def _hand_out(self, waiting: deque[_Incomplete], running: deque[_Incomplete]) -> None:
        """Gives the workers the next sessions, as soon as they are done with the first of those they have."""
        while running and self._is_done(running[0]):
            running.popleft()
            self._flush()
        while waiting and len(running) < _AHEAD:
            incomplete = waiting.popleft()
            log.info(
                "📍 Processing incomplete session: %s (%d/%d thumbnails)",
                printable(incomplete.session), incomplete.thumbnails, incomplete.images,
            )  # fmt: skip
            for directory in incomplete.directories:
                self._workers.submit_directory(directory, Priority.CATCH_UP)
            running.append(incomplete)

    def _is_done(self, incomplete: _Incomplete) -> bool:
        return not any(map(self._workers.is_busy_with, incomplete.directories))

    def _complete_sessions(self) -> tuple[set[str], bool]:
        """Sessions none of whose known directories changed since they were found complete, two stats each; and whether
        that is all there is."""
        directories = self._reconciler.catalog.directories()
        differing = self._reconciler.changed_directories(directories)
        self._just_seen = frozenset(directories).difference(differing)
        known = {directory.partition("/")[0] for directory in directories if directory}
        changed = {directory.partition("/")[0] for directory in differing}
        return known - changed, bool(directories) and not differing and "" in self._just_seen

    def _look_into(self, session: str) -> _Incomplete | None:
        """Surveys a session with all directories below it; None where it is complete."""
        directories: list[str] = []
        images = thumbnails = lacking = 0
        waiting = deque([session])
        while waiting:
            directory = waiting.popleft()
            try:
                survey = self._reconciler.follow(self._reconciler.survey(directory))
            except MachineError as error:
                log.error("✗ %s (%s)", error, error.remedy)
                continue
            waiting.extend(survey.view.directories)
            images += len(survey.view.sources)
            thumbnails += survey.thumbnails
            lacking += survey.lacking
            self._reconciler.settle(survey)
            if survey.lacking:
                directories.append(directory)
        return _Incomplete(session, directories, images, thumbnails, lacking) if lacking else None

    # -- the exact half

    def audit(self, *, everything: bool = False) -> Summary:
        """Every directory, exactly, newest first.

        First all are looked at (two stats each where nothing changed), so that the amount of work, and of deletes, is
        known before any of it is done.

        Args:
            everything: list also the directories that are known to be complete.
        """
        started = self._counts()
        self._on_progress(Progress(Phase.SURVEY))
        work, orphans, thumbnails = self._survey_all(everything)
        held_back = 0
        held: frozenset[str] = frozenset()
        total_orphans = sum(orphans.values())
        if holds_back(total_orphans, thumbnails, count=self._limits.count, fraction=self._limits.fraction):
            held, held_back = frozenset(orphans), total_orphans
            log.warning(
                "✗ %d of %d thumbnails have no source any more: held back, not deleted (look at them with: "
                "sdgen-thumbnails clean --dry-run)",
                total_orphans, thumbnails,
            )  # fmt: skip
        self._reconciler.hold_back(held)
        total = sum(work.values())
        running: deque[str] = deque()
        begun = self._tried()

        def tell() -> None:
            done = min(total, self._tried() - begun)
            self._on_progress(Progress(Phase.AUDIT, done, total, running[0].partition("/")[0]))

        def wait_for_first() -> None:
            tell()
            self._wait_telling(lambda: not self._workers.is_busy_with(running[0]), tell)
            running.popleft()
            self._flush()

        for directory in sorted(work, reverse=True):  # the time stamp leads the name: newest first
            if self._ended():
                break
            self._workers.submit_directory(directory, Priority.AUDIT)
            running.append(directory)
            if len(running) > _AHEAD:
                wait_for_first()
        while running:
            wait_for_first()
        self._flush(force=True)
        if not self._ended():
            self._on_progress(Progress(Phase.DONE, total, total))
        return self._summary(started, len(work), thumbnails - total_orphans, held_back)

    def _survey_all(self, everything: bool) -> tuple[dict[str, int], dict[str, int], int]:
        """Work by directory, orphans by directory, and how many thumbnails there are in all."""
        reconciler, catalog = self._reconciler, self._reconciler.catalog
        catalog.discover([""])
        # A new version of ours tries again what an old one failed at.
        again = {parent_of(failure.key) for failure in catalog.failures().values() if failure.version != __version__}
        # What was written over in an active directory while nobody watched shows in no directory's time.
        since_ns = time.time_ns() - int(ACTIVE_S * 1e9)
        again.update(
            directory
            for directory, record in catalog.records().items()
            if record.times is not None and (record.times.source_ns or 0) > since_ns
        )
        for directory in again:
            reconciler.unsettle(directory)
        self._just_seen = self._just_seen.difference(again)
        work: dict[str, int] = {}
        orphans: dict[str, int] = {}
        thumbnails = 0

        def note(survey: DirectorySurvey) -> None:
            reconciler.settle(survey)
            for found, number in ((work, survey.lacking), (orphans, survey.orphans)):
                found.pop(survey.view.directory, None)
                if number or (found is work and (survey.actions or survey.is_left_empty)):
                    found[survey.view.directory] = number

        seen: set[str] = set()
        waiting = catalog.directories()
        while waiting and not self._ended():
            seen_before, self._just_seen = self._just_seen, frozenset()
            asked = [directory for directory in waiting if directory not in seen_before]
            changed = set(waiting if everything else reconciler.changed_directories(asked))
            looked_at = []
            records = catalog.records()
            for directory in waiting:
                record = records.get(directory)
                if record is None or record.orphans or directory in changed:
                    looked_at.append(directory)
                else:
                    thumbnails += record.thumbnails
            seen.update(waiting)
            for directory in looked_at:
                if self._ended():
                    break
                try:
                    survey = reconciler.follow(reconciler.survey(directory))
                except MachineError as error:
                    log.error("✗ %s (%s)", error, error.remedy)
                    reconciler.unsettle(directory)
                    continue
                thumbnails += len(survey.view.thumbnails)
                note(survey)
                self._flush()
            waiting = [directory for directory in catalog.directories() if directory not in seen]
        if reconciler.knows_orphans():  # an image may have moved into a directory that was looked at before its old one
            for directory in [directory for directory, lacking in work.items() if lacking]:
                with contextlib.suppress(MachineError):  # said above
                    note(reconciler.follow(reconciler.survey(directory)))
        known = set(catalog.directories())  # those that moved as a whole are forgotten
        return work, {directory: number for directory, number in orphans.items() if directory in known}, thumbnails

    # -- both

    def _wait_telling(self, finished: Callable[[], bool], tell: Callable[[], None]) -> None:
        """Blocks until the condition holds or catching up is to end; tells how far it has come meanwhile."""
        while not self._workers.wait_for(lambda: self._ended() or finished(), _TOLD_EVERY_S) and not self._ended():
            tell()

    def _ended(self) -> bool:
        return self._stopping.is_set() or (self._workers.fault is not None and self._workers.fault.everywhere)

    def _counts(self) -> dict[OutcomeKind, int]:
        return dict(self._workers.counts)

    def _tried(self) -> int:
        counts = self._workers.counts
        return counts[OutcomeKind.CREATED] + counts[OutcomeKind.FAILED] + counts[OutcomeKind.ADOPTED]

    def _summary(self, before: dict[OutcomeKind, int], sessions: int, skipped: int, held_back: int = 0) -> Summary:
        now = self._workers.counts
        created = sum(now[kind] - before.get(kind, 0) for kind in (OutcomeKind.CREATED, OutcomeKind.ADOPTED))
        errors = sum(now[kind] - before.get(kind, 0) for kind in (OutcomeKind.FAILED, OutcomeKind.DEFERRED))
        return Summary(sessions, created, skipped, errors, held_back)

    @staticmethod
    def _report(summary: Summary) -> None:
        log.info("✓ Initial catch-up complete:")
        log.info("  ✓ Processed: %d", summary.created)
        log.info("  ⊘ Skipped: %d", summary.skipped)
        log.info("  📦 Sessions processed: %d", summary.sessions)
        log.info("  ✗ Errors: %d", summary.errors)

    def _flush(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if force or now_s - self._flushed_at_s > _FLUSH_EVERY_S:
            self._flushed_at_s = now_s
            try:
                self._reconciler.catalog.flush()
            except CatalogError as error:
                log.error("✗ %s (%s)", error, error.remedy)


def due_for_a_sweep(reconciler: Reconciler, *, now_s: float, interval_s: float, tick_s: float) -> list[str]:
    """The directories whose files the slow sweep looks at in this tick: as many as finish all of them in time.

    Args:
        now_s: seconds since the epoch.
        interval_s: every directory is looked at once in so many seconds.
        tick_s: seconds between two calls.
    """
    records = reconciler.catalog.records()
    share = max(1, math.ceil(2 * len(records) * tick_s / interval_s))
    due = [
        (record.swept_at_s, key)
        for key, record in records.items()
        if not 0 <= now_s - record.swept_at_s <= interval_s  # one in the future is the word of a clock that was wrong
    ]
    return [directory for _, directory in sorted(due)[:share]]
