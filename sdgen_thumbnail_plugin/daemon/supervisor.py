"""The native observer of one root: chosen, proved, watched over, and replaced when it fails.

Where notifications do not work or are not wanted there is none, and the ticks find everything.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sdgen_thumbnail_plugin.daemon.hints import Hint
from sdgen_thumbnail_plugin.daemon.native import NativeObserver, OverflowCounter, unread_bytes
from sdgen_thumbnail_plugin.daemon.observers import Choice, choose_observer, is_wsl
from sdgen_thumbnail_plugin.daemon.pace import Pace
from sdgen_thumbnail_plugin.model import Problem
from sdgen_thumbnail_plugin.settings import Settings

log = logging.getLogger(__name__)

_MANY_EVENTS = 8192
"""Half of what the kernel's queue holds (``max_queued_events``). Where more come between two looks, some may be lost.
Up to watchdog 7.0 that is not reported."""

_DEAF_CHECK_S = 10.0
_DEAF_CHECK_SHARE = 0.0003  # of the time
_LONGEST_REARM_PAUSE_S = 60.0
_FIRST_RETRY_PAUSE_S, _LONGEST_RETRY_PAUSE_S = 5.0, 300.0
_OVERFLOWS, _OVERFLOWS_WITHIN_S = 3, 30.0
_WATCHES_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_user_watches=524288"
_QUEUE_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_queued_events=131072"


class _Refusal(NamedTuple):
    """Why notifications do not work, and what to do about it, if anything."""

    reason: str
    remedy: str


class Supervisor:
    """Watches over the observer of one root. One thread at a time calls it, except for ``expect_new_directories``.

    Args:
        settings: which folder, and with what.
        root: the folder, with links resolved.
        put: gets the hints; called in an observer's thread.
    """

    def __init__(self, settings: Settings, root: Path, put: Callable[[Hint], None]) -> None:
        self.problems: dict[str, Problem] = {}
        self._settings = settings
        self._root = root
        self._put = put
        self._choice = self._wanted = Choice("polling", "")
        self._native: NativeObserver | None = None
        self._is_stopped = False
        self._retry_at_s: float | None = None  # None while notifications work, or are not wanted
        self._retry_pause_s = _FIRST_RETRY_PAUSE_S
        self._rearm_at_s = 0.0
        self._rearm_pause_s = 1.0
        self._known = 0
        self._deaf_check = Pace(_DEAF_CHECK_S)
        self._events_counted = 0
        self._overflows = OverflowCounter()
        self._overflows_seen = 0
        self._overflows_at_s: deque[float] = deque(maxlen=_OVERFLOWS)

    @property
    def choice(self) -> Choice:
        """What is in use, and why."""
        return Choice("native" if self.hears else "polling", self._choice.reason)

    @property
    def hears(self) -> bool:
        """Whether notifications come."""
        return self._native is not None

    # -- starting and stopping

    def start(self, *, root_is_there: bool) -> None:
        """Begins to watch; a root that is not there, with ``rearm``."""
        self._overflows.attach()
        self._choice = self._wanted = choose_observer(self._settings.source_dir, self._settings.observer)
        self._retry_at_s = None
        self.problems.pop("observer", None)
        if self._choice.kind == "native" and root_is_there:
            self._use_or_poll(self._try_natively())
        if is_wsl() and self._choice.kind == "polling":
            log.info("🐧 WSL detected - using PollingObserver")

    def stop(self) -> None:
        self._is_stopped = True
        self._stop_native()
        self._overflows.detach()

    def _stop_native(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            native.stop()

    def rearm(self, reason: str, *, at_once: bool = False) -> bool:
        """Starts a new observer; less and less often while that does not help.

        Args:
            reason: why, for the log.
            at_once: whether to do it however short a time ago the last one was started.

        Returns:
            whether it was done.
        """
        now_s = time.monotonic()
        if now_s < self._rearm_at_s and not at_once:
            return False
        self._rearm_at_s = now_s + self._rearm_pause_s
        self._rearm_pause_s = min(self._rearm_pause_s * 2, _LONGEST_REARM_PAUSE_S)
        log.warning("✗ %s: starting a new observer", reason)
        self._stop_native()
        self.start(root_is_there=True)
        return True

    # -- notifications, or none

    def _try_natively(self, known: Sequence[str] = ()) -> NativeObserver | _Refusal:
        """A native observer that works; else why there is none.

        Args:
            known: directories that it must be able to watch.
        """
        native = NativeObserver(self._root, self._put)
        try:
            native.start()
        except OSError as error:
            return _Refusal(str(error.strerror or error), _remedy_for(error))
        if not native.proves_itself():
            refusal = _Refusal("no notification arrived for a change of ours", "")
        elif deaf := native.deaf_directories(known):
            refusal = _Refusal(f"{len(deaf)} directories cannot be watched", _WATCHES_REMEDY)
        else:
            return native
        native.stop()
        return refusal

    def _use_or_poll(self, found: NativeObserver | _Refusal) -> None:
        if isinstance(found, NativeObserver):
            if self._is_stopped:  # meanwhile, by another thread
                found.stop()
                return
            self._native = found
            self._events_counted = 0
            self._overflows_at_s.clear()
            return
        self._choice = Choice("polling", found.reason)
        self._retry_at_s = time.monotonic() + self._retry_pause_s
        log.warning("✗ Native notifications do not work: %s; polling instead. %s", found.reason, found.remedy)
        if found.remedy:
            self.problems["observer"] = Problem(f"polling, because: {found.reason}", found.remedy, time.time())

    def try_notifications_again(self, known: Callable[[], Sequence[str]]) -> bool:
        """Where polling stands in for notifications that did not work, tries them again now and then.

        Args:
            known: returns the directories that they have to come from.

        Returns:
            whether they work now. Then everything should be looked at once.
        """
        if self._retry_at_s is None or time.monotonic() < self._retry_at_s:
            return False
        found = self._try_natively(known())
        if not isinstance(found, NativeObserver):
            self._retry_pause_s = min(self._retry_pause_s * 2, _LONGEST_RETRY_PAUSE_S)
            self._retry_at_s = time.monotonic() + self._retry_pause_s
            return False
        self._use_or_poll(found)
        self._choice = self._wanted
        self._retry_at_s = None
        self._retry_pause_s = _FIRST_RETRY_PAUSE_S
        self.problems.pop("observer", None)
        log.info("✓ Native notifications work again (%s)", self._choice.reason)
        return True

    # -- watching over it

    def trouble(self) -> str | None:
        """Why a new observer is needed; None where none is."""
        if self._native is None:
            return None
        if not self._native.alive:
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

    def lost_events(self) -> bool:
        """Whether events were lost since the last call, or may have been: the kernel's queue overflowed (watchdog
        reports that from 7.1 on), or so many came that it may have."""
        if self._overflows.count == self._overflows_seen:
            arrived = self._native.events if self._native is not None else 0
            return arrived - self._events_counted >= _MANY_EVENTS
        first = not self._overflows_seen
        self._overflows_seen = self._overflows.count
        self._overflows_at_s.append(time.monotonic())
        if first or "overflow" not in self.problems:
            log.warning("✗ More happened at once than the system reports: events were lost. %s", _QUEUE_REMEDY)
        self.problems["overflow"] = Problem("events were lost; looking at everything", _QUEUE_REMEDY, time.time())
        return True

    def note_caught_up(self) -> None:
        """Everything was looked at since events were lost."""
        self.problems.pop("overflow", None)

    def expect_new_directories(self) -> None:
        """Some appeared: the next check looks whether they are watched."""
        self._deaf_check.hasten(0.0)

    def deaf_directories(self, known: Sequence[str]) -> list[str]:
        """Those of the known directories that were not watched; from now on they are. They should be looked into, and
        everything once more, because what the observer before had not reported yet is lost.

        Checked whenever the number of directories changes, and now and then; but not while the system holds events that
        are not read yet: they may be those of the very directories.
        """
        if self._native is None or (len(known) == self._known and not self._deaf_check.is_due) or unread_bytes():
            return []
        started_s = time.monotonic()
        deaf = self._native.deaf_directories(known)
        self._known = len(known)
        self._deaf_check.note(time.monotonic() - started_s, share=_DEAF_CHECK_SHARE, shortest_s=_DEAF_CHECK_S)
        if not deaf:
            self._rearm_pause_s = 1.0
            return []
        self._stop_native()
        self._use_or_poll(self._try_natively(deaf))
        return deaf


def _remedy_for(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return _WATCHES_REMEDY
    if error.errno == errno.EMFILE:
        return "raise the limit: sudo sysctl fs.inotify.max_user_instances=512"
    return ""
