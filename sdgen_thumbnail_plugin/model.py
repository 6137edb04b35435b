"""The values that all rooms share. Frozen, without behaviour beyond what follows from their fields."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

MAX_PIXELS = 300_000_000
"""The default limit for the size of one image, in pixels."""

SOURCE_SUFFIX = ".png"
THUMBNAIL_SUFFIX = ".webp"


class Stamp(NamedTuple):
    """What a storage says of a file without opening it, compared by equality. A tuple, because a first catch-up makes
    one for every file: that takes a third of the time of a frozen dataclass, and comparing them a fifth.

    Attributes:
        version: a number that changes with the contents; where the storage keeps times, the modification time in
            nanoseconds since the epoch.
        size: length in bytes.
    """

    version: int
    size: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that decide the content of a thumbnail. Changing one makes every thumbnail stale.

    Attributes:
        height_px: height of every thumbnail, in pixels.
        quality: WebP quality, 0 to 100.
        method: WebP effort, 0 (fast) to 6 (small).
    """

    height_px: int = 240
    quality: int = 85
    method: int = 6

    @property
    def tag(self) -> str:
        """The recipe as a short text, for storing and comparing."""
        return f"h{self.height_px}-q{self.quality}-m{self.method}"


class Priority(enum.IntEnum):
    """The three queues. Smaller goes first."""

    URGENT = 0
    CATCH_UP = 1
    AUDIT = 2


class ActionKind(enum.Enum):
    """What can be done to a thumbnail."""

    BUILD = "build"
    ADOPT = "adopt"
    RENAME = "rename"
    REFUSE = "refuse"
    DELETE = "delete"
    SWEEP = "sweep"


class Reason(enum.Enum):
    """Why something is done, as a person would say it."""

    MISSING = "it has no thumbnail"
    EMPTY = "its thumbnail is empty"
    STALE = "its thumbnail shows an earlier version"
    MISMATCHED = "its thumbnail shows another image"
    SETTINGS = "the settings changed"
    FOREIGN = "its thumbnail lacks its time"
    RENAMED = "it had another name"
    ORPHAN = "its source is gone"
    UNSHOWABLE = "its source cannot be shown"
    LEFT_OVER = "a process died while writing it"
    NAME_TAKEN = "another image has the same thumbnail"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, decided by a plan.

    Attributes:
        key: the image's key for BUILD, ADOPT, RENAME and REFUSE; the thumbnail's (or temporary's) own key otherwise.
        kind: what to do.
        reason: why.
        stamp: the source's stamp that the decision rests on; None where there is no source.
        old: the key of the thumbnail to be renamed, for RENAME.
    """

    key: str
    kind: ActionKind
    reason: Reason
    stamp: Stamp | None = None
    old: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be shown, and why.

    Attributes:
        key: the image's key.
        stamp: the source as it was when it failed; another stamp is another try.
        kind: the error's class name.
        message: what was wrong, without the path.
        remedy: what to do about it.
        version: our version that failed; another version is another try.
        failed_at_s: when, in seconds since the epoch.
    """

    key: str
    stamp: Stamp
    kind: str
    message: str
    remedy: str
    version: str
    failed_at_s: float


class OutcomeKind(enum.Enum):
    """How reconciling one image ended."""

    CREATED = "created"
    FRESH = "fresh"
    ADOPTED = "adopted"
    DELETED = "deleted"
    FAILED = "failed"
    KNOWN_FAILURE = "known failure"
    DEFERRED = "deferred"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one try at one image.

    Attributes:
        key: the image's key.
        kind: how it ended.
        build_s: seconds of work, 0 where nothing was built.
        error: why there is no thumbnail, for FAILED and DEFERRED.
        checksum: CRC-32 of the bytes the thumbnail was made from, for CREATED.
    """

    key: str
    kind: OutcomeKind
    build_s: float = 0.0
    error: str | None = None
    checksum: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps work from being done and is not an image's fault: shown by ``status`` until it is over.

    Attributes:
        message: what is wrong, with the path.
        remedy: what to do about it.
        since_s: since when, in seconds since the epoch; None where that is not known.
    """

    message: str
    remedy: str
    since_s: float | None = None
