"""Catching up beside the watching: one pass at a time, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Phase, Progress
from sdgen_thumbnail_plugin.errors import MachineError

log = logging.getLogger(__name__)


class CatchUpThread:
    """Runs passes. One thread starts them.

    Args:
        make: makes a catch-up that reports to the given function, and ends early when the watcher does.
        on_change: called when a pass begins and when it ends.
    """

    def __init__(self, make: Callable[[Callable[[Progress], None]], CatchUp], on_change: Callable[[], None]) -> None:
        self.progress = Progress(Phase.SMART)  # the first pass is to come
        self.is_running = False
        self._make = make
        self._on_change = on_change
        self._thread: threading.Thread | None = None
        self._started_at_s = 0.0

    @property
    def running_s(self) -> float:
        """How long ago the last pass began, in seconds."""
        return time.monotonic() - self._started_at_s

    def start(self, *, smart: bool = True, everything: bool = False) -> bool:
        """Starts a pass, unless one is running.

        Args:
            smart: whether the newest sessions go first, until one is complete.
            everything: whether files are looked at in directories that are known to be complete, too.

        Returns:
            Whether it was started.
        """
        if self.is_running:
            return False
        self.is_running = True
        self._started_at_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(smart, everything), name="catch-up", daemon=True)
        self._thread.start()
        return True

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, smart: bool, everything: bool) -> None:
        self.progress = Progress(Phase.SMART if smart else Phase.SURVEY)
        self._on_change()
        catch_up = self._make(self._note)
        try:
            summary = catch_up.run(smart=smart, everything=everything)
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
