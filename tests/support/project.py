"""Projects: folders of images and thumbnails, what is wrong in them, and sessions and trees of many images."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sdgen_thumbnail_plugin.daemon.state import WatcherState, load_state
from sdgen_thumbnail_plugin.errors import ImageError
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.paths import Home
from support.pictures import picture_in, png
from support.waiting import wait_for

__all__ = [
    "LONG_AGO_S",
    "QUICK",
    "Project",
    "draw",
    "files_below",
    "inodes",
    "just_now",
    "link_tree",
    "make_tree",
    "put_thumbnail",
    "session_of",
    "thumbnail_bytes",
    "wait_until_faultless",
]

QUICK = Recipe(height_px=32, method=0)
"""Small thumbnails, quickly made."""

LONG_AGO_S = 1_762_000_000
"""A modification time past all tolerances: what carries it does not count as still changing."""

_LINKS_PER_FILE = 40_000  # ext4 allows 65,000


def files_below(root: Path, suffix: str = "") -> set[Path]:
    """The files below a folder, relative to it. Some may vanish meanwhile, which ``rglob`` does not forgive."""
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
        """Whether the image's thumbnail carries its time and is not empty."""
        try:
            thumbnail = self.thumbnail(name).stat()
            return thumbnail.st_size > 0 and thumbnail.st_mtime_ns == (self.results / name).stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def is_exact(self) -> bool:
        """Whether every image has its fresh thumbnail and the target holds nothing else.

        Cheap, and so without a look at what the thumbnails show: `faults` looks.
        """
        images = files_below(self.results, ".png")
        expected = {path.with_suffix(".webp") for path in images}
        return expected == files_below(self.thumbnails) and all(map(self.is_fresh, map(str, images)))

    def faults(self, recipe: Recipe = Recipe()) -> list[str]:  # noqa: B008 - a frozen value
        """Whatever is wrong once there is nothing left to do.

        Thumbnails that are missing, have no image, carry another time or show another picture than their image's;
        unfinished files; folders that the source does not have.

        Args:
            recipe: what the thumbnails must have been made with.
        """
        found = []
        images = {path.with_suffix(".webp"): path for path in files_below(self.results, ".png")}
        there = files_below(self.thumbnails)
        for path in sorted(images.keys() | there):
            image = images.get(path)
            right = None if image is None else _picture_of((self.results / image).read_bytes(), recipe)
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
                os.utime(path, (LONG_AGO_S, LONG_AGO_S))

    def state(self) -> dict[str, Any]:
        state = load_state(self.home.state_file)
        return state.document() if isinstance(state, WatcherState) else {}

    def log(self) -> str:
        return self.home.log_file.read_text("utf-8") if self.home.log_file.exists() else ""


@functools.lru_cache(maxsize=2000)
def _picture_of(image: bytes, recipe: Recipe) -> bytes | None:
    """The picture of an image's thumbnail, made once for all copies of the image; None where it cannot be shown."""
    try:
        return picture_in(make_thumbnail(image, recipe))
    except ImageError:
        return None


def wait_until_faultless(project: Project, timeout_s: float) -> None:
    """Returns as soon as nothing is wrong; the test fails with what still is at the deadline."""

    def is_faultless() -> bool:
        try:
            return not project.faults()
        except FileNotFoundError:  # it went while it was looked at
            return False

    with contextlib.suppress(AssertionError):
        wait_for(is_faultless, timeout_s)
    assert project.faults() == []


# -- a session


def session_of(day: int) -> str:
    """The name of a session; a later day is a newer session."""
    return f"202511{day:02}_120000-session"


def draw(project: Project, session: str, count: int, *, done: int = 0) -> list[str]:
    """Draws ``count`` images in a session, the first ``done`` of them with a fresh thumbnail; returns their keys."""
    folder = project.results / session
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f"{session}/{number:03}.png" for number in range(count)]
    for key in keys:
        (project.results / key).write_bytes(png())
        os.utime(project.results / key, (LONG_AGO_S, LONG_AGO_S))
    for key in keys[:done]:
        put_thumbnail(project, key)
    return keys


def put_thumbnail(project: Project, key: str, *, content: bytes | None = None, age_s: float = 0) -> Path:
    """Writes a thumbnail for an image, older than it by a number of seconds; returns its path."""
    path = project.thumbnail(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(thumbnail_bytes() if content is None else content)
    mtime_ns = (project.results / key).stat().st_mtime_ns - int(age_s * 1e9)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


@functools.cache
def thumbnail_bytes() -> bytes:
    """The thumbnail of an image that `draw` drew."""
    return make_thumbnail(png(), QUICK)


def inodes(project: Project) -> dict[str, int]:
    """The inode of every thumbnail, by key: where the number changed, the file was written again."""
    return {
        path.relative_to(project.thumbnails).as_posix(): path.stat().st_ino
        for path in project.thumbnails.rglob("*.webp")
    }


def just_now(path: Path, *, seconds_ago: float = 0) -> None:
    """Sets a file's time to now, or to some seconds before now."""
    now_s = time.time() - seconds_ago
    os.utime(path, (now_s, now_s))


# -- trees of many sessions, complete: every image has its fresh thumbnail


def make_tree(root: Path, sessions: int, images: int) -> None:
    """Makes ``results`` and ``thumbnails`` with a number of sessions, and of images in each.

    The images are 64 by 96 pixels: nothing here decodes them.
    """
    kinds = (("results", "png", _black((64, 96), "PNG")), ("thumbnails", "webp", _black((160, 240), "WEBP")))
    for number in range(sessions):
        for base, suffix, content in kinds:
            folder = root / base / _tree_session(number)
            folder.mkdir(parents=True)
            for image in range(images):
                path = f"{folder}/image_{image:04}.{suffix}"
                with open(path, "wb", buffering=0) as file:
                    file.write(content)
                ns = LONG_AGO_S * 10**9 + image * 3_141_592_653 + 1  # one every three seconds, as they are generated
                os.utime(path, ns=(ns, ns))
            os.utime(folder, (LONG_AGO_S, LONG_AGO_S))
    for base, _, _ in kinds:
        os.utime(root / base, (LONG_AGO_S, LONG_AGO_S))


def link_tree(root: Path, sessions: int, images: int) -> None:
    """Makes what `make_tree` makes in a fifth of the time: almost all files are hard links to a few."""
    kinds = (("results", "png", (64, 96), "PNG"), ("thumbnails", "webp", (160, 240), "WEBP"))
    for base, suffix, size, form in kinds:
        (root / base).mkdir()
        names = [f"image_{number:04}.{suffix}" for number in range(images)]
        for number in range(sessions):
            if number % max(1, _LINKS_PER_FILE // images) == 0:
                seed = f"{root}/{number}.{suffix}"
                Path(seed).write_bytes(_black(size, form))
                os.utime(seed, (LONG_AGO_S, LONG_AGO_S))
            folder = f"{root}/{base}/{_tree_session(number)}"
            os.mkdir(folder)
            opened = os.open(folder, os.O_RDONLY)
            for name in names:
                os.link(seed, name, dst_dir_fd=opened)
            os.close(opened)
            os.utime(folder, (LONG_AGO_S, LONG_AGO_S))
        os.utime(root / base, (LONG_AGO_S, LONG_AGO_S))


def _black(size: tuple[int, int], form: str) -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", size).save(file, form)
        return file.getvalue()


def _tree_session(number: int) -> str:
    return f"2025{number // 2500 + 1:02}{number // 100 % 25 + 1:02}_{number % 100:02}0000-session"
