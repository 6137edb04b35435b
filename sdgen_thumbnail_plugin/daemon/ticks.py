"""What is looked at: the root, the directories, the files that are due, and whether the observer still works.

A tick finds what no notification reported. Where none come, it is the ticks that find everything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence

from sdgen_thumbnail_plugin.daemon.catching_up import CatchUpThread
from sdgen_thumbnail_plugin.daemon.hints import Hint, HintKind
from sdgen_thumbnail_plugin.daemon.pace import Pace
from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll
from sdgen_thumbnail_plugin.daemon.supervisor import Supervisor
from sdgen_thumbnail_plugin.engine.catchup import due_for_a_sweep
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import CatalogError, MachineError
from sdgen_thumbnail_plugin.model import Priority, Problem
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)

_NATIVE_SHARE = 0.0008  # of the time: beside the native observer, which reports nearly everything
_POLLING_SHARE = 0.03  # looks at all directories, at some, and at files make a tenth (DESIGN, "Watching")
_QUICK_SHARE = 0.03  # for looks at some: rarely more than a few, and so each second beside the native observer too
_RECENT_S = 60.0
_NOTIFICATION_S = 0.8  # watchdog keeps moves for half a second, to find both their ends


class Ticks:
    """Ticks, one after the other, in one thread.

    Args:
        settings: how often.
        poll: looks.
        directories: knows what changed.
        workers: are asked for what a look found.
        supervisor: the observer's.
        catch_up: is started where everything has to be looked at.
        put: gets hints for images that were overwritten.
        problems: where problems are reported, by a name of their own.
    """

    def __init__(
        self,
        settings: Settings,
        poll: DirectoryPoll,
        directories: DirectoryReconciler,
        workers: Workers,
        supervisor: Supervisor,
        catch_up: CatchUpThread,
        *,
        put: Callable[[Hint], None],
        problems: MutableMapping[str, Problem],
    ) -> None:
        self._settings = settings
        self._poll = poll
        self._workers = workers
        self._directories = directories
        self._source = directories.images.source
        self._catalog = directories.catalog
        self._supervisor = supervisor
        self._catch_up = catch_up
        self._put = put
        self._problems = problems
        self._root_identity = self._identity_of_root()  # before anything is watched
        self._look_again = False  # everything is to be listed, known to be complete or not
        self._due_at_s = 0.0
        self._everything = Pace(settings.tick_interval_s)  # looks at all directories
        self._quick = Pace(min(settings.tick_interval_s, settings.polling_interval_s))  # looks at a few
        self._found_at_s: dict[str, float] = {}
        self._gone_at_s: dict[str, float] = {}

    @property
    def interval_s(self) -> float:
        """The pause between two looks at all directories, in seconds."""
        return self._everything.pause_s

    @property
    def root_is_there(self) -> bool:
        """Whether it was, as of the last look."""
        return self._root_identity is not None

    def wait(self, stopping: threading.Event) -> None:
        """Waits until the next tick is due, or the event is set."""
        stopping.wait(max(0.0, self._due_at_s - time.monotonic()))

    def tick(self) -> None:
        """Looks once, and reports what is wrong."""
        self._due_at_s = time.monotonic() + self._settings.tick_interval_s
        if self._supervisor.lost_events():
            self._look_soon()
        elif not self._look_again and not self._catch_up.is_running:
            self._supervisor.note_caught_up()
        root_is_there = self._check_root()
        if root_is_there:
            self._look()
        try:
            self._catalog.flush()
            self._problems.pop("catalog", None)
        except CatalogError as error:
            self._problems["catalog"] = Problem(str(error), error.remedy, time.time())
        if root_is_there:
            self._check_observer()
            self._due_at_s = min(self._due_at_s, self._everything.due_at_s, self._quick.due_at_s)

    # -- the root

    def _identity_of_root(self) -> str | None:
        try:
            return self._source.root_identity()
        except MachineError:
            return None

    def _check_root(self) -> bool:
        """Whether the root is there. One that is back, or was replaced, gets a new observer."""
        identity, before = self._identity_of_root(), self._root_identity
        location = self._source.location
        if identity is None:
            if "root" not in self._problems:
                log.error("✗ The source folder %s is not there; nothing is deleted", printable(location))
                remedy = "mount the drive or create the folder; watching goes on by itself"
                self._problems["root"] = Problem(f"the source folder {location} is not there", remedy, time.time())
            return False
        returned = self._problems.pop("root", None) is not None
        if returned or identity != before:
            self._root_identity = identity
            reason = "The source folder is back" if returned else "Another folder took the source's place"
            self._replace_observer(reason, at_once=True)
        self._report_a_root_without_images()
        return True

    def _report_a_root_without_images(self) -> None:
        if not self._directories.misses_all_images():
            self._problems.pop("images", None)
        elif "images" not in self._problems and not self._catch_up.is_running:  # which may find them under new names
            location = self._source.location
            log.warning("✗ The source folder %s holds no images; nothing is deleted", printable(location))
            remedy = "mount the drive; if its images are gone on purpose, delete the folder of thumbnails"
            self._problems["images"] = Problem(f"the source folder {location} holds no images", remedy, time.time())

    # -- the observer

    def _check_observer(self) -> None:
        trouble = self._supervisor.trouble()
        if trouble is not None and self._replace_observer(trouble):
            self._look_soon()
        if self._supervisor.try_notifications_again(self._catalog.directories):
            self._everything.hasten(0.0)
        deaf = self._supervisor.deaf_directories(self._catalog.directories())
        if deaf:
            self._look_soon()
        for directory in deaf:
            self._workers.submit_directory(directory, Priority.URGENT)  # what happened in them meanwhile

    def _replace_observer(self, reason: str, *, at_once: bool = False) -> bool:
        """A new observer, and catching up with what no observer reported; False where the last one is too young."""
        done = self._supervisor.rearm(reason, at_once=at_once)
        if done and not self._catch_up.start():
            self._look_again = True
        return done

    # -- looking

    def _look_soon(self) -> None:
        """So much happened that some of it may be lost: all is looked at, and listed once nothing happens any more."""
        self._look_again = True
        self._supervisor.count_events()
        self._everything.hasten(self._settings.tick_interval_s)

    def _look(self) -> None:
        """Looks at all directories, or quickly at those where something happens, if it is time for either."""
        everywhere = self._everything.is_due
        if not everywhere and not self._quick.is_due:
            return
        native = self._supervisor.hears
        share = _NATIVE_SHARE if native else _POLLING_SHARE
        shortest_s = self._settings.tick_interval_s if native else self._settings.polling_interval_s
        started_s = time.monotonic()
        try:
            known = self._catalog.record
            pending = None if everywhere else [found for found in self._found_at_s if known(found) is not None]
            findings = self._poll.look(besides=pending, share=share)
        except MachineError as error:
            log.error("✗ %s (%s)", error, error.remedy)
            cost_s = time.monotonic() - started_s
        else:
            cost_s = findings.cost_s
            self._note_found(findings.directories)
            self._take(self._lasting() if native else findings.directories)
            for key in findings.files:
                self._put(Hint(key, HintKind.WRITTEN))
        if everywhere:
            self._everything.note(cost_s, share=share, shortest_s=shortest_s)
            self._quick.wait()
            self._look_further()
        else:
            self._quick.note(cost_s, share=_QUICK_SHARE, shortest_s=shortest_s)

    def _look_further(self) -> None:
        """What is due besides the directories: all files after events were lost, some every day."""
        is_calm = self._supervisor.count_events() == 0
        if self._catch_up.is_running:
            return
        if self._look_again:
            self._everything.hasten(self._settings.tick_interval_s)
            if is_calm:
                # Cleared before the pass begins: what is lost from here on asks for another one.
                self._look_again = False
                self._catch_up.start(smart=False, everything=True)
            return
        for directory in due_for_a_sweep(
            self._directories,
            now_s=time.time(),
            interval_s=self._settings.sweep_interval_s,
            tick_s=self._everything.pause_s,
        ):
            self._workers.submit_directory(directory, Priority.AUDIT)

    def _note_found(self, directories: Sequence[str]) -> None:
        now_s = time.monotonic()
        self._found_at_s = {directory: self._found_at_s.get(directory, now_s) for directory in directories}

    def _lasting(self) -> list[str]:
        """Directories that were found some time ago already: what a notification reports better is left to it until
        then. A renamed directory is a new one to a tick, and its thumbnails would be made again instead of renamed."""
        now_s = time.monotonic()
        return [directory for directory, at_s in self._found_at_s.items() if now_s - at_s >= _NOTIFICATION_S]

    def _take(self, directories: Sequence[str]) -> None:
        """Asks for the directories that a look found; during a catch-up only for those where something happened since
        it began: the others are on its way, newest first."""
        catching_up = self._catch_up.is_running
        within_s = min(_RECENT_S, self._catch_up.running_s) if catching_up else _RECENT_S
        recent = self._directories.recently_changed(directories, within_s)
        for directory in directories:
            if self._workers.is_busy_with(directory) or self._workers.is_backing_off(directory):
                continue
            if directory in recent:
                self._gone_at_s.pop(directory, None)
                self._workers.submit_directory(directory, Priority.URGENT)
            elif not catching_up and not self._may_have_moved(directory):
                self._workers.submit_directory(directory, Priority.AUDIT)

    def _may_have_moved(self, directory: str) -> bool:
        """Whether a directory is gone for so short a time that its new name may not be found yet. Until then its
        thumbnails are kept; every look finds it again."""
        if self._source.directory_exists(directory):
            self._gone_at_s.pop(directory, None)
            return False
        gone_at_s = self._gone_at_s.setdefault(directory, time.monotonic())
        if time.monotonic() - gone_at_s < _NOTIFICATION_S:
            return True
        del self._gone_at_s[directory]
        return False
