"""What is looked at: the root, the directories, the files that are due, and whether the observer still works.

A tick finds what no notification reported. Where none come, it is the ticks that find everything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from sdgen_thumbnail_plugin.daemon.hints import Hint, HintKind
from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll, Pace
from sdgen_thumbnail_plugin.daemon.state import Problems
from sdgen_thumbnail_plugin.daemon.supervisor import Supervisor
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Phase, Progress, due_for_a_sweep
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import CatalogError, MachineError
from sdgen_thumbnail_plugin.model import Priority
from sdgen_thumbnail_plugin.project import OpenProject
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)

_NATIVE_SHARE = 0.0008  # of the time: beside the native observer, which reports nearly everything
_POLLING_SHARE = 0.03  # looks at all directories, at some, and at files make a tenth (DESIGN, "Watching")
_QUICK_SHARE = 0.03  # for looks at some: rarely more than a few, and so each second beside the native observer too
_RECENT_S = 60.0
_NOTIFICATION_S = 0.8  # watchdog keeps moves for half a second, to find both their ends


class CatchUpThread:
    """Catches up beside the watching: one pass at a time. One thread starts them.

    Args:
        make: makes a catch-up that reports to ``on_progress``, and ends early when the watcher does.
        on_change: called when a pass begins, when its phase changes, and when it ends.
    """

    def __init__(self, make: Callable[..., CatchUp], on_change: Callable[[], None]) -> None:
        self.progress = Progress(Phase.SMART)  # the first pass is to come
        self.is_running = False
        self.started_at_s = 0.0
        """When the last pass began, on the monotonic clock."""
        self._make = make
        self._on_change = on_change
        self._thread: threading.Thread | None = None

    def start(self, *, smart: bool = True, everything: bool = False) -> bool:
        """Starts a pass, unless one is running; returns whether it did. See ``CatchUp.run``."""
        if self.is_running:
            return False
        self.is_running = True
        self.started_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(smart, everything), name="catch-up", daemon=True)
        self._thread.start()
        return True

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, smart: bool, everything: bool) -> None:
        self.progress = Progress(Phase.SMART if smart else Phase.SURVEY)
        self._on_change()
        try:
            summary = self._make(on_progress=self._note).run(smart=smart, everything=everything)
            log.info("✓ Audit complete: %d thumbnails made, %d errors", summary.created, summary.errors)
        except MachineError as error:
            log.error("✗ %s (%s)", error, error.remedy)
        except Exception:
            log.exception("✗ Unexpected error while catching up")
        finally:
            self.progress = Progress(Phase.DONE)
            self.is_running = False
            self._on_change()

    def _note(self, progress: Progress) -> None:
        before, self.progress = self.progress, progress
        if progress.phase != before.phase:
            self._on_change()


class Ticks:
    """Ticks, one after the other, in one thread.

    Args:
        project: what is looked at, and how often.
        workers: are asked for what a look found.
        supervisor: the observer's.
        catch_up: is started where everything has to be looked at.
        put: gets hints for images that were overwritten.
        problems: where problems are reported.
    """

    def __init__(
        self,
        project: OpenProject,
        workers: Workers,
        supervisor: Supervisor,
        catch_up: CatchUpThread,
        *,
        put: Callable[[Hint], None],
        problems: Problems,
    ) -> None:
        self._settings = settings = project.settings
        self._poll = DirectoryPoll(project.directories, project.sessions)
        self._workers = workers
        self._directories = project.directories
        self._source = project.source
        self._catalog = project.catalog
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

    def wait(self, stopping: threading.Event) -> None:
        """Waits until the next tick is due, or the event is set."""
        stopping.wait(max(0.0, self._due_at_s - time.monotonic()))

    def tick(self) -> None:
        """Looks once, and reports what is wrong."""
        self._due_at_s = time.monotonic() + self._settings.tick_interval_s
        root_is_there = self._check_root()
        if root_is_there:
            self._check_observer()
            self._look()
            self._due_at_s = min(self._due_at_s, self._everything.due_at_s, self._quick.due_at_s)
        try:
            self._catalog.flush()
            self._problems.end("catalog")
        except CatalogError as error:
            self._problems.report("catalog", str(error), error.remedy)

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
            remedy = "mount the drive or create the folder; watching goes on by itself"
            if self._problems.report("root", f"the source folder {location} is not there", remedy):
                log.error("✗ The source folder %s is not there; nothing is deleted", printable(location))
            return False
        returned = self._problems.end("root")
        if returned or identity != before:
            self._root_identity = identity
            reason = "The source folder is back" if returned else "Another folder took the source's place"
            self._supervisor.renew(reason, at_once=True)
            if not self._catch_up.start():
                self._look_again = True
        self._report_a_root_without_images()
        return True

    def _report_a_root_without_images(self) -> None:
        if not self._directories.misses_all_images():
            self._problems.end("images")
        elif not self._catch_up.is_running:  # which may find them under new names
            location = self._source.location
            remedy = "mount the drive; if its images are gone on purpose, delete the folder of thumbnails"
            if self._problems.report("images", f"the source folder {location} holds no images", remedy):
                log.warning("✗ The source folder %s holds no images; nothing is deleted", printable(location))

    # -- the observer

    def _check_observer(self) -> None:
        unnoticed, deaf = self._supervisor.check(self._catalog.directories())
        if unnoticed:
            # All is looked at soon, and listed once nothing happens any more.
            self._look_again = True
            self._everything.hasten(self._settings.tick_interval_s)
        elif not self._look_again and not self._catch_up.is_running:
            self._problems.end("overflow")
        for directory in deaf:
            self._workers.submit_directory(directory, Priority.URGENT)  # what happened in them meanwhile

    # -- looking

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
            found_at_s, now_s = self._found_at_s, time.monotonic()
            self._found_at_s = {directory: found_at_s.get(directory, now_s) for directory in findings.directories}
            # What a notification reports better is left to it for a while: a renamed directory is a new one to a tick,
            # and its thumbnails would be made again instead of renamed.
            patience_s = _NOTIFICATION_S if native else 0.0
            self._take([directory for directory, at_s in self._found_at_s.items() if now_s - at_s >= patience_s])
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

    def _take(self, directories: Sequence[str]) -> None:
        """Asks for the directories that a look found; during a catch-up only for those where something happened since
        it began: the others are on its way, newest first."""
        catching_up = self._catch_up.is_running
        running_s = time.monotonic() - self._catch_up.started_at_s
        recent = self._directories.recently_changed(
            directories, min(_RECENT_S, running_s) if catching_up else _RECENT_S
        )
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
