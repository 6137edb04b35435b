"""What the engine asks of a storage: folders on this machine, a bucket, or anything else that keeps images.

Keys are POSIX paths relative to the storage's root; a directory is a key too, and ``""`` is the root itself. Stamps and
tokens belong to the storage that gave them: the engine compares them by equality and stores them as they are. Where it
needs a real time, it asks by name (``modified_ns``, ``age_s``, ``recent``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Union

from sdgen_thumbnail_plugin.model import Stamp

Token = Union[int, str]  # noqa: UP007 - evaluated at run time, on Python 3.10 too
"""What a storage says of a directory without listing it: while it is the same, no image in the directory appeared,
vanished or got another name. A directory that is missing has a token, too."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image's bytes, and its stamp when they were read."""

    data: bytes
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Listing:
    """One directory, one level.

    Attributes:
        images: key to stamp, of every file with the storage's suffix.
        directories: keys of the directories directly below.
        temporaries: keys of our own unfinished files.
        token: the directory's token from before it was listed; None while a change could leave the token as it is, or
            where the storage has none.
        exists: whether the directory is there.
    """

    images: Mapping[str, Stamp] = field(default_factory=dict)
    directories: Sequence[str] = ()
    temporaries: Sequence[str] = ()
    token: Token | None = None
    exists: bool = True


class ImageStorage(Protocol):
    """Images of one suffix below one root.

    Every method raises a ``MachineError`` where the storage itself is at fault, with the path and the remedy.
    """

    @property
    def location(self) -> str:
        """The root as a person would write it: a path, or a bucket's address."""

    @property
    def keeps_times(self) -> bool:
        """Whether a stamp's ``version`` is the modification time in nanoseconds, and can be set. Between two storages
        that keep times a thumbnail carries its source's time; otherwise its mark says what it shows."""

    def time_tolerance_ns(self) -> int:
        """How far a stored modification time may lie from the one that was set, in nanoseconds."""

    # -- the root and its directories

    def root_identity(self) -> str | None:
        """A value that changes when another folder takes the root's place; None while there is no root."""

    def root_holds_anything(self) -> bool:
        """Whether the root is there, can be listed, and holds more than what file systems and desktops create by
        themselves (``lost+found``). Nothing is deleted while it does not."""

    def tokens(self, directories: Iterable[str]) -> dict[str, Token | None]:
        """The tokens of some directories, in their order, at the cost of one call each; None where the storage cannot
        tell and only a listing will do."""

    def recent(self, tokens: Mapping[str, Token | None], within_s: float) -> set[str]:
        """Those of some directories that changed within the last ``within_s`` seconds, as far as tokens say so."""

    def directory_exists(self, directory: str) -> bool:
        """Whether the directory is there, or may be: True as well where that cannot be asked."""

    def missing_directories(self, directories: Iterable[str]) -> set[str]:
        """Those of some directories that do not exist."""

    def list_directory(self, directory: str) -> Listing:
        """One level of a directory; empty where it is missing. Links are never followed."""

    def remove_empty_directory(self, directory: str) -> bool:
        """Removes a directory if it is empty; never the root. Returns whether it did."""

    def rename_directory(self, old: str, new: str) -> bool:
        """Renames a directory with everything in it; False where it is missing, or the new name is taken."""

    # -- looking at images

    def image_exists(self, key: str) -> bool:
        """Whether the image is there, as a regular file."""

    def get_image_metadata(self, key: str) -> Stamp | None:
        """The image's stamp; None where it is missing, or not a regular file."""

    def modified_ns(self, stamp: Stamp) -> int | None:
        """An image's modification time in nanoseconds since the epoch; None where the storage does not keep times."""

    def age_s(self, stamp: Stamp) -> float | None:
        """Seconds since an image was modified; None where the storage cannot tell."""

    def read_image(self, key: str, *, limit_bytes: int | None = None) -> StoredImage:
        """The image, or its first ``limit_bytes`` bytes. Whether it changed meanwhile shows in its stamp afterwards.

        Raises:
            SourceGoneError: it is missing.
            SourceChangedError: it became shorter while it was read.
        """

    def read_heads(self, keys: Sequence[str], limit_bytes: int) -> dict[str, bytes]:
        """The first bytes of some images of one directory; those that are missing are left out."""

    # -- changing images

    def write_image_bytes(self, key: str, content: bytes, *, mtime_ns: int | None = None) -> None:
        """Puts the image into place whole: a reader sees the old one or the new one. Missing folders are created.

        Args:
            mtime_ns: the modification time it carries from its first moment, where the storage keeps times.
        """

    def set_time(self, key: str, mtime_ns: int) -> None:
        """Sets the modification time of an image that is already there."""

    def rename_image(self, old_key: str, new_key: str) -> bool:
        """Renames an image, replacing what is there; False where it is missing."""

    def delete_image(self, key: str) -> bool:
        """Deletes one image; False where it was gone already."""

    def delete_temporary(self, key: str) -> bool:
        """Deletes one of our unfinished files, if the process that wrote it is dead."""


class SessionStorage(Protocol):
    """The first-level directories of one root, in the host's words."""

    def newest_first(self, sessions: Iterable[str]) -> list[str]:
        """Sessions by the time they began, newest first: by the stamp in the name (``20251110_151059-…``), else by
        their modification time, which costs a call each."""

    def read_manifest(self, session: str) -> Mapping[str, object] | None:
        """The session's ``manifest.json``; None where it is missing, or cannot be read as one."""
