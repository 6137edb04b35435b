"""The engine on a project's folders, with every part within reach, and with small thumbnails so that it is quick."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Limits, Summary
from sdgen_thumbnail_plugin.engine.memory_budget import MemoryBudget
from sdgen_thumbnail_plugin.engine.reconcile import ImageReconciler
from sdgen_thumbnail_plugin.engine.reconcile_directory import DirectoryReconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority
from sdgen_thumbnail_plugin.project import OpenProject, assemble
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.storage.base import ImageStorage, Listing, SessionStorage, Token
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from sdgen_thumbnail_plugin.storage.sessions import LocalSessionStorage
from support.project import QUICK, Project

__all__ = ["CountingStorage", "Engine", "open_engine"]


class CountingStorage(LocalImageStorage):
    """A local storage that remembers which directories it was asked for."""

    def __init__(self, root: Path, suffix: str = ".png") -> None:
        super().__init__(root, suffix)
        self.listed: list[str] = []
        self.asked: Counter[str] = Counter()

    def list_directory(self, directory: str) -> Listing:
        self.listed.append(directory)
        return super().list_directory(directory)

    def tokens(self, directories: Iterable[str]) -> dict[str, Token | None]:
        directories = list(directories)
        self.asked.update(directories)
        return super().tokens(directories)


@dataclass
class Engine:
    """All parts of one engine."""

    project: Project
    parts: OpenProject
    source: Any
    target: Any
    workers: Workers
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def catalog(self) -> Catalog:
        return self.parts.catalog

    @property
    def images(self) -> ImageReconciler:
        return self.parts.images

    @property
    def directories(self) -> DirectoryReconciler:
        return self.parts.directories

    def new_catch_up(self, *, limits: Limits | None = None, **options: Any) -> CatchUp:
        """A catch-up that has not begun."""
        limits = limits or Limits(self.parts.settings.hold_back_count, self.parts.settings.hold_back_fraction)
        return CatchUp(self.directories, self.workers, self.parts.sessions, limits=limits, **options)

    def smart(self, **options: Any) -> Summary:
        """The smart part alone, and all that it queues."""
        summary = self.new_catch_up(**options).run(smart_only=True)
        self.idle()
        return summary

    def catch_up(self, *, everything: bool = False, **options: Any) -> Summary:
        """One whole catch-up, and all that it queues."""
        summary = self.new_catch_up(**options).run(everything=everything)
        self.idle()
        return summary

    def reconcile(self, key: str, **options: Any) -> Outcome:
        """Reconciles one image in this thread."""
        return self.images.reconcile(key, budget=options.pop("budget", MemoryBudget(10**9)), **options)

    def kind_of(self, key: str, **options: Any) -> OutcomeKind:
        """How reconciling an image ends."""
        return self.reconcile(key, **options).kind

    def ask(self, key: str, priority: Priority = Priority.URGENT) -> None:
        self.workers.submit_image(key, priority)

    def idle(self) -> None:
        """Waits until nothing is queued."""
        assert self.workers.wait_idle(30)

    def made(self) -> list[str]:
        """Keys of the thumbnails made so far, in order."""
        return [outcome.key for outcome in self.outcomes if outcome.kind is OutcomeKind.CREATED]

    def kinds(self) -> list[OutcomeKind]:
        return [outcome.kind for outcome in self.outcomes]


@contextlib.contextmanager
def open_engine(
    project: Project,
    *,
    count: int = 2,
    budget_pixels: int = 1_000_000,
    max_pixels: int = 10_000_000,
    patient: bool = False,
    target: Path | None = None,
    storages: tuple[ImageStorage, ImageStorage, SessionStorage] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    **recipe: int,
) -> Iterator[Engine]:
    """Opens an engine over a project's folders, with its catalog in the project's home.

    Args:
        project: the folders.
        count: number of workers.
        budget_pixels: pixels that the workers may hold at once.
        max_pixels: pixels from which on an image is refused.
        patient: whether the workers wait for what is the machine's fault.
        target: another folder for the thumbnails.
        storages: source, target and sessions, where they are not the project's folders.
        on_outcome: is called with each outcome, in a worker's thread.
        recipe: changes to `QUICK`.
    """
    settings = Settings(
        source_dir=project.results,
        target_dir=target or project.thumbnails,
        workers=count,
        memory_pixels=budget_pixels,
        max_pixels=max_pixels,
        **dataclasses.asdict(dataclasses.replace(QUICK, **recipe)),
    )
    if storages is None:
        local = CountingStorage(project.results)
        storages = local, CountingStorage(target or project.thumbnails, ".webp"), LocalSessionStorage(local)
    source, thumbnails, sessions = storages
    outcomes: list[Outcome] = []

    def note(outcome: Outcome, _: float) -> None:
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    with Catalog(project.home.catalog_file(source.location, thumbnails.location)) as catalog:
        parts = assemble(settings, source, thumbnails, sessions, catalog, project.home)
        workers = parts.workers(patient=patient, on_outcome=note)
        try:
            yield Engine(project, parts, source, thumbnails, workers, outcomes)
        finally:
            assert workers.close(30)
