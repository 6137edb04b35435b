"""The one place that puts the parts together: settings in; storages, catalog and reconcilers out."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Limits, Progress
from sdgen_thumbnail_plugin.engine.reconcile import ImageReconciler
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.root_guard import RootGuard
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import CatalogError
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, THUMBNAIL_SUFFIX, Outcome
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.storage.base import ImageStorage, SessionStorage
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from sdgen_thumbnail_plugin.storage.sessions import LocalSessionStorage


@dataclass(frozen=True, slots=True)
class OpenProject:
    """A project, ready to be worked on.

    Attributes:
        settings: what holds in it.
        source: the storage of the images.
        target: the storage of the thumbnails.
        sessions: the source's sessions.
        catalog: what is remembered of both.
        images: reconciles single images.
        directories: reconciles directories.
        catalog_fault: why the catalog lives only as long as the process; None where it is on disk.
    """

    settings: Settings
    source: ImageStorage
    target: ImageStorage
    sessions: SessionStorage
    catalog: Catalog
    images: ImageReconciler
    directories: DirectoryReconciler
    catalog_fault: CatalogError | None = None

    def workers(self, *, patient: bool = True, on_outcome: Callable[[Outcome, float], None] | None = None) -> Workers:
        """New workers, as many as the settings say; to be closed. See ``Workers``."""
        return Workers(
            self.directories,
            count=self.settings.worker_count,
            budget_pixels=self.settings.memory_pixels,
            patient=patient,
            on_outcome=on_outcome,
        )

    def catch_up(
        self,
        workers: Workers,
        *,
        stopping: threading.Event | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> CatchUp:
        """A catch-up by these workers, with the limits of the settings. See ``CatchUp``."""
        limits = Limits(self.settings.hold_back_count, self.settings.hold_back_fraction)
        return CatchUp(
            self.directories, workers, self.sessions, limits=limits, stopping=stopping, on_progress=on_progress
        )


@contextlib.contextmanager
def open_project(settings: Settings, home: Home, *, without_memory: bool = False) -> Iterator[OpenProject]:
    """Opens a project, until the context ends.

    Args:
        settings: with absolute folders, checked.
        home: where the catalog and the build locks are.
        without_memory: where the catalog cannot be opened, work without one that outlives the process.

    Raises:
        CatalogError: the catalog cannot be opened.
    """
    source, target = storages_of(settings.source_dir, settings.target_dir)
    fault = None
    try:
        catalog = Catalog(catalog_file(settings, home))
    except CatalogError as error:
        if not without_memory:
            raise
        catalog, fault = Catalog(None), error
    with catalog:
        yield assemble(settings, source, target, LocalSessionStorage(source), catalog, home, catalog_fault=fault)


def storages_of(source_root: Path, target_root: Path) -> tuple[LocalImageStorage, LocalImageStorage]:
    """The storages of the images and of the thumbnails below two folders."""
    return LocalImageStorage(source_root, SOURCE_SUFFIX), LocalImageStorage(target_root, THUMBNAIL_SUFFIX)


def assemble(
    settings: Settings,
    source: ImageStorage,
    target: ImageStorage,
    sessions: SessionStorage,
    catalog: Catalog,
    home: Home,
    *,
    catalog_fault: CatalogError | None = None,
) -> OpenProject:
    """Puts a project's parts together, whichever storages it has."""
    guard = RootGuard(source, catalog)
    images = image_reconciler(settings, source, target, catalog, home, guard=guard)
    return OpenProject(
        settings, source, target, sessions, catalog, images, DirectoryReconciler(images, guard), catalog_fault
    )


def image_reconciler(
    settings: Settings,
    source: ImageStorage,
    target: ImageStorage,
    catalog: Catalog,
    home: Home,
    *,
    guard: RootGuard | None,
) -> ImageReconciler:
    """The reconciler of single images. Without a guard it deletes nothing for a missing source."""
    return ImageReconciler(
        source,
        target,
        catalog,
        recipe=settings.recipe,
        max_pixels=settings.max_pixels,
        locks=BuildLocks(home.build_locks_file),
        guard=guard,
    )


def catalog_file(settings: Settings, home: Home) -> Path:
    """Where the catalog of a project's folders is."""
    return home.catalog_file(os.path.realpath(settings.source_dir), os.path.realpath(settings.target_dir))
