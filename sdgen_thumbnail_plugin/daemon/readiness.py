"""A started watcher's one line to the process that started it: that it is watching, or why it is not."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from dataclasses import asdict, dataclass
from types import TracebackType

from sdgen_thumbnail_plugin.errors import AlreadyRunningError, ThumbnailError

READY_VARIABLE = "SDGEN_WATCHER_READY_FD"
"""Names the file descriptor that the line is written to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the line says.

    Attributes:
        watching: no change can be missed any more.
        already: another watcher is running.
        error: why it is not watching.
        remedy: what to do about that, if anything.
        late: there was no line in time.
    """

    watching: bool = False
    already: bool = False
    error: str = ""
    remedy: str = ""
    late: bool = False


class Readiness:
    """Answers once, at the latest when the context ends; silent where nothing waits for the answer.

    Args:
        descriptor: the pipe's end to write to; None in the foreground.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def watching(self) -> None:
        """Says that no change can be missed any more."""
        self._answer(Answer(watching=True))

    def _answer(self, answer: Answer) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(descriptor, json.dumps(asdict(answer)).encode("ascii") + b"\n")
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def __enter__(self) -> Readiness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ThumbnailError):
            already = isinstance(error, AlreadyRunningError)
            self._answer(Answer(already=already, error=str(error), remedy=error.remedy or ""))
        elif error is not None:
            self._answer(Answer(error=f"unexpected: {type(error).__name__}: {error}"))
        else:
            self._answer(Answer(error="it ended before it was watching"))


def read_answer(descriptor: int, deadline_s: float) -> Answer:
    """Waits for the line, until the monotonic clock shows the deadline; an empty answer where there is none."""
    received = b""
    with open(descriptor, "rb", buffering=0) as pipe:
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                return Answer(late=True)
            chunk = pipe.read(4096)
            if not chunk:
                return Answer()
            received += chunk
    return Answer(**json.loads(received))
