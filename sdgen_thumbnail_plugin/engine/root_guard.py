"""Whether the source is the one whose thumbnails these are: where it is not, nothing in it is *gone*.

An unmounted drive leaves an empty folder, or one with what lay below it all the time; a new file system holds
``lost+found``, another drive somebody's papers. None of them says that an image was deleted. So a root is trusted once
an image was seen in it, and for as long as it is the same root.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.errors import MachineError
from sdgen_thumbnail_plugin.storage.base import UNKNOWN_MTIME, ImageStorage

__all__ = ["RootGuard"]

_ASKED_AT_ONCE = 100  # the first that is asked for is nearly always there


class RootGuard:
    """Trusts a root, or not. Safe to use from several threads.

    Args:
        source: the storage of the images.
        catalog: says where images have been.
    """

    def __init__(self, source: ImageStorage, catalog: Catalog) -> None:
        self._source = source
        self._catalog = catalog
        self._trusted: str | None = None  # the identity of the root that images were seen in
        self._seen_in = ""

    def holds(self) -> bool:
        """Whether an image that is not there may be taken for deleted.

        While the root stays the same this is two cheap calls, and an image need not be in it any more: whoever deletes
        the last one before our eyes means it. Only a root that holds nothing at all is never believed.
        """
        identity = self._identity()
        if identity is None or identity != self._trusted:
            self._trusted = None  # for good: the next drive may have the number of the last one
            if identity is not None and self._holds_a_known_image():
                self._trust(identity)
        return self._trusted is not None and (self._is_there(self._seen_in) or self._source.root_holds_anything())

    def note(self, directory: str) -> None:
        """An image was seen in a directory a moment ago."""
        if self._trusted is None:
            identity = self._identity()
            if identity is not None and self._any_image([directory]):
                self._trust(identity)

    def _trust(self, identity: str) -> None:
        if self._identity() == identity:  # else it was replaced while it was looked at
            self._trusted = identity

    def _identity(self) -> str | None:
        try:
            return self._source.root_identity()
        except MachineError:
            return None

    def _is_there(self, directory: str) -> bool:
        """Asks for one directory: of a root of ten thousand that takes a twentieth of beginning to list it."""
        return bool(directory) and self._source.directory_mtimes([directory])[directory] not in (None, UNKNOWN_MTIME)

    def _holds_a_known_image(self) -> bool:
        """Whether an image is where images have been. While a drive is away this is asked with every tick and before
        every deletion, so what the root does not hold is not asked for, ten thousand times."""
        # Newest first, nearly: old ones may have been deleted.
        known = [directory for directory, record in self._catalog.records().items() if record.images][::-1]
        if self._any_image(known[:_ASKED_AT_ONCE]):
            return True
        others = known[_ASKED_AT_ONCE:]
        with contextlib.suppress(MachineError):  # a root that may be entered, but not listed
            there = {"", *self._source.list_directory("").directories}
            others = [directory for directory in others if directory.partition("/")[0] in there]
        return self._any_image(others)

    def _any_image(self, directories: Sequence[str]) -> bool:
        for start in range(0, len(directories), _ASKED_AT_ONCE):
            mtimes = self._source.directory_mtimes(directories[start : start + _ASKED_AT_ONCE])
            for directory, mtime_ns in mtimes.items():
                if mtime_ns is None or mtime_ns == UNKNOWN_MTIME:
                    continue
                try:
                    if self._source.list_directory(directory).images:
                        self._seen_in = directory
                        return True
                except MachineError:
                    if directory:
                        return True  # it is there, and what is in it may not be read
        return False
