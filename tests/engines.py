"""The engine on real folders, with every part within reach, and with small thumbnails so that it is quick."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Summary
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority, Recipe
from sdgen_thumbnail_plugin.storage.base import DirectoryListing
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, LocalSessionStorage
from watching import Project, png

LONG_AGO_S = 1_762_000_000


class CountingStorage(LocalImageStorage):
    """A local storage that remembers what it was asked."""

    def __init__(self, root: Path, suffix: str = ".png") -> None:
        super().__init__(root, suffix)
        self.listed: list[str] = []
        self.asked: Counter[str] = Counter()

    def list_directory(self, directory: str) -> DirectoryListing:
        self.listed.append(directory)
        return super().list_directory(directory)

    def directory_mtimes(self, directories: Iterable[str]) -> dict[str, int | None]:
        directories = list(directories)
        self.asked.update(directories)
        return super().directory_mtimes(directories)


@dataclass
class Engine:
    """All parts of one engine."""

    project: Project
    source: CountingStorage
    target: CountingStorage
    catalog: Catalog
    reconciler: Reconciler
    workers: Workers
    sessions: LocalSessionStorage
    outcomes: list[Outcome] = field(default_factory=list)

    def catch_up(self, **options: Any) -> CatchUp:
        return CatchUp(self.reconciler, self.workers, self.sessions, **options)

    def smart(self) -> Summary:
        return self.catch_up().smart()

    def audit(self, *, everything: bool = False, **options: Any) -> Summary:
        summary = self.catch_up(**options).audit(everything=everything)
        self.idle()
        return summary

    def ask(self, key: str, priority: Priority = Priority.URGENT) -> None:
        self.workers.submit_image(key, priority)

    def idle(self) -> None:
        assert self.workers.wait_idle(20)

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
    on_outcome: Callable[[Outcome], None] | None = None,
    **recipe: int,
) -> Iterator[Engine]:
    """An engine over a project's folders, and its catalog in the project's home."""
    source = CountingStorage(project.results)
    thumbnails = CountingStorage(target or project.thumbnails, ".webp")
    outcomes: list[Outcome] = []

    def note(outcome: Outcome, _: float) -> None:
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    with Catalog(project.home.catalog_file(source.location, thumbnails.location)) as catalog:
        reconciler = Reconciler(
            source, thumbnails, catalog, recipe=Recipe(**{"height_px": 32, "method": 0, **recipe}),
            max_pixels=max_pixels,
        )  # fmt: skip
        workers = Workers(reconciler, count=count, budget_pixels=budget_pixels, patient=patient, on_outcome=note)
        engine = Engine(
            project, source, thumbnails, catalog, reconciler, workers, LocalSessionStorage(source), outcomes
        )
        try:
            yield engine
        finally:
            assert workers.close(20)


def session_of(day: int) -> str:
    """The name of a session; a later day is a newer session."""
    return f"202511{day:02}_120000-session"


def draw(project: Project, session: str, count: int, *, done: int = 0) -> list[str]:
    """Draws ``count`` images in a session, the first ``done`` of them with a fresh thumbnail; returns their keys."""
    folder = project.results / session
    folder.mkdir(parents=True, exist_ok=True)
    data = _drawn()
    keys = [f"{session}/{number:03}.png" for number in range(count)]
    for key in keys:
        (project.results / key).write_bytes(data)
        os.utime(project.results / key, (LONG_AGO_S, LONG_AGO_S))
    for key in keys[:done]:
        put_thumbnail(project, key)
    return keys


def put_thumbnail(project: Project, key: str, *, content: bytes | None = None, age_s: float = 0) -> Path:
    """A thumbnail for an image, by so many seconds older than it."""
    path = project.thumbnail(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(thumbnail_bytes() if content is None else content)
    mtime_ns = (project.results / key).stat().st_mtime_ns - int(age_s * 1e9)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def inodes(project: Project) -> dict[str, int]:
    """Which file every thumbnail is: another number is another file."""
    return {
        path.relative_to(project.thumbnails).as_posix(): path.stat().st_ino
        for path in project.thumbnails.rglob("*.webp")
    }


_cache: dict[str, bytes] = {}
_lock = threading.Lock()


def _drawn() -> bytes:
    with _lock:
        return _cache.setdefault("png", png())


def thumbnail_bytes() -> bytes:
    """What the engine above makes of the images drawn here."""
    from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail

    if "webp" not in _cache:
        _cache["webp"] = make_thumbnail(_drawn(), Recipe(height_px=32, method=0))
    return _cache["webp"]


def just_now(path: Path, *, seconds_ago: float = 0) -> None:
    """Gives a file the time of now."""
    now_s = time.time() - seconds_ago
    os.utime(path, (now_s, now_s))
