"""The watcher on real folders, with the native observer and with the polling one."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.pictures import png
from support.project import Project
from support.waiting import wait_for
from support.watcher import watching

SOON_S = 5.0  # the promise is a second on an idle machine; two cores with other tests on them are not idle


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.results.mkdir()
    return project


@pytest.fixture(params=["native", "polling"])
def watched(request: pytest.FixtureRequest, project: Project) -> Iterator[Project]:
    project.image("20251110_151059-old/first.png")
    with watching(project, observer=request.param):
        wait_for(lambda: project.state()["observer"]["kind"] == request.param)
        yield project
        wait_for(project.is_exact, SOON_S)


def test_what_was_there_before_the_start_has_its_thumbnail(watched: Project) -> None:
    wait_for(lambda: watched.is_fresh("20251110_151059-old/first.png"), SOON_S)


def test_what_was_there_before_is_made_newest_first_however_recent_it_is(project: Project) -> None:
    sessions = [f"202511{day}_151059-copied" for day in range(11, 20)]
    for session in sessions:
        for number in range(40):
            project.image(f"{session}/{number}.png")
    with watching(project, observer="native", workers=1, tick_interval_s=0.1):
        wait_for(project.is_exact)
    made_ns = {
        session: [path.stat().st_ctime_ns for path in (project.thumbnails / session).iterdir()] for session in sessions
    }
    for older, newer in itertools.pairwise(sessions):
        assert max(made_ns[newer]) <= min(made_ns[older])


def test_a_png_in_a_new_session_gets_its_thumbnail(watched: Project) -> None:
    watched.image("20251111_000000-new/a.png")
    wait_for(lambda: watched.is_fresh("20251111_000000-new/a.png"), SOON_S)


def test_a_png_written_slowly_gets_its_thumbnail_after_its_last_byte(watched: Project) -> None:
    data = png()
    path = watched.results / "20251110_151059-old" / "slow.png"
    with path.open("wb") as file:
        for start in range(0, len(data), len(data) // 5 + 1):
            file.write(data[start : start + len(data) // 5 + 1])
            file.flush()
            time.sleep(0.12)
    wait_for(lambda: watched.is_fresh("20251110_151059-old/slow.png"), SOON_S)
    wait_for(lambda: watched.state()["failures"] == 0, SOON_S)


def test_a_png_renamed_into_place_gets_its_thumbnail(watched: Project) -> None:
    hidden = watched.results / "20251110_151059-old" / "b.png.part"
    hidden.write_bytes(png())
    hidden.rename(hidden.with_suffix(""))
    wait_for(lambda: watched.is_fresh("20251110_151059-old/b.png"), SOON_S)


def test_a_png_moved_in_from_outside_gets_its_thumbnail(watched: Project, tmp_path: Path) -> None:
    outside = tmp_path / "c.png"
    outside.write_bytes(png())
    outside.rename(watched.results / "20251110_151059-old" / "c.png")
    wait_for(lambda: watched.is_fresh("20251110_151059-old/c.png"), SOON_S)


def test_an_overwritten_png_gets_a_new_thumbnail(watched: Project) -> None:
    name = "20251110_151059-old/first.png"
    wait_for(lambda: watched.is_fresh(name), SOON_S)
    before = watched.thumbnail(name).read_bytes()
    (watched.results / name).write_bytes(png(size=(96, 64)))
    wait_for(lambda: watched.is_fresh(name) and watched.thumbnail(name).read_bytes() != before, SOON_S)


def test_an_older_file_copied_over_a_newer_one_gets_a_new_thumbnail(watched: Project, tmp_path: Path) -> None:
    name = "20251110_151059-old/first.png"
    older = tmp_path / "older.png"
    older.write_bytes(png(size=(96, 64)))
    os.utime(older, (1_600_000_000, 1_600_000_000))
    wait_for(lambda: watched.is_fresh(name), SOON_S)
    shutil.copy2(older, watched.results / name)
    wait_for(lambda: watched.is_fresh(name), SOON_S)


def test_a_deleted_png_loses_its_thumbnail(watched: Project) -> None:
    watched.image("20251110_151059-old/second.png")
    wait_for(lambda: watched.is_fresh("20251110_151059-old/second.png"), SOON_S)
    (watched.results / "20251110_151059-old/second.png").unlink()
    wait_for(lambda: not watched.thumbnail("20251110_151059-old/second.png").exists(), SOON_S)


def test_a_renamed_png_keeps_its_thumbnail_under_the_new_name(watched: Project) -> None:
    name, new = "20251110_151059-old/first.png", "20251110_151059-old/renamed.png"
    inode = inode_when_complete(watched, name)
    (watched.results / name).rename(watched.results / new)
    wait_for(lambda: watched.is_fresh(new), SOON_S)
    wait_for(lambda: not watched.thumbnail(name).exists(), SOON_S)
    assert watched.thumbnail(new).stat().st_ino == inode


def test_a_directory_moved_in_is_made_right_and_watched(watched: Project, tmp_path: Path) -> None:
    outside = tmp_path / "20251112_000000-moved"
    (outside / "below").mkdir(parents=True)
    (outside / "a.png").write_bytes(png())
    (outside / "below" / "b.png").write_bytes(png())
    outside.rename(watched.results / outside.name)
    wait_for(lambda: watched.is_fresh(f"{outside.name}/a.png"), SOON_S)
    wait_for(lambda: watched.is_fresh(f"{outside.name}/below/b.png"), SOON_S)
    watched.image(f"{outside.name}/below/later.png")
    wait_for(lambda: watched.is_fresh(f"{outside.name}/below/later.png"), SOON_S)


def test_a_directory_moved_out_takes_its_thumbnails_away(watched: Project, tmp_path: Path) -> None:
    watched.image("20251112_000000-goes/a.png")
    wait_for(lambda: watched.is_fresh("20251112_000000-goes/a.png"), SOON_S)
    (watched.results / "20251112_000000-goes").rename(tmp_path / "gone")
    wait_for(lambda: not (watched.thumbnails / "20251112_000000-goes").exists(), SOON_S)


def test_a_deleted_session_takes_its_thumbnails_away(watched: Project) -> None:
    watched.image("20251112_000000-goes/a.png")
    wait_for(lambda: watched.is_fresh("20251112_000000-goes/a.png"), SOON_S)
    shutil.rmtree(watched.results / "20251112_000000-goes")
    wait_for(lambda: not (watched.thumbnails / "20251112_000000-goes").exists(), SOON_S)


def test_a_deleted_thumbnail_folder_comes_back(watched: Project) -> None:
    name = "20251110_151059-old/first.png"
    wait_for(lambda: watched.is_fresh(name), SOON_S)
    shutil.rmtree(watched.thumbnails / "20251110_151059-old")
    wait_for(lambda: watched.is_fresh(name), SOON_S)


def test_a_source_that_vanishes_and_returns_deletes_nothing_and_is_watched_again(
    watched: Project, tmp_path: Path
) -> None:
    name = "20251110_151059-old/first.png"
    wait_for(lambda: watched.is_fresh(name), SOON_S)
    watched.results.rename(tmp_path / "unmounted")
    wait_for(lambda: any("not there" in problem["message"] for problem in watched.state()["problems"]), SOON_S)
    assert watched.thumbnail(name).exists()
    (tmp_path / "unmounted").rename(watched.results)
    wait_for(lambda: not watched.state()["problems"], SOON_S)
    watched.image("20251113_000000-back/a.png")
    wait_for(lambda: watched.is_fresh("20251113_000000-back/a.png"), SOON_S)
    assert watched.is_fresh(name)


def test_another_folder_in_the_sources_place_is_watched(watched: Project, tmp_path: Path) -> None:
    watched.results.rename(tmp_path / "away")
    watched.results.mkdir()
    watched.image("20251113_000000-other/a.png")
    wait_for(lambda: watched.is_fresh("20251113_000000-other/a.png"), SOON_S)


def test_a_burst_of_images_is_all_done(watched: Project) -> None:
    data = png()
    session = watched.results / "20251114_000000-burst"
    session.mkdir()
    for number in range(300):
        (session / f"{number:04}.png").write_bytes(data)
    wait_for(watched.is_exact, 20)


def inode_when_complete(project: Project, name: str) -> int:
    """Which file a thumbnail is, once the watcher has written down that nothing is left to do."""
    wait_for(lambda: project.is_fresh(name), SOON_S)
    wait_for(lambda: project.state()["phase"] == "watching" and not project.state()["sessions"]["incomplete"], SOON_S)
    return project.thumbnail(name).stat().st_ino


def test_a_renamed_sessions_thumbnails_are_renamed_not_made_again(watched: Project) -> None:
    old, new = watched.results / "20251110_151059-old", watched.results / "20251110_151059-new"
    inode = inode_when_complete(watched, f"{old.name}/first.png")
    old.rename(new)
    wait_for(lambda: watched.is_fresh(f"{new.name}/first.png"), SOON_S)
    wait_for(lambda: not (watched.thumbnails / old.name).exists(), SOON_S)
    assert watched.thumbnail(f"{new.name}/first.png").stat().st_ino == inode


def test_an_overwrite_in_a_directory_moved_in_long_ago_is_noticed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "20240101_000000-moved"
    outside.mkdir()
    (outside / "a.png").write_bytes(png())
    for path in (outside / "a.png", outside):
        os.utime(path, (1_704_067_200, 1_704_067_200))
    project.image("20251110_151059-old/first.png")
    with watching(project, observer="native"):
        outside.rename(project.results / outside.name)
        name = f"{outside.name}/a.png"
        wait_for(lambda: project.is_fresh(name))
        wait_for(lambda: not project.state()["queue"]["urgent"])
        time.sleep(0.5)  # a tick, so that the new directory has its watch
        (project.results / name).write_bytes(png(size=(96, 64)))
        wait_for(lambda: project.is_fresh(name), SOON_S)


def test_lost_events_are_told_with_the_remedy_and_answered_by_a_look_at_everything(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    project.image("20251110_151059-old/first.png")
    with watching(project, observer="native"):
        assert caplog.text.count("✓ Audit complete") == 1
        # What watchdog says from 7.1 on when the kernel's queue overflowed; there is no other way to hear of it.
        logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; events were lost")
        wait_for(lambda: "sudo sysctl fs.inotify.max_queued_events" in caplog.text, SOON_S)
        wait_for(lambda: caplog.text.count("✓ Audit complete") == 2, SOON_S)
        wait_for(lambda: not project.state()["problems"], SOON_S)
