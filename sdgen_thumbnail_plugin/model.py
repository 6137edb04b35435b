"""The values everything else speaks of. Frozen, without behaviour beyond what follows from their own fields."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "SOURCE_SUFFIX",
    "THUMBNAIL_SUFFIX",
    "Action",
    "ActionKind",
    "Failure",
    "Outcome",
    "OutcomeKind",
    "Priority",
    "Reason",
    "Recipe",
    "Stamp",
]

SOURCE_SUFFIX = ".png"
THUMBNAIL_SUFFIX = ".webp"


class Stamp(NamedTuple):
    """What a storage says of a file without opening it. A tuple, because a first audit makes one for every file: that
    takes a third of the time of a frozen dataclass, and comparing them a fifth.

    Attributes:
        mtime_ns: modification time in nanoseconds since the epoch (``LastModified`` on object stores).
        size: length in bytes.
    """

    mtime_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a thumbnail is made. Changing any of it makes every thumbnail stale.

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
        """The recipe as a short text, to be stored and compared."""
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
    DELETE = "delete"
    SWEEP = "sweep"
    REFUSE = "refuse"


class Reason(enum.Enum):
    """Why something is done, as a person would say it."""

    MISSING = "it has no thumbnail"
    EMPTY = "its thumbnail is empty"
    STALE = "it is not the image its thumbnail shows"
    MISTAKEN = "its thumbnail shows an image of the same time"
    RECIPE = "the settings changed"
    FOREIGN = "another program made its thumbnail"
    ORPHAN = "its source is gone"
    UNSHOWABLE = "its source cannot be shown"
    LEFT_OVER = "a process died while writing it"
    NAME_TAKEN = "another image has the same thumbnail"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, decided by a plan.

    Attributes:
        key: the image's key for BUILD, ADOPT and REFUSE; the thumbnail's (or temporary's) own key otherwise.
        kind: what to do.
        reason: why.
        stamp: the source's stamp that the decision rests on; None where there is no source.
    """

    key: str
    kind: ActionKind
    reason: Reason
    stamp: Stamp | None = None


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
    """How making one image right ended."""

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
        error: the failure's text, for FAILED and DEFERRED.
        checksum: CRC-32 of the bytes the thumbnail was made from, for CREATED.
    """

    key: str
    kind: OutcomeKind
    build_s: float = 0.0
    error: str | None = None
    checksum: int | None = None
