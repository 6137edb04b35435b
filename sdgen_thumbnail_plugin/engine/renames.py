"""What was renamed while nobody watched: thumbnails without a source, found again by what their source was.

A renamed image keeps its modification time and its size, and its thumbnail carries that time; the size is remembered in
the catalog, per directory. Times in whole seconds tell too little (archives and FAT make many alike), and are never
matched alone.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from itertools import chain

from sdgen_thumbnail_plugin.model import Stamp

__all__ = ["Orphans", "packed_stamps", "unpacked_stamps"]

_SECOND_NS = 1_000_000_000
_LIMIT = 100_000  # orphans known one by one, 40 MB at most; directories that moved as a whole are not among them


def packed_stamps(sources: Mapping[str, Stamp]) -> bytes:
    """The stamps of one directory's images in the order of their names: 16 bytes an image."""
    return array("q", chain.from_iterable(map(sources.__getitem__, sorted(sources)))).tobytes()


def unpacked_stamps(packed: bytes) -> list[Stamp]:
    """What ``packed_stamps`` packed."""
    numbers = array("q", packed)
    return list(map(Stamp, numbers[::2], numbers[1::2]))


def _tells(stamp: Stamp) -> bool:
    return stamp.mtime_ns % _SECOND_NS != 0


class Orphans:
    """Thumbnails whose source is gone, and directories that are, by the stamps their images had.

    A hint and no more: whoever takes one looks whether it is still so. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        self._unlisted: list[str] = []
        self._directories: dict[bytes, str] = {}
        self._images: OrderedDict[Stamp, str | None] = OrderedDict()

    @property
    def any_images(self) -> bool:
        return bool(self._images or self._unlisted)

    def note_gone(self, asked: Collection[str], gone: Collection[str]) -> list[str]:
        """Of the directories asked for, some are gone. Returns those that are so only now."""
        with self._lock:
            new = [directory for directory in gone if directory not in self._gone]
            back = self._gone.intersection(asked).difference(gone) if self._gone else set()
            if back:
                self._directories = {key: name for key, name in self._directories.items() if name not in back}
                self._unlisted = [directory for directory in self._unlisted if directory not in back]
            self._gone = self._gone.difference(back).union(new)
            return new

    def note_directory(self, directory: str, packed: bytes) -> None:
        """What the images of a directory that is gone had for stamps; all had thumbnails made with today's settings."""
        with self._lock:
            if any(map(_tells, unpacked_stamps(packed))):
                self._directories[packed] = directory
                self._unlisted.append(directory)

    def note_images(self, thumbnails: Mapping[str, Stamp], orphans: Iterable[str], packed: bytes) -> None:
        """Some thumbnails of a directory have lost their sources.

        Args:
            thumbnails: key to stamp of the directory's thumbnails.
            orphans: keys of those without a source.
            packed: the stamps that all sources had.
        """
        sizes: dict[int, int | None] = {}
        for mtime_ns, size in unpacked_stamps(packed):
            sizes[mtime_ns] = size if mtime_ns not in sizes else None
        with self._lock:
            for key in orphans:
                mtime_ns = thumbnails[key].mtime_ns
                known = sizes.get(mtime_ns)
                if known is not None and _tells(stamp := Stamp(mtime_ns, known)):
                    # Two that are alike tell nothing.
                    self._images[stamp] = key if self._images.get(stamp, key) == key else None
                    if len(self._images) > _LIMIT:
                        self._images.popitem(last=False)

    def unlisted(self) -> list[str]:
        """Takes out the directories that are gone and whose thumbnails are not known one by one."""
        with self._lock:
            unlisted, self._unlisted = self._unlisted, []
            return unlisted

    def take_directory(self, sources: Mapping[str, Stamp]) -> str | None:
        """The directory that is gone and held just these images."""
        with self._lock:
            return self._directories.pop(packed_stamps(sources), None) if self._directories and sources else None

    def take_image(self, stamp: Stamp) -> str | None:
        """The key of the one thumbnail whose source is gone and had this stamp."""
        with self._lock:
            return self._images.pop(stamp, None)
