"""What the tests take for well is well: every fault is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drawing import as_png, photo
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from watching import Project, make_engine

KEY = "20251110_151059-s/a.png"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.image(KEY)
    with make_engine(project) as engine:
        engine.catch_up()
    assert project.faults() == []
    return project


def spoil(project: Project, change: Callable[[bytes], bytes]) -> None:
    """Changes a thumbnail's contents, and nothing about its time."""
    thumbnail = project.thumbnail(KEY)
    stamp = thumbnail.stat()
    thumbnail.write_bytes(change(thumbnail.read_bytes()))
    os.utime(thumbnail, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [lambda _: b"", lambda data: data[:-20], lambda _: make_thumbnail(as_png(photo(64, 96)), Recipe())],
    ids=["empty", "truncated", "another picture"],
)
def test_a_thumbnail_of_the_right_time_and_the_wrong_contents_is_told(
    project: Project, change: Callable[[bytes], bytes]
) -> None:
    spoil(project, change)
    assert "not the picture of its image" in project.faults()[0]


def test_what_is_missing_too_much_or_left_is_told(project: Project) -> None:
    project.image("20251110_151059-s/b.png")
    shutil.copy(project.thumbnail(KEY), project.thumbnails / "20251110_151059-s" / "c.webp")
    (project.thumbnails / "20251110_151059-s" / ".1-0123456789abcdef.sdgen-tmp").touch()
    (project.thumbnails / "gone" / "below").mkdir(parents=True)
    os.utime(project.thumbnail(KEY))
    told = [fault.rpartition(": ")[2] for fault in project.faults()]
    assert sorted(told) == ["a folder without a source"] * 2 + ["missing", "not of its image's time"] + ["too many"] * 2
