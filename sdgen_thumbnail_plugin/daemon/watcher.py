"""The one loop of the background process: events and ticks in, requests to the workers out.

Events are hints. Handlers only put them into a queue; this loop turns them into *make this image right* and *make this
directory right*. A tick beside the native observer finds what no event told.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from watchdog import events

from sdgen_thumbnail_plugin.daemon.account import Account
from sdgen_thumbnail_plugin.daemon.debounce import Debounce
from sdgen_thumbnail_plugin.daemon.observers import is_wsl
from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll
from sdgen_thumbnail_plugin.daemon.state import HEARTBEAT_S, Problem
from sdgen_thumbnail_plugin.daemon.supervisor import MANY_EVENTS, Supervisor
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Limits, Phase, Progress, due_for_a_sweep
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.scan import parent_of
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import CatalogError, MachineError, ThumbnailError
from sdgen_thumbnail_plugin.heap import Reserve
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, THUMBNAIL_SUFFIX, OutcomeKind, Priority
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, LocalSessionStorage, is_image_name
from sdgen_thumbnail_plugin.text import printable

__all__ = ["Watcher"]

log = logging.getLogger(__name__)

WATCHING = "watching"
_NATIVE_SHARE = 0.0008  # of a core, for looking at all directories beside the native observer
_BUSY_STATE_EVERY_S = 1.0
_RECENT_S = 60.0
_NOTIFICATION_S = 0.8  # watchdog keeps moves for half a second, to find both their ends
_CLOSE_S = 4.0  # what images in the making get to be finished in; ``stop`` kills after 5 s
_BATCH = 1000


class Watcher:
    """Watches a source and keeps its thumbnails, until it is told to stop.

    Args:
        settings: with absolute folders, checked.
        home: where state and catalog are kept.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._root = Path(os.path.realpath(settings.source_dir))
        self._stopping = threading.Event()
        self._hints: queue.SimpleQueue[events.FileSystemEvent | None] = queue.SimpleQueue()
        self._source = LocalImageStorage(settings.source_dir, SOURCE_SUFFIX)
        self._target = LocalImageStorage(settings.target_dir, THUMBNAIL_SUFFIX)
        self._sessions = LocalSessionStorage(self._source)
        catalog_file = home.catalog_file(self._source.location, self._target.location)
        self._catalog = Catalog(catalog_file, or_begin_without=True)
        self._reconciler = Reconciler(
            self._source,
            self._target,
            self._catalog,
            recipe=settings.recipe,
            max_pixels=settings.max_pixels,
            claims=BuildLocks(home.claims_file),
        )
        self._settling = Debounce(self._source.get_image_metadata)
        self._poll = DirectoryPoll(self._reconciler, self._sessions)
        self._supervisor = Supervisor(settings, self._root, poll=self._poll, put=self._hints.put)
        self._root_identity: str | None = None
        self._problems: dict[str, Problem] = {}
        self._catching_up: threading.Thread | None = None
        self._catching_up_since_ns = 0
        self._progress = Progress(Phase.SMART)
        self._look_again = False
        # The last one removes its state file when it ends. Where it could not, what it was about to do is not known.
        self._was_killed = home.state_file.exists()
        self._tick_at_s = 0.0
        self._look_everywhere_at_s = 0.0
        self._look_interval_s = settings.tick_interval_s
        self._hints_taken = 0
        self._found_at_s: dict[str, float] = {}
        self._gone_at_s: dict[str, float] = {}
        self._phase_told = ""
        self._state_at_s = 0.0
        self._account = Account(home, self._reconciler)
        self._workers = Workers(
            self._reconciler,
            count=settings.worker_count,
            budget_pixels=settings.memory_pixels,
            on_outcome=self._account.note,
        )
        self._account.workers = self._workers
        self._reserve = Reserve()

    def stop(self) -> None:
        """Asks the loop to end; safe in a signal handler."""
        self._stopping.set()
        self._hints.put(None)

    def run(self, on_watching: Callable[[], None] = lambda: None) -> None:
        """Watches first, then catches up, then goes on until ``stop``.

        Args:
            on_watching: called once, as soon as no change can be missed any more.
        """
        if self._catalog.set_aside is not None:
            what = "is of a newer version" if self._catalog.was_newer else "was damaged"
            log.warning("✗ The catalog %s; set aside as %s, looking at everything", what, self._catalog.set_aside)
        try:
            self._watch()
            self._write_state()
            on_watching()
            choice = self._supervisor.choice
            log.info("👀 Watching for new images... (%s: %s)", choice.kind, choice.reason)
            self._catch_up()
            while not self._stopping.is_set():
                try:
                    self._turn()
                except Exception as error:
                    # A bug of ours must not leave a user without thumbnails; the next tick looks at everything again.
                    log.exception("✗ Unexpected error; going on")
                    remedy = "please report it, with the log: sdgen-thumbnails logs -n 100"
                    self._problems["bug"] = Problem(f"unexpected {type(error).__name__}: {error}", remedy, time.time())
                    self._stopping.wait(1.0)
        finally:
            self._shut_down()

    def _shut_down(self) -> None:
        self._stopping.set()
        self._supervisor.stop()
        finished = self._workers.close(_CLOSE_S)
        if self._catching_up is not None:
            self._catching_up.join(1.0)
        self._catalog.close()
        self._home.state_file.unlink(missing_ok=True)
        log.info("✓ Stopped" if finished else "✗ Stopped; an image in the making was given up")

    # -- the root and its observer

    def _watch(self) -> None:
        if is_wsl():
            log.info("🐧 WSL detected - looking at the mount of %s", printable(str(self._root)))
        self._root_identity = self._source.root_identity()
        self._supervisor.start(there=self._root_identity is not None)

    def _watch_anew(self, reason: str, *, at_once: bool = False) -> bool:
        """A new observer, and catching up with what nobody told; False where the last one is too new."""
        self._root_identity = self._source.root_identity()
        done = self._supervisor.rearm(reason, there=self._root_identity is not None, at_once=at_once)
        if done:
            self._catch_up()
        return done

    def _check_root(self) -> bool:
        """Whether the root is there; a missing or replaced one is dealt with."""
        try:
            identity = self._source.root_identity()
        except MachineError:
            identity = None
        if identity is None:
            if "root" not in self._problems:
                log.error("✗ The source folder %s is not there; nothing is deleted", printable(str(self._root)))
                remedy = "mount the drive or create the folder; watching goes on by itself"
                self._problems["root"] = Problem(f"the source folder {self._root} is not there", remedy, time.time())
            return False
        returned = self._problems.pop("root", None) is not None
        if returned or identity != self._root_identity:
            reason = "The source folder is back" if returned else "Another folder took the source's place"
            self._watch_anew(reason, at_once=True)
        self._tell_of_a_root_without_images()
        return True

    def _tell_of_a_root_without_images(self) -> None:
        if not self._reconciler.misses_all_images():
            self._problems.pop("images", None)
        elif "images" not in self._problems and not self._is_catching_up():  # which may find them under new names
            log.warning("✗ The source folder %s holds no images; nothing is deleted", printable(str(self._root)))
            remedy = "mount the drive; if its images are gone on purpose, delete the folder of thumbnails"
            self._problems["images"] = Problem(f"the source folder {self._root} holds no images", remedy, time.time())

    def _check_observer(self) -> None:
        trouble = self._supervisor.trouble()
        if trouble is not None and self._watch_anew(trouble):
            self._look_soon()
        if self._supervisor.try_notifications_again(self._catalog.directories):
            self._look_everywhere_at_s = 0.0
        deaf = self._supervisor.deaf_directories(self._catalog.directories())
        if deaf:
            self._look_soon()
        for directory in deaf:
            self._ask(directory, Priority.URGENT)  # what happened in them meanwhile

    # -- catching up

    def _catch_up(self) -> None:
        if self._is_catching_up():
            return
        self._catching_up_since_ns = time.time_ns()
        self._catching_up = threading.Thread(target=self._run_catch_up, name="catch-up", daemon=True)
        self._catching_up.start()

    def _run_catch_up(self) -> None:
        catchup = CatchUp(
            self._reconciler,
            self._workers,
            self._sessions,
            limits=Limits(self._settings.hold_back_count, self._settings.hold_back_fraction),
            stopping=self._stopping,
            on_progress=self._note_progress,
        )
        everything, self._look_again = self._look_again, False
        killed, self._was_killed = self._was_killed, False
        try:
            if not everything:
                catchup.smart()
            summary = catchup.audit(everything=everything or killed)
            log.info("✓ Audit complete: %d thumbnails made, %d errors", summary.created, summary.errors)
            if everything and not self._look_again:
                self._supervisor.problems.pop("overflow", None)
        except MachineError as error:
            log.error("✗ %s (%s)", error, error.remedy)
        except Exception:
            log.exception("✗ Unexpected error while catching up")
        finally:
            self._progress = Progress(Phase.DONE)
            self._hints.put(None)  # the loop has news to write

    def _note_progress(self, progress: Progress) -> None:
        self._progress = progress

    # -- the loop

    def _turn(self) -> None:
        now_s = time.monotonic()
        due_s = min(self._tick_at_s, self._state_at_s, self._settling.due_at_s())
        try:
            hint = self._hints.get(timeout=max(0.0, min(due_s - now_s, 1.0)))
            for _ in range(_BATCH):
                if hint is not None:
                    self._hints_taken += 1
                    self._take(hint)
                hint = self._hints.get_nowait()
        except queue.Empty:
            pass
        if self._hints_taken:
            self._state_at_s = min(self._state_at_s, time.monotonic() + _BUSY_STATE_EVERY_S)
        for key in self._settling.settled():
            self._ask_for_image(key)
        if self._supervisor.lost_events():
            self._look_soon()
            self._write_state()  # now: it may be made up for before the next time
        elif self._hints_taken >= MANY_EVENTS:
            self._look_soon()
        now_s = time.monotonic()
        if now_s >= self._tick_at_s:
            self._tick()
        if now_s >= self._state_at_s or self._phase() != self._phase_told:
            self._write_state()

    def _take(self, event: events.FileSystemEvent) -> None:
        key = self._key(event.src_path)
        if isinstance(event, events.FileSystemMovedEvent):
            self._take_move(event.is_directory, key, self._key(event.dest_path))
        elif key is None:
            return
        elif event.is_directory:
            self._take_directory(event, key)
        elif is_image_name(key.rpartition("/")[2]):
            if event.event_type in ("closed", "deleted") or not self._supervisor.hears:
                self._settling.drop(key)
                self._ask_for_image(key)
            elif event.event_type in ("created", "modified", "attrib"):
                self._settling.add(key)

    def _take_directory(self, event: events.FileSystemEvent, key: str) -> None:
        if event.event_type == "created":
            self._catalog.discover([key])
            self._supervisor.expect_new_directories()
            self._ask(key, Priority.URGENT)
        elif event.event_type == "deleted":
            for directory in self._catalog.below(key):
                self._ask(directory, Priority.URGENT)
        elif event.event_type == "modified" and not self._supervisor.hears:
            self._take_findings([key], [])

    def _take_move(self, is_directory: bool, old: str | None, new: str | None) -> None:
        if is_directory:
            if old is not None and new is not None and self._tried(self._reconciler.rename_directory, old, new):
                log.info("✓ Followed renamed session: %s", printable(new))
            if new is not None:
                self._catalog.discover([new])
            self._supervisor.expect_new_directories()
            for root in (new, old):
                for directory in self._catalog.below(root) if root is not None else ():
                    self._ask(directory, Priority.URGENT)
            return
        is_old, is_new = (key is not None and is_image_name(key.rpartition("/")[2]) for key in (old, new))
        if is_old and is_new and self._tried(self._reconciler.rename_image, old or "", new or ""):
            log.info("✓ Followed renamed image: %s", printable(new or ""))
        for key, is_image in ((new, is_new), (old, is_old)):
            if is_image and key is not None:
                self._settling.drop(key)
                self._ask_for_image(key)

    @staticmethod
    def _tried(follow: Callable[[str, str], bool], old: str, new: str) -> bool:
        try:
            return follow(old, new)
        except ThumbnailError as error:
            log.error("✗ %s (%s)", error, error.remedy)
            return False

    def _key(self, path: bytes | str) -> str | None:
        """The key of a path in an event; None outside the root, and for hidden folders."""
        text = os.fsdecode(path)
        root = str(self._root)
        if text == root:
            return ""
        if not text.startswith(root + "/"):
            return None
        key = text[len(root) + 1 :]
        return None if any(part.startswith(".") for part in key.split("/")[:-1]) else key

    def _ask_for_image(self, key: str) -> None:
        self._catalog.discover([parent_of(key)])
        self._account.note_live(key)
        self._workers.submit_image(key, Priority.URGENT)

    def _ask(self, directory: str, priority: Priority) -> None:
        if directory.rpartition("/")[2].startswith("."):
            return
        self._workers.submit_directory(directory, priority)

    # -- the tick

    def _look_soon(self) -> None:
        """So much happened that some of it may have got lost: all is looked at, and listed once it is calm."""
        self._hints_taken = 0
        self._look_again = True
        soon_s = time.monotonic() + self._settings.tick_interval_s
        self._tick_at_s = self._look_everywhere_at_s = min(self._look_everywhere_at_s, soon_s)

    def _tick(self) -> None:
        started_s = time.thread_time()
        now_s = time.monotonic()
        everywhere = now_s >= self._look_everywhere_at_s
        there = self._check_root()
        if there:
            if self._supervisor.hears:
                self._look(everywhere)
            if everywhere and not self._is_catching_up():
                self._look_further()
        for key in self._catalog.reload_if_changed():
            self._workers.submit_image(key, Priority.CATCH_UP)
        try:
            self._catalog.flush()
            self._problems.pop("catalog", None)
        except CatalogError as error:
            self._problems["catalog"] = Problem(str(error), error.remedy, time.time())
        if everywhere:
            self._hints_taken = 0
            cost_s = time.thread_time() - started_s if self._supervisor.hears else 0.0
            self._look_interval_s = max(self._settings.tick_interval_s, cost_s / _NATIVE_SHARE)
            waiting = self._look_again and not self._is_catching_up()
            pause_s = self._settings.tick_interval_s if waiting else self._look_interval_s
            self._look_everywhere_at_s = now_s + pause_s
        if there:
            self._check_observer()  # last: it may want another look soon
        counts = self._workers.counts
        self._reserve.note(counts[OutcomeKind.CREATED] + counts[OutcomeKind.FAILED], now_s)
        self._tick_at_s = time.monotonic() + self._settings.tick_interval_s

    def _look(self, everywhere: bool) -> None:
        """Finds what no notification told: in all directories, or quickly in those where something happens."""
        try:
            pending = None if everywhere else self._found_at_s
            findings = self._poll.look(besides=pending, share=_NATIVE_SHARE)
        except MachineError as error:
            log.error("✗ %s (%s)", error, error.remedy)
            return
        self._take_findings(self._lasting(findings.directories), findings.files)

    def _look_further(self) -> None:
        """What is due besides the directories' times: all files after events were lost, some every day."""
        if self._look_again:
            if not self._hints_taken:
                self._catch_up()
            return
        for directory in due_for_a_sweep(
            self._reconciler,
            now_s=time.time(),
            interval_s=self._settings.sweep_interval_s,
            tick_s=self._look_interval_s,
        ):
            self._ask(directory, Priority.AUDIT)

    def _lasting(self, directories: Sequence[str]) -> list[str]:
        """Those that a tick found some time ago already: what a notification tells better is left to it until then. A
        renamed directory is a new one to a tick, and its thumbnails would be made again instead of renamed."""
        now_s = time.monotonic()
        self._found_at_s = {directory: self._found_at_s.get(directory, now_s) for directory in directories}
        return [directory for directory, at_s in self._found_at_s.items() if now_s - at_s >= _NOTIFICATION_S]

    def _take_findings(self, directories: Sequence[str], files: Sequence[str]) -> None:
        """Makes right what a pass found; while catching up only what happened meanwhile: the rest is on its way, newest
        first."""
        catching_up = self._is_catching_up()
        recent_ns = time.time_ns() - int(_RECENT_S * 1e9)
        if catching_up:
            recent_ns = max(recent_ns, self._catching_up_since_ns)
        times = self._reconciler.last_times()
        for key in files:
            self._ask_for_image(key)
        for directory in directories:
            if self._workers.is_busy_with(directory) or self._workers.is_backing_off(directory):
                continue
            if times.get(directory) is not None:
                self._gone_at_s.pop(directory, None)
            elif self._may_have_moved(directory):
                continue
            if (times.get(directory) or 0) > recent_ns:
                self._ask(directory, Priority.URGENT)
            elif not catching_up:
                self._ask(directory, Priority.AUDIT)

    def _may_have_moved(self, directory: str) -> bool:
        """Whether a directory is gone for so short a time that its new name may not be found yet: until then its
        thumbnails are kept. It is found again with every look."""
        gone_at_s = self._gone_at_s.setdefault(directory, time.monotonic())
        if time.monotonic() - gone_at_s < _NOTIFICATION_S:
            return True
        del self._gone_at_s[directory]
        return False

    def _is_catching_up(self) -> bool:
        return self._catching_up is not None and self._catching_up.is_alive()

    def _phase(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        return WATCHING if self._progress.phase == Phase.DONE and not self._is_catching_up() else self._progress.phase

    def _write_state(self) -> None:
        self._phase_told = self._phase()
        progress = self._progress if self._phase_told != WATCHING else None
        busy = progress is not None or self._workers.is_busy
        self._state_at_s = time.monotonic() + (_BUSY_STATE_EVERY_S if busy else HEARTBEAT_S)
        self._account.write(
            phase=self._phase_told,
            observer=self._supervisor.choice,
            progress=progress,
            problems=[*self._problems.values(), *self._supervisor.problems.values()],
            tick_interval_s=self._look_interval_s,
        )
