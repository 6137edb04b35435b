"""The nine faults of the watchdog that the host has today, each as a test that it would fail."""

from __future__ import annotations

import os
import threading
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from sdgen_thumbnail_plugin.daemon.observers import choose_observer
from sdgen_thumbnail_plugin.daemon.process import holding_the_lock
from sdgen_thumbnail_plugin.errors import AlreadyRunningError
from sdgen_thumbnail_plugin.imaging import thumbnail as imaging
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from support.engine import open_engine
from support.pictures import as_png, picture_in, png
from support.project import QUICK, Project
from support.waiting import wait_for
from support.watcher import watching


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.results.mkdir()
    return project


def test_1_an_image_written_while_catching_up_is_seen(project: Project) -> None:
    for number in range(60):
        project.image(f"20251110_151059-old/{number:02}.png")
    writing = threading.Thread(
        target=lambda: [project.image(f"20251111_000000-new/{number:02}.png") for number in range(60)]
    )
    writing.start()
    with watching(project):
        writing.join()
        wait_for(project.is_exact, 20)


def test_2_half_written_renamed_and_overwritten_images_are_seen(project: Project) -> None:
    data = png()
    half = project.results / "half.png"
    with watching(project):
        half.write_bytes(data[: len(data) // 2])
        renamed = project.results / "renamed.tmp"
        renamed.write_bytes(data)
        renamed.rename(project.results / "renamed.png")
        wait_for(lambda: project.is_fresh("renamed.png"))
        half.write_bytes(data)
        wait_for(lambda: project.is_fresh("half.png"))
        half.write_bytes(png((80, 40)))
        wait_for(project.is_exact)
        with Image.open(project.thumbnail("half.png")) as thumbnail:
            assert thumbnail.size == (480, 240)


def test_3_complete_sessions_are_not_walked_again(project: Project) -> None:
    for session in range(30):
        project.image(f"202511{session:02}_000000-s/a.png")
    with open_engine(project) as engine:
        engine.catch_up()
    project.age()
    with open_engine(project) as engine:  # after a change of times, one look to learn them
        engine.catch_up()
    with open_engine(project) as engine:
        assert engine.catch_up().created == 0
    assert set(engine.source.listed + engine.target.listed) <= {""}  # the host's list of sessions; no session itself


def test_4_one_unreadable_png_does_not_make_its_session_incomplete_for_ever(project: Project) -> None:
    project.image("20251110_151059-s/good.png")
    (project.results / "20251110_151059-s" / "bad.png").write_bytes(b"this is no image")
    with open_engine(project) as engine:
        assert engine.catch_up().errors == 1
    with open_engine(project) as engine:
        again = engine.catch_up()
        record = engine.catalog.record("20251110_151059-s")
    assert (again.errors, again.created) == (0, 0)
    assert record is not None
    assert (record.complete, record.failed) == (True, 1)


def test_5_a_reader_never_sees_half_a_thumbnail(tmp_path: Path) -> None:
    storage = LocalImageStorage(tmp_path, ".webp")
    contents = [bytes([number]) * 200_000 for number in (1, 2)]
    storage.write_image_bytes("a.webp", contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((tmp_path / "a.webp").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        storage.write_image_bytes("a.webp", contents[number % 2])
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_5_half_a_thumbnail_that_a_crash_left_behind_does_not_count(project: Project) -> None:
    source = project.image("20251110_151059-s/a.png")
    whole = imaging.make_thumbnail(source.read_bytes(), QUICK)
    thumbnail = project.thumbnail("20251110_151059-s/a.png")
    thumbnail.parent.mkdir(parents=True)
    thumbnail.write_bytes(whole[: len(whole) // 2])  # newer than its source, as the old watchdog leaves it
    with open_engine(project) as engine:
        assert engine.catch_up().created == 1
    assert picture_in(thumbnail.read_bytes()) == picture_in(whole)


def test_6_thumbnails_are_made_beside_the_observer_and_by_several_threads(project: Project) -> None:
    names: set[str] = set()
    make = imaging.make_thumbnail

    def noting(png: bytes, recipe: Recipe, *, max_pixels: int) -> bytes:
        names.add(threading.current_thread().name)
        barrier.wait(10)
        return make(png, recipe, max_pixels=max_pixels)

    barrier = threading.Barrier(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imaging, "make_thumbnail", noting)
        with watching(project, workers=2):
            project.image("20251110_151059-s/a.png")
            project.image("20251110_151059-s/b.png")
            wait_for(project.is_exact)
    assert names == {"thumbnails-0", "thumbnails-1"}


def test_7_palettes_are_resized_smoothly_and_no_width_is_zero() -> None:
    assert imaging.thumbnail_size(1, 20_000, 240) == (1, 240)
    stripes = Image.new("P", (480, 480))
    stripes.putpalette([0, 0, 0, 255, 255, 255])
    for x in range(0, 480, 2):
        stripes.paste(1, (x, 0, x + 1, 480))
    thumbnail = imaging.make_thumbnail(as_png(stripes), Recipe())
    with Image.open(BytesIO(thumbnail)) as image:
        low, high = image.convert("L").crop((20, 20, 220, 220)).getextrema()
    assert 100 < low <= high < 156  # black and white lines became grey; nearest neighbour would keep one of both


def test_8_the_mount_decides_about_polling_not_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdgen_thumbnail_plugin.daemon.observers.is_wsl", lambda: True)
    assert choose_observer(tmp_path).kind == "native"


def test_9_deletes_follow_and_there_is_one_instance(project: Project) -> None:
    project.image("20251110_151059-s/keep.png")
    gone = project.image("20251110_151059-s/gone.png")
    with watching(project):
        wait_for(project.is_exact)
        gone.unlink()
        wait_for(project.is_exact)
        assert project.state()["pid"] == os.getpid()
    with holding_the_lock(project.home), pytest.raises(AlreadyRunningError), holding_the_lock(project.home):
        pass
