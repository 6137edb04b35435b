"""The audit on real folders: what it looks at, what it makes, what it deletes, and what a second run does."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from drawing import picture_in
from engines import LONG_AGO_S, draw, inodes, just_now, open_engine, put_thumbnail, session_of, thumbnail_bytes
from sdgen_thumbnail_plugin.engine.catchup import Limits, Phase, Progress, due_for_a_sweep
from sdgen_thumbnail_plugin.imaging.webp import read_size
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority
from watching import Project, png


@pytest.fixture
def project(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Project:
    caplog.set_level(logging.INFO)
    project = Project(tmp_path)
    project.results.mkdir()
    return project


def heights(project: Project) -> set[int]:
    sizes = [read_size(path.read_bytes()[:30]) for path in project.thumbnails.rglob("*.webp")]
    return {size[1] for size in sizes if size}


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
        assert engine.audit().created == 0
    assert "✓ All sessions up-to-date" in caplog.text


def test_an_image_deep_in_folders_and_one_beside_the_sessions_have_thumbnails(project: Project) -> None:
    project.image("beside.png")
    project.image(f"{session_of(1)}/a/b/c/deep.png")
    with open_engine(project) as engine:
        engine.audit()
    assert project.is_exact()


def test_all_deleted_thumbnails_come_back(project: Project) -> None:
    for day in (10, 11):
        draw(project, session_of(day), 3)
    with open_engine(project) as engine:
        engine.audit()
        project.age()
        engine.audit()
        shutil.rmtree(project.thumbnails)
        engine.audit()
    assert project.is_exact()


def test_on_the_next_start_complete_sessions_are_not_listed(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    sessions = [session_of(day) for day in range(1, 31)]
    for session in sessions:
        draw(project, session, 2, done=2)
    project.age()
    with open_engine(project) as engine:
        engine.audit()
        assert set(sessions) <= set(engine.source.listed)
    with open_engine(project) as engine:
        summary = engine.smart()
        assert (summary.sessions, summary.skipped) == (0, 30)
        assert not engine.source.listed
        assert not engine.target.listed
        assert "📂 Found 30 sessions" in caplog.text
    with open_engine(project) as engine:
        assert engine.audit().sessions == 0
        assert not engine.source.listed
        assert not engine.target.listed
        assert engine.source.asked == engine.target.asked == {"": 1, **dict.fromkeys(sessions, 1)}


def test_only_the_session_that_changed_is_listed_on_the_next_start(project: Project) -> None:
    for day in range(1, 11):
        draw(project, session_of(day), 2, done=2)
    project.age()
    with open_engine(project) as engine:
        engine.audit()
    (project.results / session_of(4) / "new.png").write_bytes(png())
    with open_engine(project) as engine:
        engine.audit()
        assert set(engine.source.listed) == {session_of(4)}
    assert project.is_exact()


def test_a_directory_that_changed_a_moment_ago_is_looked_at_again(project: Project) -> None:
    draw(project, session_of(1), 2, done=2)
    project.age()
    just_now(project.results / session_of(1))
    with open_engine(project) as engine:
        engine.audit()
        engine.source.listed.clear()
        engine.audit()
        assert engine.source.listed == [session_of(1)]


def test_what_another_version_failed_at_is_tried_again_at_the_next_start(project: Project) -> None:
    draw(project, session_of(1), 1, done=1)
    bad = f"{session_of(1)}/bad.png"
    (project.results / bad).write_bytes(b"broken")
    project.age()
    with open_engine(project) as engine:
        engine.audit()
        failure = engine.catalog.failures()[bad]
        assert OutcomeKind.FAILED in engine.kinds()
    for version, again in ((failure.version, False), ("an older one", True)):
        with open_engine(project) as engine:
            engine.catalog.put_failure(replace(failure, version=version))
            catch_up = engine.catch_up()
            catch_up.smart()
            catch_up.audit()
            assert (OutcomeKind.FAILED in engine.kinds()) == again


def test_an_overwritten_image_is_found_when_everything_is_looked_at(project: Project) -> None:
    key = draw(project, session_of(1), 3, done=3)[1]
    project.age()
    with open_engine(project) as engine:
        engine.audit()
        (project.results / key).write_bytes(png((20, 20)))
        engine.audit()
        assert not engine.made()  # its directory did not change
        engine.audit(everything=True)
        assert engine.made() == [key]
    assert project.is_exact()


def test_a_session_deleted_together_with_its_thumbnails_is_forgotten(project: Project) -> None:
    draw(project, session_of(1), 2)
    draw(project, session_of(2), 2)
    with open_engine(project) as engine:
        engine.audit()
        shutil.rmtree(project.results / session_of(1))
        shutil.rmtree(project.thumbnails / session_of(1))
        engine.audit()
        assert session_of(1) not in engine.catalog.directories()


def test_an_audit_that_is_stopped_goes_on_at_the_next_start(project: Project) -> None:
    for day in (1, 2, 3, 4, 5, 6):
        draw(project, session_of(day), 4)
    stopping = threading.Event()

    def stop_soon(_: Outcome) -> None:
        stopping.set()

    with open_engine(project, count=1, on_outcome=stop_soon) as engine:
        engine.catch_up(stopping=stopping).audit()
        assert len(engine.made()) < 24
    with open_engine(project) as engine:
        engine.audit()
    assert project.is_exact()


def test_progress_has_its_total_before_the_first_image_is_made(project: Project) -> None:
    for day in (1, 2, 3, 4, 5):
        draw(project, session_of(day), 3)
    steps: list[Progress] = []
    with open_engine(project) as engine:
        engine.audit(on_progress=steps.append)
    assert steps[0] == Progress(Phase.SURVEY)
    assert {step.total for step in steps[1:]} == {15}
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
        engine.catch_up(on_progress=note).smart()
        assert len(engine.made()) == 18
    first = next(step for step in steps if step.total == 18)
    assert (first.phase, first.session) == (Phase.SMART, session_of(6))
    assert first.done <= 1  # an image counts before its outcome is told, and the only worker waits there
    assert steps[-1] == Progress(Phase.SMART, 18, 18)


def test_an_image_written_over_in_a_recent_session_while_nobody_watched_is_made_anew(project: Project) -> None:
    key, other = draw(project, session_of(1), 2)
    with open_engine(project) as engine:
        engine.audit()
    for root in (project.results, project.thumbnails):
        just_now(root / session_of(1), seconds_ago=60)
    with open_engine(project) as engine:
        engine.audit()  # known to be complete, and no longer changing
    just_now(project.results / key)  # as a program leaves it that writes over it in place
    with open_engine(project) as engine:
        engine.smart()
        engine.audit()
        assert engine.made() == [key]
        assert project.is_fresh(other)
    assert project.is_exact()


# -- other settings


def settled(project: Project) -> None:
    """Two sessions, complete and known to be."""
    for day in (1, 2):
        draw(project, session_of(day), 4)
    with open_engine(project) as engine:
        engine.audit()
    project.age()
    with open_engine(project) as engine:
        engine.audit()
        assert not engine.made()


def test_another_quality_makes_every_thumbnail_anew_once(project: Project) -> None:
    settled(project)
    with open_engine(project, quality=30) as engine:
        engine.audit()
        engine.audit()
        assert len(engine.made()) == 8


def test_another_quality_makes_every_thumbnail_anew_even_if_the_catalog_is_lost(project: Project) -> None:
    settled(project)
    shutil.rmtree(project.home.root)
    with open_engine(project, quality=30) as engine:
        engine.audit()
        assert len(engine.made()) == 8


@pytest.mark.parametrize("lost", [False, True], ids=["catalog kept", "catalog lost"])
@pytest.mark.parametrize("made_before", [0, 1, 3, 4, 6])
def test_another_height_interrupted_half_way_is_finished_at_the_next_start(
    project: Project, made_before: int, lost: bool
) -> None:
    settled(project)
    with open_engine(project, height_px=48) as engine:
        for key in engine.source.list_images()[:made_before]:
            engine.ask(key)
            engine.idle()
        assert len(engine.made()) == made_before
    if lost:
        shutil.rmtree(project.home.root)
    with open_engine(project, height_px=48) as engine:
        engine.smart()
        engine.audit()
        assert heights(project) == {48}
        assert project.is_exact()
    with open_engine(project, height_px=48) as engine:
        engine.smart()
        engine.audit()
        assert not engine.made()


def test_a_lost_catalog_makes_nothing_anew(project: Project) -> None:
    settled(project)
    before = inodes(project)
    shutil.rmtree(project.home.root)
    with open_engine(project) as engine:
        engine.smart()
        engine.audit()
    assert inodes(project) == before


def test_images_added_after_another_height_was_chosen_are_made_once(project: Project) -> None:
    settled(project)
    new = project.image(f"{session_of(1)}/zzz.png")
    with open_engine(project, height_px=48) as engine:
        key = new.relative_to(project.results).as_posix()
        engine.ask(key)
        engine.idle()
        engine.audit()
        assert sorted(engine.made()) == engine.source.list_images()
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
        engine.audit()
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
        assert engine.audit().held_back == 101
        assert engine.audit().held_back == 101
        engine.workers.submit_directory("gone", Priority.URGENT)
        engine.idle()
    assert len(list((project.thumbnails / "gone").iterdir())) == 101
    assert "101 of 104 thumbnails have no source any more: held back" in caplog.text


def test_thumbnails_without_an_image_are_not_counted_as_up_to_date(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, session_of(2), 120)
    with open_engine(project) as engine:
        summary = engine.audit()
    assert (summary.skipped, summary.held_back) == (3, 120)


def test_a_hundred_orphans_are_deleted(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, "gone", 100)
    with open_engine(project) as engine:
        assert engine.audit().held_back == 0
    assert project.is_exact()


def test_other_limits_hold_back_other_numbers(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, "gone", 3)
    with open_engine(project) as engine:
        assert engine.audit(limits=Limits(count=2, fraction=0.5)).held_back == 0
    orphans(project, "gone", 4)
    with open_engine(project) as engine:
        assert engine.audit(limits=Limits(count=2, fraction=0.5)).held_back == 4


@pytest.mark.parametrize("state", ["empty", "missing", "a file"])
def test_a_source_root_that_is_not_there_deletes_nothing(project: Project, state: str) -> None:
    for day in (1, 2):
        draw(project, session_of(day), 3)
    with open_engine(project) as engine:
        engine.audit()
        before = inodes(project)
        project.results.rename(project.root / "elsewhere")
        if state == "empty":
            project.results.mkdir()
        elif state == "a file":
            project.results.touch()
        engine.smart()
        engine.audit()
        for session in (session_of(1), ""):
            engine.workers.submit_directory(session, Priority.URGENT)
        engine.ask(f"{session_of(1)}/000.png")
        engine.idle()
        assert inodes(project) == before
        if state != "missing":
            project.results.rmdir() if state == "empty" else project.results.unlink()
        (project.root / "elsewhere").rename(project.results)
        engine.audit()
    assert inodes(project) == before


def test_nothing_is_deleted_before_an_audit_has_counted(project: Project) -> None:
    draw(project, session_of(1), 3, done=3)
    orphans(project, session_of(1), 1)
    with open_engine(project) as engine:
        engine.workers.submit_directory(session_of(1), Priority.URGENT)
        engine.idle()
        assert (project.thumbnails / session_of(1) / "orphan000.webp").exists()
        engine.audit()
        assert not (project.thumbnails / session_of(1) / "orphan000.webp").exists()


@pytest.mark.parametrize("name", ["000.WEBP", "000.Webp"])
def test_a_thumbnail_with_its_suffix_in_capitals_is_nobodys(project: Project, name: str) -> None:
    draw(project, session_of(1), 1, done=1)
    (project.thumbnails / session_of(1) / name).write_bytes(b"x")
    if len(list((project.thumbnails / session_of(1)).iterdir())) == 1:
        pytest.skip("names differ by more than their case here")
    with open_engine(project) as engine:
        engine.audit()
    assert project.is_exact()


# -- thumbnails that somebody else made


def test_foreign_thumbnails_newer_than_their_source_are_adopted_once(project: Project) -> None:
    keys = draw(project, session_of(1), 3)
    for key in keys:
        put_thumbnail(project, key, age_s=-3600)
    before = inodes(project)
    with open_engine(project) as engine:
        engine.smart()
        engine.audit()
        assert engine.kinds() == [OutcomeKind.ADOPTED] * 3
    assert inodes(project) == before
    assert project.is_exact()
    for key in keys:  # from now on newer is another time, and another time is a change
        put_thumbnail(project, key, age_s=-3600)
    project.age()
    with open_engine(project) as engine:
        engine.audit(everything=True)
        assert sorted(engine.made()) == keys


def test_thumbnails_of_ours_that_lost_their_times_and_their_catalog_are_known_by_their_marks(project: Project) -> None:
    draw(project, session_of(1), 3)
    with open_engine(project) as engine:
        engine.audit()
    for path in project.thumbnails.rglob("*.webp"):
        just_now(path)  # as a copy to another drive leaves them
    shutil.rmtree(project.home.root)
    with open_engine(project) as engine:
        engine.audit()
        assert engine.kinds() == [OutcomeKind.ADOPTED] * 3
    assert project.is_exact()


def test_a_foreign_thumbnail_older_than_its_source_is_stale(project: Project) -> None:
    key = draw(project, session_of(1), 1)[0]
    put_thumbnail(project, key, age_s=3600)
    with open_engine(project) as engine:
        engine.audit()
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
        engine.audit()
        os.utime(project.results / key, (LONG_AGO_S - 500, LONG_AGO_S - 500))
        engine.audit(everything=True)
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
        engine.audit()
        assert not engine.outcomes
        bad.write_bytes(png())
        engine.audit(everything=True)
        assert engine.made() == [f"{session_of(2)}/bad.png"]
        assert not engine.catalog.failures()
    assert project.is_exact()


def test_a_sweep_comes_to_every_directory_in_turn(project: Project) -> None:
    for day in (1, 2, 3):
        draw(project, session_of(day), 1)
    with open_engine(project) as engine:
        engine.audit()
        then_s = max(record.swept_at_s for record in engine.catalog.records().values())
        assert due_for_a_sweep(engine.reconciler, now_s=then_s, interval_s=100, tick_s=1) == []
        due = due_for_a_sweep(engine.reconciler, now_s=then_s + 101, interval_s=100, tick_s=1)
        assert len(due) == 1
        assert len(due_for_a_sweep(engine.reconciler, now_s=then_s + 101, interval_s=100, tick_s=100)) == 4
