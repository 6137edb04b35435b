"""How long after its last byte each image of the demonstration has its thumbnail."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

GLANCE_S = 0.005
"""The pause between two looks for a thumbnail: the precision of the numbers, in seconds."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One image, written to its end: a line of the record that the drawing process keeps.

    Attributes:
        name: its file name.
        way: how it was written: plain, in pieces, renamed or overwritten.
        finished_at_s: when its last byte was written and its name final, in seconds since the epoch.
        mtime_ns, bytes: the file as it was then.
        width_px, height_px: the picture.
    """

    name: str
    way: str
    finished_at_s: float
    mtime_ns: int
    bytes: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Made:
    """A live image and its thumbnail.

    Attributes:
        image: as it arrived.
        thumbnail_bytes: the thumbnail's length.
        waited_s: from the image's last byte to the thumbnail in place.
    """

    image: Arrival
    thumbnail_bytes: int
    waited_s: float


class ThumbnailTimer(threading.Thread):
    """Looks at a session's thumbnails every few milliseconds, and notes when each one is in place.

    Args:
        folder: the session's folder of thumbnails; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(name="demo-thumbnail-timer", daemon=True)
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # when first seen, and its length
        self._folder = folder
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(GLANCE_S):
            with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".webp"):
                        # The thumbnail carries its image's time, which distinguishes a second version from the first.
                        stat = entry.stat()
                        self._seen.setdefault((entry.name, stat.st_mtime_ns), (time.time(), stat.st_size))

    def end(self) -> None:
        """Stops looking."""
        self._ended.set()
        self.join()

    def made_of(self, arrivals: Sequence[Arrival]) -> Iterator[Made]:
        """Each version of an image with the thumbnail that shows it. One overwritten at once may never have had one."""
        for image in arrivals:
            seen = self._seen.get((str(Path(image.name).with_suffix(".webp")), image.mtime_ns))
            if seen is not None:
                at_s, length = seen
                yield Made(image, length, max(0.0, at_s - image.finished_at_s))


def arrivals_in(record: Path) -> list[Arrival]:
    """The arrivals recorded so far, without a last line that is still being written."""
    try:
        text = record.read_text("utf-8")
    except FileNotFoundError:
        return []
    return [Arrival(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]
