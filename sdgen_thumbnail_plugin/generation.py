"""Makes the thumbnails of one ``sdgen generate`` in its own process while it generates.

Saving an image only puts it into a queue. Two threads of low priority make the thumbnails and import what that takes,
so that the generation does not. They are daemon threads: a process that ends waits for them in ``finish`` only.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen_thumbnail_plugin.config_file import CONFIG_NAME, SECTION
from sdgen_thumbnail_plugin.errors import ImageError, RootsError, SourceGoneError, ThumbnailError
from sdgen_thumbnail_plugin.model import THUMBNAIL_SUFFIX

if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.host.hookspecs import Project
    from sdgen_thumbnail_plugin.settings import Settings


_FINISH_S = 10.0
"""How long ``sdgen generate`` waits for the remaining thumbnails at most, in seconds."""

_THREADS = 2


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcome for the images of a generation.

    Attributes:
        ready: number of images with a fresh thumbnail.
        failed: number of images that cannot be shown.
        left: number of images that are left to the watcher, or to the next catch-up.
        fault: why they are left, if the machine or the configuration is at fault.
    """

    ready: int
    failed: int
    left: int
    fault: ThumbnailError | None = None


class Generation:
    """Makes the thumbnails of the images that one ``sdgen generate`` saves.

    Args:
        project: the project that sdgen works on.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._pending: dict[Path, int] = {}  # saves without a result
        self._results: dict[Path, ThumbnailError | None] = {}
        self._settings: Settings | None = None
        self._threads: list[threading.Thread] = []
        self._finished = False

    def is_over_for(self, image: Path) -> bool:
        """Whether this generation has ended and does not know the image, so that it belongs to the next one."""
        return self._finished and image not in self._pending

    def saved(self, image: Path) -> None:
        """Queues an image that was written, or written again, and returns at once.

        After ``finish`` it makes the thumbnail before it returns: the annotator may be late, and the process about to
        end.
        """
        if self._finished:
            self._make(image)
            return
        with self._changed:
            self._pending[image] = self._pending.get(image, 0) + 1
            if len(self._threads) < _THREADS:
                name = f"thumbnails-generate-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        self._waiting.put(image)

    def finish(self, images: Sequence[Path], *, on_wait: Callable[[int], None] = lambda _: None) -> Tally:
        """Waits for the thumbnails that are not made yet, 10 seconds at most.

        Args:
            images: all images of the generation.
            on_wait: called ten times a second while waiting, with the number of images that are done.

        Returns:
            The outcome for all images.
        """
        deadline_s = time.monotonic() + _FINISH_S
        try:
            with self._changed:
                while any(self._pending.values()) and (left_s := deadline_s - time.monotonic()) > 0:
                    self._changed.wait(min(0.1, left_s))
                    on_wait(sum(1 for image in images if not self._pending.get(image)))
        finally:
            self._finished = True
            for _ in self._threads:
                self._waiting.put(None)
        return self._tally(images)

    def _tally(self, images: Sequence[Path]) -> Tally:
        done = [self._results.get(image) for image in images if image in self._results and not self._pending[image]]
        ready = sum(1 for error in done if error is None)
        failed = sum(1 for error in done if isinstance(error, ImageError))
        faults = [error for error in done if error is not None and not isinstance(error, (ImageError, SourceGoneError))]
        return Tally(ready, failed, len(images) - ready - failed, faults[-1] if faults else None)

    def _work(self) -> None:
        from sdgen_thumbnail_plugin.daemon.priority import be_polite_in_this_thread

        be_polite_in_this_thread()
        while (image := self._waiting.get()) is not None and not self._finished:
            try:
                result = self._make(image)
            except Exception as error:  # a bug of ours must not end the thread that finish() waits for
                result = ThumbnailError(f"unexpected: {type(error).__name__}: {error}", path=str(image))
                _log(str(result), error)
            with self._changed:
                self._results[image] = result
                self._pending[image] -= 1
                self._changed.notify_all()

    def _make(self, image: Path) -> ThumbnailError | None:
        """Makes one thumbnail; returns the error, which is in the log, or None."""
        from sdgen_thumbnail_plugin.api import make_thumbnail

        try:
            make_thumbnail(image, self._thumbnail_of(image), self._known_settings())
        except ThumbnailError as error:
            _log(f"{error} ({error.remedy})" if error.remedy else str(error))
            return error
        return None

    def _thumbnail_of(self, image: Path) -> Path:
        """The path of an image's thumbnail."""
        settings = self._known_settings()
        root, folder = settings.source_dir.resolve(), image.parent.resolve()
        if root != folder and root not in folder.parents:
            remedy = f'"source_dir" in the section "{SECTION}" of {CONFIG_NAME} names another folder: remove it'
            raise RootsError(f"lies outside the source folder {root}", path=str(image), remedy=remedy)
        return (settings.target_dir / folder.relative_to(root) / image.name).with_suffix(THUMBNAIL_SUFFIX)

    def _known_settings(self) -> Settings:
        if self._settings is None:
            from sdgen_thumbnail_plugin.settings import check_roots, load_settings

            project = self._project
            settings = load_settings(project.root, usual_folders=(project.output_dir, project.target_dir))
            check_roots(settings)
            self._settings = settings
        return self._settings


def _log(text: str, error: BaseException | None = None) -> None:
    from sdgen_thumbnail_plugin.daemon.logs import log_error

    log_error(text, error)
