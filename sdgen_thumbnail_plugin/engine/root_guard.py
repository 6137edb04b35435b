"""Whether the source is the one whose thumbnails these are: where it is not, nothing in it counts as deleted.

An unmounted drive leaves an empty folder, or one with what lay below the mount all the time; a new file system holds
``lost+found``, another drive other people's files. None of them says that an image was deleted. So a root is trusted
once an image was seen in it, and for as long as it is the same root.
"""

from __future__ import annotations

from collections.abc import Iterable

from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.errors import MachineError
from sdgen_thumbnail_plugin.storage.base import ImageStorage

_ASKED_FIRST = 100  # the first that is asked for is nearly always there


class RootGuard:
    """Guards thumbnails against deletion while their source cannot be trusted. Safe to use from several threads.

    Args:
        source: the storage of the images.
        catalog: says where images have been.
    """

    def __init__(self, source: ImageStorage, catalog: Catalog) -> None:
        self._source = source
        self._catalog = catalog
        self._trusted: str | None = None  # the identity of the root that images were seen in
        self._seen_in = ""

    def trusts_source(self) -> bool:
        """Whether an image that is missing may be taken for deleted.

        While the root stays the same this costs two calls, and no image need be left in it: deleting the last one while
        we watch is meant. Only a root that holds nothing at all is never believed.
        """
        identity = self._identity()
        if identity is None or identity != self._trusted:
            self._trusted = None  # for good: the next drive may have the number of the last one
            if identity is not None and self._holds_a_known_image():
                self._trust(identity)
        return self._trusted is not None and (self._still_holds_sessions() or self._source.root_holds_anything())

    def note_image_in(self, directory: str) -> None:
        """An image was seen in a directory a moment ago; looked at again while the root is not trusted yet."""
        witness = self.witness()
        if witness is not None and self._any_image([directory]):
            self._trust(witness)

    def witness(self) -> str | None:
        """The root's identity, to be taken before a look; None where the root is trusted already, or missing."""
        return self._identity() if self._trusted is None else None

    def trust(self, witness: str | None, directory: str) -> None:
        """An image was seen in a directory since the witness was taken."""
        if witness is not None:
            self._seen_in = directory
            self._trust(witness)

    def _trust(self, witness: str) -> None:
        if self._identity() == witness:  # else it was replaced while it was looked at
            self._trusted = witness

    def _identity(self) -> str | None:
        try:
            return self._source.root_identity()
        except MachineError:
            return None

    def _still_holds_sessions(self) -> bool:
        """Asks for one directory: with ten thousand sessions that takes a twentieth of beginning to list the root."""
        return bool(self._seen_in) and self._source.directory_exists(self._seen_in)

    def _holds_a_known_image(self) -> bool:
        """Whether an image is where images have been. While a drive is away this is asked with every tick and before
        every deletion, so sessions that the root does not hold are not asked for one by one."""
        # Newest first, nearly: old ones may have been deleted.
        known = [directory for directory, record in self._catalog.records().items() if record.images][::-1]
        if self._any_image(known[:_ASKED_FIRST]):
            return True
        try:
            there = {"", *self._source.list_directory("").directories}
        except MachineError:
            return self._any_image(known[_ASKED_FIRST:])  # a root that may be entered, but not listed
        return self._any_image(directory for directory in known[_ASKED_FIRST:] if directory.partition("/")[0] in there)

    def _any_image(self, directories: Iterable[str]) -> bool:
        for directory in directories:
            try:
                if self._source.list_directory(directory).images:
                    self._seen_in = directory
                    return True
            except MachineError:
                if directory:
                    return True  # it is there, and what is in it may not be read
        return False
