"""Reconciles one directory: one listing of each side, a plan, what costs nothing at once, the builds to the workers,
and one more listing that is recorded.

May be called from any thread, as often as one likes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sdgen_thumbnail_plugin.engine.catalog import Catalog, DirectoryRecord, parent_of
from sdgen_thumbnail_plugin.engine.look import Look, Looker
from sdgen_thumbnail_plugin.engine.plan import (
    is_fresh,
    tells_images_apart,
    thumbnail_key,
    within_tolerance,
)
from sdgen_thumbnail_plugin.engine.reconcile import ImageReconciler
from sdgen_thumbnail_plugin.engine.renames import LostThumbnails
from sdgen_thumbnail_plugin.engine.root_guard import RootGuard
from sdgen_thumbnail_plugin.model import Action, ActionKind, Reason
from sdgen_thumbnail_plugin.storage.base import Token
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pending:
    """What is left of a directory's plan once everything that costs nothing was done. Names are joined to one text:
    of a million missing thumbnails they take a third of a list's memory.

    Attributes:
        directory: its key.
        names: the names of the images to be built, joined by ``/``.
        lost_names: the names of the orphans that wait for a decision, joined by ``/``.
        found: keys of the directories below that were not known before, or not by their names of now.
        adopted: how many thumbnails of other programs were adopted.
    """

    directory: str
    names: str = ""
    lost_names: str = ""
    found: Sequence[str] = field(default=())
    adopted: int = 0

    @property
    def images(self) -> list[str]:
        return self._keys(self.names)

    @property
    def orphans(self) -> list[str]:
        return self._keys(self.lost_names)

    def _keys(self, names: str) -> list[str]:
        prefix = f"{self.directory}/" if self.directory else ""
        return [prefix + name for name in names.split("/")] if names else []


def _names(keys: Iterable[str]) -> str:
    return "/".join(key.rpartition("/")[2] for key in keys)


class DirectoryReconciler:
    """Reconciles directories, and decides what is remembered of them.

    Args:
        images: reconciles single images.
        guard: says whether a missing image counts as deleted.
    """

    def __init__(self, images: ImageReconciler, guard: RootGuard) -> None:
        self.images = images
        self.catalog: Catalog = images.catalog
        self.deletes_orphans = False
        """Whether orphans may be deleted. Off until a catch-up has seen how many there are."""
        self._guard = guard
        self._source = images.source
        self._target = images.target
        self._held: frozenset[str] = frozenset()
        self._last_tokens: dict[str, Token | None] = {}
        self._missing: set[str] = set()
        self._lost = LostThumbnails(self._target, images.recipe)
        self._looker = Looker(images, guard, self._lost)

    # -- the root

    def misses_all_images(self) -> bool:
        """Whether there are known thumbnails, but none of their images is in the source, which is more likely an
        unmounted drive than a wish. Nothing is deleted then."""
        if self._guard.trusts_source():
            return False
        return any(record.thumbnails or record.orphans for record in self.catalog.records().values())

    def trusts_source(self) -> bool:
        """Whether an image that is missing may be taken for deleted."""
        return self._guard.trusts_source()

    # -- orphans held back

    def hold_back(self, directories: frozenset[str]) -> None:
        """From now on orphans are deleted, but not in these directories: a person decides about them."""
        self._held = directories
        self.deletes_orphans = True

    def held_orphans(self) -> int:
        """How many orphans are held back, as of the last look at their directories."""
        records = (self.catalog.record(directory) for directory in self._held)
        return sum(record.orphans for record in records if record is not None)

    def _may_delete_in(self, directory: str) -> bool:
        return self.deletes_orphans and directory not in self._held

    # -- what changed

    def changed_directories(self, directories: Sequence[str]) -> list[str]:
        """Those of the given directories that are not as they were when they last needed nothing."""
        ours = self._source.tokens(directories)
        theirs = self._target.tokens(directories)
        self._last_tokens.update(ours)
        tag = self.images.recipe.tag
        records = self.catalog.records()
        changed = []
        for directory, tokens in zip(directories, zip(ours.values(), theirs.values(), strict=True), strict=True):
            record = records.get(directory)
            if record is None or record.tokens != tokens or record.recipe != tag:
                changed.append(directory)
        missing = self._source.missing_directories(changed) if changed else set()
        if missing or self._missing:
            self._missing = self._missing.difference(directories) | missing
            self._lost.note_gone(missing)
        return changed

    def recently_changed(self, directories: Iterable[str], within_s: float) -> set[str]:
        """Those of some directories in which an image appeared or vanished within the last ``within_s`` seconds, as far
        as ``changed_directories`` saw it."""
        known = self._last_tokens
        return self._source.recent({directory: known.get(directory) for directory in directories}, within_s)

    def is_missing(self, directory: str) -> bool:
        """Whether a directory was missing in the source when it was last found to have changed."""
        return directory in self._missing

    def look(self, directory: str) -> Look:
        """Lists a directory and plans; changes nothing. Raises ``MachineError``."""
        return self._looker.look(directory)

    # -- renames

    def rename_image(self, old: str, new: str) -> bool:
        """Renames the thumbnail of an image that has another name now, if it was fresh and still is."""
        stamp = self._source.get_image_metadata(new)
        thumbnail = self._target.get_image_metadata(thumbnail_key(old))
        if stamp is None or thumbnail is None:
            return False
        rules = self.images.rules(
            self.catalog.record(parent_of(old)), near=self.images.by_times and within_tolerance(stamp, thumbnail)
        )
        if not is_fresh(stamp, thumbnail, rules, self._looker.heads([thumbnail_key(old)]).get(thumbnail_key(old))):
            return False
        if self.images.has_source(thumbnail_key(old)):  # there is another image of that name by now
            return False
        if not tells_images_apart(stamp) and not self._looker.is_made_from(thumbnail_key(old), new):
            return False  # there was another image of that name, of the same second
        return self._rename_thumbnail(thumbnail_key(old), new)

    def _follow_renamed_image(self, action: Action) -> None:
        """Renames a thumbnail that was found by its mark, which says nothing of the time that the file carries."""
        if action.stamp is None:
            return
        self._lost.forget_image(action.stamp)  # whether it can be renamed or not
        if self._rename_thumbnail(action.old, action.key):
            mtime_ns = self._source.modified_ns(action.stamp)
            if mtime_ns is not None:
                self._target.set_time(thumbnail_key(action.key), mtime_ns)
            log.info("✓ Followed renamed image: %s", printable(action.key))

    def _rename_thumbnail(self, old: str, key: str) -> bool:
        if not self._target.rename_image(old, thumbnail_key(key)):
            return False
        self.images.remove_if_empty(parent_of(old))
        return True

    def rename_directory(self, old: str, new: str) -> bool:
        """Renames a directory of thumbnails, with what is remembered of it, after its source."""
        if self._source.directory_exists(old) or not self._source.directory_exists(new):
            return False
        if not self._target.rename_directory(old, new):
            return False
        self.catalog.rename(old, new)
        self._lost.forget_directory(old)
        self.images.remove_if_empty(parent_of(old))
        return True

    # -- doing

    def begin(self, look: Look, *, deletes: bool = True) -> Pending:
        """Does what costs nothing: renames, adopts, sweeps and deletes; what has to be built is left to the workers.

        Args:
            look: the directory as it was found a moment ago.
            deletes: whether orphans may be deleted now; else they are left pending.

        Raises ``MachineError``.
        """
        directory = look.directory
        found = self.catalog.discover(look.directories)
        renames = [action for action in look.actions if action.kind is ActionKind.RENAME]
        if renames and renames[0].key == directory:
            if self.rename_directory(renames[0].old, directory):
                log.info("✓ Followed renamed session: %s", printable(directory))
            self._lost.forget_directory(renames[0].old)  # whether it could be renamed or not
            moved = [below for below in self.catalog.below(directory) if below not in (directory, *found)]
            pending = self.begin(self.look(directory), deletes=deletes)
            return Pending(directory, pending.names, pending.lost_names, [*found, *moved, *pending.found])
        for action in renames:
            self._follow_renamed_image(action)
        orphans = look.orphans
        at_once = [action for action in look.actions if action.reason is not Reason.ORPHAN]
        adopted = self.images.apply(at_once)
        for action in at_once:
            if action.kind is ActionKind.SWEEP:
                self._target.delete_temporary(action.key)
        if deletes:
            orphans = [] if self._delete(directory, orphans) else orphans
        if look.is_left_empty and self._guard.trusts_source():
            self.images.remove_if_empty(directory)
        builds = look.builds
        is_done = not builds and (deletes or not orphans)
        # What is not done is recorded too, so that it is known how many images there are.
        self.record(self.look(directory) if is_done and (look.actions or look.is_left_empty) else look)
        return Pending(directory, _names(builds), "" if deletes else _names(orphans), found, adopted)

    def _delete(self, directory: str, orphans: Iterable[str]) -> bool:
        if not self._may_delete_in(directory):
            return False
        for orphan in orphans:
            self.images.delete_orphan(orphan)
        return True

    def finish(self, pending: Pending) -> bool:
        """Looks again once everything is built, and records what is there. Returns whether the directory is complete.

        Raises ``MachineError``.
        """
        self._delete(pending.directory, pending.orphans)
        look = self.look(pending.directory)
        self.record(look)
        return look.lacking == 0

    def record(self, look: Look) -> None:
        """Remembers what a look found; as needing nothing only if that is so and its tokens can be trusted."""
        directory = look.directory
        self.catalog.discover(look.directories)
        if look.exists == (False, False) and not look.directories:
            if directory:
                self.catalog.forget(directory)
                self._last_tokens.pop(directory, None)
                self._lost.forget_directory(directory)
            return
        before = self.catalog.record(directory) or DirectoryRecord()
        orphans = len(look.orphans)
        needs_nothing = len(look.actions) == orphans and not look.is_left_empty
        if orphans and directory not in self._held:
            needs_nothing = False
        complete = look.lacking == 0
        self.catalog.put(
            directory,
            DirectoryRecord(
                tokens=look.tokens if needs_nothing else None,
                recipe=self.images.recipe.tag if complete else before.recipe,
                images=len(look.sources),
                thumbnails=look.fresh,
                failed=look.failed,
                orphans=orphans,
                complete=complete,
                swept_at_s=look.looked_at_s,
            ),
        )
        for key, failure in self.catalog.failures_of(directory).items():
            if look.sources.get(key) != failure.stamp and failure.failed_at_s < look.looked_at_s:
                self.catalog.drop_failure(key)
