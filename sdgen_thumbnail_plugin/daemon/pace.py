"""How often something that takes time is done: so that it takes no more than a share of it."""

from __future__ import annotations

import time
from collections import deque

_REMEMBERED = 3


class Pace:
    """Spaces out something that is done again and again.

    Wall time counts, not processor time: waiting for a network mount is not free for others who use it. Of the last
    three times the cheapest counts, because something that lost the processor to another program for a moment costs no
    more than usual. So the first three follow one another with the shortest pause.

    Args:
        pause_s: the first pause, in seconds.
    """

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        """The pause that was chosen last, in seconds."""
        self.due_at_s = 0.0
        """When it is due next, on the monotonic clock; at once in the beginning."""
        self._costs_s = deque([0.0] * _REMEMBERED, maxlen=_REMEMBERED)

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due_at_s

    def note(self, cost_s: float, *, share: float, shortest_s: float = 0.0) -> None:
        """Chooses the next pause; to be called when it was done.

        Args:
            cost_s: the wall time that it took, in seconds.
            share: the part of all time that it may take.
            shortest_s: the shortest pause, in seconds.
        """
        self._costs_s.append(cost_s)
        self.pause_s = max(shortest_s, min(self._costs_s) / share)
        self.wait()

    def wait(self) -> None:
        """Makes it due after another pause."""
        self.due_at_s = time.monotonic() + self.pause_s

    def hasten(self, within_s: float) -> None:
        """Makes it due within so many seconds."""
        self.due_at_s = min(self.due_at_s, time.monotonic() + within_s)
