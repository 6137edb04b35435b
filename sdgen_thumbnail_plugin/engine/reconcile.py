"""Keeps thumbnails right: the two calls that everything ends in, for an image and for a directory.

Nothing else creates, refreshes or deletes a thumbnail. Both compare first and decide with ``plan``; both may be called
from any thread, as often as one likes.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.images import ImageReconciler
from sdgen_thumbnail_plugin.engine.plan import (
    all_exact,
    is_fresh,
    nearly_equal,
    plan_directory,
    thumbnail_key,
    untold_by_times,
)
from sdgen_thumbnail_plugin.engine.records import DirectoryRecord
from sdgen_thumbnail_plugin.engine.renames import Orphans, packed_stamps
from sdgen_thumbnail_plugin.engine.root_guard import RootGuard
from sdgen_thumbnail_plugin.engine.scan import DirectoryView, look_at, parent_of, times_of
from sdgen_thumbnail_plugin.errors import SourceChangedError, SourceGoneError
from sdgen_thumbnail_plugin.imaging import webp
from sdgen_thumbnail_plugin.model import Action, ActionKind, Failure, Reason, Recipe, Stamp
from sdgen_thumbnail_plugin.storage.base import ImageStorage
from sdgen_thumbnail_plugin.text import printable

__all__ = ["DirectorySurvey", "Reconciler"]

log = logging.getLogger(__name__)


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
    def is_left_empty(self) -> bool:
        """Whether the directory is gone, and left nothing but an empty folder of thumbnails."""
        view = self.view
        return (
            view.times.source_ns is None
            and view.times.target_ns is not None
            and not view.thumbnails
            and not view.directories
        )

    @property
    def thumbnails(self) -> int:
        """Images with a fresh thumbnail."""
        return len(self.view.sources) - self.lacking - self.failed


class Reconciler(ImageReconciler):
    """Makes images and directories right.

    Args:
        source: the storage of the images.
        target: the storage of the thumbnails.
        catalog: what is remembered of both.
        recipe: how thumbnails are made.
        max_pixels: the largest image taken, in pixels.
        claims: keeps other threads and processes from building the same thumbnail at the same moment.
    """

    def __init__(
        self,
        source: ImageStorage,
        target: ImageStorage,
        catalog: Catalog,
        *,
        recipe: Recipe,
        max_pixels: int,
        claims: BuildLocks | None = None,
    ) -> None:
        super().__init__(source, target, catalog, recipe=recipe, max_pixels=max_pixels, claims=claims)
        self.catalog = catalog
        self.deletes_orphans = False
        """Whether a look at a directory may delete. Off until an audit has seen how many that would be."""
        self._held: frozenset[str] = frozenset()
        self._outdated: set[str] = set()  # directories without a record whose samples showed other settings
        self._last_times: dict[str, int | None] = {}
        self._orphans = Orphans()
        self._trust = RootGuard(source, catalog)

    # -- the root

    def trusts_root(self) -> bool:
        return self._trust.holds()

    def misses_all_images(self) -> bool:
        """Whether thumbnails are known of, but the source has none of their images, which is more likely an unmounted
        drive than a wish. Nothing is deleted then."""
        if self.trusts_root():
            return False
        return any(record.thumbnails or record.orphans for record in self.catalog.records().values())

    def _note_seen(self, key: str) -> None:
        self._trust.note(parent_of(key))

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

    # -- one directory

    def survey(self, directory: str) -> DirectorySurvey:
        """Looks at a directory and plans; changes nothing. Raises ``MachineError``."""
        view = look_at(self.source, self.target, directory)
        if view.sources:
            self._trust.note(directory)
        record = self.catalog.record(directory)
        exact = self.target.keeps_times and all_exact(view.sources, view.thumbnails)
        near = not exact and any(
            nearly_equal(stamp, view.thumbnails.get(thumbnail_key(key))) for key, stamp in view.sources.items()
        )
        agrees = self._is_of_today(view, near, exact) if record is None or record.recipe is None else None
        rules = self._rules(record, near, agrees)
        mistaken = self._mistaken(view)
        if exact and rules.same_recipe and not view.temporaries and not mistaken:
            return DirectorySurvey(view, (), 0)
        failures = self.catalog.failures_in(view.sources)
        actions = plan_directory(
            view.sources,
            view.thumbnails,
            failures,
            rules=rules,
            temporaries=view.temporaries,
            remade=frozenset(self._remade.get(directory, ())),
            mistaken=mistaken,
        )
        busy = {action.key for action in actions}
        failed = sum(1 for key, failure in failures.items() if failure.stamp == view.sources[key] and key not in busy)
        return DirectorySurvey(view, actions, failed)

    def _mistaken(self, view: DirectoryView) -> frozenset[str]:
        """Images whose thumbnail carries their time but shows another one of the same time, because names were traded.
        The thumbnails' marks tell, and where two images are of the same size as well, their bytes."""
        untold = untold_by_times(view.sources)
        if not untold:
            return frozenset()
        alike = Counter(view.sources[key] for key in untold)
        shown = [thumbnail_key(key) for key in untold if thumbnail_key(key) in view.thumbnails]
        heads = self.target.read_heads(shown, webp.HEAD_BYTES)
        found = set()
        for key in untold:
            stamp, mark = view.sources[key], webp.read_mark(heads.get(thumbnail_key(key), b""))
            # A thumbnail of another time is stale, which is for the plan to say.
            if mark is None or mark.source.mtime_ns != stamp.mtime_ns:
                continue
            with contextlib.suppress(SourceGoneError, SourceChangedError):
                # Not only where the marks differ: two thumbnails may both be made from what has one of the names now.
                if mark.source != stamp or (alike[stamp] > 1 and mark.checksum != self._checksum(key)):
                    found.add(key)
        return frozenset(found)

    def begin_directory(self, directory: str) -> tuple[list[str], list[str]]:
        """Does at once what costs nothing; returns the keys of the images to be made right, and the directories below
        that were not known before, or not by their names of now.

        Raises ``MachineError``.
        """
        before = self.survey(directory)
        survey = self.follow(before)
        found = self.catalog.discover(survey.view.directories)
        if survey is not before:  # what was moved along with it
            found = [*found, *(below for below in self.catalog.below(directory) if below not in (directory, *found))]
        deferred: list[str] = []
        acted = False
        for action in survey.actions:
            if action.kind in (ActionKind.BUILD, ActionKind.ADOPT, ActionKind.REFUSE):
                if action.reason is Reason.MISTAKEN:
                    self.target.delete_image(thumbnail_key(action.key))  # better none than another image's
                deferred.append(action.key)
            elif action.kind is ActionKind.SWEEP:
                acted |= self.target.delete_temporary(action.key)
            elif action.stamp is not None:
                acted |= self.target.delete_image(action.key)
            elif self.may_delete_in(directory):
                acted |= self.delete_orphan(action.key)
        acted |= survey.is_left_empty and self._remove_empty(directory)
        if not deferred and not acted:
            self.settle(survey)
        elif not deferred:
            self.finish_directory(directory)
        return deferred, found

    def _remove_empty(self, directory: str) -> bool:
        return self.may_delete_in(directory) and self.trusts_root() and self._remove_if_empty(directory)

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
                self._last_times.pop(view.directory, None)
            return
        before = self.catalog.record(view.directory) or DirectoryRecord()
        complete = survey.lacking == 0
        if complete:
            self._remade.pop(view.directory, None)
            self._outdated.discard(view.directory)
        undone = len(survey.actions) - survey.orphans
        quiet = undone == 0 and not survey.is_left_empty and (survey.orphans == 0 or view.directory in self._held)
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
        for key, failure in self.catalog.failures_of(view.directory).items():
            if view.sources.get(key) != failure.stamp and failure.failed_at_s < view.looked_at_ns / 1e9:
                self.catalog.drop_failure(key)
        if complete:
            kept = view.sources
            if survey.failed:
                kept = {key: stamp for key, stamp in kept.items() if thumbnail_key(key) in view.thumbnails}
            self.catalog.put_stamps(view.directory, packed_stamps(kept))

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
        self._last_times.update({directory: found.source_ns for directory, found in times.items()})
        tag = self.recipe.tag
        changed = []
        records = self.catalog.records()
        for directory in directories:
            record = records.get(directory)
            if record is None or record.times is None or record.times != times[directory] or record.recipe != tag:
                changed.append(directory)
        gone = [directory for directory in changed if times[directory].source_ns is None]
        for directory in self._orphans.note_gone(directories, gone):
            record = records.get(directory)
            if record is not None and record.recipe == tag:
                self._orphans.note_directory(directory, self.catalog.stamps(directory))
        return changed

    def last_times(self) -> dict[str, int | None]:
        """The source directories' modification times, in nanoseconds, as ``changed_directories`` last saw them."""
        return self._last_times

    def _agrees_by_other_means(self, directory: str) -> bool | None:
        return False if directory in self._outdated else None

    def _is_of_today(self, view: DirectoryView, near: bool, exact: bool) -> bool | None:
        """What samples say of a directory's settings; once they said no, it stays so until all of it was made anew."""
        if view.directory not in self._outdated and self._samples_agree(view, near, exact) is False:
            self._outdated.add(view.directory)
        return False if view.directory in self._outdated else None

    def _samples_agree(self, view: DirectoryView, near: bool, exact: bool) -> bool | None:
        """Whether thumbnails of a directory that nothing is known of are of today; None where none can tell.

        So even a lost catalog and changed settings together leave no thumbnails of other settings. The first and the
        last by name are asked: thumbnails are made in that order, so whatever stopped in the middle shows at one end.
        """
        trusting = self._rules(None, near)
        fresh: Collection[str] = view.sources
        if not exact:
            fresh = [
                key
                for key in view.sources
                if is_fresh(view.sources[key], view.thumbnails.get(thumbnail_key(key)), trusting)
            ]
        if not fresh:
            return None
        return self._are_of_today(sorted({thumbnail_key(min(fresh)), thumbnail_key(max(fresh))}))

    # -- moves

    def follow(self, survey: DirectorySurvey) -> DirectorySurvey:
        """Renames thumbnails for images that were renamed while nobody watched, known by equal stamps.

        Returns:
            the survey as it is then. Raises ``MachineError``.
        """
        view = survey.view
        orphans = [action.key for action in survey.actions if action.reason is Reason.ORPHAN]
        if orphans:
            self._note_orphans(view.directory, view.thumbnails, orphans)
        missing = [action for action in survey.actions if action.reason is Reason.MISSING]
        if not missing:
            return survey
        if len(missing) == len(view.sources) and not view.thumbnails:
            old = self._orphans.take_directory(view.sources)
            if old is not None and self.rename_directory(old, view.directory):
                log.info("✓ Followed renamed session: %s", printable(view.directory))
                # Equal stamps prove little of images whose times tell nothing.
                untold = [(thumbnail_key(key), key) for key in untold_by_times(view.sources)]
                for wanted in [wanted for wanted, key in untold if not self._is_made_from(wanted, key)]:
                    self.target.delete_image(wanted)
                return self.survey(view.directory)
        if not self._orphans.any_images:
            return survey
        for directory in self._orphans.unlisted():
            thumbnails = self.target.list_directory(directory).images
            self._note_orphans(directory, thumbnails, thumbnails)
        followed = [action.key for action in missing if action.stamp and self._reuse(action.key, action.stamp)]
        for key in followed:
            log.info("✓ Followed renamed image: %s", printable(key))
        return self.survey(view.directory) if followed else survey

    def knows_orphans(self) -> bool:
        """Whether ``follow`` may find more than it did when it looked at fewer directories."""
        return self._orphans.any_images

    def _note_orphans(self, directory: str, thumbnails: Mapping[str, Stamp], orphans: Iterable[str]) -> None:
        record = self.catalog.record(directory)
        if record is not None and record.recipe == self.recipe.tag:
            self._orphans.note_images(thumbnails, orphans, self.catalog.stamps(directory))

    def _reuse(self, key: str, stamp: Stamp) -> bool:
        orphan = self._orphans.take_image(stamp)
        if orphan is None or self._has_source(orphan):
            return False
        thumbnail = self.target.get_image_metadata(orphan)
        if thumbnail is None or thumbnail.mtime_ns != stamp.mtime_ns or thumbnail.size == 0:
            return False
        if not self._is_made_from(orphan, key) or not self.target.rename_image(orphan, thumbnail_key(key)):
            return False
        self._remove_if_empty(parent_of(orphan))
        self._note_remade(key)
        return True

    def _is_made_from(self, wanted: str, key: str) -> bool:
        """Whether a thumbnail was made from an image's very bytes, by its mark."""
        mark = webp.read_mark(self.target.read_heads([wanted], webp.HEAD_BYTES).get(wanted, b""))
        try:
            return mark is not None and mark.checksum == self._checksum(key)
        except (SourceGoneError, SourceChangedError):
            return False

    def rename_image(self, old: str, new: str) -> bool:
        """Follows an image that got another name, if its thumbnail was fresh and still is."""
        stamp = self.source.get_image_metadata(new)
        thumbnail = self.target.get_image_metadata(thumbnail_key(old))
        if stamp is None or not is_fresh(stamp, thumbnail, self._rules_for_image(old, stamp, thumbnail)):
            return False
        if self._has_source(thumbnail_key(old)):  # there is another image of that name by now: the thumbnail may be its
            return False
        if untold_by_times({new: stamp}) and not self._is_made_from(thumbnail_key(old), new):
            return False  # there was another image of that name, of the same second
        if not self.target.rename_image(thumbnail_key(old), thumbnail_key(new)):
            return False
        self._remove_if_empty(parent_of(old))
        return True

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
            self._last_times.pop(directory, None)
            if record is not None:
                self.catalog.put(moved, DirectoryRecord(None, record.recipe, record.images, record.thumbnails))
        self._remove_if_empty(parent_of(old))
        return True
