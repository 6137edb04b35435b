"""What the engine asks of a storage, local or elsewhere.

Keys are POSIX paths relative to the storage's root; a directory is a key too, and ``""`` is the root itself. The method
names are the host's own where it has one for the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sdgen_thumbnail_plugin.model import Stamp

__all__ = ["UNKNOWN_MTIME", "DirectoryListing", "ImageStorage", "Session", "SessionStorage", "StoredImage"]

UNKNOWN_MTIME = -1
"""Stands for a directory's modification time that cannot be read; equal to no recorded one."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image's bytes, and the stamp they had both before and after they were read."""

    data: bytes
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class DirectoryListing:
    """One directory, one level.

    Attributes:
        images: key to stamp, of every file with the storage's suffix.
        directories: keys of the directories directly below.
        temporaries: keys of our own unfinished files.
        mtime_ns: the directory's modification time before it was listed, in nanoseconds; None where it is not there.
    """

    images: Mapping[str, Stamp] = field(default_factory=dict)
    directories: Sequence[str] = ()
    temporaries: Sequence[str] = ()
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A first-level folder of the source root.

    Attributes:
        name: its name, which is also its directory key.
        began: when it began, ``YYYYMMDDHHMMSS`` in local time: as its name says, else by its modification time.
    """

    name: str
    began: str


class ImageStorage(Protocol):
    """Images of one suffix below one root.

    Every method raises a ``MachineError`` where the storage itself is at fault, with the path and the remedy.
    """

    @property
    def location(self) -> str:
        """The root as a person would write it: a path, or a bucket's address."""

    @property
    def keeps_times(self) -> bool:
        """Whether ``write_image_bytes`` can set modification times; where not, a thumbnail must be *later* than its
        source instead of equal."""

    def time_tolerance_ns(self) -> int:
        """How far a stored modification time may lie from the one that was set, in nanoseconds."""

    def root_identity(self) -> str | None:
        """Something that changes when another folder takes the root's place; None while there is no root."""

    def root_holds_anything(self) -> bool:
        """Whether the root is there, can be listed, and holds more than what file systems and desktops make by
        themselves (``lost+found``). Nothing is deleted while it does not."""

    def directory_mtimes(self, directories: Iterable[str]) -> dict[str, int | None]:
        """Modification times in nanoseconds, one cheap call each; None for a directory that is not there,
        ``UNKNOWN_MTIME`` for one that cannot be asked.

        A storage without directory times gives 0 for all of them: only a listing can tell, and the daily sweep does.
        """

    def list_directory(self, directory: str) -> DirectoryListing:
        """One level of a directory; empty where it is not there. Links are never followed."""

    def list_images(self, directory: str = "", *, recursive: bool = True) -> list[str]:
        """The keys of all images in a directory, sorted."""

    def image_exists(self, key: str) -> bool:
        """Whether the image is there, as a regular file."""

    def get_image_metadata(self, key: str) -> Stamp | None:
        """The image's stamp; None where there is none, or where it is not a regular file."""

    def read_image_bytes(self, key: str) -> bytes:
        """The whole image. Raises ``SourceGoneError``, ``SourceChangedError``."""

    def read_image(self, key: str, *, limit_bytes: int | None = None) -> StoredImage:
        """The image, or its first ``limit_bytes`` bytes, with the stamp it had before and after.

        Raises ``SourceGoneError``; ``SourceChangedError`` where it changed meanwhile.
        """

    def read_heads(self, keys: Sequence[str], limit_bytes: int) -> dict[str, bytes]:
        """The first bytes of some images of one directory, of those that are there; for a look, no more."""

    def write_image_bytes(self, key: str, content: bytes, *, mtime_ns: int | None = None) -> None:
        """Puts the image into place whole: a reader sees the old one or the new one. Missing folders are made.

        Args:
            mtime_ns: the modification time it carries from its first moment, where the storage keeps times.
        """

    def set_time(self, key: str, mtime_ns: int) -> None:
        """Sets the modification time of an image that is already there."""

    def delete_image(self, key: str) -> bool:
        """Deletes one image; False where it was gone already."""

    def delete_temporary(self, key: str) -> bool:
        """Deletes one of our unfinished files, if the process that wrote it is dead."""

    def remove_empty_directory(self, directory: str) -> bool:
        """Removes a directory if it is empty; never the root."""

    def rename_image(self, old_key: str, new_key: str) -> bool:
        """Renames an image, replacing what is there; False where there is none."""

    def rename_directory(self, old: str, new: str) -> bool:
        """Renames a directory with all it holds; False where it is not there, or the new name is taken."""


class SessionStorage(Protocol):
    """Sessions below one root, in the host's words."""

    def list_sessions(self) -> list[Session]:
        """All sessions, newest first: by the time stamp in the name (``20251110_151059-…``), else by mtime."""

    def session_exists(self, session: str) -> bool: ...

    def count_images(self, session: str) -> int:
        """How many images the session holds, at any depth."""

    def list_images(self, session: str) -> list[str]:
        """The keys of the session's images, at any depth, sorted."""

    def read_manifest(self, session: str) -> Mapping[str, object] | None:
        """The session's ``manifest.json``; None where there is none, or it cannot be read as one."""
