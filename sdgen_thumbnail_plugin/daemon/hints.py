"""What wakes the watcher: a key, and why to look at it. Nothing behind this module knows a library's events."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass

from watchdog.events import FileSystemEvent, FileSystemMovedEvent

from sdgen_thumbnail_plugin.storage.local import is_image_name


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
