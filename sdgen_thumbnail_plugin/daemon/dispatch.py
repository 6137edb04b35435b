"""What comes in: hints become requests to the workers."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sdgen_thumbnail_plugin.daemon.debounce import Debounce
from sdgen_thumbnail_plugin.daemon.hints import Hint, HintKind
from sdgen_thumbnail_plugin.engine.catalog import parent_of
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Priority
from sdgen_thumbnail_plugin.text import printable

log = logging.getLogger(__name__)


class Dispatcher:
    """Takes hints, and asks the workers for what they are about. Not thread-safe: one thread takes them.

    Args:
        directories: follows renames, and knows the directories.
        workers: are asked.
        on_live_image: called with the key of every image that is asked for because something happened to it just now.
        on_new_directories: called when directories appeared or were renamed.
    """

    def __init__(
        self,
        directories: DirectoryReconciler,
        workers: Workers,
        *,
        on_live_image: Callable[[str], None],
        on_new_directories: Callable[[], None],
    ) -> None:
        self._directories = directories
        self._workers = workers
        self._on_live_image = on_live_image
        self._on_new_directories = on_new_directories
        self._debounce = Debounce(directories.images.source.get_image_metadata)
        self._catalog = directories.catalog

    def take(self, hint: Hint) -> None:
        """Acts on a hint, or waits until the image that it is about holds still."""
        key, kind = hint.key, hint.kind
        if kind is HintKind.CHANGED:
            self._debounce.add(key)
        elif kind in (HintKind.WRITTEN, HintKind.GONE):
            self._ask_for_image(key)
        elif kind is HintKind.RENAMED:
            if self._tried(self._directories.rename_image, hint.old_key, key):
                log.info("✓ Followed renamed image: %s", printable(key))
            self._ask_for_image(key)
            self._ask_for_image(hint.old_key)
        elif kind is HintKind.DIRECTORY_RENAMED:
            if self._tried(self._directories.rename_directory, hint.old_key, key):
                log.info("✓ Followed renamed session: %s", printable(key))
            self._take_new_directory(key)
            self._ask_for_directories(hint.old_key)
        elif kind is HintKind.DIRECTORY_APPEARED:
            self._take_new_directory(key)
        else:
            self._ask_for_directories(key)

    def due_at_s(self) -> float:
        """When to call ``ask_for_settled`` next, on the monotonic clock; infinity while nothing waits."""
        return self._debounce.due_at_s()

    def ask_for_settled(self) -> None:
        """Asks for the images that waited, and hold still now."""
        for key in self._debounce.settled():
            self._ask_for_image(key)

    def _take_new_directory(self, key: str) -> None:
        self._catalog.discover([key])
        self._on_new_directories()
        self._ask_for_directories(key)

    def _ask_for_directories(self, key: str) -> None:
        for directory in self._catalog.below(key):
            self._workers.submit_directory(directory, Priority.URGENT)

    def _ask_for_image(self, key: str) -> None:
        self._debounce.drop(key)
        self._catalog.discover([parent_of(key)])
        self._on_live_image(key)
        self._workers.submit_image(key, Priority.URGENT)

    @staticmethod
    def _tried(rename: Callable[[str, str], bool], old: str, new: str) -> bool:
        try:
            return rename(old, new)
        except ThumbnailError as error:
            log.error("✗ %s (%s)", error, error.remedy)
            return False
