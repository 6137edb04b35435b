"""One image reconciled, on real folders."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from sdgen_thumbnail_plugin import errors
from sdgen_thumbnail_plugin.errors import (
    ImageError,
    NotAnImageError,
    SourceChangedError,
    SourceUnfinishedError,
    TooManyPixelsError,
    TruncatedImageError,
)
from sdgen_thumbnail_plugin.imaging.png import read_header
from sdgen_thumbnail_plugin.imaging.thumbnail import peak_pixels
from sdgen_thumbnail_plugin.model import OutcomeKind
from support.engine import Engine, open_engine
from support.pictures import picture_in, png
from support.project import LONG_AGO_S, Project, draw, just_now, put_thumbnail, session_of, thumbnail_bytes

SESSION = session_of(1)


# -- one image


def test_an_image_is_made_once_and_carries_its_sources_time(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    assert engine.kind_of(key) is OutcomeKind.CREATED
    assert engine.project.is_fresh(key)
    assert picture_in(engine.project.thumbnail(key).read_bytes()) == picture_in(thumbnail_bytes())
    assert engine.kind_of(key) is OutcomeKind.FRESH


def test_other_bytes_with_the_same_time_and_size_are_noticed_when_something_happened_meanwhile(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    first = engine.reconcile(key)
    assert engine.kind_of(key, made_from=first.checksum or 0) is OutcomeKind.FRESH
    path = engine.project.results / key
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data + b"a word after the end")
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    first = engine.reconcile(key, made_from=0)
    path.write_bytes(data + b"another word, same le"[: len(b"a word after the end")])
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert engine.kind_of(key) is OutcomeKind.FRESH
    assert engine.kind_of(key, made_from=first.checksum or 0) is OutcomeKind.CREATED


def test_an_image_that_is_not_there_is_gone(engine: Engine) -> None:
    assert engine.kind_of(f"{SESSION}/none.png") is OutcomeKind.GONE


def test_a_deleted_image_loses_its_thumbnail_while_others_are_there(engine: Engine) -> None:
    one, other = draw(engine.project, SESSION, 2, done=2)
    engine.directories.look(SESSION)  # until an image was seen, nothing says that this is the right source
    (engine.project.results / one).unlink()
    assert engine.kind_of(one) is OutcomeKind.DELETED
    assert not engine.project.thumbnail(one).exists()
    assert engine.project.thumbnail(other).exists()


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(50), png()[:20]], ids=len)
def test_a_failed_image_is_kept_and_not_tried_again_until_the_file_changes(engine: Engine, content: bytes) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    path = engine.project.results / key
    path.write_bytes(content)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    with pytest.raises(ImageError):
        engine.reconcile(key)
    failure = engine.catalog.failure(key)
    assert failure is not None
    assert failure.message
    assert failure.remedy
    assert engine.kind_of(key) is OutcomeKind.KNOWN_FAILURE
    assert engine.directories.look(SESSION).lacking == 0
    path.write_bytes(png())
    assert engine.kind_of(key) is OutcomeKind.CREATED
    assert engine.catalog.failure(key) is None


def test_the_thumbnail_of_what_a_broken_file_was_before_goes(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    engine.reconcile(key)
    (engine.project.results / key).write_bytes(b"broken")
    os.utime(engine.project.results / key, (LONG_AGO_S + 9, LONG_AGO_S + 9))
    with pytest.raises(NotAnImageError):
        engine.reconcile(key)
    assert not engine.project.thumbnail(key).exists()
    put_thumbnail(engine.project, key, age_s=-100)  # and comes back from a backup
    assert engine.kind_of(key) is OutcomeKind.KNOWN_FAILURE
    assert not engine.project.thumbnail(key).exists()


def test_a_deleted_failed_image_is_forgotten(engine: Engine) -> None:
    path = engine.project.results / "bad.png"
    path.write_bytes(b"broken")
    with pytest.raises(NotAnImageError):
        engine.reconcile("bad.png")
    path.unlink()
    engine.reconcile("bad.png")
    assert not engine.catalog.failures()


def test_a_young_truncated_image_is_no_failure_yet(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    path = engine.project.results / key
    path.write_bytes(png()[:-100])
    with pytest.raises(SourceUnfinishedError):
        engine.reconcile(key, last_try=False)
    just_now(path, seconds_ago=5)
    with pytest.raises(SourceUnfinishedError):
        engine.reconcile(key, last_try=False)
    assert not engine.catalog.failures()
    with pytest.raises(TruncatedImageError):
        engine.reconcile(key, last_try=True)
    assert list(engine.catalog.failures()) == [key]


def test_an_image_that_changes_while_its_thumbnail_is_made_is_not_written(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]

    @contextlib.contextmanager
    def busy_budget(pixels: int) -> Iterator[None]:
        (engine.project.results / key).write_bytes(png((10, 10)))
        yield

    with pytest.raises(SourceChangedError):
        engine.reconcile(key, budget=busy_budget)
    assert not engine.project.thumbnail(key).exists()


def test_an_image_that_vanishes_while_its_thumbnail_is_made_leaves_none(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 2)[0]

    @contextlib.contextmanager
    def busy_budget(pixels: int) -> Iterator[None]:
        (engine.project.results / key).unlink()
        yield

    assert engine.reconcile(key, budget=busy_budget).kind is OutcomeKind.GONE
    assert not engine.project.thumbnail(key).exists()


def test_the_budget_is_asked_for_the_pixels_of_the_image(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    asked: list[int] = []

    @contextlib.contextmanager
    def counting_budget(pixels: int) -> Iterator[None]:
        asked.append(pixels)
        yield

    engine.reconcile(key, budget=counting_budget)
    header = read_header((engine.project.results / key).read_bytes())
    assert asked == [peak_pixels(header)]


def test_an_image_larger_than_the_limit_fails_before_it_is_decoded(project: Project) -> None:
    key = draw(project, SESSION, 1)[0]
    with open_engine(project, max_pixels=48 * 64 - 1) as engine, pytest.raises(TooManyPixelsError) as refused:
        engine.reconcile(key)
    assert "48 x 64 pixels" in refused.value.message


def test_times_that_differ_by_a_nanosecond_are_different_times(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    engine.reconcile(key)
    time_ns = (engine.project.results / key).stat().st_mtime_ns + 1
    os.utime(engine.project.results / key, ns=(time_ns, time_ns))
    if (engine.project.results / key).stat().st_mtime_ns != time_ns:
        pytest.skip("this file system keeps no nanoseconds")
    assert engine.kind_of(key) is OutcomeKind.CREATED


# -- names


def test_of_a_png_and_a_PNG_the_lower_case_one_has_the_thumbnail(engine: Engine) -> None:  # noqa: N802
    folder = engine.project.results / SESSION
    folder.mkdir()
    (folder / "a.PNG").write_bytes(png((30, 30)))
    if (folder / "a.png").exists():
        pytest.skip("names differ by more than their case here")
    (folder / "a.png").write_bytes(png())
    engine.catch_up()
    assert sorted((outcome.key, outcome.kind) for outcome in engine.outcomes) == [
        (f"{SESSION}/a.PNG", OutcomeKind.FAILED),
        (f"{SESSION}/a.png", OutcomeKind.CREATED),
    ]
    assert engine.directories.look(SESSION).actions == ()
    (folder / "a.png").unlink()
    engine.catch_up()
    assert engine.made() == [f"{SESSION}/a.png", f"{SESSION}/a.PNG"]
    assert not engine.catalog.failures()
    assert (engine.project.thumbnails / SESSION / "a.webp").stat().st_mtime_ns == (folder / "a.PNG").stat().st_mtime_ns


def test_an_image_with_its_suffix_in_capitals_has_a_thumbnail(engine: Engine) -> None:
    engine.project.image(f"{SESSION}/a.PNG")
    assert engine.kind_of(f"{SESSION}/a.PNG") is OutcomeKind.CREATED
    assert engine.directories.look(SESSION).actions == ()
    assert not engine.images.delete_orphan(f"{SESSION}/a.webp")


@pytest.mark.parametrize(
    "name",
    ["with space.png", "ü 漢字 🐧.png", "new\nline.png", "undecodable\udcff.png", "..png.png", "a" * 200 + ".png"],
)
def test_any_name_works(engine: Engine, name: str) -> None:
    (engine.project.results / SESSION).mkdir()
    (engine.project.results / SESSION / name).write_bytes(png())
    if name.startswith("."):
        assert engine.directories.look(SESSION).actions == ()  # hidden
        return
    engine.catch_up()
    engine.catalog.flush()
    assert engine.kinds() == [OutcomeKind.CREATED]
    assert engine.project.is_exact()
    assert engine.directories.look(SESSION).actions == ()


def test_a_name_that_leaves_no_room_for_its_thumbnails_is_a_failure_once(engine: Engine) -> None:
    key = f"{SESSION}/{'n' * 251}.png"
    (engine.project.results / SESSION).mkdir()
    (engine.project.results / key).write_bytes(png())
    engine.catch_up()
    assert engine.kinds() == [OutcomeKind.FAILED]
    failure = engine.catalog.failure(key)
    assert failure is not None
    assert failure.remedy == "shorten the file name"
    engine.catch_up(everything=True)
    assert len(engine.outcomes) == 1


def test_a_failure_is_dated(engine: Engine) -> None:
    (engine.project.results / "bad.png").write_bytes(b"broken")
    before_s = time.time()
    with pytest.raises(ImageError):
        engine.reconcile("bad.png")
    failure = engine.catalog.failures()["bad.png"]
    assert before_s <= failure.failed_at_s <= time.time()
    assert issubclass(getattr(errors, failure.kind), errors.ImageError)
