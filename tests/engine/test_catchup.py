"""Catching up, on real folders."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Progress, Summary
from watching import Engine, Project, make_engine, png


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.results.mkdir()
    return project


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("sdgen_thumbnail_plugin")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def fill(project: Project, session: str, images: int, thumbnails: int) -> None:
    """A session with so many images, of which the first so many have their thumbnails."""
    data = png()
    folder = project.results / session
    folder.mkdir(parents=True)
    for number in range(images):
        (folder / f"{number:03}.png").write_bytes(data)
    if thumbnails:
        with make_engine(project) as engine:
            for number in range(thumbnails):
                engine.reconciler.make_image_right(f"{session}/{number:03}.png", room=lambda _: engine.no_room_needed())


def smart(engine: Engine) -> Summary:
    return CatchUp(engine.reconciler, engine.workers, engine.sessions).smart()


def test_one_new_session_is_processed_and_the_complete_one_before_it_stops(
    project: Project, log: pytest.LogCaptureFixture
) -> None:
    fill(project, "20251111_000000-newest", 100, 0)
    fill(project, "20251110_000000-next", 50, 50)
    with make_engine(project) as engine:
        summary = smart(engine)
    assert (summary.sessions, summary.created) == (1, 100)
    assert "📍 Processing incomplete session: 20251111_000000-newest (0/100 thumbnails)" in log.text
    assert "✓ Found complete session: 20251110_000000-next, stopping catch-up" in log.text


def test_after_a_crash_three_sessions_are_processed_and_the_complete_one_stops(
    project: Project, log: pytest.LogCaptureFixture
) -> None:
    fill(project, "20251114_000000-a", 100, 0)
    fill(project, "20251113_000000-b", 50, 30)
    fill(project, "20251112_000000-c", 30, 0)
    fill(project, "20251111_000000-d", 25, 25)
    fill(project, "20251110_000000-e", 5, 0)
    with make_engine(project) as engine:
        summary = smart(engine)
    assert (summary.sessions, summary.created) == (3, 100 + 20 + 30)
    assert "✓ Found complete session: 20251111_000000-d, stopping catch-up" in log.text
    assert not project.thumbnail("20251110_000000-e/000.png").exists()


def test_what_there_is_to_do_is_counted_in_the_catalog_as_soon_as_it_is_told(project: Project) -> None:
    for number in range(5):
        fill(project, f"2025111{number}_000000-new", 8, 0)
    told: list[tuple[int | None, int]] = []

    def note(progress: Progress) -> None:
        told.append((progress.total, sum(record.images for record in engine.reconciler.catalog.records().values())))

    with make_engine(project) as engine:
        CatchUp(engine.reconciler, engine.workers, engine.sessions, on_progress=note).smart()
    assert [counted for total, counted in told if total == 40][:1] == [40]
    assert all(counted >= (total or 0) for total, counted in told)


def test_where_everything_is_complete_nothing_is_processed(project: Project, log: pytest.LogCaptureFixture) -> None:
    fill(project, "20251111_000000-a", 4, 4)
    fill(project, "20251110_000000-b", 4, 4)
    with make_engine(project) as engine:
        summary = smart(engine)
    assert (summary.sessions, summary.created) == (0, 0)
    assert "✓ All sessions up-to-date" in log.text


def test_a_hole_in_an_old_session_behind_a_complete_one_is_found_by_the_audit(project: Project) -> None:
    fill(project, "20251112_000000-new", 3, 0)
    fill(project, "20251111_000000-complete", 3, 3)
    fill(project, "20251110_000000-hole", 3, 2)
    with make_engine(project) as engine:
        assert smart(engine).created == 3
        assert not project.is_exact()
        assert CatchUp(engine.reconciler, engine.workers, engine.sessions).audit().created == 1
    assert project.is_exact()


def test_a_deleted_thumbnail_session_comes_back_at_the_next_start(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    fill(project, "20251110_000000-b", 3, 3)
    with make_engine(project) as engine:
        engine.catch_up()
    project.age()
    with make_engine(project) as engine:
        engine.catch_up()
    shutil.rmtree(project.thumbnails / "20251110_000000-b")
    with make_engine(project) as engine:
        assert engine.catch_up().created == 3
    assert project.is_exact()


def heights(project: Project) -> set[int]:
    found = set()
    for path in project.thumbnails.rglob("*.webp"):
        with Image.open(path) as image:
            found.add(image.height)
    return found


def test_a_changed_height_makes_all_stale_once(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 0)
    with make_engine(project) as engine:
        engine.catch_up()
    with make_engine(project, height_px=100) as engine:
        assert engine.catch_up().created == 3
    assert heights(project) == {100}
    with make_engine(project, height_px=100) as engine:
        assert engine.catch_up().created == 0


def test_a_lost_catalog_and_a_changed_height_together_leave_no_wrong_thumbnail(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    shutil.rmtree(project.home.state_dir)
    with make_engine(project, height_px=100) as engine:
        assert engine.catch_up().created == 3
    assert heights(project) == {100}


def test_a_damaged_catalog_costs_time_not_thumbnails(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    (catalog,) = project.home.state_dir.glob("*.sqlite3")
    catalog.write_bytes(b"no database at all, but long enough to look like something " * 50)
    with make_engine(project) as engine:
        assert engine.reconciler.catalog.set_aside is not None
        assert engine.catch_up().created == 0
    assert project.is_exact()


def test_orphans_are_deleted_with_their_empty_folders(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    fill(project, "20251110_000000-b", 3, 3)
    shutil.rmtree(project.results / "20251110_000000-b")
    with make_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()
    assert not (project.thumbnails / "20251110_000000-b").exists()


def test_a_mass_of_orphans_is_held_back_and_kept_at_the_next_start(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    orphans = project.thumbnails / "20251110_000000-b"
    orphans.mkdir()
    for number in range(101):
        (orphans / f"{number}.webp").write_bytes(b"RIFF")
    for _ in range(2):
        with make_engine(project) as engine:
            assert engine.catch_up().held_back == 101
            assert engine.reconciler.held_orphans() == 101
        assert len(list(orphans.iterdir())) == 101
        project.age()


@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_or_missing_source_deletes_nothing(project: Project, empty: bool) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    shutil.rmtree(project.results)
    if empty:
        project.results.mkdir()
    with make_engine(project) as engine:
        engine.catch_up()
    assert len(list(project.thumbnails.rglob("*.webp"))) == 3


def test_another_programs_thumbnail_is_adopted_and_stamped(project: Project) -> None:
    fill(project, "20251111_000000-a", 1, 1)
    thumbnail = project.thumbnail("20251111_000000-a/000.png")
    content = thumbnail.read_bytes()
    os.utime(thumbnail)  # as if the web UI had made it just now
    shutil.rmtree(project.home.state_dir)
    with make_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()
    assert thumbnail.read_bytes() == content


def test_directories_at_any_depth_and_the_root_itself_are_served(project: Project) -> None:
    for name in ("root.png", "20251111_000000-a/x/y/deep.png", "no-time-in-its-name/a.png"):
        project.image(name)
    with make_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()
