"""One image and one directory made right, on real folders."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawing import picture_in
from engines import (
    LONG_AGO_S,
    Engine,
    draw,
    inodes,
    just_now,
    open_engine,
    put_thumbnail,
    session_of,
    thumbnail_bytes,
)
from sdgen_thumbnail_plugin import errors
from sdgen_thumbnail_plugin.errors import SourceChangedError, TruncatedImageError
from sdgen_thumbnail_plugin.imaging.png import read_header
from sdgen_thumbnail_plugin.imaging.thumbnail import peak_pixels
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority
from watching import Project, png

SESSION = session_of(1)


@contextlib.contextmanager
def room(pixels: int) -> Iterator[None]:
    yield


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.results.mkdir()
    return project


@pytest.fixture
def engine(project: Project) -> Iterator[Engine]:
    with open_engine(project) as engine:
        yield engine


def right(engine: Engine, key: str, *, made_from: int | None = None) -> Outcome:
    return engine.reconciler.make_image_right(key, room=room, made_from=made_from)


# -- one image


def test_an_image_is_made_once_and_carries_its_sources_time(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    assert right(engine, key).kind is OutcomeKind.CREATED
    assert engine.project.is_fresh(key)
    assert picture_in(engine.project.thumbnail(key).read_bytes()) == picture_in(thumbnail_bytes())
    assert right(engine, key).kind is OutcomeKind.FRESH


def test_other_bytes_with_the_same_time_and_size_are_noticed_when_something_happened_meanwhile(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    first = right(engine, key)
    assert right(engine, key, made_from=first.checksum).kind is OutcomeKind.FRESH
    path = engine.project.results / key
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data + b"a word after the end")
    first = right(engine, key)
    path.write_bytes(data + b"another word, same le"[: len(b"a word after the end")])
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    os.utime(engine.project.thumbnail(key), ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert right(engine, key).kind is OutcomeKind.FRESH
    assert right(engine, key, made_from=first.checksum).kind is OutcomeKind.CREATED


def test_an_image_that_is_not_there_is_gone(engine: Engine) -> None:
    assert right(engine, f"{SESSION}/none.png").kind is OutcomeKind.GONE


def test_a_deleted_image_loses_its_thumbnail_while_others_are_there(engine: Engine) -> None:
    one, other = draw(engine.project, SESSION, 2, done=2)
    engine.reconciler.survey(SESSION)  # until an image was seen, nothing says that this is the right source
    (engine.project.results / one).unlink()
    assert right(engine, one).kind is OutcomeKind.DELETED
    assert not engine.project.thumbnail(one).exists()
    assert engine.project.thumbnail(other).exists()


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(50), png()[:20]], ids=len)
def test_a_failed_image_is_kept_and_not_tried_again_until_the_file_changes(engine: Engine, content: bytes) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    path = engine.project.results / key
    path.write_bytes(content)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    assert right(engine, key).kind is OutcomeKind.FAILED
    failure = engine.catalog.failure(key)
    assert failure is not None
    assert failure.message
    assert failure.remedy
    assert right(engine, key).kind is OutcomeKind.KNOWN_FAILURE
    assert engine.reconciler.survey(SESSION).lacking == 0
    path.write_bytes(png())
    assert right(engine, key).kind is OutcomeKind.CREATED
    assert engine.catalog.failure(key) is None


def test_the_thumbnail_of_what_a_broken_file_was_before_goes(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    right(engine, key)
    (engine.project.results / key).write_bytes(b"broken")
    os.utime(engine.project.results / key, (LONG_AGO_S + 9, LONG_AGO_S + 9))
    right(engine, key)
    assert not engine.project.thumbnail(key).exists()
    put_thumbnail(engine.project, key, age_s=-100)  # and comes back from a backup
    assert right(engine, key).kind is OutcomeKind.KNOWN_FAILURE
    assert not engine.project.thumbnail(key).exists()


def test_a_deleted_failed_image_is_forgotten(engine: Engine) -> None:
    path = engine.project.results / "bad.png"
    path.write_bytes(b"broken")
    right(engine, "bad.png")
    path.unlink()
    right(engine, "bad.png")
    assert not engine.catalog.failures()


def test_a_young_truncated_image_is_no_failure_yet(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    path = engine.project.results / key
    path.write_bytes(png()[:-100])
    with pytest.raises(TruncatedImageError):
        engine.reconciler.make_image_right(key, room=room, last_try=False)
    just_now(path, seconds_ago=5)
    with pytest.raises(TruncatedImageError):
        engine.reconciler.make_image_right(key, room=room, last_try=False)
    assert engine.reconciler.make_image_right(key, room=room, last_try=True).kind is OutcomeKind.FAILED


def test_an_image_that_changes_while_its_thumbnail_is_made_is_not_written(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]

    @contextlib.contextmanager
    def busy_room(pixels: int) -> Iterator[None]:
        (engine.project.results / key).write_bytes(png((10, 10)))
        yield

    with pytest.raises(SourceChangedError):
        engine.reconciler.make_image_right(key, room=busy_room)
    assert not engine.project.thumbnail(key).exists()


def test_an_image_that_vanishes_while_its_thumbnail_is_made_leaves_none(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 2)[0]

    @contextlib.contextmanager
    def busy_room(pixels: int) -> Iterator[None]:
        (engine.project.results / key).unlink()
        yield

    with pytest.raises(SourceChangedError):
        engine.reconciler.make_image_right(key, room=busy_room)
    assert right(engine, key).kind is OutcomeKind.GONE
    assert not engine.project.thumbnail(key).exists()


def test_the_room_is_asked_for_the_pixels_of_the_image(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    asked: list[int] = []

    @contextlib.contextmanager
    def counting_room(pixels: int) -> Iterator[None]:
        asked.append(pixels)
        yield

    engine.reconciler.make_image_right(key, room=counting_room)
    header = read_header((engine.project.results / key).read_bytes())
    assert asked == [peak_pixels(header)]


def test_an_image_larger_than_the_limit_fails_before_it_is_decoded(project: Project) -> None:
    key = draw(project, SESSION, 1)[0]
    with open_engine(project, max_pixels=48 * 64 - 1) as engine:
        outcome = right(engine, key)
    assert outcome.kind is OutcomeKind.FAILED
    assert "48 x 64 pixels" in str(outcome.error)


def test_times_that_differ_by_a_nanosecond_are_different_times(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    right(engine, key)
    time_ns = (engine.project.results / key).stat().st_mtime_ns + 1
    os.utime(engine.project.results / key, ns=(time_ns, time_ns))
    if (engine.project.results / key).stat().st_mtime_ns != time_ns:
        pytest.skip("this file system keeps no nanoseconds")
    assert right(engine, key).kind is OutcomeKind.CREATED


# -- names


def test_of_a_png_and_a_PNG_the_lower_case_one_has_the_thumbnail(engine: Engine) -> None:  # noqa: N802
    folder = engine.project.results / SESSION
    folder.mkdir()
    (folder / "a.PNG").write_bytes(png((30, 30)))
    if (folder / "a.png").exists():
        pytest.skip("names differ by more than their case here")
    (folder / "a.png").write_bytes(png())
    engine.audit()
    assert sorted((outcome.key, outcome.kind) for outcome in engine.outcomes) == [
        (f"{SESSION}/a.PNG", OutcomeKind.FAILED),
        (f"{SESSION}/a.png", OutcomeKind.CREATED),
    ]
    assert engine.reconciler.survey(SESSION).actions == ()
    (folder / "a.png").unlink()
    engine.audit()
    assert engine.made() == [f"{SESSION}/a.png", f"{SESSION}/a.PNG"]
    assert not engine.catalog.failures()
    assert (engine.project.thumbnails / SESSION / "a.webp").stat().st_mtime_ns == (folder / "a.PNG").stat().st_mtime_ns


def test_an_image_with_its_suffix_in_capitals_has_a_thumbnail(engine: Engine) -> None:
    engine.project.image(f"{SESSION}/a.PNG")
    assert right(engine, f"{SESSION}/a.PNG").kind is OutcomeKind.CREATED
    assert engine.reconciler.survey(SESSION).actions == ()
    assert not engine.reconciler.delete_orphan(f"{SESSION}/a.webp")


@pytest.mark.parametrize(
    "name",
    ["with space.png", "ü 漢字 🐧.png", "new\nline.png", "undecodable\udcff.png", "..png.png", "a" * 200 + ".png"],
)
def test_any_name_works(engine: Engine, name: str) -> None:
    (engine.project.results / SESSION).mkdir()
    (engine.project.results / SESSION / name).write_bytes(png())
    if name.startswith("."):
        assert engine.reconciler.survey(SESSION).actions == ()  # hidden
        return
    engine.audit()
    engine.catalog.flush()
    assert engine.kinds() == [OutcomeKind.CREATED]
    assert engine.project.is_exact()
    assert engine.reconciler.survey(SESSION).actions == ()


def test_a_name_that_leaves_no_room_for_its_thumbnails_is_a_failure_once(engine: Engine) -> None:
    key = f"{SESSION}/{'n' * 251}.png"
    (engine.project.results / SESSION).mkdir()
    (engine.project.results / key).write_bytes(png())
    engine.audit()
    assert engine.kinds() == [OutcomeKind.FAILED]
    failure = engine.catalog.failure(key)
    assert failure is not None
    assert failure.remedy == "shorten the file name"
    engine.audit(everything=True)
    assert len(engine.outcomes) == 1


# -- one directory


def test_a_survey_counts_and_changes_nothing(engine: Engine) -> None:
    draw(engine.project, SESSION, 5, done=3)
    (engine.project.thumbnails / SESSION / "orphan.webp").write_bytes(b"x")
    before = inodes(engine.project)
    survey = engine.reconciler.survey(SESSION)
    assert (survey.lacking, survey.orphans, survey.thumbnails) == (2, 1, 3)
    assert survey.builds == [f"{SESSION}/003.png", f"{SESSION}/004.png"]
    assert inodes(engine.project) == before
    assert engine.catalog.record(SESSION) is None


def test_what_a_dead_process_left_unfinished_is_swept_and_what_a_living_one_writes_is_kept(engine: Engine) -> None:
    draw(engine.project, SESSION, 1, done=1)
    folder = engine.project.thumbnails / SESSION
    dead = folder / f".999999999-{'0' * 16}.sdgen-tmp"
    living = folder / f".{os.getpid()}-{'0' * 16}.sdgen-tmp"
    dead.touch()
    living.touch()
    engine.audit()
    assert not dead.exists()
    assert living.exists()


def test_a_directory_is_known_to_be_complete_once_its_times_are_old(engine: Engine) -> None:
    draw(engine.project, SESSION, 2, done=2)
    just_now(engine.project.results / SESSION)
    assert engine.reconciler.finish_directory(SESSION)
    assert engine.reconciler.changed_directories([SESSION]) == [SESSION]
    engine.project.age()
    assert engine.reconciler.finish_directory(SESSION)
    assert engine.reconciler.changed_directories([SESSION]) == []
    engine.reconciler.unsettle(SESSION)
    assert engine.reconciler.changed_directories([SESSION]) == [SESSION]


@pytest.mark.parametrize("root", ["results", "thumbnails"])
def test_a_change_on_either_side_is_noticed(engine: Engine, root: str) -> None:
    draw(engine.project, SESSION, 2, done=2)
    engine.project.age()
    engine.reconciler.finish_directory(SESSION)
    (engine.project.root / root / SESSION / "something").touch()
    assert engine.reconciler.changed_directories([SESSION]) == [SESSION]


def test_a_link_in_a_thumbnails_place_is_replaced_not_followed(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    victim = engine.project.root / "victim"
    victim.write_text("precious")
    just_now(victim)
    engine.project.thumbnail(key).parent.mkdir(parents=True)
    engine.project.thumbnail(key).symlink_to(victim)
    engine.audit()
    assert engine.project.is_exact()
    assert not engine.project.thumbnail(key).is_symlink()
    assert victim.read_text() == "precious"


# -- moves


def test_a_renamed_image_keeps_its_thumbnail(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 2)[0]
    right(engine, key)
    before = engine.project.thumbnail(key).stat().st_ino
    new = f"{session_of(2)}/renamed.png"
    (engine.project.results / session_of(2)).mkdir()
    (engine.project.results / key).rename(engine.project.results / new)
    assert engine.reconciler.rename_image(key, new)
    assert engine.project.is_fresh(new)
    assert engine.project.thumbnail(new).stat().st_ino == before
    assert not engine.project.thumbnail(key).exists()


def test_a_thumbnail_that_was_stale_is_not_renamed(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    put_thumbnail(engine.project, key, age_s=50)
    new = f"{SESSION}/renamed.png"
    (engine.project.results / key).rename(engine.project.results / new)
    assert not engine.reconciler.rename_image(key, new)
    assert not engine.reconciler.rename_image(f"{SESSION}/none.png", f"{SESSION}/no.png")


def test_a_renamed_session_keeps_its_thumbnails_and_its_failures(engine: Engine) -> None:
    draw(engine.project, SESSION, 3)
    bad = engine.project.results / SESSION / "deeper" / "bad.png"
    bad.parent.mkdir()
    bad.write_bytes(b"broken")
    engine.audit()
    tried = len(engine.outcomes)
    before = inodes(engine.project)
    new = session_of(2)
    (engine.project.results / SESSION).rename(engine.project.results / new)
    assert engine.reconciler.rename_directory(SESSION, new)
    assert inodes(engine.project) == {key.replace(SESSION, new): inode for key, inode in before.items()}
    assert list(engine.catalog.failures()) == [f"{new}/deeper/bad.png"]
    engine.audit()
    assert len(engine.outcomes) == tried
    assert not (engine.project.thumbnails / SESSION).exists()


def test_a_copied_session_leaves_the_first_ones_thumbnails_alone(engine: Engine) -> None:
    draw(engine.project, SESSION, 1, done=1)
    draw(engine.project, session_of(2), 1)
    before = inodes(engine.project)
    assert not engine.reconciler.rename_directory(SESSION, session_of(2))
    assert inodes(engine.project) == before


def test_a_failure_is_dated(engine: Engine) -> None:
    (engine.project.results / "bad.png").write_bytes(b"broken")
    before_s = time.time()
    right(engine, "bad.png")
    failure = engine.catalog.failures()["bad.png"]
    assert before_s <= failure.failed_at_s <= time.time()
    assert issubclass(getattr(errors, failure.kind), errors.ImageError)


def test_many_threads_making_the_same_directory_right_agree(engine: Engine) -> None:
    draw(engine.project, SESSION, 5)
    threads = [
        threading.Thread(target=engine.workers.submit_directory, args=(SESSION, Priority.URGENT)) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.idle()
    assert sorted(engine.made()) == [f"{SESSION}/{number:03}.png" for number in range(5)]
