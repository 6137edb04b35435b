"""Keeps thumbnails right: the two calls that everything ends in, for an image and for a directory.

Nothing else creates, refreshes or deletes a thumbnail. Both compare first and decide with ``plan``; both may be called
from any thread, as often as one likes.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sdgen_thumbnail_plugin.engine.catalog import Catalog, DirectoryRecord
from sdgen_thumbnail_plugin.engine.plan import (
    Rules,
    is_fresh,
    key_of_thumbnail,
    nearly_equal,
    plan_directory,
    plan_image,
    rivals,
    thumbnail_key,
)
from sdgen_thumbnail_plugin.engine.scan import DirectoryView, look_at, parent_of, times_of
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    MachineError,
    NameTakenError,
    SourceChangedError,
    SourceGoneError,
    TooManyPixelsError,
    TruncatedImageError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.model import Action, ActionKind, Failure, Outcome, OutcomeKind, Recipe, Stamp
from sdgen_thumbnail_plugin.storage.base import ImageStorage
from sdgen_thumbnail_plugin.version import __version__

__all__ = ["DirectorySurvey", "Keeper", "Room"]

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


@dataclass(frozen=True, slots=True)
class DirectorySurvey:
    """A directory as it was found, and what it needs."""

    view: DirectoryView
    actions: tuple[Action, ...]
    failed: int

    @property
    def builds(self) -> list[str]:
        """Keys of the images whose thumbnails are to be made."""
        return [action.key for action in self.actions if action.kind is ActionKind.BUILD]

    @property
    def orphans(self) -> int:
        """Thumbnails whose source is gone."""
        return sum(1 for action in self.actions if action.kind is ActionKind.DELETE and action.stamp is None)

    @property
    def lacking(self) -> int:
        """Images without a fresh thumbnail that could have one."""
        return sum(1 for action in self.actions if action.kind in (ActionKind.BUILD, ActionKind.ADOPT))

    @property
    def thumbnails(self) -> int:
        """Images with a fresh thumbnail."""
        return len(self.view.sources) - self.lacking - self.failed


class Keeper:
    """Makes images and directories right.

    Args:
        source: the storage of the images.
        target: the storage of the thumbnails.
        catalog: what is remembered of both.
        recipe: how thumbnails are made.
        max_pixels: the largest image taken, in pixels.
    """

    def __init__(
        self, source: ImageStorage, target: ImageStorage, catalog: Catalog, *, recipe: Recipe, max_pixels: int
    ) -> None:
        self.source = source
        self.target = target
        self.catalog = catalog
        self.recipe = recipe
        self.max_pixels = max_pixels
        self.deletes_orphans = False
        """Whether a look at a directory may delete. Off until an audit has seen how many that would be."""
        self._held: frozenset[str] = frozenset()
        self._remade: dict[str, set[str]] = {}
        self._outdated: set[str] = set()  # directories without a record whose samples showed other settings
        self._last_times: dict[str, int | None] = {}

    # -- orphans held back

    def hold_back(self, directories: frozenset[str]) -> None:
        """From now on orphans are deleted, but not in these directories: a person decides about them."""
        self._held = directories
        self.deletes_orphans = True

    def held_orphans(self) -> int:
        """How many orphans are held back, as of the last look at their directories."""
        records = (self.catalog.record(directory) for directory in self._held)
        return sum(record.orphans for record in records if record is not None)

    def may_delete_in(self, directory: str) -> bool:
        return self.deletes_orphans and directory not in self._held

    # -- one image

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
        stamp = self.source.get_image_metadata(key)
        if stamp is None:
            return self._follow_a_vanished_source(key)
        started_s = time.perf_counter()
        try:
            self._refuse_a_taken_name(key)
            wanted = thumbnail_key(key)
            thumbnail = self.target.get_image_metadata(wanted)
            failure = self.catalog.failure(key)
            rules = self._rules_for_image(key, stamp, thumbnail)
            action = plan_image(key, stamp, thumbnail, failure=failure, rules=rules)
            if action is None and (made_from is None or self._checksum(key) == made_from):
                return Outcome(key, OutcomeKind.FRESH if is_fresh(stamp, thumbnail, rules) else _KNOWN)
            if action is not None and action.kind is ActionKind.DELETE:
                self._delete(action.key)
                return Outcome(key, _KNOWN)
            if action is not None and action.kind is ActionKind.ADOPT and self._adopt(wanted, stamp):
                return Outcome(key, OutcomeKind.ADOPTED)
            checksum = self._build(key, wanted, room)
        except SourceGoneError:
            return self._follow_a_vanished_source(key)
        except ImageError as error:
            if isinstance(error, TruncatedImageError) and _may_still_grow(stamp, last_try):
                raise
            self._remember_failure(key, stamp, error)
            return Outcome(key, OutcomeKind.FAILED, time.perf_counter() - started_s, error.message)
        self.catalog.drop_failure(key)
        self._note_remade(key)
        return Outcome(key, OutcomeKind.CREATED, time.perf_counter() - started_s, checksum=checksum)

    def _rules_for_image(self, key: str, stamp: Stamp, thumbnail: Stamp | None) -> Rules:
        directory = parent_of(key)
        agrees = True if key in self._remade.get(directory, ()) else False if directory in self._outdated else None
        return self._rules(self.catalog.record(directory), nearly_equal(stamp, thumbnail), agrees)

    def _note_remade(self, key: str) -> None:
        """Until the whole directory has today's settings, remembers which of its images have them."""
        directory = parent_of(key)
        record = self.catalog.record(directory)
        known = record.recipe if record is not None else None
        if directory in self._outdated or known not in (None, self.recipe.tag):
            self._remade.setdefault(directory, set()).add(key)

    def _refuse_a_taken_name(self, key: str) -> None:
        for rival in rivals(key):
            if rival == key:
                return
            if self.source.image_exists(rival):
                raise NameTakenError(f"shares its thumbnail with {rival.rpartition('/')[2]}")

    def _checksum(self, key: str) -> int:
        return zlib.crc32(self.source.read_image_bytes(key))

    def _build(self, key: str, wanted: str, room: Room) -> int:
        from sdgen_thumbnail_plugin import imaging  # Pillow: only in the threads that need it

        image = self.source.read_image(key, limit_bytes=_READ_AT_ONCE_BYTES)
        header = imaging.read_header(image.data)
        if header.pixels > self.max_pixels or (
            image.stamp.size > self.max_pixels * _MAX_BYTES_PER_PIXEL + _TEXT_ALLOWANCE_BYTES
        ):
            raise TooManyPixelsError(
                f"{header.width_px} x {header.height_px} pixels in {image.stamp.size:,} bytes, "
                f"more than the limit of {self.max_pixels:,} pixels"
            )
        with room(header.pixels):
            if len(image.data) < image.stamp.size:
                image = self.source.read_image(key)
            content = imaging.make_thumbnail(image.data, self.recipe, max_pixels=self.max_pixels)
        if self.source.get_image_metadata(key) != image.stamp:
            raise SourceChangedError("changed while its thumbnail was made", path=key)
        try:
            self.target.write_image_bytes(wanted, content, mtime_ns=image.stamp.mtime_ns)
        except MachineError as error:
            error.everywhere = True
            raise
        return zlib.crc32(image.data)

    def _adopt(self, wanted: str, stamp: Stamp) -> bool:
        """Takes over a thumbnail that somebody else made, unless it is half a file that a crash left behind."""
        from sdgen_thumbnail_plugin import imaging

        found = self.target.read_image(wanted, limit_bytes=imaging.WEBP_HEADER_BYTES)
        told_bytes = int.from_bytes(found.data[4:8], "little") + 8  # RIFF: the length of all that follows
        if imaging.read_webp_size(found.data) is None or found.stamp.size < told_bytes:
            return False
        self.target.set_time(wanted, stamp.mtime_ns)
        return True

    def _remember_failure(self, key: str, stamp: Stamp, error: ImageError) -> None:
        failure = Failure(key, stamp, type(error).__name__, error.message, error.remedy, __version__, time.time())
        self.catalog.put_failure(failure)
        if not isinstance(error, UnusableNameError):
            # What it shows is what the file was before it broke.
            self._delete(thumbnail_key(key))

    def _follow_a_vanished_source(self, key: str) -> Outcome:
        self.catalog.drop_failure(key)
        wanted = thumbnail_key(key)
        if self.target.get_image_metadata(wanted) is None:
            return Outcome(key, OutcomeKind.GONE)
        return Outcome(key, OutcomeKind.DELETED if self.delete_orphan(wanted) else OutcomeKind.GONE)

    def _delete(self, wanted: str) -> bool:
        try:
            return self.target.delete_image(wanted)
        except MachineError as error:
            error.everywhere = True
            raise

    def delete_orphan(self, wanted: str) -> bool:
        """Deletes a thumbnail after a second look: at its source, under every name it may have, and at the root.

        Args:
            wanted: the thumbnail's key.

        Returns:
            whether it was deleted.
        """
        if any(
            # No image has a thumbnail whose suffix is in capitals, whatever else it is called.
            thumbnail_key(key) == wanted and self.source.image_exists(key)
            for key in rivals(key_of_thumbnail(wanted))
        ):
            return False
        if not self.source.root_holds_anything():
            return False
        deleted = self._delete(wanted)
        directory = parent_of(wanted)
        while directory and self.source.directory_mtimes([directory])[directory] is None:
            if not self.target.remove_empty_directory(directory):
                break
            directory = parent_of(directory)
        return deleted

    # -- one directory

    def survey(self, directory: str) -> DirectorySurvey:
        """Looks at a directory and plans; changes nothing. Raises ``MachineError``."""
        view = look_at(self.source, self.target, directory)
        record = self.catalog.record(directory)
        near = any(nearly_equal(stamp, view.thumbnails.get(thumbnail_key(key))) for key, stamp in view.sources.items())
        agrees = self._is_of_today(view, near) if record is None or record.recipe is None else None
        failures = self.catalog.failures_in(view.sources)
        actions = plan_directory(
            view.sources,
            view.thumbnails,
            failures,
            rules=self._rules(record, near, agrees),
            temporaries=view.temporaries,
            remade=frozenset(self._remade.get(directory, ())),
        )
        busy = {action.key for action in actions}
        failed = sum(1 for key, failure in failures.items() if failure.stamp == view.sources[key] and key not in busy)
        return DirectorySurvey(view, actions, failed)

    def begin_directory(self, directory: str) -> tuple[list[str], list[str]]:
        """Does at once what costs nothing; returns the keys of the images to be made right, and the directories below
        that were not known before.

        Raises ``MachineError``.
        """
        survey = self.survey(directory)
        found = self.catalog.discover(survey.view.directories)
        deferred: list[str] = []
        acted = False
        for action in survey.actions:
            if action.kind in (ActionKind.BUILD, ActionKind.ADOPT, ActionKind.REFUSE):
                deferred.append(action.key)
            elif action.kind is ActionKind.SWEEP:
                acted |= self.target.delete_temporary(action.key)
            elif action.stamp is not None:
                acted |= self._delete(action.key)
            elif self.may_delete_in(directory):
                acted |= self.delete_orphan(action.key)
        acted |= self._remove_if_left_empty(survey.view)
        if not deferred and not acted:
            self.settle(survey)
        elif not deferred:
            self.finish_directory(directory)
        return deferred, found

    def _remove_if_left_empty(self, view: DirectoryView) -> bool:
        """Takes away the folder of thumbnails that a vanished directory left behind, if nothing is in it."""
        return (
            view.times.source_ns is None
            and view.times.target_ns is not None
            and not view.thumbnails
            and not view.directories
            and self.may_delete_in(view.directory)
            and self.source.root_holds_anything()
            and self.target.remove_empty_directory(view.directory)
        )

    def finish_directory(self, directory: str) -> bool:
        """Looks again, and writes down what is there. Returns whether the directory is complete."""
        survey = self.survey(directory)
        self.settle(survey)
        return survey.lacking == 0

    def settle(self, survey: DirectorySurvey) -> None:
        """Writes down what a survey found; as known-complete only if nothing is left to do and its times are old."""
        view = survey.view
        self.catalog.discover(view.directories)
        if view.times.gone and not view.directories:
            if view.directory:
                self.catalog.forget(view.directory)
            return
        before = self.catalog.record(view.directory) or DirectoryRecord()
        complete = survey.lacking == 0
        if complete:
            self._remade.pop(view.directory, None)
            self._outdated.discard(view.directory)
        undone = len(survey.actions) - survey.orphans
        quiet = undone == 0 and (survey.orphans == 0 or view.directory in self._held)
        self.catalog.put(
            view.directory,
            DirectoryRecord(
                times=view.times if quiet and view.times.settled(view.looked_at_ns) else None,
                recipe=self.recipe.tag if complete else before.recipe,
                images=len(view.sources),
                thumbnails=survey.thumbnails,
                failed=survey.failed,
                orphans=survey.orphans,
                complete=complete,
                swept_at_s=view.looked_at_ns / 1e9,
            ),
        )

    def unsettle(self, directory: str) -> None:
        """Forgets that a directory was complete, so that the next tick looks into it."""
        record = self.catalog.record(directory)
        if record is not None and record.times is not None:
            self.catalog.put(
                directory,
                DirectoryRecord(None, record.recipe, record.images, record.thumbnails, record.failed, record.orphans),
            )

    def changed_directories(self, directories: Sequence[str]) -> list[str]:
        """Those of the given directories that are not as they were when they were last found complete."""
        times = times_of(self.source, self.target, directories)
        self._last_times = {directory: found.source_ns for directory, found in times.items()}
        tag = self.recipe.tag
        changed = []
        for directory in directories:
            record = self.catalog.record(directory)
            if record is None or record.times is None or record.times != times[directory] or record.recipe != tag:
                changed.append(directory)
        return changed

    def last_times(self) -> dict[str, int | None]:
        """The source directories' modification times, in nanoseconds, at the last ``changed_directories``."""
        return self._last_times

    def _rules(self, record: DirectoryRecord | None, near: bool, agrees: bool | None = None) -> Rules:
        """What stamps can be trusted for in one directory.

        Args:
            record: what is remembered of it.
            near: whether times differ by so little that it matters how coarse the target's are. Measuring that writes
                to the target, and so is left alone until it matters.
            agrees: what is known of the thumbnails' settings from elsewhere.
        """
        recipe = record.recipe if record is not None else None
        if agrees is None:
            agrees = recipe is None or recipe == self.recipe.tag
        return Rules(
            keeps_times=self.target.keeps_times,
            tolerance_ns=self.target.time_tolerance_ns() if near and self.target.keeps_times else 0,
            version=__version__,
            adopting=recipe is None,
            same_recipe=agrees,
        )

    def _is_of_today(self, view: DirectoryView, near: bool) -> bool | None:
        """What samples say of a directory's settings; once they said no, it stays so until all of it was made anew."""
        if view.directory not in self._outdated and self._samples_agree(view, near) is False:
            self._outdated.add(view.directory)
        return False if view.directory in self._outdated else None

    def _samples_agree(self, view: DirectoryView, near: bool) -> bool | None:
        """Whether thumbnails of a directory that nothing is known of have today's height; None where none can tell.

        So even a lost catalog and changed settings together leave no thumbnails of the wrong height. The first and the
        last by name are asked: thumbnails are made in that order, so whatever stopped in the middle shows at one end.
        """
        from sdgen_thumbnail_plugin.imaging import WEBP_HEADER_BYTES, read_webp_size

        trusting = self._rules(None, near)
        fresh = [
            key
            for key in view.sources
            if is_fresh(view.sources[key], view.thumbnails.get(thumbnail_key(key)), trusting)
        ]
        if not fresh:
            return None
        for key in {min(fresh), max(fresh)}:
            try:
                head = self.target.read_image(thumbnail_key(key), limit_bytes=WEBP_HEADER_BYTES).data
            except (SourceGoneError, SourceChangedError):
                continue
            size = read_webp_size(head)
            if size is None or size[1] != self.recipe.height_px:
                return False
        return True

    # -- moves

    def rename_image(self, old: str, new: str) -> bool:
        """Follows an image that got another name, if its thumbnail was fresh and still is."""
        stamp = self.source.get_image_metadata(new)
        thumbnail = self.target.get_image_metadata(thumbnail_key(old))
        if stamp is None or not is_fresh(stamp, thumbnail, self._rules_for_image(old, stamp, thumbnail)):
            return False
        return self.target.rename_image(thumbnail_key(old), thumbnail_key(new))

    def rename_directory(self, old: str, new: str) -> bool:
        """Follows a directory that got another name: its thumbnails and what is remembered of them move along."""
        mtimes = self.source.directory_mtimes([old, new])
        if mtimes[old] is not None or mtimes[new] is None or not self.target.rename_directory(old, new):
            return False
        for directory in self.catalog.below(old):
            moved = new + directory[len(old) :]
            record = self.catalog.record(directory)
            for key, failure in self.catalog.failures().items():
                if parent_of(key) == directory:
                    name = f"{moved}/{key.rpartition('/')[2]}"
                    self.catalog.put_failure(
                        Failure(
                            name, failure.stamp, failure.kind, failure.message, failure.remedy, failure.version,
                            failure.failed_at_s,
                        )
                    )  # fmt: skip
            self.catalog.forget(directory)
            if record is not None:
                self.catalog.put(moved, DirectoryRecord(None, record.recipe, record.images, record.thumbnails))
        return True


_KNOWN = OutcomeKind.KNOWN_FAILURE


def _may_still_grow(stamp: Stamp, last_try: bool) -> bool:
    age_s = time.time() - stamp.mtime_ns / 1e9
    return -YOUNG_S < age_s < (STILL_S if last_try else YOUNG_S)
