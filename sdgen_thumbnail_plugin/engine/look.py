"""One look at a directory: a listing of each side, the evidence that the plan needs, and the plan. Changes nothing."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sdgen_thumbnail_plugin.engine.catalog import DirectoryRecord
from sdgen_thumbnail_plugin.engine.plan import (
    Rules,
    all_exact,
    ambiguous_by_time,
    is_fresh,
    plan_directory,
    same_settings,
    thumbnail_key,
    within_tolerance,
)
from sdgen_thumbnail_plugin.engine.reconcile import ImageReconciler
from sdgen_thumbnail_plugin.engine.renames import LostThumbnails
from sdgen_thumbnail_plugin.engine.root_guard import RootGuard
from sdgen_thumbnail_plugin.errors import SourceChangedError, SourceGoneError
from sdgen_thumbnail_plugin.imaging import webp
from sdgen_thumbnail_plugin.imaging.webp import Head
from sdgen_thumbnail_plugin.model import Action, ActionKind, Reason, Stamp
from sdgen_thumbnail_plugin.storage.base import Token


@dataclass(frozen=True, slots=True)
class Look:
    """A directory as it was found, and what it needs.

    Attributes:
        directory: its key.
        looked_at_s: the clock before it was listed, in seconds since the epoch.
        sources: key to stamp of its images.
        thumbnails: key to stamp of its thumbnails.
        directories: keys of the directories below, of either side.
        tokens: those of source and target from before the listing; None where a change would not show in them.
        exists: whether the directory is there in the source, and in the target.
        actions: what is to be done.
        failed: how many images are known to fail, and need nothing.
    """

    directory: str
    looked_at_s: float
    sources: Mapping[str, Stamp]
    thumbnails: Mapping[str, Stamp]
    directories: Sequence[str]
    tokens: tuple[Token, Token] | None
    exists: tuple[bool, bool]
    actions: tuple[Action, ...] = ()
    failed: int = 0

    @property
    def builds(self) -> list[str]:
        """Keys of the images whose thumbnails have to be built, or whose names are taken."""
        return [action.key for action in self.actions if action.kind in (ActionKind.BUILD, ActionKind.REFUSE)]

    @property
    def orphans(self) -> list[str]:
        """Keys of the thumbnails whose source is gone."""
        return [action.key for action in self.actions if action.reason is Reason.ORPHAN]

    @property
    def lacking(self) -> int:
        """Images without a fresh thumbnail that could have one."""
        return sum(
            1 for action in self.actions
            if action.kind in (ActionKind.BUILD, ActionKind.ADOPT, ActionKind.RENAME)
        )  # fmt: skip

    @property
    def fresh(self) -> int:
        """Images with a fresh thumbnail."""
        return len(self.sources) - self.lacking - self.failed

    @property
    def is_left_empty(self) -> bool:
        """Whether the directory is gone, and left nothing but an empty folder of thumbnails."""
        return self.exists == (False, True) and not self.thumbnails and not self.directories


class Looker:
    """Looks at directories.

    Args:
        images: knows the storages, the catalog and today's settings.
        guard: is shown the images that were seen.
        lost: knows the thumbnails that lost their source.
    """

    def __init__(self, images: ImageReconciler, guard: RootGuard, lost: LostThumbnails) -> None:
        self._images = images
        self._source = images.source
        self._target = images.target
        self._catalog = images.catalog
        self._guard = guard
        self._lost = lost

    def look(self, directory: str) -> Look:
        """Lists a directory and plans; changes nothing. Raises ``MachineError``."""
        looked_at_s = time.time()
        witness = self._guard.witness()
        ours, theirs = self._source.list_directory(directory), self._target.list_directory(directory)
        sources, thumbnails = ours.images, theirs.images
        if sources:
            self._guard.trust(witness, directory)
        if ours.exists:
            self._lost.forget_directory(directory)
        look = Look(
            directory=directory,
            looked_at_s=looked_at_s,
            sources=sources,
            thumbnails=thumbnails,
            directories=sorted({*ours.directories, *theirs.directories}),
            tokens=(ours.token, theirs.token) if ours.token is not None and theirs.token is not None else None,
            exists=(ours.exists, theirs.exists),
        )
        images = self._images
        record = self._catalog.record(directory)
        exact = images.by_times and all_exact(sources, thumbnails)
        near = images.by_times and not exact and any(
            within_tolerance(stamp, thumbnails[thumbnail])
            for key, stamp in sources.items()
            if (thumbnail := thumbnail_key(key)) in thumbnails
        )  # fmt: skip
        ambiguous = ambiguous_by_time(sources) if images.by_times else []
        rules, heads = self._evidence(look, record, exact=exact, near=near, ambiguous=ambiguous)
        if exact and rules.same_settings and not ambiguous and not theirs.temporaries:
            return look
        renamed = self._renamed_directory(look)
        if renamed is not None:
            action = Action(directory, ActionKind.RENAME, Reason.RENAMED, old=renamed)
            return replace(look, actions=(action,))
        failures = self._catalog.failures_of(directory)
        actions = plan_directory(
            sources,
            thumbnails,
            rules=rules,
            heads=heads,
            failures=failures,
            mismatched=self._mismatched(look, heads, ambiguous),
            lost=self._renamed_images(look),
            temporaries=theirs.temporaries,
        )
        busy = {action.key for action in actions}
        failed = sum(1 for key, failure in failures.items() if failure.stamp == sources.get(key) and key not in busy)
        return replace(look, actions=actions, failed=failed)

    def _evidence(
        self, look: Look, record: DirectoryRecord | None, *, exact: bool, near: bool, ambiguous: Sequence[str]
    ) -> tuple[Rules, dict[str, Head]]:
        """What can be trusted, and the heads of the thumbnails that have to say it themselves."""
        images = self._images
        shown = [thumbnail for key in look.sources if (thumbnail := thumbnail_key(key)) in look.thumbnails]
        rules = images.rules(record, near=near)
        if not images.by_times or not rules.same_settings:
            return rules, self.heads(shown)
        doubtful = [thumbnail_key(key) for key in ambiguous if thumbnail_key(key) in look.thumbnails]
        if images.is_of_today(record):
            return rules, self.heads(doubtful)
        # Without a record, the first and the last thumbnail by name are asked for all: they are made in that order, so
        # whatever stopped in the middle shows at one end.
        fresh = shown if exact else [
            thumbnail_key(key)
            for key, stamp in look.sources.items()
            if is_fresh(stamp, look.thumbnails.get(thumbnail_key(key)), rules)
        ]  # fmt: skip
        if fresh:
            samples = self.heads(sorted({min(fresh), max(fresh)}))
            if not all(same_settings(head, images.recipe) for head in samples.values()):
                return images.rules(record, near=near, same_settings=False), self.heads(shown)
        strange = set(shown).difference(fresh)  # another program's, or ours of another time
        return rules, self.heads(sorted(strange.union(doubtful)))

    def heads(self, thumbnails: Sequence[str]) -> dict[str, Head]:
        """The beginnings of some thumbnails of one directory, of those that are whole enough to have one."""
        data = self._target.read_heads(thumbnails, webp.HEAD_BYTES)
        heads = {key: webp.read_head(head) for key, head in data.items()}
        return {key: head for key, head in heads.items() if head is not None}

    def _mismatched(self, look: Look, heads: Mapping[str, Head], ambiguous: Sequence[str]) -> frozenset[str]:
        """Images whose thumbnail carries their time and names their stamp, but was made from another image with the
        same stamp, because names were swapped: only their bytes tell."""
        alike = Counter(look.sources[key] for key in ambiguous)
        found = set()
        for key in ambiguous:
            stamp, head = look.sources[key], heads.get(thumbnail_key(key))
            if alike[stamp] < 2 or head is None or head.mark is None or head.mark.source != stamp:
                continue
            with contextlib.suppress(SourceGoneError, SourceChangedError):
                if head.mark.checksum != self._images.checksum(key):
                    found.add(key)
        return frozenset(found)

    def _renamed_directory(self, look: Look) -> str | None:
        """The directory that was renamed to this one while we did not watch; None where there is none."""
        if not look.sources or look.thumbnails:
            return None
        old = self._lost.find_directory(look.directory, look.sources)
        return old if old is not None and not self._source.directory_exists(old) else None

    def _renamed_images(self, look: Look) -> dict[str, str]:
        """Images that had another name, each with the thumbnail that was made from its very bytes."""
        missing = {key: stamp for key, stamp in look.sources.items() if thumbnail_key(key) not in look.thumbnails}
        if not missing:
            return {}
        expected = set(map(thumbnail_key, look.sources))
        self._lost.note_orphans(thumbnail for thumbnail in look.thumbnails if thumbnail not in expected)
        found = self._lost.find_images(missing)
        return {
            key: thumbnail
            for key, thumbnail in found.items()
            if not self._images.has_source(thumbnail) and self.is_made_from(thumbnail, key)
        }

    def is_made_from(self, thumbnail: str, key: str) -> bool:
        """Whether a thumbnail was made from an image's very bytes, by its mark."""
        head = self.heads([thumbnail]).get(thumbnail)
        try:
            return head is not None and head.mark is not None and head.mark.checksum == self._images.checksum(key)
        except (SourceGoneError, SourceChangedError):
            return False
