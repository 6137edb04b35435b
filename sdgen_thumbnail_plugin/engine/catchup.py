"""Catch-up: everything reconciled in one pass, newest sessions first.

Directories whose tokens are those in the catalog are known to need nothing and are not listed. The listing that finds
work is handed to the workers. Its first part is *smart*: it ends with the first complete session after an incomplete
one; what is older goes on at low priority. Deletes wait for the end of the pass, when it is known how many there are.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sdgen_thumbnail_plugin.engine.catalog import DirectoryRecord, parent_of
from sdgen_thumbnail_plugin.engine.plan import holds_back
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler, Pending
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import CatalogError, MachineError
from sdgen_thumbnail_plugin.model import OutcomeKind, Priority
from sdgen_thumbnail_plugin.storage.base import SessionStorage
from sdgen_thumbnail_plugin.text import printable
from sdgen_thumbnail_plugin.version import __version__

log = logging.getLogger(__name__)

ACTIVE_S = 600.0
"""A directory that changed within so many seconds is active: its files are looked at as well, because one that is
overwritten does not change its directory's token."""

_FLUSH_EVERY_S = 1.0
_REPORT_EVERY_S = 1.0  # progress, while nothing else happens


class Phase:
    """What catch-up is doing, in the words that ``status`` shows."""

    SMART = "smart catch-up"
    SURVEY = "audit: looking"
    AUDIT = "audit: processing"
    DONE = "up to date"


@dataclass(frozen=True, slots=True)
class Limits:
    """When deletes are held back: more than ``count`` orphans, and more than this ``fraction`` of all thumbnails."""

    count: int = 100
    fraction: float = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far catch-up has come.

    Attributes:
        phase: one of ``Phase``.
        done: images dealt with.
        total: images to be dealt with, as far as they were found; None while old sessions are looked at.
        session: the session being processed; empty where there is none.
    """

    phase: str
    done: int = 0
    total: int | None = None
    session: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What catch-up did.

    Attributes:
        sessions: incomplete sessions that were processed.
        created: thumbnails made or adopted.
        skipped: images whose thumbnails were fresh already.
        errors: images that failed.
        held_back: orphans that a person should decide about.
    """

    sessions: int = 0
    created: int = 0
    skipped: int = 0
    errors: int = 0
    held_back: int = 0


@dataclass(slots=True)
class _Found:
    """What looks at directories found, of one session or of all.

    Attributes:
        images: how many there are.
        fresh: images with a fresh thumbnail.
        lacking: images without one that could have one.
        thumbnails: all thumbnails, those without a source included.
        incomplete: sessions that lack a thumbnail.
        pending: what is left for the workers.
    """

    images: int = 0
    fresh: int = 0
    lacking: int = 0
    thumbnails: int = 0
    incomplete: int = 0
    pending: list[Pending] = field(default_factory=list)

    def add(self, other: _Found) -> None:
        """Adds the numbers of another look; what is pending stays where it is."""
        self.images += other.images
        self.fresh += other.fresh
        self.lacking += other.lacking
        self.thumbnails += other.thumbnails
        self.incomplete += other.incomplete

    def add_known(self, records: Iterable[DirectoryRecord | None]) -> None:
        """Adds directories that need nothing and were not looked at."""
        for record in filter(None, records):
            self.images += record.images
            self.fresh += record.thumbnails
            self.thumbnails += record.thumbnails


class CatchUp:
    """One pass that brings a target up to date with its source; for one call of ``run``.

    Args:
        directories: looks, does and remembers.
        workers: build.
        sessions: the source's sessions.
        limits: when deletes are held back.
        stopping: set by others to end early.
        on_progress: called with every step.
    """

    def __init__(
        self,
        directories: DirectoryReconciler,
        workers: Workers,
        sessions: SessionStorage,
        *,
        limits: Limits = Limits(),
        stopping: threading.Event | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._directories = directories
        self._catalog = directories.catalog
        self._workers = workers
        self._sessions = sessions
        self._limits = limits
        self._stopping = stopping or threading.Event()
        self._on_progress = on_progress
        self._flushed_at_s = time.monotonic()
        self._counts_before = dict(workers.counts)
        self._has_smart_part = True
        self._has_looked = False
        self._found = _Found()
        self._smart: _Found | None = None  # what the smart part found, once it has ended
        self._orphans: dict[str, int] = {}  # by directory
        self._submitted: list[str] = []  # directories handed to the workers
        self._smart_submitted = 0  # how many of them by the smart part
        self._done = 0  # how many of them are known to be done
        self._to_tell: deque[tuple[int, Callable[[], None]]] = deque()  # once so many are done, in this order

    def run(self, *, smart: bool = True, smart_only: bool = False, everything: bool = False) -> Summary:
        """Looks at everything, newest sessions first, and waits until all of it is done.

        Args:
            smart: whether the pass begins with a smart part.
            smart_only: end with the first complete session after an incomplete one; nothing is deleted then.
            everything: list also the directories that are known to need nothing.
        """
        self._has_smart_part = smart
        if smart:
            log.info("🔄 Starting smart catch-up: newest sessions first")
        else:
            self._end_smart_part()
        differing = self._differing(everything)
        if "" in differing:
            self._take(self._look_into([""]), Priority.AUDIT)
            differing.update(self._directories.changed_directories(self._unknown()))
        by_session = _by_session(self._catalog.directories())
        gone = {name for name in by_session if self._directories.is_missing(name)}
        # Where nothing changed, there is nothing to put into an order.
        names = self._sessions.newest_first(set(by_session) - gone) if differing else list(by_session)
        if smart:
            log.info("📂 Found %d sessions", len(names))
        for name in names:
            if self._ended() or (smart_only and self._smart is not None):
                break
            session = self._look_into(filter(differing.__contains__, by_session[name]))
            session.add_known(map(self._catalog.record, set(by_session[name]) - differing))
            self._take_session(name, session)
        self._end_smart_part()
        held_back = 0
        if not smart_only:
            for name in gone:
                self._take(self._look_into(by_session[name]), Priority.AUDIT)
            held_back = self._decide_about_orphans()
        for directory in self._orphans:
            self._workers.release(directory)
        self._wait_for_all()
        self._flush(force=True)
        if not self._ended() and not smart_only:
            self._on_progress(Progress(Phase.DONE, self._found.lacking, self._found.lacking))
        return self._summary(self._found, held_back)

    # -- looking

    def _differing(self, everything: bool) -> set[str]:
        """The directories to be looked at: all that changed, and those that need a look for another reason."""
        self._catalog.discover([""])
        known = self._catalog.directories()
        differing = set(self._directories.changed_directories(known))  # which notes what is missing, too
        if everything:
            differing.update(known)
        # A new version of ours tries again what an old one failed at.
        failures = self._catalog.failures().values()
        differing.update(parent_of(failure.key) for failure in failures if failure.version != __version__)
        # What was overwritten in an active directory while we did not watch shows in no directory's token.
        differing.update(self._directories.recently_changed(known, ACTIVE_S))
        differing.update(directory for directory, record in self._catalog.records().items() if record.orphans)
        return differing

    def _unknown(self) -> list[str]:
        return [directory for directory, record in self._catalog.records().items() if record == DirectoryRecord()]

    def _look_into(self, directories: Iterable[str]) -> _Found:
        """Looks at directories, and at those below them that were not known; does at once what costs nothing."""
        found = _Found()
        waiting = deque(directories)
        while waiting and not self._ended():
            directory = waiting.popleft()
            try:
                look = self._directories.look(directory)
                pending = self._directories.begin(look, deletes=False)
            except MachineError as error:
                log.error("✗ %s (%s)", error, error.remedy)
                self._catalog.look_again(directory)
                continue
            if directory:
                waiting.extend(pending.found)
            found.images += len(look.sources)
            found.fresh += look.fresh
            found.lacking += look.lacking
            found.thumbnails += len(look.thumbnails)
            if pending.adopted:
                self._workers.count(OutcomeKind.ADOPTED, pending.adopted)
            if pending.names or pending.lost_names:
                found.pending.append(pending)
            self._tell_what_is_due()
            self._flush()
        return found

    # -- handing over

    def _take_session(self, name: str, session: _Found) -> None:
        priority = Priority.CATCH_UP if self._smart is None else Priority.AUDIT
        if session.lacking:
            session.incomplete = 1
            if self._smart is None:
                text = "📍 Processing incomplete session: %s (%d/%d thumbnails)"
                self._tell_in_turn(functools.partial(log.info, text, printable(name), session.fresh, session.images))
        elif self._found.incomplete and self._smart is None:
            text = "✓ Found complete session: %s, stopping catch-up"
            self._tell_in_turn(functools.partial(log.info, text, printable(name)))
            self._end_smart_part()
        self._take(session, priority)
        self._tell_what_is_due()
        if session.pending:
            self._report()

    def _end_smart_part(self) -> None:
        if self._smart is None:
            self._smart = replace(self._found)
            self._smart_submitted = len(self._submitted)
            if self._has_smart_part:
                self._tell_in_turn(self._report_smart_part)

    def _take(self, found: _Found, priority: Priority) -> None:
        """Hands to the workers what was found."""
        self._found.add(found)
        for pending in found.pending:
            orphans = len(pending.orphans)
            if orphans:
                self._orphans[pending.directory] = orphans
            self._workers.submit_directory(pending.directory, priority, pending, held=bool(orphans))
            self._submitted.append(pending.directory)

    def _decide_about_orphans(self) -> int:
        """Holds a mass of deletes back; returns how many orphans are held."""
        orphans, thumbnails = sum(self._orphans.values()), self._found.thumbnails
        if not holds_back(orphans, thumbnails, count=self._limits.count, fraction=self._limits.fraction):
            self._directories.hold_back(frozenset())
            return 0
        log.warning(
            "✗ %d of %d thumbnails have no source any more: held back, not deleted (look at them with: "
            "sdgen-thumbnails clean --dry-run)",
            orphans, thumbnails,
        )  # fmt: skip
        self._directories.hold_back(frozenset(self._orphans))
        return orphans

    # -- waiting

    def _wait_for_all(self) -> None:
        """Blocks until everything that was handed over is done."""
        self._has_looked = True
        self._report()
        while not self._ended() and not self._is_done(len(self._submitted)):
            due = self._to_tell[0][0] if self._to_tell else len(self._submitted)
            self._workers.wait_for(functools.partial(self._is_over, due), _REPORT_EVERY_S)
            self._tell_what_is_due()
            self._report()
            self._flush()
        self._tell_what_is_due()
        self._report()

    def _is_over(self, count: int) -> bool:
        return self._ended() or self._is_done(count)

    def _is_done(self, count: int) -> bool:
        return self._count_done() >= count

    def _count_done(self) -> int:
        """How many of the directories are done, up to the first that is not."""
        while self._done < len(self._submitted) and not self._workers.is_busy_with(self._submitted[self._done]):
            self._done += 1
        return self._done

    def _ended(self) -> bool:
        return self._stopping.is_set() or (self._workers.fault is not None and self._workers.fault.everywhere)

    # -- reporting

    def _tell_in_turn(self, tell: Callable[[], None]) -> None:
        """Tells something when everything that was handed over before is done: looking is far ahead of the work."""
        self._to_tell.append((len(self._submitted), tell))

    def _tell_what_is_due(self) -> None:
        while self._to_tell and self._is_done(self._to_tell[0][0]):
            self._to_tell.popleft()[1]()

    def _report(self) -> None:
        if self._smart is None or not self._is_done(self._smart_submitted):
            phase, part = Phase.SMART, self._smart or self._found
        elif not self._has_looked:
            self._on_progress(Progress(Phase.SURVEY))
            return
        else:
            phase, part = Phase.AUDIT, self._found
        first = self._count_done()
        session = self._submitted[first].partition("/")[0] if first < len(self._submitted) else ""
        done = min(part.lacking, self._summary(part).created + self._since(OutcomeKind.FAILED))
        self._on_progress(Progress(phase, done, part.lacking, session))

    def _report_smart_part(self) -> None:
        summary = self._summary(self._smart or self._found)
        if not summary.sessions:
            log.info("✓ All sessions up-to-date")
        log.info("✓ Initial catch-up complete:")
        log.info("  ✓ Processed: %d", summary.created)
        log.info("  ⊘ Skipped: %d", summary.skipped)
        log.info("  📦 Sessions processed: %d", summary.sessions)
        log.info("  ✗ Errors: %d", summary.errors)

    def _since(self, *kinds: OutcomeKind) -> int:
        return sum(self._workers.counts[kind] - self._counts_before.get(kind, 0) for kind in kinds)

    def _summary(self, found: _Found, held_back: int = 0) -> Summary:
        created = self._since(OutcomeKind.CREATED, OutcomeKind.ADOPTED)
        errors = self._since(OutcomeKind.FAILED, OutcomeKind.DEFERRED)
        return Summary(found.incomplete, created, found.fresh, errors, held_back)

    def _flush(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if force or now_s - self._flushed_at_s > _FLUSH_EVERY_S:
            self._flushed_at_s = now_s
            try:
                self._catalog.flush()
            except CatalogError as error:
                log.error("✗ %s (%s)", error, error.remedy)


def _by_session(directories: Sequence[str]) -> dict[str, list[str]]:
    """The known directories by the session they belong to, without the root."""
    found: dict[str, list[str]] = {}
    for directory in sorted(directories):
        if directory:
            found.setdefault(directory.partition("/")[0], []).append(directory)
    return found


def due_for_a_sweep(directories: DirectoryReconciler, *, now_s: float, interval_s: float, tick_s: float) -> list[str]:
    """The directories whose files the slow sweep looks at in this tick: as many as finish all of them in time.

    Args:
        directories: knows when each was looked at.
        now_s: seconds since the epoch.
        interval_s: every directory is looked at once in so many seconds.
        tick_s: seconds between two calls.
    """
    records = directories.catalog.records()
    share = max(1, math.ceil(2 * len(records) * tick_s / interval_s))
    due = [
        (record.swept_at_s, key)
        for key, record in records.items()
        if not 0 <= now_s - record.swept_at_s <= interval_s  # one in the future is the word of a clock that was wrong
    ]
    return [directory for _, directory in sorted(due)[:share]]
