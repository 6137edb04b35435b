"""The native observer of one root: chosen, proved, watched over, and renewed when it fails.

Where notifications do not work or are not wanted there is none, and the ticks find everything.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from sdgen_thumbnail_plugin.daemon.hints import Hint
from sdgen_thumbnail_plugin.daemon.observers import (
    Choice,
    NativeObserver,
    OverflowCounter,
    choose_observer,
    is_wsl,
    unread_bytes,
)
from sdgen_thumbnail_plugin.daemon.polling import Pace
from sdgen_thumbnail_plugin.daemon.state import Problems
from sdgen_thumbnail_plugin.settings import Settings

log = logging.getLogger(__name__)

_MANY_EVENTS = 8192
"""Half of what the kernel's queue holds (``max_queued_events``). Where more come between two looks, some may be lost.
Up to watchdog 7.0 that is not reported."""

_DEAF_CHECK_S = 10.0
_DEAF_CHECK_SHARE = 0.0003  # of the time
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0  # between two new observers
_OVERFLOWS, _OVERFLOWS_WITHIN_S = 3, 30.0
_WATCHES_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_user_watches=524288"
_INSTANCES_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_user_instances=512"
_QUEUE_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_queued_events=131072"
_REMEDIES = {errno.ENOSPC: _WATCHES_REMEDY, errno.EMFILE: _INSTANCES_REMEDY}


class Supervisor:
    """Watches over the observer of one root. One thread at a time calls it, except for ``expect_new_directories``.

    Args:
        settings: which folder, and with what.
        root: the folder, with links resolved.
        put: gets the hints; called in an observer's thread.
        problems: where problems are reported.
    """

    def __init__(self, settings: Settings, root: Path, put: Callable[[Hint], None], problems: Problems) -> None:
        self._settings = settings
        self._root = root
        self._put = put
        self._problems = problems
        self._wanted = Choice("polling", "")
        self._refusal = ""  # why there are no notifications though they are wanted
        self._native: NativeObserver | None = None
        self._is_stopped = False
        self._renew_at_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._known = 0
        self._deaf_check = Pace(_DEAF_CHECK_S)
        self._events_counted = 0
        self._overflows = OverflowCounter()
        self._overflows_seen = 0
        self._overflows_at_s: deque[float] = deque(maxlen=_OVERFLOWS)

    @property
    def choice(self) -> Choice:
        """What is in use, and why."""
        return Choice("native" if self.hears else "polling", self._refusal or self._wanted.reason)

    @property
    def hears(self) -> bool:
        """Whether notifications come."""
        return self._native is not None

    # -- starting and stopping

    def start(self) -> None:
        """Begins to watch; a root that is not there, with ``renew``."""
        self._overflows.attach()
        self._observe(())

    def stop(self) -> None:
        self._is_stopped = True
        self._stop_native()
        self._overflows.detach()

    def _stop_native(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            native.stop()

    def renew(self, reason: str, known: Sequence[str] = (), *, at_once: bool = False) -> bool:
        """Starts a new observer; less and less often while that does not help.

        Args:
            reason: why, for the log; empty where notifications that did not work are tried again.
            known: directories that it must be able to watch.
            at_once: whether to do it however short a time ago the last one was started.

        Returns:
            whether something may have gone unnoticed meanwhile.
        """
        if time.monotonic() < self._renew_at_s and not at_once:
            return False
        if reason:
            log.warning("✗ %s: starting a new observer", reason)
        self._stop_native()
        self._observe(known)
        return bool(reason) or self.hears

    def _observe(self, known: Sequence[str]) -> None:
        """Chooses again; uses notifications if they are wanted and work."""
        self._renew_at_s = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._wanted = choose_observer(self._settings.source_dir, self._settings.observer)
        wanted = self._wanted.kind == "native" and self._root.is_dir()
        refusal, remedy = self._observe_natively(known) if wanted else ("", "")
        before, self._refusal = self._refusal, refusal
        if refusal and not before:
            log.warning("✗ Native notifications do not work: %s; polling instead. %s", refusal, remedy)
        # Without a remedy it is no problem that a person could solve.
        self._problems.report("observer", f"polling, because: {refusal}" if remedy else "", remedy)
        if self.hears and before:
            log.info("✓ Native notifications work again (%s)", self._wanted.reason)
        elif is_wsl() and (refusal or self._wanted.kind == "polling") and not before:
            log.info("🐧 WSL detected - using PollingObserver")

    def _observe_natively(self, known: Sequence[str]) -> tuple[str, str]:
        """Uses a native observer if it works. Else says why it does not, and what to do about it, if anything."""
        native = NativeObserver(self._root, self._put)
        refusal = remedy = ""
        try:
            native.start()
            if not native.proves_itself():
                refusal = "no notification arrived for a change of ours"
            elif deaf := native.deaf_directories(known):
                refusal, remedy = f"{len(deaf)} directories cannot be watched", _WATCHES_REMEDY
        except OSError as error:
            refusal, remedy = str(error.strerror or error), _REMEDIES.get(error.errno or 0, "")
        if refusal or self._is_stopped:  # the latter meanwhile, by another thread
            native.stop()
        else:
            self._native = native
            self._events_counted = 0
            self._overflows_at_s.clear()
        return refusal, remedy

    # -- watching over it

    def check(self, known: Sequence[str]) -> tuple[bool, Sequence[str]]:
        """Looks after the observer: one that fails, or does not watch everything, is replaced. Where polling stands in
        for notifications that did not work, they are tried again now and then.

        Args:
            known: the directories that notifications have to come from.

        Returns:
            whether something may have gone unnoticed, so that everything should be looked at; and the directories that
            were not watched until now.
        """
        unnoticed = self._lost_events()
        if self._native is not None:
            trouble = self._trouble(self._native)
            unnoticed = (trouble is not None and self.renew(trouble)) or unnoticed
        elif self._wanted.kind == "native":
            unnoticed = self.renew("", known) or unnoticed
        deaf = self._deaf_directories(known)
        return unnoticed or bool(deaf), deaf

    def _trouble(self, native: NativeObserver) -> str | None:
        """Why a new observer is needed; None where none is."""
        if not native.alive:
            return "The observer died"
        if len(self._overflows_at_s) == _OVERFLOWS and time.monotonic() - self._overflows_at_s[0] < _OVERFLOWS_WITHIN_S:
            # Above 16,384 directories watchdog 7.1's own answer, taking all watches away, overflows the queue again.
            return "Notifications overflow again and again"
        return None

    def count_events(self) -> int:
        """How many events came since the last call."""
        if self._native is None:
            return 0
        before, self._events_counted = self._events_counted, self._native.events
        return self._events_counted - before

    def _lost_events(self) -> bool:
        """Whether events were lost since the last call, or may have been: the kernel's queue overflowed (watchdog
        reports that from 7.1 on), or so many came that it may have."""
        if self._overflows.count == self._overflows_seen:
            return self._native is not None and self._native.events - self._events_counted >= _MANY_EVENTS
        self._overflows_seen = self._overflows.count
        self._overflows_at_s.append(time.monotonic())
        if self._problems.report("overflow", "events were lost; looking at everything", _QUEUE_REMEDY):
            log.warning("✗ More happened at once than the system reports: events were lost. %s", _QUEUE_REMEDY)
        return True

    def expect_new_directories(self) -> None:
        """Some appeared: the next check looks whether they are watched."""
        self._deaf_check.hasten(0.0)

    def _deaf_directories(self, known: Sequence[str]) -> list[str]:
        """Those of the known directories that were not watched; from now on they are, or all are polled.

        Checked whenever the number of directories changes, and now and then; but not while the system holds events that
        are not read yet: they may be those of the very directories.
        """
        if self._native is None or (len(known) == self._known and not self._deaf_check.is_due) or unread_bytes():
            return []
        started_s = time.monotonic()
        deaf = self._native.deaf_directories(known)
        self._known = len(known)
        self._deaf_check.note(time.monotonic() - started_s, share=_DEAF_CHECK_SHARE, shortest_s=_DEAF_CHECK_S)
        if deaf:
            self._stop_native()
            self._observe(deaf)
        else:
            self._pause_s = _FIRST_PAUSE_S
        return deaf
