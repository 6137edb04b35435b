"""What was renamed while we did not watch: thumbnails that lost their source, found by the marks they carry.

A renamed image keeps its stamp, and its thumbnail's mark names that stamp. Times in whole seconds tell too little
(archives and FAT give many images the same), and are never matched.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from sdgen_thumbnail_plugin.engine.plan import same_settings, tells_images_apart, thumbnail_key
from sdgen_thumbnail_plugin.imaging import webp
from sdgen_thumbnail_plugin.model import Recipe, Stamp
from sdgen_thumbnail_plugin.storage.base import ImageStorage

_LIMIT = 100_000  # thumbnails known one by one, 40 MB at most
_DIRECTORIES_LIMIT = 1_000  # directories that are gone; with more, something else happened than renames


class LostThumbnails:
    """Thumbnails whose source is gone, by the stamp it had. Hints: a caller that takes one checks that it still holds.
    Safe to use from several threads.

    Args:
        target: the storage of the thumbnails.
        recipe: today's settings; thumbnails of other settings are of no use.
    """

    def __init__(self, target: ImageStorage, recipe: Recipe) -> None:
        self._target = target
        self._recipe = recipe
        self._lock = threading.Lock()
        self._gone: dict[str, dict[str, Stamp] | None] = {}  # directory -> thumbnail's name to stamp; None: not read
        self._images: OrderedDict[Stamp, str | None] = OrderedDict()  # None: two that are alike tell nothing

    def note_gone(self, directories: Iterable[str]) -> None:
        """Some known directories are missing in the source."""
        with self._lock:
            for directory in directories:
                if len(self._gone) < _DIRECTORIES_LIMIT:
                    self._gone.setdefault(directory, None)

    def forget_directory(self, directory: str) -> None:
        """A directory is there again, or its thumbnails are gone too."""
        with self._lock:
            self._gone.pop(directory, None)

    def note_orphans(self, thumbnails: Iterable[str]) -> None:
        """Some thumbnails of one directory lost their source."""
        for key, stamp in self._made_from(list(thumbnails)).items():
            self._add(stamp, key)

    def _made_from(self, thumbnails: list[str]) -> dict[str, Stamp]:
        heads = self._target.read_heads(thumbnails, webp.HEAD_BYTES)
        found = {}
        for key, data in heads.items():
            head = webp.read_head(data)
            if head is None or head.mark is None or not same_settings(head, self._recipe):
                continue
            if tells_images_apart(head.mark.source):
                found[key] = head.mark.source
        return found

    def _add(self, stamp: Stamp, key: str) -> None:
        with self._lock:
            self._images[stamp] = key if self._images.get(stamp, key) == key else None
            if len(self._images) > _LIMIT:
                self._images.popitem(last=False)

    def find_directory(self, directory: str, sources: Mapping[str, Stamp]) -> str | None:
        """A directory that is gone and whose thumbnails were all made from these images, by the same names.

        Args:
            directory: where the images are now.
            sources: key to stamp of all its images.
        """
        if not all(map(tells_images_apart, sources.values())):
            return None
        wanted = {thumbnail_key(key)[len(directory) :].lstrip("/"): stamp for key, stamp in sources.items()}
        return next((gone for gone, stamps in self._read_gone() if stamps.items() <= wanted.items()), None)

    def find_images(self, sources: Mapping[str, Stamp]) -> dict[str, str]:
        """Of some images without a thumbnail, those that had another name: their key to the thumbnail that they had."""
        if not sources:
            return {}
        self._read_gone()
        with self._lock:
            found: dict[str, str] = {}
            for key, stamp in sources.items():
                thumbnail = self._images.get(stamp)
                if thumbnail is not None and thumbnail not in found.values():
                    found[key] = thumbnail
            return found

    def forget_image(self, stamp: Stamp) -> None:
        """A thumbnail has its image again, or is of no use."""
        with self._lock:
            self._images.pop(stamp, None)

    def _read_gone(self) -> list[tuple[str, dict[str, Stamp]]]:
        """The thumbnails of all directories that are gone, read once, and only now that an image may be theirs."""
        with self._lock:
            unread = [directory for directory, stamps in self._gone.items() if stamps is None]
        for directory in unread:
            thumbnails = list(self._target.list_directory(directory).images)
            made_from = self._made_from(thumbnails)
            for key, stamp in made_from.items():
                self._add(stamp, key)
            names = {key[len(directory) :].lstrip("/"): stamp for key, stamp in made_from.items()}
            with self._lock:
                self._gone[directory] = names if len(names) == len(thumbnails) else {}
        with self._lock:
            return [(directory, stamps) for directory, stamps in self._gone.items() if stamps]
