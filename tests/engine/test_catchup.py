"""Catching up, on real folders."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sdgen_thumbnail_plugin.engine.catchup import Limits, Phase, Progress, due_for_a_sweep
from sdgen_thumbnail_plugin.imaging.webp import read_size
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority
from support.engine import open_engine
from support.pictures import picture_in, png
from support.project import LONG_AGO_S, Project, draw, inodes, just_now, put_thumbnail, session_of, thumbnail_bytes
from support.waiting import wait_for


@pytest.fixture
def project(project: Project, caplog: pytest.LogCaptureFixture) -> Project:
    caplog.set_level(logging.INFO)
    return project


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("sdgen_thumbnail_plugin")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def heights(project: Project) -> set[int]:
    sizes = [read_size(path.read_bytes()[:30]) for path in project.thumbnails.rglob("*.webp")]
    return {size[1] for size in sizes if size}


def fill(project: Project, session: str, images: int, thumbnails: int) -> None:
    """A session with so many images, of which the first so many have their thumbnails."""
    data = png()
    folder = project.results / session
    folder.mkdir(parents=True)
    for number in range(images):
        (folder / f"{number:03}.png").write_bytes(data)
    if thumbnails:
        with open_engine(project) as engine:
            for number in range(thumbnails):
                engine.reconcile(
                    f"{session}/{number:03}.png",
                )


def test_one_new_session_is_processed_and_the_complete_one_before_it_stops(
    project: Project, log: pytest.LogCaptureFixture
) -> None:
    fill(project, "20251111_000000-newest", 100, 0)
    fill(project, "20251110_000000-next", 50, 50)
    with open_engine(project) as engine:
        summary = engine.smart()
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
    with open_engine(project) as engine:
        summary = engine.smart()
    assert (summary.sessions, summary.created) == (3, 100 + 20 + 30)
    assert "✓ Found complete session: 20251111_000000-d, stopping catch-up" in log.text
    assert not project.thumbnail("20251110_000000-e/000.png").exists()


def test_what_there_is_to_do_is_counted_in_the_catalog_as_soon_as_it_is_told(project: Project) -> None:
    for number in range(5):
        fill(project, f"2025111{number}_000000-new", 8, 0)
    told: list[tuple[int | None, int]] = []

    def note(progress: Progress) -> None:
        told.append((progress.total, sum(record.images for record in engine.catalog.records().values())))

    with open_engine(project) as engine:
        engine.smart(on_progress=note)
    assert [counted for total, counted in told if total == 40][:1] == [40]
    assert all(counted >= (total or 0) for total, counted in told)


def test_where_everything_is_complete_nothing_is_processed(project: Project, log: pytest.LogCaptureFixture) -> None:
    fill(project, "20251111_000000-a", 4, 4)
    fill(project, "20251110_000000-b", 4, 4)
    with open_engine(project) as engine:
        summary = engine.smart()
    assert (summary.sessions, summary.created) == (0, 0)
    assert "✓ All sessions up-to-date" in log.text


def test_a_hole_in_an_old_session_behind_a_complete_one_is_found_by_the_audit(project: Project) -> None:
    fill(project, "20251112_000000-new", 3, 0)
    fill(project, "20251111_000000-complete", 3, 3)
    fill(project, "20251110_000000-hole", 3, 2)
    with open_engine(project) as engine:
        assert engine.smart().created == 3
        assert not project.is_exact()
        assert engine.catch_up().created == 1
    assert project.is_exact()


def test_a_deleted_thumbnail_session_comes_back_at_the_next_start(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    fill(project, "20251110_000000-b", 3, 3)
    with open_engine(project) as engine:
        engine.catch_up()
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
    shutil.rmtree(project.thumbnails / "20251110_000000-b")
    with open_engine(project) as engine:
        assert engine.catch_up().created == 3
    assert project.is_exact()


def test_a_changed_height_makes_all_stale_once(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 0)
    with open_engine(project) as engine:
        engine.catch_up()
    with open_engine(project, height_px=100) as engine:
        assert engine.catch_up().created == 3
    assert heights(project) == {100}
    with open_engine(project, height_px=100) as engine:
        assert engine.catch_up().created == 0


def test_a_lost_catalog_and_a_changed_height_together_leave_no_wrong_thumbnail(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    shutil.rmtree(project.home.state_dir)
    with open_engine(project, height_px=100) as engine:
        assert engine.catch_up().created == 3
    assert heights(project) == {100}


def test_a_damaged_catalog_costs_time_not_thumbnails(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    (catalog,) = project.home.state_dir.glob("*.sqlite3")
    catalog.write_bytes(b"no database at all, but long enough to look like something " * 50)
    with open_engine(project) as engine:
        assert engine.catalog.set_aside is not None
        assert engine.catch_up().created == 0
    assert project.is_exact()


def test_orphans_are_deleted_with_their_empty_folders(project: Project) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    fill(project, "20251110_000000-b", 3, 3)
    shutil.rmtree(project.results / "20251110_000000-b")
    with open_engine(project) as engine:
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
        with open_engine(project) as engine:
            assert engine.catch_up().held_back == 101
            assert engine.directories.held_orphans() == 101
        assert len(list(orphans.iterdir())) == 101
        project.age()


@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_or_missing_source_deletes_nothing(project: Project, empty: bool) -> None:
    fill(project, "20251111_000000-a", 3, 3)
    shutil.rmtree(project.results)
    if empty:
        project.results.mkdir()
    with open_engine(project) as engine:
        engine.catch_up()
    assert len(list(project.thumbnails.rglob("*.webp"))) == 3


def test_another_programs_thumbnail_is_adopted_and_stamped(project: Project) -> None:
    fill(project, "20251111_000000-a", 1, 1)
    thumbnail = project.thumbnail("20251111_000000-a/000.png")
    content = thumbnail.read_bytes()
    os.utime(thumbnail)  # as if the web UI had made it just now
    shutil.rmtree(project.home.state_dir)
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()
    assert thumbnail.read_bytes() == content


def test_directories_at_any_depth_and_the_root_itself_are_served(project: Project) -> None:
    for name in ("root.png", "20251111_000000-a/x/y/deep.png", "no-time-in-its-name/a.png"):
        project.image(name)
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()


# -- what is looked at


def test_complete_sessions_ahead_of_an_incomplete_one_are_skipped(project: Project) -> None:
    draw(project, session_of(12), 5, done=5)
    draw(project, session_of(11), 5)
    with open_engine(project) as engine:
        assert engine.smart().sessions == 1
    assert project.is_exact()


def test_no_sessions_at_all_are_up_to_date(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    with open_engine(project) as engine:
        assert engine.smart().sessions == 0
        assert engine.catch_up().created == 0
    assert "✓ All sessions up-to-date" in caplog.text


def test_an_image_deep_in_folders_and_one_beside_the_sessions_have_thumbnails(project: Project) -> None:
    project.image("beside.png")
    project.image(f"{session_of(1)}/a/b/c/deep.png")
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()


def test_all_deleted_thumbnails_come_back(project: Project) -> None:
    for day in (10, 11):
        draw(project, session_of(day), 3)
    with open_engine(project) as engine:
        engine.catch_up()
        project.age()
        engine.catch_up()
        shutil.rmtree(project.thumbnails)
        engine.catch_up()
    assert project.is_exact()


def test_on_the_next_start_complete_sessions_are_not_listed(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    sessions = [session_of(day) for day in range(1, 31)]
    for session in sessions:
        draw(project, session, 2, done=2)
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
        assert set(sessions) <= set(engine.source.listed)
    with open_engine(project) as engine:
        summary = engine.smart()
        assert (summary.sessions, summary.skipped) == (0, 60)
        assert not engine.source.listed
        assert not engine.target.listed
        assert "📂 Found 30 sessions" in caplog.text
    with open_engine(project) as engine:
        assert engine.catch_up().sessions == 0
        assert not engine.source.listed
        assert not engine.target.listed
        assert engine.source.asked == engine.target.asked == {"": 1, **dict.fromkeys(sessions, 1)}


def test_only_the_session_that_changed_is_listed_on_the_next_start(project: Project) -> None:
    for day in range(1, 11):
        draw(project, session_of(day), 2, done=2)
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
    (project.results / session_of(4) / "new.png").write_bytes(png())
    with open_engine(project) as engine:
        engine.catch_up()
        assert set(engine.source.listed) == {session_of(4)}
    assert project.is_exact()


def test_a_directory_that_changed_a_moment_ago_is_looked_at_again(project: Project) -> None:
    draw(project, session_of(1), 2, done=2)
    project.age()
    just_now(project.results / session_of(1))
    with open_engine(project) as engine:
        engine.catch_up()
        engine.source.listed.clear()
        engine.catch_up()
        assert engine.source.listed == [session_of(1)]


def test_what_another_version_failed_at_is_tried_again_at_the_next_start(project: Project) -> None:
    draw(project, session_of(1), 1, done=1)
    bad = f"{session_of(1)}/bad.png"
    (project.results / bad).write_bytes(b"broken")
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
        failure = engine.catalog.failures()[bad]
        assert OutcomeKind.FAILED in engine.kinds()
    for version, again in ((failure.version, False), ("an older one", True)):
        with open_engine(project) as engine:
            engine.catalog.put_failure(replace(failure, version=version))
            engine.catch_up()
            assert (OutcomeKind.FAILED in engine.kinds()) == again


def test_an_overwritten_image_is_found_when_everything_is_looked_at(project: Project) -> None:
    key = draw(project, session_of(1), 3, done=3)[1]
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
        (project.results / key).write_bytes(png((20, 20)))
        engine.catch_up()
        assert not engine.made()  # its directory did not change
        engine.catch_up(everything=True)
        assert engine.made() == [key]
    assert project.is_exact()


def test_a_session_deleted_together_with_its_thumbnails_is_forgotten(project: Project) -> None:
    draw(project, session_of(1), 2)
    draw(project, session_of(2), 2)
    with open_engine(project) as engine:
        engine.catch_up()
        shutil.rmtree(project.results / session_of(1))
        shutil.rmtree(project.thumbnails / session_of(1))
        engine.catch_up()
        assert session_of(1) not in engine.catalog.directories()


def test_an_audit_that_is_stopped_goes_on_at_the_next_start(project: Project) -> None:
    for day in (1, 2, 3, 4, 5, 6):
        draw(project, session_of(day), 4)
    stopping = threading.Event()

    def stop_soon(_: Outcome) -> None:
        stopping.set()

    with open_engine(project, count=1, on_outcome=stop_soon) as engine:
        engine.new_catch_up(stopping=stopping).run()
        assert len(engine.made()) < 24
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()


def test_progress_has_its_total_once_everything_was_looked_at(project: Project) -> None:
    for day in (1, 2, 3, 4, 5):
        draw(project, session_of(day), 3)
    steps: list[Progress] = []
    with open_engine(project) as engine:
        engine.catch_up(on_progress=steps.append)
    assert list(dict.fromkeys(step.total for step in steps if step.phase == Phase.SMART)) == [3, 6, 9, 12, 15]
    assert {step.total for step in steps if step.phase == Phase.AUDIT} == {15}
    assert steps[-1] == Progress(Phase.DONE, 15, 15)
    assert [step.done for step in steps] == sorted(step.done for step in steps)


def test_it_is_known_how_many_images_there_are_while_the_first_is_made(project: Project) -> None:
    for day in (1, 2, 3, 4, 5, 6):
        draw(project, session_of(day), 3)
    known = threading.Event()
    steps: list[Progress] = []

    def note(step: Progress) -> None:
        steps.append(step)
        if step.total == 18:
            known.set()

    def wait_until_known(_: Outcome) -> None:
        known.wait(10)

    with open_engine(project, count=1, on_outcome=wait_until_known) as engine:
        engine.smart(on_progress=note)
        assert len(engine.made()) == 18
    first = next(step for step in steps if step.total == 18)
    assert (first.phase, first.session) == (Phase.SMART, session_of(6))
    assert first.done <= 1  # an image counts before its outcome is told, and the only worker waits there
    assert (steps[-1].done, steps[-1].total) == (18, 18)


def test_a_session_is_announced_when_its_turn_has_come(project: Project, log: pytest.LogCaptureFixture) -> None:
    for day in (1, 2, 3):
        draw(project, session_of(day), 2)
    known = threading.Event()
    announced: list[set[str]] = []  # whenever an image was made

    def lines() -> set[str]:
        return {text for record in log.records if "Processing incomplete" in (text := record.getMessage())}

    def note(step: Progress) -> None:
        if step.total == 6:
            known.set()

    def count_announced(_: Outcome) -> None:
        known.wait(10)
        announced.append(lines())

    with open_engine(project, count=1, on_outcome=count_announced) as engine:
        engine.smart(on_progress=note)
    assert [len(texts) for texts in announced[:2]] == [1, 1]  # all three were found by then
    assert len(lines()) == 3


def test_the_phase_is_smart_until_the_smart_part_is_made(project: Project) -> None:
    fill(project, session_of(3), 2, 0)
    fill(project, session_of(2), 2, 2)
    fill(project, session_of(1), 2, 0)
    steps: list[Progress] = []

    def wait_until_everything_was_looked_at(_: Outcome) -> None:
        wait_for(lambda: session_of(1) in engine.source.listed)

    with open_engine(project, count=1, on_outcome=wait_until_everything_was_looked_at) as engine:
        engine.catch_up(on_progress=steps.append)
    phases = list(dict.fromkeys(step.phase for step in steps))
    assert [phase for phase in phases if phase != Phase.SURVEY] == [Phase.SMART, Phase.AUDIT, Phase.DONE]
    assert next(step for step in steps if step.phase == Phase.AUDIT).done >= 2


def test_an_image_written_over_in_a_recent_session_while_nobody_watched_is_made_anew(project: Project) -> None:
    key, other = draw(project, session_of(1), 2)
    with open_engine(project) as engine:
        engine.catch_up()
    for root in (project.results, project.thumbnails):
        just_now(root / session_of(1), seconds_ago=60)
    with open_engine(project) as engine:
        engine.catch_up()  # known to be complete, and no longer changing
    just_now(project.results / key)  # as a program leaves it that writes over it in place
    with open_engine(project) as engine:
        engine.catch_up()
        assert engine.made() == [key]
        assert project.is_fresh(other)
    assert project.is_exact()


# -- other settings


def images_of(project: Project) -> list[str]:
    """Keys of all images."""
    return sorted(path.relative_to(project.results).as_posix() for path in project.results.rglob("*.png"))


def settled(project: Project) -> None:
    """Two sessions, complete and known to be."""
    for day in (1, 2):
        draw(project, session_of(day), 4)
    with open_engine(project) as engine:
        engine.catch_up()
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
        assert not engine.made()


def test_another_quality_makes_every_thumbnail_anew_once(project: Project) -> None:
    settled(project)
    with open_engine(project, quality=30) as engine:
        engine.catch_up()
        engine.catch_up()
        assert len(engine.made()) == 8


def test_another_quality_makes_every_thumbnail_anew_even_if_the_catalog_is_lost(project: Project) -> None:
    settled(project)
    shutil.rmtree(project.home.root)
    with open_engine(project, quality=30) as engine:
        engine.catch_up()
        assert len(engine.made()) == 8


@pytest.mark.parametrize("lost", [False, True], ids=["catalog kept", "catalog lost"])
@pytest.mark.parametrize("made_before", [0, 1, 3, 4, 6])
def test_another_height_interrupted_half_way_is_finished_at_the_next_start(
    project: Project, made_before: int, lost: bool
) -> None:
    settled(project)
    with open_engine(project, height_px=48) as engine:
        for key in images_of(project)[:made_before]:
            engine.ask(key)
            engine.idle()
        assert len(engine.made()) == made_before
    if lost:
        shutil.rmtree(project.home.root)
    with open_engine(project, height_px=48) as engine:
        engine.catch_up()
        assert heights(project) == {48}
        assert project.is_exact()
    with open_engine(project, height_px=48) as engine:
        engine.catch_up()
        assert not engine.made()


def test_a_lost_catalog_makes_nothing_anew(project: Project) -> None:
    settled(project)
    before = inodes(project)
    shutil.rmtree(project.home.root)
    with open_engine(project) as engine:
        engine.catch_up()
    assert inodes(project) == before


def test_images_added_after_another_height_was_chosen_are_made_once(project: Project) -> None:
    settled(project)
    new = project.image(f"{session_of(1)}/zzz.png")
    with open_engine(project, height_px=48) as engine:
        key = new.relative_to(project.results).as_posix()
        engine.ask(key)
        engine.idle()
        engine.catch_up()
        assert sorted(engine.made()) == images_of(project)
        assert heights(project) == {48}


# -- orphans


def orphans(project: Project, session: str, count: int) -> None:
    folder = project.thumbnails / session
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"orphan{number:03}.webp").write_bytes(b"x")


def test_orphans_are_deleted_and_so_is_their_empty_folder(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, session_of(1), 2)
    orphans(project, "gone/with/folders", 2)
    (project.thumbnails / "gone" / "with" / "notes.txt").write_text("not ours")
    with open_engine(project) as engine:
        engine.catch_up()
    assert {path.relative_to(project.thumbnails).as_posix() for path in project.thumbnails.rglob("*.webp")} == {
        f"{session_of(1)}/{number:03}.webp" for number in range(3)
    }
    assert [path.name for path in (project.thumbnails / "gone").rglob("*") if path.is_file()] == ["notes.txt"]
    assert not (project.thumbnails / "gone/with/folders").exists()


def test_more_than_a_hundred_orphans_and_a_fifth_of_all_are_held_back(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, "gone", 101)
    with open_engine(project) as engine:
        assert engine.catch_up().held_back == 101
        assert engine.catch_up().held_back == 101
        engine.workers.submit_directory("gone", Priority.URGENT)
        engine.idle()
    assert len(list((project.thumbnails / "gone").iterdir())) == 101
    assert "101 of 104 thumbnails have no source any more: held back" in caplog.text


def test_thumbnails_without_an_image_are_not_counted_as_up_to_date(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, session_of(2), 120)
    with open_engine(project) as engine:
        summary = engine.catch_up()
    assert (summary.skipped, summary.held_back) == (3, 120)


def test_a_hundred_orphans_are_deleted(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, "gone", 100)
    with open_engine(project) as engine:
        assert engine.catch_up().held_back == 0
    assert project.is_exact()


def test_other_limits_hold_back_other_numbers(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, "gone", 3)
    with open_engine(project) as engine:
        assert engine.catch_up(limits=Limits(count=2, fraction=0.5)).held_back == 0
    orphans(project, "gone", 4)
    with open_engine(project) as engine:
        assert engine.catch_up(limits=Limits(count=2, fraction=0.5)).held_back == 4


@pytest.mark.parametrize("state", ["empty", "missing", "a file"])
def test_a_source_root_that_is_not_there_deletes_nothing(project: Project, state: str) -> None:
    for day in (1, 2):
        draw(project, session_of(day), 3)
    with open_engine(project) as engine:
        engine.catch_up()
        before = inodes(project)
        project.results.rename(project.root / "elsewhere")
        if state == "empty":
            project.results.mkdir()
        elif state == "a file":
            project.results.touch()
        engine.catch_up()
        for session in (session_of(1), ""):
            engine.workers.submit_directory(session, Priority.URGENT)
        engine.ask(f"{session_of(1)}/000.png")
        engine.idle()
        assert inodes(project) == before
        if state != "missing":
            project.results.rmdir() if state == "empty" else project.results.unlink()
        (project.root / "elsewhere").rename(project.results)
        engine.catch_up()
    assert inodes(project) == before


def test_nothing_is_deleted_before_an_audit_has_counted(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, session_of(1), 1)
    with open_engine(project) as engine:
        engine.workers.submit_directory(session_of(1), Priority.URGENT)
        engine.idle()
        assert (project.thumbnails / session_of(1) / "orphan000.webp").exists()
        engine.catch_up()
        assert not (project.thumbnails / session_of(1) / "orphan000.webp").exists()


@pytest.mark.parametrize("name", ["000.WEBP", "000.Webp"])
def test_a_thumbnail_with_its_suffix_in_capitals_is_nobodys(project: Project, name: str) -> None:
    draw(project, session_of(1), 1, done=1)
    (project.thumbnails / session_of(1) / name).write_bytes(b"x")
    if len(list((project.thumbnails / session_of(1)).iterdir())) == 1:
        pytest.skip("names differ by more than their case here")
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()


# -- thumbnails that somebody else made


def test_foreign_thumbnails_newer_than_their_source_are_adopted_once(project: Project) -> None:
    keys = draw(project, session_of(1), 3)
    for key in keys:
        put_thumbnail(project, key, age_s=-3600)
    before = inodes(project)
    with open_engine(project) as engine:
        engine.catch_up()
        assert engine.workers.counts == {OutcomeKind.ADOPTED: 3}
    assert inodes(project) == before
    assert project.is_exact()
    for key in keys:  # from now on newer is another time, and another time is a change
        put_thumbnail(project, key, age_s=-3600)
    project.age()
    with open_engine(project) as engine:
        engine.catch_up(everything=True)
        assert sorted(engine.made()) == keys


def test_thumbnails_of_ours_that_lost_their_times_and_their_catalog_are_known_by_their_marks(project: Project) -> None:
    draw(project, session_of(1), 3)
    with open_engine(project) as engine:
        engine.catch_up()
    for path in project.thumbnails.rglob("*.webp"):
        just_now(path)  # as a copy to another drive leaves them
    shutil.rmtree(project.home.root)
    with open_engine(project) as engine:
        engine.catch_up()
        assert engine.workers.counts == {OutcomeKind.ADOPTED: 3}
    assert project.is_exact()


def test_a_foreign_thumbnail_older_than_its_source_is_stale(project: Project) -> None:
    key = draw(project, session_of(1), 1)[0]
    put_thumbnail(project, key, age_s=3600)
    with open_engine(project) as engine:
        engine.catch_up()
        assert engine.made() == [key]


@pytest.mark.parametrize("kept_bytes", [0, 1, 11, 29, 40, -1])
def test_half_a_webp_that_a_crash_left_behind_is_not_adopted(project: Project, kept_bytes: int) -> None:
    key = draw(project, session_of(1), 1)[0]
    put_thumbnail(project, key, content=thumbnail_bytes()[:kept_bytes], age_s=-3600)
    with open_engine(project) as engine:
        engine.smart()
        assert engine.made() == [key]
    assert picture_in(project.thumbnail(key).read_bytes()) == picture_in(thumbnail_bytes())


def test_an_older_file_copied_over_a_newer_one_is_a_change_too(project: Project) -> None:
    key = draw(project, session_of(1), 1)[0]
    with open_engine(project) as engine:
        engine.catch_up()
        os.utime(project.results / key, (LONG_AGO_S - 500, LONG_AGO_S - 500))
        engine.catch_up(everything=True)
        assert engine.made() == [key, key]
    assert project.is_exact()


# -- failures


def test_a_failed_image_does_not_make_its_session_incomplete(project: Project) -> None:
    draw(project, session_of(2), 3)
    bad = project.results / session_of(2) / "bad.png"
    bad.write_bytes(b"not an image")
    draw(project, session_of(1), 2, done=2)
    project.age()
    with open_engine(project) as engine:
        summary = engine.smart()
        assert (summary.created, summary.errors) == (3, 1)
    with open_engine(project) as engine:
        assert engine.smart().sessions == 0
        engine.catch_up()
        assert not engine.outcomes
        bad.write_bytes(png())
        engine.catch_up(everything=True)
        assert engine.made() == [f"{session_of(2)}/bad.png"]
        assert not engine.catalog.failures()
    assert project.is_exact()


def test_a_sweep_comes_to_every_directory_in_turn(project: Project) -> None:
    for day in (1, 2, 3):
        draw(project, session_of(day), 1)
    with open_engine(project) as engine:
        engine.catch_up()
        then_s = max(record.swept_at_s for record in engine.catalog.records().values())
        assert due_for_a_sweep(engine.directories, now_s=then_s, interval_s=100, tick_s=1) == []
        due = due_for_a_sweep(engine.directories, now_s=then_s + 101, interval_s=100, tick_s=1)
        assert len(due) == 1
        assert len(due_for_a_sweep(engine.directories, now_s=then_s + 101, interval_s=100, tick_s=100)) == 4
