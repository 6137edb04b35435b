"""Looking: what a directory and its twin hold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engines import CountingStorage
from sdgen_thumbnail_plugin.engine.scan import SETTLING_NS, DirectoryTimes, look_at, parent_of, times_of

NOW_NS = 1_700_000_000_000_000_000


@pytest.fixture
def storages(tmp_path: Path) -> tuple[CountingStorage, CountingStorage]:
    (tmp_path / "results" / "s" / "deep").mkdir(parents=True)
    (tmp_path / "thumbnails" / "s" / "gone").mkdir(parents=True)
    (tmp_path / "results" / "s" / "a.png").write_bytes(b"123")
    (tmp_path / "thumbnails" / "s" / "b.webp").write_bytes(b"1")
    (tmp_path / "thumbnails" / "s" / "b.png").write_bytes(b"1")
    (tmp_path / "thumbnails" / "s" / f".1-{'0' * 16}.sdgen-tmp").touch()
    return CountingStorage(tmp_path / "results"), CountingStorage(tmp_path / "thumbnails", ".webp")


def test_one_look_finds_both_sides(storages: tuple[CountingStorage, CountingStorage]) -> None:
    source, target = storages
    before_ns = time.time_ns()
    view = look_at(source, target, "s")
    assert before_ns <= view.looked_at_ns <= time.time_ns()
    assert {key: stamp.size for key, stamp in view.sources.items()} == {"s/a.png": 3}
    assert list(view.thumbnails) == ["s/b.webp"]
    assert list(view.temporaries) == [f"s/.1-{'0' * 16}.sdgen-tmp"]
    assert view.directories == ["s/deep", "s/gone"]
    assert view.times == DirectoryTimes(os.stat(source.path("s")).st_mtime_ns, os.stat(target.path("s")).st_mtime_ns)


def test_times_cost_two_questions_a_directory_and_no_listing(
    storages: tuple[CountingStorage, CountingStorage],
) -> None:
    source, target = storages
    times = times_of(source, target, ["s", "s/deep", "none"])
    assert times["none"].gone
    assert not times["s/deep"].gone
    assert times["s/deep"].target_ns is None
    assert source.asked == target.asked == {"s": 1, "s/deep": 1, "none": 1}
    assert not source.listed
    assert not target.listed


@pytest.mark.parametrize(
    ("source_ns", "target_ns", "settled"),
    [
        (NOW_NS - SETTLING_NS - 1, NOW_NS - SETTLING_NS - 1, True),
        (NOW_NS - SETTLING_NS, 0, False),
        (0, NOW_NS - SETTLING_NS, False),
        (None, 0, True),
        (NOW_NS + 1, None, False),
        (None, None, True),
    ],
)
def test_young_times_are_not_trusted(source_ns: int | None, target_ns: int | None, settled: bool) -> None:
    assert DirectoryTimes(source_ns, target_ns).settled(NOW_NS) is settled


@pytest.mark.parametrize(("key", "parent"), [("a.png", ""), ("s/a.png", "s"), ("s/deep/a.png", "s/deep"), ("", "")])
def test_the_parent_of_a_key(key: str, parent: str) -> None:
    assert parent_of(key) == parent
