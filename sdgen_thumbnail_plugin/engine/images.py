"""Makes one image right: compares it with its thumbnail, and does what is needed.

May be called from any thread, as often as one likes. Knows nothing of directories but what is remembered of them.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.plan import (
    Rules,
    is_fresh,
    key_of_thumbnail,
    nearly_equal,
    plan_image,
    rivals,
    thumbnail_key,
)
from sdgen_thumbnail_plugin.engine.records import DirectoryRecord, Records
from sdgen_thumbnail_plugin.engine.scan import parent_of
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    NameTakenError,
    SourceChangedError,
    SourceGoneError,
    TooManyPixelsError,
    TruncatedImageError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.imaging import webp
from sdgen_thumbnail_plugin.model import ActionKind, Failure, Outcome, OutcomeKind, Recipe, Stamp
from sdgen_thumbnail_plugin.storage.base import ImageStorage
from sdgen_thumbnail_plugin.text import printable
from sdgen_thumbnail_plugin.version import __version__

__all__ = ["TRUNCATED_RETRIES_S", "ImageReconciler", "Room"]

TRUNCATED_RETRIES_S = (0.1, 0.3, 1.0, 3.0)
"""When a young file that ends too early is tried again (DESIGN, "Reading")."""

YOUNG_S = 10.0
"""A truncated file younger than this is taken to be still being written."""

STILL_S = 3.0
"""One that grew within so many seconds is being written, however often it was tried."""

_READ_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Files up to this size are read in one go; of larger ones the header first, so that memory can be granted before."""

_MAX_BYTES_PER_PIXEL = 8  # 16-bit RGBA, not compressed at all
_TEXT_ALLOWANCE_BYTES = 256 * 1024 * 1024

Room = Callable[[int], AbstractContextManager[None]]
"""Grants memory for so many pixels, for as long as the context lasts."""


class ImageReconciler:
    """Makes images right, one at a time.

    Args:
        source: the storage of the images.
        target: the storage of the thumbnails.
        records: what is remembered of both.
        recipe: how thumbnails are made.
        max_pixels: the largest image taken, in pixels.
        claims: keeps other threads and processes from building the same thumbnail at the same moment.
    """

    def __init__(
        self,
        source: ImageStorage,
        target: ImageStorage,
        records: Records,
        *,
        recipe: Recipe,
        max_pixels: int,
        claims: BuildLocks | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.recipe = recipe
        self.max_pixels = max_pixels
        self._records = records
        self._claims = claims or BuildLocks()
        self._remade: dict[str, set[str]] = {}  # by directory: images made with today's settings before it as a whole

    def make_image_right(self, key: str, *, room: Room, made_from: int | None = None, last_try: bool = True) -> Outcome:
        """Compares one image with its thumbnail and does what is needed.

        Args:
            key: the image's key; it need not exist.
            room: grants memory; what it raises passes through.
            made_from: the checksum of what the thumbnail was made from a moment ago. Given where something happened
                to the image meanwhile: a write within the clock's last tick leaves no trace in its time, so its bytes
                are compared.
            last_try: whether a file that ends too early is a failure, however young it is.

        Raises:
            TruncatedImageError: it ends too early, but is young (and, at the last try, still growing).
            SourceChangedError: it changed while it was read.
            MachineError: not the image's fault.
        """
        return self._make_right(key, room, made_from, last_try, claimed=False)

    def _make_right(self, key: str, room: Room, made_from: int | None, last_try: bool, *, claimed: bool) -> Outcome:
        stamp = self.source.get_image_metadata(key)
        if stamp is None:
            return self._follow_a_vanished_source(key)
        self._note_seen(key)
        started_s = time.perf_counter()
        try:
            self._refuse_a_taken_name(key)
            wanted = self._name(key)
            thumbnail = self.target.get_image_metadata(wanted)
            failure = self._records.failure(key)
            rules = self._rules_for_image(key, stamp, thumbnail)
            action = plan_image(key, stamp, thumbnail, failure=failure, rules=rules)
            if action is None and (made_from is None or self._checksum(key) == made_from):
                return Outcome(key, OutcomeKind.FRESH if is_fresh(stamp, thumbnail, rules) else _KNOWN)
            if action is not None and action.kind is ActionKind.DELETE:
                self.target.delete_image(wanted)
                return Outcome(key, _KNOWN)
            if action is not None and action.kind is ActionKind.ADOPT and self._adopt(wanted, stamp):
                return Outcome(key, OutcomeKind.ADOPTED)
            if not claimed:
                with self._claims.claiming(f"{self.target.location}/{wanted}"):
                    # Compared again: whoever held the claim before has probably done the work.
                    return self._make_right(key, room, made_from, last_try, claimed=True)
            checksum = self._build(key, wanted, room)
        except SourceGoneError:
            return self._follow_a_vanished_source(key)
        except ImageError as error:
            if isinstance(error, TruncatedImageError) and _may_still_grow(stamp, last_try):
                raise
            self._remember_failure(key, stamp, error)
            return Outcome(key, OutcomeKind.FAILED, time.perf_counter() - started_s, error.message)
        if failure is not None:
            self._records.drop_failure(key)
        self._note_remade(key)
        return Outcome(key, OutcomeKind.CREATED, time.perf_counter() - started_s, checksum=checksum)

    def _note_seen(self, key: str) -> None:
        """An image is there; for those who want to know."""

    def trusts_root(self) -> bool:
        """Whether an image that is not in the source may be taken for deleted."""
        return self.source.root_holds_anything()

    def _name(self, key: str) -> str:
        """The key of an image's thumbnail."""
        return thumbnail_key(key)

    def _rules_for_image(self, key: str, stamp: Stamp, thumbnail: Stamp | None) -> Rules:
        directory = parent_of(key)
        record = self._records.record(directory)
        agrees = True if key in self._remade.get(directory, ()) else self._agrees_by_other_means(directory)
        return self._rules(record, nearly_equal(stamp, thumbnail), agrees)

    def _agrees_by_other_means(self, directory: str) -> bool | None:  # noqa: ARG002 - for those who know directories
        """Whether a directory's thumbnails have today's settings, where that is known without its record."""
        return None

    def _rules(self, record: DirectoryRecord | None, near: bool, agrees: bool | None = None) -> Rules:
        """What stamps can be trusted for in one directory.

        Args:
            record: what is remembered of it.
            near: whether times differ by so little that it matters how coarse the target's are. Measuring that writes
                to the target, and so is left alone until it matters.
            agrees: what is known of the thumbnails' settings from elsewhere.
        """
        recipe = record.recipe if record is not None else None
        adopting = recipe is None and agrees is not True  # True: we made it ourselves
        if agrees is None:
            agrees = recipe is None or recipe == self.recipe.tag
        return Rules(
            keeps_times=self.target.keeps_times,
            tolerance_ns=self.target.time_tolerance_ns() if near and self.target.keeps_times else 0,
            version=__version__,
            adopting=adopting,
            same_recipe=agrees,
        )

    def _are_of_today(self, thumbnails: Sequence[str]) -> bool:
        """Whether thumbnails of one directory, as far as they are there, were made with today's settings."""
        return all(map(self._is_of_todays_make, self.target.read_heads(thumbnails, webp.HEAD_BYTES).values()))

    def _is_of_todays_make(self, head: bytes) -> bool:
        """The same of one thumbnail; of what others made only the height is asked."""
        size, mark = webp.read_size(head), webp.read_mark(head)
        made = (mark.quality, mark.method) if mark is not None else (self.recipe.quality, self.recipe.method)
        return size is not None and (size[1], *made) == (self.recipe.height_px, self.recipe.quality, self.recipe.method)

    def _note_remade(self, key: str) -> None:
        """Until the whole directory has today's settings, remembers which of its images have them."""
        directory = parent_of(key)
        record = self._records.record(directory)
        unknown = record is not None and record.recipe != self.recipe.tag
        if unknown or self._agrees_by_other_means(directory) is False:
            self._remade.setdefault(directory, set()).add(key)

    def _refuse_a_taken_name(self, key: str) -> None:
        for rival in rivals(key):
            if rival == key:
                return
            if self.source.image_exists(rival):
                raise NameTakenError(f"shares its thumbnail with {printable(rival.rpartition('/')[2])}")

    def _checksum(self, key: str) -> int:
        return zlib.crc32(self.source.read_image_bytes(key))

    def _build(self, key: str, wanted: str, room: Room) -> int:
        from sdgen_thumbnail_plugin.imaging import png, thumbnail  # Pillow: only in the threads that need it

        image = self.source.read_image(key, limit_bytes=_READ_AT_ONCE_BYTES)
        header = png.read_header(image.data)
        if header.pixels > self.max_pixels or (
            image.stamp.size > self.max_pixels * _MAX_BYTES_PER_PIXEL + _TEXT_ALLOWANCE_BYTES
        ):
            raise TooManyPixelsError(
                f"{header.width_px} x {header.height_px} pixels in {image.stamp.size:,} bytes, "
                f"more than the limit of {self.max_pixels:,} pixels"
            )
        with room(thumbnail.peak_pixels(header)):
            if len(image.data) < image.stamp.size:
                image = self.source.read_image(key)
            content = thumbnail.make_thumbnail(image.data, self.recipe, max_pixels=self.max_pixels)
        checksum = zlib.crc32(image.data)
        mark = webp.Mark(image.stamp, checksum, self.recipe.quality, self.recipe.method)
        if self.source.get_image_metadata(key) != image.stamp:
            raise SourceChangedError("changed while its thumbnail was made", path=key)
        self.target.write_image_bytes(wanted, webp.marked(content, mark), mtime_ns=image.stamp.mtime_ns)
        return checksum

    def _adopt(self, wanted: str, stamp: Stamp) -> bool:
        """Takes over a thumbnail that somebody else made, unless it is half a file that a crash left behind. One that
        says that we made it is taken over if it also says that it was from this image."""
        found = self.target.read_image(wanted, limit_bytes=webp.HEAD_BYTES)
        told_bytes = int.from_bytes(found.data[4:8], "little") + 8  # RIFF: the length of all that follows
        if webp.read_size(found.data) is None or found.stamp.size < told_bytes:
            return False
        mark = webp.read_mark(found.data)
        if mark is not None and (mark.source != stamp or not self._is_of_todays_make(found.data)):
            return False
        self.target.set_time(wanted, stamp.mtime_ns)
        return True

    def _remember_failure(self, key: str, stamp: Stamp, error: ImageError) -> None:
        failure = Failure(key, stamp, type(error).__name__, error.message, error.remedy, __version__, time.time())
        self._records.put_failure(failure)
        if not isinstance(error, UnusableNameError):
            # What it shows is what the file was before it broke.
            self.target.delete_image(self._name(key))

    def _follow_a_vanished_source(self, key: str) -> Outcome:
        self._records.drop_failure(key)
        wanted = self._name(key)
        if self.target.get_image_metadata(wanted) is None:
            return Outcome(key, OutcomeKind.GONE)
        return Outcome(key, OutcomeKind.DELETED if self.delete_orphan(wanted) else OutcomeKind.GONE)

    def _has_source(self, wanted: str) -> bool:
        """Whether a thumbnail's source is there, under any name it may have."""
        return any(
            # No image has a thumbnail whose suffix is in capitals, whatever else it is called.
            thumbnail_key(key) == wanted and self.source.image_exists(key)
            for key in rivals(key_of_thumbnail(wanted))
        )

    def delete_orphan(self, wanted: str) -> bool:
        """Deletes a thumbnail after a second look: at its source, under every name it may have, and at the root.

        Args:
            wanted: the thumbnail's key.

        Returns:
            whether it was deleted.
        """
        if self._has_source(wanted):
            return False
        if not self.trusts_root():
            return False
        deleted = self.target.delete_image(wanted)
        self._remove_if_empty(parent_of(wanted))
        return deleted

    def _remove_if_empty(self, directory: str) -> bool:
        """Removes a folder of thumbnails that is empty and has no source, then the one above it, and so on. Returns
        whether any was removed."""
        removed = False
        while directory and self.source.directory_mtimes([directory])[directory] is None:
            if not self.target.remove_empty_directory(directory):
                break
            removed = True
            directory = parent_of(directory)
        return removed


_KNOWN = OutcomeKind.KNOWN_FAILURE


def _may_still_grow(stamp: Stamp, last_try: bool) -> bool:
    age_s = time.time() - stamp.mtime_ns / 1e9
    return -YOUNG_S < age_s < (STILL_S if last_try else YOUNG_S)
