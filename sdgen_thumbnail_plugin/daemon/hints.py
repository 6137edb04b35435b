"""What comes in: a hint is a key, and why to look at it. It becomes requests to the workers.

Nothing behind this module knows a library's events.
"""

from __future__ import annotations

import enum
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from watchdog.events import FileSystemEvent, FileSystemMovedEvent

from sdgen_thumbnail_plugin.daemon.debounce import Debounce
from sdgen_thumbnail_plugin.engine.catalog import parent_of
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Priority
from sdgen_thumbnail_plugin.storage.local import is_image_name
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)


class HintKind(enum.Enum):
    """What happened, as far as an observer can say. None of it is believed without a look."""

    WRITTEN = "written"
    """An image was closed after writing, or came under its name as a whole."""
    CHANGED = "changed"
    """An image appeared or changed, and may still be being written."""
    GONE = "gone"
    RENAMED = "renamed"
    DIRECTORY_APPEARED = "directory appeared"
    DIRECTORY_GONE = "directory gone"
    DIRECTORY_RENAMED = "directory renamed"


@dataclass(frozen=True, slots=True)
class Hint:
    """A reason to look.

    Attributes:
        key: the image's key, or the directory's.
        kind: what happened.
        old_key: the key it had before, for both kinds of renames.
    """

    key: str
    kind: HintKind
    old_key: str = ""


_OF_IMAGES = {
    "closed": HintKind.WRITTEN,
    "created": HintKind.CHANGED,
    "modified": HintKind.CHANGED,
    "attrib": HintKind.CHANGED,
    "deleted": HintKind.GONE,
}

# A directory is "modified" with every file in it, which has an event of its own.
_OF_DIRECTORIES = {"created": HintKind.DIRECTORY_APPEARED, "deleted": HintKind.DIRECTORY_GONE}


def hint_from(event: FileSystemEvent, root: str) -> Hint | None:
    """The hint in a watchdog event; None where it concerns no image and no directory of ours.

    Args:
        event: any of watchdog's, from 3.0 on.
        root: the watched folder's path, as the events name it.
    """
    key = _key(event.src_path, root, is_directory=event.is_directory)
    if isinstance(event, FileSystemMovedEvent):
        return _hint_from_move(key, _key(event.dest_path, root, is_directory=event.is_directory), event.is_directory)
    kind = (_OF_DIRECTORIES if event.is_directory else _OF_IMAGES).get(event.event_type)
    return Hint(key, kind) if key is not None and kind is not None else None


def _hint_from_move(old: str | None, new: str | None, is_directory: bool) -> Hint | None:
    """A move from or to a place that is not ours is an arrival or a departure."""
    if old is not None and new is not None:
        return Hint(new, HintKind.DIRECTORY_RENAMED if is_directory else HintKind.RENAMED, old)
    if new is not None:
        return Hint(new, HintKind.DIRECTORY_APPEARED if is_directory else HintKind.WRITTEN)
    if old is not None:
        return Hint(old, HintKind.DIRECTORY_GONE if is_directory else HintKind.GONE)
    return None


def _key(path: bytes | str, root: str, *, is_directory: bool) -> str | None:
    """The key of a path; None outside the root, below hidden folders, and for files that are not images."""
    text = os.fsdecode(path)
    if text == root:
        return "" if is_directory else None
    if not text.startswith(root + "/"):
        return None
    key = text[len(root) + 1 :]
    *folders, name = key.split("/")
    if any(folder.startswith(".") for folder in folders):
        return None
    ours = not name.startswith(".") if is_directory else is_image_name(name)
    return key if ours else None


class Dispatcher:
    """Takes hints, and asks the workers for what they are about. Not thread-safe: one thread takes them.

    Args:
        directories: follows renames, and knows the directories.
        workers: are asked.
        on_live_image: called with the key of every image that is asked for because something happened to it just now.
        on_new_directories: called when directories appeared or were renamed.
    """

    def __init__(
        self,
        directories: DirectoryReconciler,
        workers: Workers,
        *,
        on_live_image: Callable[[str], None],
        on_new_directories: Callable[[], None],
    ) -> None:
        self._directories = directories
        self._workers = workers
        self._on_live_image = on_live_image
        self._on_new_directories = on_new_directories
        self._debounce = Debounce(directories.images.source.get_image_metadata)
        self._catalog = directories.catalog

    def take(self, hint: Hint) -> None:
        """Acts on a hint, or waits until the image that it is about holds still."""
        key, kind = hint.key, hint.kind
        if kind is HintKind.CHANGED:
            self._debounce.add(key)
        elif kind in (HintKind.WRITTEN, HintKind.GONE):
            self._ask_for_image(key)
        elif kind is HintKind.RENAMED:
            if self._tried(self._directories.rename_image, hint.old_key, key):
                log.info("✓ Followed renamed image: %s", printable(key))
            self._ask_for_image(key)
            self._ask_for_image(hint.old_key)
        elif kind is HintKind.DIRECTORY_RENAMED:
            if self._tried(self._directories.rename_directory, hint.old_key, key):
                log.info("✓ Followed renamed session: %s", printable(key))
            self._take_new_directory(key)
            self._ask_for_directories(hint.old_key)
        elif kind is HintKind.DIRECTORY_APPEARED:
            self._take_new_directory(key)
        else:
            self._ask_for_directories(key)

    def due_at_s(self) -> float:
        """When to call ``ask_for_settled`` next, on the monotonic clock; infinity while nothing waits."""
        return self._debounce.due_at_s()

    def ask_for_settled(self) -> None:
        """Asks for the images that waited, and hold still now."""
        for key in self._debounce.settled():
            self._ask_for_image(key)

    def _take_new_directory(self, key: str) -> None:
        self._catalog.discover([key])
        self._on_new_directories()
        self._ask_for_directories(key)

    def _ask_for_directories(self, key: str) -> None:
        for directory in self._catalog.below(key):
            self._workers.submit_directory(directory, Priority.URGENT)

    def _ask_for_image(self, key: str) -> None:
        self._debounce.drop(key)
        self._catalog.discover([parent_of(key)])
        self._on_live_image(key)
        self._workers.submit_image(key, Priority.URGENT)

    @staticmethod
    def _tried(rename: Callable[[str, str], bool], old: str, new: str) -> bool:
        try:
            return rename(old, new)
        except ThumbnailError as error:
            log.error("✗ %s (%s)", error, error.remedy)
            return False
