"""The background process: hints come in, ticks look, the workers work, and the state file reports.

Events are hints. One thread takes them from a queue and turns them into *reconcile this image* and *reconcile this
directory*; another one ticks, and finds what no event reported.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sdgen_thumbnail_plugin.daemon.hints import Dispatcher, Hint
from sdgen_thumbnail_plugin.daemon.observers import is_wsl
from sdgen_thumbnail_plugin.daemon.priority import IdleTrim
from sdgen_thumbnail_plugin.daemon.reporter import Reporter
from sdgen_thumbnail_plugin.daemon.state import HEARTBEAT_S, Problems
from sdgen_thumbnail_plugin.daemon.supervisor import Supervisor
from sdgen_thumbnail_plugin.daemon.ticks import CatchUpThread, Ticks
from sdgen_thumbnail_plugin.engine.catchup import Phase
from sdgen_thumbnail_plugin.model import OutcomeKind
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.project import open_project
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)

WATCHING = "watching"
_BUSY_STATE_EVERY_S = 1.0
_CLOSE_S = 4.0  # what images in the making get to be finished in; ``stop`` kills after 5 s
_BATCH = 1000


class Watcher:
    """Watches a source and keeps its thumbnails, until it is stopped.

    Args:
        settings: with absolute folders, checked.
        home: where state and catalog are kept.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self._home = home
        self._closing = contextlib.ExitStack()
        self._project = project = self._closing.enter_context(open_project(settings, home, without_memory=True))
        # The last one removes its state file when it ends. Where it could not, what it was about to do is not known.
        self._was_killed = home.state_file.exists()
        self._stopping = threading.Event()
        self._hints: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()  # None only wakes the loop
        self._problems = Problems()
        self._reported: tuple[str, set[str]] | None = None
        self._state_at_s = 0.0
        self._idle_trim = IdleTrim()
        self._reporter = Reporter(home, project.directories, self._problems)
        self._workers = project.workers(on_outcome=self._reporter.note)
        new_catch_up = functools.partial(project.catch_up, self._workers, stopping=self._stopping)
        self._catch_up = CatchUpThread(new_catch_up, on_change=self._wake)
        self._supervisor = Supervisor(settings, Path(project.source.location), self._hints.put, self._problems)
        self._dispatcher = Dispatcher(
            project.directories,
            self._workers,
            on_live_image=self._reporter.note_live,
            on_new_directories=self._supervisor.expect_new_directories,
        )
        self._ticks = Ticks(
            project, self._workers, self._supervisor, self._catch_up, put=self._hints.put, problems=self._problems
        )

    def stop(self) -> None:
        """Asks for the end; safe in a signal handler."""
        self._stopping.set()
        self._wake()

    def _wake(self) -> None:
        self._hints.put(None)

    def run(self, on_watching: Callable[[], None] = lambda: None) -> None:
        """Watches first, then catches up, then goes on until ``stop``.

        Args:
            on_watching: called once, as soon as no change can be missed any more.
        """
        aside = self._project.catalog.set_aside
        if aside is not None:
            what = "is of a newer version" if aside.was_newer else "was damaged"
            log.warning("✗ The catalog %s; set aside as %s, looking at everything", what, aside.path)
        fault = self._project.catalog_fault
        if fault is not None:
            log.warning("✗ %s: working without memory (%s)", fault, fault.remedy)
            self._problems.report("memory", f"working without memory: {fault}", fault.remedy)
        ticking = threading.Thread(target=self._repeat, args=(self._tick,), name="ticks", daemon=True)
        try:
            if is_wsl():
                log.info("🐧 WSL detected - looking at the mount of %s", printable(self._project.source.location))
            self._supervisor.start()
            self._write_state()
            on_watching()
            choice = self._supervisor.choice
            log.info("👀 Watching for new images... (%s: %s)", choice.kind, choice.reason)
            self._catch_up.start(everything=self._was_killed)
            ticking.start()
            self._repeat(self._turn)
        finally:
            self._shut_down(ticking)

    def _shut_down(self, ticking: threading.Thread) -> None:
        self.stop()
        if ticking.ident is not None:
            ticking.join(1.0)  # no longer: it may wait for a mount that does not answer
        self._supervisor.stop()
        finished = self._workers.close(_CLOSE_S)
        self._catch_up.join(1.0)
        self._closing.close()
        self._home.state_file.unlink(missing_ok=True)
        log.info("✓ Stopped" if finished else "✗ Stopped; an image in the making was given up")

    def _repeat(self, step: Callable[[], None]) -> None:
        """A bug of ours must not leave a user without thumbnails: the next tick looks at everything again."""
        while not self._stopping.is_set():
            try:
                step()
            except Exception as error:
                if self._stopping.is_set():
                    break  # by now the catalog may be closed
                log.exception("✗ Unexpected error; going on")
                remedy = "please report it, with the log: sdgen-thumbnails logs -n 100"
                self._problems.report("bug", f"unexpected {type(error).__name__}: {error}", remedy)
                self._stopping.wait(1.0)

    # -- the ticks' thread

    def _tick(self) -> None:
        self._ticks.wait(self._stopping)
        if not self._stopping.is_set():
            self._ticks.tick()
            if self._headline() != self._reported or self._workers.is_busy:
                self._wake()

    # -- the hints' thread

    def _turn(self) -> None:
        due_s = min(self._state_at_s, self._dispatcher.due_at_s())
        try:
            hint = self._hints.get(timeout=max(0.0, due_s - time.monotonic()))
            self._state_at_s = min(self._state_at_s, time.monotonic() + _BUSY_STATE_EVERY_S)
            for _ in range(_BATCH):
                if hint is not None:
                    self._dispatcher.take(hint)
                hint = self._hints.get_nowait()
        except queue.Empty:
            pass
        self._dispatcher.ask_for_settled()
        if time.monotonic() >= self._state_at_s or self._headline() != self._reported:
            self._write_state()

    # -- reporting

    def _phase(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        progress = self._catch_up.progress
        return WATCHING if progress.phase == Phase.DONE and not self._catch_up.is_running else progress.phase

    def _headline(self) -> tuple[str, set[str]]:
        """What is reported at once when it changes."""
        return self._phase(), set(self._problems.all())

    def _write_state(self) -> None:
        self._reporter.check()
        self._reported = self._headline()
        phase = self._reported[0]
        progress = self._catch_up.progress if phase != WATCHING else None
        busy = progress is not None or self._workers.is_busy
        now_s = time.monotonic()
        self._state_at_s = now_s + (_BUSY_STATE_EVERY_S if busy else HEARTBEAT_S)
        self._reporter.write(
            self._workers,
            phase=phase,
            observer=self._supervisor.choice,
            progress=progress,
            tick_interval_s=self._ticks.interval_s,
        )
        counts = self._workers.counts
        self._idle_trim.note(counts[OutcomeKind.CREATED] + counts[OutcomeKind.FAILED], now_s)
