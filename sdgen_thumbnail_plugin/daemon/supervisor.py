"""The observer of one root, whichever serves: chosen, proved, watched over, and replaced when it fails."""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog import events

from sdgen_thumbnail_plugin.daemon.observers import (
    Choice,
    NativeObserver,
    OverflowCounter,
    Relay,
    choose_observer,
    is_wsl,
    unread_bytes,
)
from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll, SessionPollingObserver
from sdgen_thumbnail_plugin.daemon.state import Problem
from sdgen_thumbnail_plugin.settings import Settings

__all__ = ["MANY_EVENTS", "Supervisor"]

log = logging.getLogger(__name__)

MANY_EVENTS = 8192
"""Half of what the kernel's queue holds (``max_queued_events``): so many between two looks, and some may be lost. Up to
watchdog 7.0 nobody is told when they are."""

_DEAF_CHECK_S = 10.0
_DEAF_CHECK_SHARE = 0.0003  # of a core
_LONGEST_REARM_PAUSE_S = 60.0
_FIRST_RETRY_PAUSE_S, _LONGEST_RETRY_PAUSE_S = 5.0, 300.0
_OVERFLOWS, _OVERFLOWS_WITHIN_S = 3, 30.0
_WATCHES_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_user_watches=524288"
_QUEUE_REMEDY = "raise the limit: sudo sysctl fs.inotify.max_queued_events=131072"


class Supervisor:
    """Watches one root.

    Args:
        settings: which folder, and with what.
        root: the folder, with links resolved.
        poll: looks, where no notifications come.
        put: gets every event; called in an observer's thread.
    """

    def __init__(
        self,
        settings: Settings,
        root: Path,
        *,
        poll: DirectoryPoll,
        put: Callable[[events.FileSystemEvent], None],
    ) -> None:
        self.problems: dict[str, Problem] = {}
        self._settings = settings
        self._root = root
        self._poll = poll
        self._put = put
        self._choice = self._wanted = Choice("polling", "")
        self._native: NativeObserver | None = None
        self._polling: SessionPollingObserver | None = None
        self._retry_at_s: float | None = None  # none while notifications work, or are not wanted
        self._retry_pause_s = _FIRST_RETRY_PAUSE_S
        self._rearm_at_s = 0.0
        self._rearm_pause_s = 1.0
        self._known = 0
        self._deaf_check_at_s = 0.0
        self._overflows = OverflowCounter()
        self._overflows_seen = 0
        self._overflows_at_s: deque[float] = deque(maxlen=_OVERFLOWS)

    @property
    def choice(self) -> Choice:
        """What is in use, and why."""
        return Choice("native" if self.hears else "polling", self._choice.reason)

    @property
    def hears(self) -> bool:
        """Whether notifications come. Else the polling observer looks by itself."""
        return self._native is not None

    # -- beginning and ending

    def start(self, *, there: bool) -> None:
        """Begins to watch.

        Args:
            there: whether the root is. Where not, nothing is watched until ``rearm``.
        """
        self._overflows.attach()
        self._choice = self._wanted = choose_observer(self._settings.source_dir, self._settings.observer)
        self._retry_at_s = None
        self.problems.pop("observer", None)
        if self._choice.kind == "native" and there:
            self._start_natively()
        if self._native is None:
            self._start_polling()

    def _start_natively(self) -> None:
        found = self._try_natively()
        if isinstance(found, NativeObserver):
            self._use(found)
        else:
            self._poll_instead(found)

    def _try_natively(self, known: Sequence[str] = ()) -> NativeObserver | _Refusal:
        """A native observer that hears; else why there is none.

        Args:
            known: directories that it has to hear of.
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

    def _use(self, native: NativeObserver) -> None:
        self._native = native
        self._overflows_at_s.clear()

    def _poll_instead(self, refusal: _Refusal) -> None:
        self._choice = Choice("polling", refusal.reason)
        self._retry_at_s = time.monotonic() + self._retry_pause_s
        log.warning("✗ Native notifications do not work: %s; polling instead. %s", *refusal)
        if refusal.remedy:
            self.problems["observer"] = Problem(f"polling, because: {refusal.reason}", refusal.remedy, time.time())

    def try_notifications_again(self, known: Callable[[], Sequence[str]]) -> bool:
        """Where polling stands in for notifications that did not work, tries them again now and then.

        Args:
            known: tells the directories that they have to come from.

        Returns:
            whether they work now: then whoever asks looks at everything once.
        """
        if self._polling is None or self._retry_at_s is None or time.monotonic() < self._retry_at_s:
            return False
        started_s = time.thread_time()
        found = self._try_natively(known())
        if not isinstance(found, NativeObserver):
            self._retry_pause_s = min(self._retry_pause_s * 2, _LONGEST_RETRY_PAUSE_S)
            cost_s = time.thread_time() - started_s
            self._retry_at_s = time.monotonic() + max(self._retry_pause_s, cost_s / _DEAF_CHECK_SHARE)
            return False
        self._end()
        self._use(found)
        self._choice = self._wanted
        self._retry_at_s = None
        self._retry_pause_s = _FIRST_RETRY_PAUSE_S
        self.problems.pop("observer", None)
        log.info("✓ Native notifications work again (%s)", self._choice.reason)
        return True

    def _start_polling(self) -> None:
        if is_wsl() and self._choice.kind == "polling":
            log.info("🐧 WSL detected - using PollingObserver")
        if self._choice.kind == "native":  # chosen, but there is no folder to watch yet
            return
        polling = SessionPollingObserver(self._settings.polling_interval_s, poll=self._poll)
        polling.schedule(Relay(self._put), str(self._root), recursive=True)
        polling.start()
        self._polling = polling

    def stop(self) -> None:
        self._end()
        self._overflows.detach()

    def _end(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            native.stop()
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.stop()
            polling.join(2.0)

    def rearm(self, reason: str, *, there: bool, at_once: bool = False) -> bool:
        """A new observer; less and less often while it does not help.

        Args:
            reason: why, for the log.
            there: whether the root is.
            at_once: whether to do it however short a time ago the last one was.

        Returns:
            whether it was done.
        """
        now_s = time.monotonic()
        if now_s < self._rearm_at_s and not at_once:
            return False
        self._rearm_at_s = now_s + self._rearm_pause_s
        self._rearm_pause_s = min(self._rearm_pause_s * 2, _LONGEST_REARM_PAUSE_S)
        log.warning("✗ %s: watching anew", reason)
        self._end()
        self.start(there=there)
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

    def lost_events(self) -> bool:
        """Whether the kernel's queue overflowed since the last call (as far as watchdog tells: from 7.1 on)."""
        if self._overflows.count == self._overflows_seen:
            return False
        first = not self._overflows_seen
        self._overflows_seen = self._overflows.count
        self._overflows_at_s.append(time.monotonic())
        if first or "overflow" not in self.problems:
            log.warning("✗ More happened at once than the system tells: events were lost. %s", _QUEUE_REMEDY)
        self.problems["overflow"] = Problem("events were lost; looking at everything", _QUEUE_REMEDY, time.time())
        return True

    def expect_new_directories(self) -> None:
        """Some appeared: whether they are watched is looked at with the next check."""
        self._deaf_check_at_s = 0.0

    def deaf_directories(self, known: Sequence[str]) -> list[str]:
        """Those of the known directories whose changes nobody told, told from now on: whoever asks looks into them, and
        at everything once more, because what the observer before had not told yet is lost.

        Checked whenever the number of directories changes, and now and then; but not while the system has something to
        tell that is not read yet: it may be of those very directories.
        """
        now_s = time.monotonic()
        if self._native is None or (len(known) == self._known and now_s < self._deaf_check_at_s) or unread_bytes():
            return []
        started_s = time.thread_time()
        deaf = self._native.deaf_directories(known)
        self._known = len(known)
        self._deaf_check_at_s = now_s + max(_DEAF_CHECK_S, (time.thread_time() - started_s) / _DEAF_CHECK_SHARE)
        if not deaf:
            self._rearm_pause_s = 1.0
            return []
        self._native.stop()
        self._native = None
        found = self._try_natively(deaf)
        if isinstance(found, NativeObserver):
            self._use(found)
        else:
            self._poll_instead(found)
            self._start_polling()
        return deaf


class _Refusal(NamedTuple):
    """Why notifications do not work, and what to do about it, if anything."""

    reason: str
    remedy: str


def _remedy_for(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return _WATCHES_REMEDY
    if error.errno == errno.EMFILE:
        return "raise the limit: sudo sysctl fs.inotify.max_user_instances=512"
    return ""
