"""The started watcher's one line to whoever started it: that it is watching, or why it is not."""

from __future__ import annotations

import contextlib
import json
import os
from types import TracebackType

from sdgen_thumbnail_plugin.errors import AlreadyRunningError, ThumbnailError

__all__ = ["Readiness"]


class Readiness:
    """Answers once, at the latest when the context ends; silent where nobody asked, or nobody listens any more.

    Args:
        descriptor: the pipe's end to write to; None in the foreground.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def watching(self) -> None:
        """Says that no change can be missed any more."""
        self._answer({"watching": True})

    def _answer(self, content: dict[str, object]) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(descriptor, json.dumps(content).encode("ascii") + b"\n")
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def __enter__(self) -> Readiness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ThumbnailError):
            already = isinstance(error, AlreadyRunningError)
            self._answer({"error": str(error), "remedy": error.remedy, "already": already})
        elif error is not None:
            self._answer({"error": f"unexpected: {type(error).__name__}: {error}"})
        elif self._descriptor is not None:
            self._answer({"error": "it ended before it was watching"})
