"""A real watcher in a thread, on real folders."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from drawing import as_png, picture_in
from sdgen_thumbnail_plugin.daemon.state import read_state
from sdgen_thumbnail_plugin.daemon.watcher import Watcher
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Summary
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.engine.workers import Workers
from sdgen_thumbnail_plugin.errors import ImageError
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.paths import HOME_VARIABLE, Home
from sdgen_thumbnail_plugin.settings import ENVIRONMENT_PREFIX, Settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, LocalSessionStorage
from waiting import wait_for


def png(size: tuple[int, int] = (48, 64)) -> bytes:
    """A small PNG with something to see in it, quick to draw."""
    return as_png(Image.linear_gradient("L").resize(size).convert("RGB"))


def files_below(root: Path, suffix: str = "") -> set[Path]:
    """All below a folder but folders, relative to it. Some may vanish meanwhile, which ``rglob`` does not forgive."""
    return {
        Path(folder, name).relative_to(root)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(suffix)
    }


@dataclass
class Project:
    """A source and a target folder, and a home of their own."""

    root: Path

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def thumbnails(self) -> Path:
        return self.root / "thumbnails"

    @property
    def home(self) -> Home:
        return Home(self.root / ".sdgen")

    def image(self, name: str) -> Path:
        """Draws ``session/name.png``."""
        path = self.results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
        return path

    def thumbnail(self, name: str) -> Path:
        return (self.thumbnails / name).with_suffix(".webp")

    def is_fresh(self, name: str) -> bool:
        """Whether the image's thumbnail carries its time, and holds something."""
        try:
            thumbnail = self.thumbnail(name).stat()
            return thumbnail.st_size > 0 and thumbnail.st_mtime_ns == (self.results / name).stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def is_exact(self) -> bool:
        """Whether every image has its fresh thumbnail, and nothing else is in the target; cheap to ask, and so without
        looking at what the thumbnails show."""
        images = files_below(self.results, ".png")
        wanted = {path.with_suffix(".webp") for path in images}
        return wanted == files_below(self.thumbnails) and all(map(self.is_fresh, map(str, images)))

    def faults(self) -> list[str]:
        """All that is not as it should be once nothing is left to do: thumbnails that are missing, too many, of another
        time or of another picture than their image's, unfinished files, and folders that the source does not have."""
        found = []
        images = {path.with_suffix(".webp"): path for path in files_below(self.results, ".png")}
        there = files_below(self.thumbnails)
        for path in sorted(images.keys() | there):
            image = images.get(path)
            right = None if image is None else _picture_of((self.results / image).read_bytes())
            if right is None and path in there:
                found.append(f"{path}: too many")
            elif right is not None and path not in there:
                found.append(f"{path}: missing")
            elif right is not None and image is not None:
                if picture_in((self.thumbnails / path).read_bytes()) != right:
                    found.append(f"{path}: not the picture of its image")
                if not self.is_fresh(str(image)):
                    found.append(f"{path}: not of its image's time")
        for folder, names, _ in os.walk(self.thumbnails):
            for name in names:
                directory = Path(folder, name).relative_to(self.thumbnails)
                if not (self.results / directory).is_dir():
                    found.append(f"{directory}/: a folder without a source")
        return found

    def age(self) -> None:
        """Sets the times of all directories back, past the time in which they count as still changing."""
        for root in (self.results, self.thumbnails):
            for path in (root, *(path for path in root.rglob("*") if path.is_dir())):
                os.utime(path, (1_762_000_000, 1_762_000_000))

    def state(self) -> dict[str, Any]:
        return read_state(self.home.state_file) or {}

    def log(self) -> str:
        return self.home.log_file.read_text("utf-8") if self.home.log_file.exists() else ""


@functools.lru_cache(maxsize=2000)
def _picture_of(image: bytes) -> bytes | None:
    """The picture of an image's thumbnail, made once for all copies of the image; None where it cannot be shown."""
    try:
        return picture_in(make_thumbnail(image, Recipe()))
    except ImageError:
        return None


def wait_until_faultless(project: Project, timeout: float) -> None:
    """All is as it should be within so many seconds; else the test fails and says what is not."""

    def is_faultless() -> bool:
        try:
            return not project.faults()
        except FileNotFoundError:  # it went while it was looked at
            return False

    with contextlib.suppress(AssertionError):
        wait_for(is_faultless, timeout)
    assert project.faults() == []


@dataclass
class Engine:
    """A reconciler with workers."""

    reconciler: Reconciler
    workers: Workers
    sessions: LocalSessionStorage

    @staticmethod
    def no_room_needed() -> contextlib.AbstractContextManager[None]:
        """Memory for an image, granted at once."""
        return contextlib.nullcontext()

    def catch_up(self, **options: Any) -> Summary:
        """Both halves; what both did, added up."""
        catch_up = CatchUp(self.reconciler, self.workers, self.sessions, **options)
        smart, audit = catch_up.smart(), catch_up.audit()
        self.workers.wait_idle(30)
        return Summary(
            smart.sessions, smart.created + audit.created, smart.skipped, smart.errors + audit.errors, audit.held_back
        )


@contextlib.contextmanager
def make_engine(project: Project, *, patient: bool = False, **recipe: int) -> Iterator[Engine]:
    """The engine over a project's folders and its catalog."""
    source = LocalImageStorage(project.results)
    target = LocalImageStorage(project.thumbnails, ".webp")
    with Catalog(project.home.catalog_file(source.location, target.location)) as catalog:
        reconciler = Reconciler(source, target, catalog, recipe=Recipe(**recipe), max_pixels=10_000_000)
        workers = Workers(reconciler, count=2, budget_pixels=10_000_000, patient=patient)
        try:
            yield Engine(reconciler, workers, LocalSessionStorage(source))
        finally:
            assert workers.close(30)


@contextlib.contextmanager
def watching(project: Project, **settings: Any) -> Iterator[Watcher]:
    """Runs a watcher until the context ends; it has finished catching up when the context begins."""
    chosen = {"polling_interval_s": 0.2, "tick_interval_s": 0.3, "workers": 2} | settings
    watcher = Watcher(Settings(source_dir=project.results, target_dir=project.thumbnails, **chosen), project.home)
    ready = threading.Event()
    thread = threading.Thread(target=watcher.run, args=(ready.set,), name="watcher")
    thread.start()
    try:
        wait_for(ready.is_set)
        wait_for(lambda: project.state().get("phase") == "watching")
        yield watcher
    finally:
        watcher.stop()
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def python_process(code: str, *arguments: str, says: str) -> Iterator[subprocess.Popen[str]]:
    """Runs code in a process of its own until the context ends; it has said its first line when the context begins."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{says}\n"
            yield process
        finally:
            process.kill()


def run_ours(project: Project, *arguments: str) -> str:
    """Runs one of our commands in the project, in a process of its own; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    command = [sys.executable, "-m", "sdgen_thumbnail_plugin", *arguments]
    return subprocess.run(
        command, cwd=project.root, env=environment | {HOME_VARIABLE: str(project.home.root)}, check=True,
        stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def status(project: Project) -> dict[str, Any]:
    """What ``status --json`` says; its exit code says whether all is well."""
    command = [sys.executable, "-m", "sdgen_thumbnail_plugin", "status", "--json"]
    environment = {**os.environ, HOME_VARIABLE: str(project.home.root)}
    answer = subprocess.run(command, cwd=project.root, env=environment, stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = json.loads(answer.stdout)
    assert answer.returncode == {"well": 0, "not running": 3}.get(report["health"], 4)
    return report


@contextlib.contextmanager
def watcher_process(project: Project, *arguments: str) -> Iterator[psutil.Process]:
    """Runs a watcher in a process of its own until the context ends; it is watching, and has just begun to catch up."""
    run_ours(project, "start", *arguments)
    try:
        yield psutil.Process(int(project.home.pid_file.read_text("ascii")))
    finally:
        run_ours(project, "stop")
