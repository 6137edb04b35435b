"""What is remembered of directories and images, and what whoever makes images right asks of such a memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple, Protocol

from sdgen_thumbnail_plugin.engine.scan import DirectoryTimes
from sdgen_thumbnail_plugin.model import Failure

__all__ = ["BriefRecords", "DirectoryRecord", "Records"]

_BRIEF_LIMIT = 10_000


class DirectoryRecord(NamedTuple):
    """What is remembered of one directory. A tuple, because a start reads one for every directory there is.

    Attributes:
        times: the modification times under which it was found complete; None while it has to be looked at.
        recipe: the tag of the settings its thumbnails were made with; None before the first complete look.
        images, thumbnails, failed, orphans: what the last look counted.
        complete: whether every image had its fresh thumbnail, or is known to fail.
        swept_at_s: when every file was last looked at, in seconds since the epoch.
    """

    times: DirectoryTimes | None = None
    recipe: str | None = None
    images: int = 0
    thumbnails: int = 0
    failed: int = 0
    orphans: int = 0
    complete: bool = False
    swept_at_s: float = 0.0


class Records(Protocol):
    """What making one image right asks of the memory. Safe to use from several threads."""

    def record(self, directory: str) -> DirectoryRecord | None:
        """What is remembered of a directory."""

    def failure(self, key: str) -> Failure | None:
        """What is remembered of an image that failed."""

    def put_failure(self, failure: Failure) -> None: ...

    def drop_failure(self, key: str) -> None: ...


class BriefRecords:
    """Remembers the latest failures for as long as the process lives, and no directory: for folders that no catalog
    knows."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, Failure] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, directory: str) -> DirectoryRecord | None:  # noqa: ARG002
        return None

    def failure(self, key: str) -> Failure | None:
        return self._failures.get(key)

    def put_failure(self, failure: Failure) -> None:
        with self._lock:
            self._failures[failure.key] = failure
            if len(self._failures) > _BRIEF_LIMIT:
                self._failures.popitem(last=False)

    def drop_failure(self, key: str) -> None:
        with self._lock:
            self._failures.pop(key, None)
