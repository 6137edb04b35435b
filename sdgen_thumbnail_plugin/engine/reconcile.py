"""Reconciles one image: compares it with its thumbnail, plans, and applies the plan.

May be called from any thread, as often as one likes.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sdgen_thumbnail_plugin.engine.build import build, needed_pixels
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.catalog import Catalog, DirectoryRecord, parent_of
from sdgen_thumbnail_plugin.engine.plan import (
    Rules,
    is_fresh,
    key_of_thumbnail,
    plan_image,
    rivals,
    thumbnail_key,
    within_tolerance,
)
from sdgen_thumbnail_plugin.engine.root_guard import RootGuard
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    NameTakenError,
    SourceChangedError,
    SourceGoneError,
    SourceUnfinishedError,
    TruncatedImageError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.imaging import webp
from sdgen_thumbnail_plugin.model import Action, ActionKind, Failure, Outcome, OutcomeKind, Recipe, Stamp
from sdgen_thumbnail_plugin.storage.base import ImageStorage
from sdgen_thumbnail_plugin.text import printable
from sdgen_thumbnail_plugin.version import __version__

TRUNCATED_RETRIES_S = (0.1, 0.3, 1.0, 3.0)
"""When a young file that ends too early is tried again (DESIGN, "Reading")."""

YOUNG_S = 10.0
"""A truncated file younger than this is taken to be still being written."""

STILL_S = 3.0
"""One that grew within so many seconds is being written, however often it was tried."""

_READ_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Files up to this size are read in one go; of larger ones the header first, so that memory is reserved before."""

Budget = Callable[[int], AbstractContextManager[None]]
"""Reserves memory for so many pixels, for as long as the context lasts."""


class ImageReconciler:
    """Reconciles images, one at a time.

    Args:
        source: the storage of the images.
        target: the storage of the thumbnails.
        catalog: what is remembered of both.
        recipe: how thumbnails are made.
        max_pixels: the largest image taken, in pixels.
        locks: keep other threads and processes from building the same thumbnail at the same moment.
        guard: says whether a missing image counts as deleted; without one, nothing is deleted for a missing source.
    """

    def __init__(
        self,
        source: ImageStorage,
        target: ImageStorage,
        catalog: Catalog,
        *,
        recipe: Recipe,
        max_pixels: int,
        locks: BuildLocks,
        guard: RootGuard | None,
    ) -> None:
        self.source = source
        self.target = target
        self.catalog = catalog
        self.recipe = recipe
        self.by_times = source.keeps_times and target.keeps_times
        self._max_pixels = max_pixels
        self._locks = locks
        self._guard = guard

    def reconcile(
        self,
        key: str,
        *,
        budget: Budget,
        thumbnail: str | None = None,
        planned: bool = False,
        made_from: int | None = None,
        last_try: bool = True,
    ) -> Outcome:
        """Compares one image with its thumbnail and does what is needed.

        Args:
            key: the image's key; the image need not exist.
            budget: reserves memory; what it raises passes through.
            thumbnail: the thumbnail's key, where it is not the one that belongs to the image's.
            planned: whether a look at the directory has found just now that a thumbnail has to be built.
            made_from: the checksum of what the thumbnail was made from a moment ago. Given where something happened
                to the image meanwhile: a write within the clock's last tick leaves no trace in its time, so its bytes
                are compared.
            last_try: whether a file that ends too early is a failure, however young it is.

        Returns:
            How it ended; ``KNOWN_FAILURE`` where the same bytes failed before.

        Raises:
            ImageError: it cannot be shown; that is remembered.
            SourceGoneError: it is missing, and there is no guard.
            SourceUnfinishedError: it ends too early, but is young (and, at the last try, still growing).
            SourceChangedError: it changed while it was read.
            MachineError: not the image's fault.
        """
        thumbnail = thumbnail or thumbnail_key(key)
        try:
            if not planned:
                stamp = self.source.get_image_metadata(key)
                if stamp is None:
                    return self._source_is_gone(key, thumbnail)
                if self._guard is not None:
                    self._guard.note_image_in(parent_of(key))
                actions = self._plan(key, stamp, thumbnail)
                if not _builds(actions) and (made_from is None or self.checksum(key) == made_from):
                    return self._without_building(key, stamp, thumbnail, actions)
            with self._locks.holding(f"{self.target.location}/{thumbnail}"):
                return self._build(key, thumbnail, budget, made_from, last_try)
        except SourceGoneError:
            return self._source_is_gone(key, thumbnail)

    def _plan(self, key: str, stamp: Stamp, thumbnail: str, failure: Failure | None = None) -> tuple[Action, ...]:
        current = self.target.get_image_metadata(thumbnail)
        record = self.catalog.record(parent_of(key))
        head = None
        if current is not None and current.size and not (self.by_times and self.is_of_today(record)):
            data = self.target.read_heads([thumbnail], webp.HEAD_BYTES).get(thumbnail, b"")
            head = webp.read_head(data)
        rules = self.rules(record, near=current is not None and within_tolerance(stamp, current))
        if failure is None and not is_fresh(stamp, current, rules, head):
            failure = self.catalog.failure(key)
        return plan_image(key, stamp, current, rules=rules, head=head, failure=failure)

    def is_of_today(self, record: DirectoryRecord | None) -> bool:
        """Whether a directory's thumbnails are known to be made with today's settings."""
        return record is not None and record.recipe == self.recipe.tag

    def rules(self, record: DirectoryRecord | None, *, near: bool, same_settings: bool = True) -> Rules:
        """What can be trusted in one directory.

        Args:
            record: what is remembered of it.
            near: whether times differ by so little that it matters how coarse the target's are. Measuring that writes
                to the target, and so is left alone until it matters.
            same_settings: what its thumbnails themselves say, where nothing is remembered.
        """
        recipe = record.recipe if record is not None else None
        return Rules(
            recipe=self.recipe,
            version=__version__,
            by_times=self.by_times,
            tolerance_ns=self.target.time_tolerance_ns() if near and self.by_times else 0,
            adopting=recipe is None,
            same_settings=same_settings if recipe is None else recipe == self.recipe.tag,
        )

    def _without_building(self, key: str, stamp: Stamp, thumbnail: str, actions: Sequence[Action]) -> Outcome:
        self.apply(actions, thumbnail)
        if any(action.kind is ActionKind.ADOPT for action in actions):
            return Outcome(key, OutcomeKind.ADOPTED)
        failure = self.catalog.failure(key)
        is_known = failure is not None and failure.stamp == stamp and failure.version == __version__
        return Outcome(key, OutcomeKind.KNOWN_FAILURE if is_known else OutcomeKind.FRESH)

    def apply(self, actions: Sequence[Action], thumbnail: str | None = None) -> int:
        """Does what costs nothing: adopts thumbnails, and deletes those that show something else than their image.

        Args:
            actions: of one plan; others than these are left alone.
            thumbnail: the thumbnail's key, where it is not the one that belongs to the image's.

        Returns:
            How many were adopted.
        """
        adopted = 0
        for action in actions:
            if action.kind is ActionKind.DELETE:
                self.target.delete_image(thumbnail or action.key)
            elif action.kind is ActionKind.ADOPT and action.stamp is not None:
                mtime_ns = self.source.modified_ns(action.stamp)
                if mtime_ns is not None:
                    self.target.set_time(thumbnail or thumbnail_key(action.key), mtime_ns)
                    adopted += 1
        return adopted

    # -- building

    def _build(self, key: str, thumbnail: str, budget: Budget, made_from: int | None, last_try: bool) -> Outcome:
        """Builds under the lock, unless the one who held it before has done the work."""
        started_s = time.perf_counter()
        image = self.source.read_image(key, limit_bytes=_READ_AT_ONCE_BYTES)
        actions = self._plan(key, image.stamp, thumbnail)
        if not _builds(actions) and (made_from is None or self.checksum(key) == made_from):
            return self._without_building(key, image.stamp, thumbnail, actions)
        self.apply(actions, thumbnail)
        try:
            self._refuse_a_taken_name(key, thumbnail)
            with budget(needed_pixels(image.data, image.stamp, max_pixels=self._max_pixels)):
                if len(image.data) < image.stamp.size:
                    image = self.source.read_image(key)
                built = build(image.data, image.stamp, self.recipe, max_pixels=self._max_pixels)
            self._check_unchanged(key, image.stamp)
            self.target.write_image_bytes(thumbnail, built.content, mtime_ns=self.source.modified_ns(image.stamp))
        except ImageError as error:
            self._check_unchanged(key, image.stamp)
            if isinstance(error, TruncatedImageError) and self._may_still_grow(image.stamp, last_try):
                raise SourceUnfinishedError(error.message, path=error.path) from error
            self._remember_failure(key, image.stamp, thumbnail, error)
            raise
        if self.catalog.failure(key) is not None:
            self.catalog.drop_failure(key)
        return Outcome(key, OutcomeKind.CREATED, time.perf_counter() - started_s, checksum=built.checksum)

    def _refuse_a_taken_name(self, key: str, thumbnail: str) -> None:
        if thumbnail != thumbnail_key(key):
            return
        for rival in rivals(key):
            if rival == key:
                return
            if self.source.image_exists(rival):
                raise NameTakenError(f"shares its thumbnail with {printable(rival.rpartition('/')[2])}")

    def _check_unchanged(self, key: str, stamp: Stamp) -> None:
        now = self.source.get_image_metadata(key)
        if now is None:
            raise SourceGoneError("is missing", path=key)
        if now != stamp:
            raise SourceChangedError("changed while its thumbnail was made", path=key)

    def _may_still_grow(self, stamp: Stamp, last_try: bool) -> bool:
        age_s = self.source.age_s(stamp)
        return age_s is not None and -YOUNG_S < age_s < (STILL_S if last_try else YOUNG_S)

    def _remember_failure(self, key: str, stamp: Stamp, thumbnail: str, error: ImageError) -> None:
        failure = Failure(key, stamp, type(error).__name__, error.message, error.remedy, __version__, time.time())
        self.catalog.put_failure(failure)
        if not isinstance(error, UnusableNameError):
            # What the thumbnail shows is what the file was before it broke.
            self.apply(self._plan(key, stamp, thumbnail, failure), thumbnail)

    def checksum(self, key: str) -> int:
        """CRC-32 of an image's bytes. Raises as ``read_image`` does."""
        return zlib.crc32(self.source.read_image(key).data)

    # -- a source that is gone

    def _source_is_gone(self, key: str, thumbnail: str) -> Outcome:
        if self._guard is None:
            raise SourceGoneError("is missing", path=f"{self.source.location}/{key}")
        self.catalog.drop_failure(key)
        if self.target.get_image_metadata(thumbnail) is None:
            return Outcome(key, OutcomeKind.GONE)
        return Outcome(key, OutcomeKind.DELETED if self.delete_orphan(thumbnail) else OutcomeKind.GONE)

    def has_source(self, thumbnail: str) -> bool:
        """Whether a thumbnail's source is there, under any name it may have."""
        return any(
            # No image has a thumbnail whose suffix is in capitals, whatever else it is called.
            thumbnail_key(key) == thumbnail and self.source.image_exists(key)
            for key in rivals(key_of_thumbnail(thumbnail))
        )

    def delete_orphan(self, thumbnail: str) -> bool:
        """Deletes a thumbnail after a second look: at its source, under every name it may have, and at the root.

        Args:
            thumbnail: its key.

        Returns:
            Whether it was deleted.
        """
        if self.has_source(thumbnail) or self._guard is None or not self._guard.trusts_source():
            return False
        deleted = self.target.delete_image(thumbnail)
        self.remove_if_empty(parent_of(thumbnail))
        return deleted

    def remove_if_empty(self, directory: str) -> bool:
        """Removes a folder of thumbnails that is empty and has no source, then the one above it, and so on. Returns
        whether any was removed."""
        removed = False
        while directory and not self.source.directory_exists(directory):
            if not self.target.remove_empty_directory(directory):
                break
            removed = True
            directory = parent_of(directory)
        return removed


def _builds(actions: Sequence[Action]) -> bool:
    return any(action.kind is ActionKind.BUILD for action in actions)
