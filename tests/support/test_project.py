"""`Project.faults` finds every fault."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from support.engine import open_engine
from support.pictures import as_png, photo
from support.project import QUICK, Project

KEY = "20251110_151059-s/a.png"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.image(KEY)
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.faults(QUICK) == []
    return project


def spoil(project: Project, change: Callable[[bytes], bytes]) -> None:
    """Changes a thumbnail's contents, and nothing about its time."""
    thumbnail = project.thumbnail(KEY)
    stamp = thumbnail.stat()
    thumbnail.write_bytes(change(thumbnail.read_bytes()))
    os.utime(thumbnail, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [lambda _: b"", lambda data: data[:-20], lambda _: make_thumbnail(as_png(photo(64, 96)), QUICK)],
    ids=["empty", "truncated", "another picture"],
)
def test_a_thumbnail_of_the_right_time_and_the_wrong_contents_is_found(
    project: Project, change: Callable[[bytes], bytes]
) -> None:
    spoil(project, change)
    assert "not the picture of its image" in project.faults(QUICK)[0]


def test_what_is_missing_too_much_or_left_is_found(project: Project) -> None:
    project.image("20251110_151059-s/b.png")
    shutil.copy(project.thumbnail(KEY), project.thumbnails / "20251110_151059-s" / "c.webp")
    (project.thumbnails / "20251110_151059-s" / ".1-0123456789abcdef.sdgen-tmp").touch()
    (project.thumbnails / "gone" / "below").mkdir(parents=True)
    os.utime(project.thumbnail(KEY))
    found = [fault.rpartition(": ")[2] for fault in project.faults(QUICK)]
    assert (
        sorted(found) == ["a folder without a source"] * 2 + ["missing", "not of its image's time"] + ["too many"] * 2
    )
