"""Looking: the two modification times of many directories, and the listing of one."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.base import ImageStorage

__all__ = ["ACTIVE_S", "SETTLING_NS", "DirectoryTimes", "DirectoryView", "look_at", "parent_of", "times_of"]

ACTIVE_S = 600.0
"""A directory in which something happened within so many seconds is active: its files are looked at as well, because
one that is overwritten does not change its directory's time."""

SETTLING_NS = 2_000_000_000
"""A directory whose modification time is younger than this may change again without a new time (coarse clocks of older
kernels, NFS caches): it is looked at again, and not yet written down as complete."""


class DirectoryTimes(NamedTuple):
    """The modification times of a directory and of its twin in the target, in nanoseconds; None where it is missing.

    A tuple, because every start and every tick makes and compares one for every directory.
    """

    source_ns: int | None
    target_ns: int | None

    def settled(self, now_ns: int) -> bool:
        """Whether both lie far enough back to be trusted."""
        return now_ns - max(self.source_ns or 0, self.target_ns or 0) > SETTLING_NS

    @property
    def gone(self) -> bool:
        return self.source_ns is None and self.target_ns is None


_as_times: Callable[[tuple[int | None, int | None]], DirectoryTimes] = functools.partial(
    tuple.__new__, DirectoryTimes
)  # half of what the class itself takes, once for every directory at every start


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """What one look at a directory and its twin found.

    Attributes:
        directory: its key.
        times: the modification times, read *before* the listing.
        looked_at_ns: the clock before the listing.
        sources: key to stamp of its images.
        thumbnails: key to stamp of its thumbnails.
        temporaries: unfinished files of ours in the target.
        directories: keys of the directories below, of either side.
    """

    directory: str
    times: DirectoryTimes
    looked_at_ns: int
    sources: Mapping[str, Stamp]
    thumbnails: Mapping[str, Stamp]
    temporaries: Sequence[str]
    directories: Sequence[str]


def parent_of(key: str) -> str:
    """The directory that holds an image or a directory; ``""`` is the root."""
    return key.rpartition("/")[0]


def times_of(source: ImageStorage, target: ImageStorage, directories: Collection[str]) -> dict[str, DirectoryTimes]:
    """Both modification times of every directory: two cheap calls each, nothing is listed."""
    ours = source.directory_mtimes(directories)
    theirs = target.directory_mtimes(directories)
    pairs = zip(ours.values(), theirs.values(), strict=True)
    return dict(zip(ours, map(_as_times, pairs), strict=True))


def look_at(source: ImageStorage, target: ImageStorage, directory: str) -> DirectoryView:
    """Lists one directory and its twin. Raises ``MachineError`` where either cannot be listed."""
    now_ns = time.time_ns()
    images = source.list_directory(directory)
    thumbnails = target.list_directory(directory)
    return DirectoryView(
        directory=directory,
        times=DirectoryTimes(images.mtime_ns, thumbnails.mtime_ns),
        looked_at_ns=now_ns,
        sources=images.images,
        thumbnails=thumbnails.images,
        temporaries=thumbnails.temporaries,
        directories=sorted({*images.directories, *thumbnails.directories}),
    )
