"""The thumbnails of one generate, made beside it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin import api
from sdgen_thumbnail_plugin import generation as generation_module
from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.errors import RootsError
from sdgen_thumbnail_plugin.generation import Generation, Tally
from sdgen_thumbnail_plugin.host.hookspecs import Project as HostProject
from sdgen_thumbnail_plugin.paths import find_home
from support.pictures import png
from support.project import Project
from support.waiting import wait_for

SESSION = "20261101_120000-s"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def host_view(project: Project) -> HostProject:
    return HostProject(project.root, project.results, project.thumbnails, {})


def draw(project: Project, count: int) -> list[Path]:
    return [project.image(f"{SESSION}/{number}.png") for number in range(count)]


def test_each_saved_image_has_its_thumbnail_at_the_end(project: Project) -> None:
    images = draw(project, 5)
    generation = Generation(host_view(project))
    for image in images:
        generation.saved(image)
    assert generation.finish(images) == Tally(5, 0, 0)
    assert project.is_exact()


def test_an_image_that_is_written_again_is_made_again_and_counted_once(project: Project) -> None:
    images = draw(project, 1)
    generation = Generation(host_view(project))
    generation.saved(images[0])
    wait_for(project.is_exact)
    before = project.thumbnail(f"{SESSION}/0.png").stat().st_ino
    images[0].write_bytes(png((64, 64)))
    generation.saved(images[0])
    assert generation.finish(images) == Tally(1, 0, 0)
    assert project.is_exact()
    assert project.thumbnail(f"{SESSION}/0.png").stat().st_ino != before


def test_saving_returns_at_once_and_finishing_in_time_while_all_is_stuck(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = draw(project, 4)
    generation = Generation(host_view(project))
    seen: list[int] = []
    stuck, let_go = threading.Semaphore(0), threading.Event()

    def get_stuck(*_: object) -> None:
        stuck.release()
        let_go.wait()

    monkeypatch.setattr(api, "make_thumbnail", get_stuck)
    monkeypatch.setattr(generation_module, "_FINISH_S", 0.3)
    try:
        for image in images:
            generation.saved(image)
        for _ in range(2):  # each of its threads
            assert stuck.acquire(timeout=60)
        # Nothing moves before the end of the test: that we are here shows that saving waits for no thumbnail, and that
        # finishing gives up.
        started_s = time.monotonic()
        assert generation.finish(images, on_wait=seen.append) == Tally(0, 0, 4)
        assert time.monotonic() - started_s >= 0.3
    finally:
        let_go.set()
    assert set(seen) == {0}


def test_what_cannot_be_shown_is_counted_and_logged(project: Project) -> None:
    images = draw(project, 2)
    images[1].write_text("no image")
    generation = Generation(host_view(project))
    for image in images:
        generation.saved(image)
    assert generation.finish(images) == Tally(1, 1, 0)
    assert "1.png: is text, not an image" in find_home().log_file.read_text("utf-8")


def test_images_without_a_source_or_outside_of_it_are_nobodys_fault(project: Project, tmp_path: Path) -> None:
    images = draw(project, 2)
    images[1].unlink()
    outside = tmp_path / "outside.png"
    outside.write_bytes(png())
    generation = Generation(host_view(project))
    for image in (*images, outside):
        generation.saved(image)
    assert generation.finish(images) == Tally(1, 0, 1)
    assert not outside.with_suffix(".webp").exists()


def test_folders_reached_by_another_way_are_the_same(project: Project) -> None:
    images = draw(project, 1)
    (project.root / "link").symlink_to(project.results)
    seen_by_host = HostProject(project.root, project.root / "prompts" / ".." / "link", project.thumbnails, {})
    (project.root / "prompts").mkdir()
    generation = Generation(seen_by_host)
    generation.saved(images[0])
    assert generation.finish(images) == Tally(1, 0, 0)
    assert project.is_exact()


def test_a_target_that_cannot_be_used_leaves_them_and_says_why(project: Project) -> None:
    images = draw(project, 2)
    project.thumbnails.write_text("in the way")
    generation = Generation(host_view(project))
    for image in images:
        generation.saved(image)
    tally = generation.finish(images)
    assert (tally.ready, tally.failed, tally.left) == (0, 0, 2)
    assert isinstance(tally.fault, RootsError)
    assert tally.fault.remedy
    assert str(project.thumbnails) in str(tally.fault)


def test_a_save_after_the_end_is_made_by_whoever_saves(project: Project) -> None:
    images = draw(project, 1)
    generation = Generation(host_view(project))
    generation.saved(images[0])
    generation.finish(images)
    images[0].write_bytes(png((64, 64)))
    generation.saved(images[0])
    assert project.is_exact()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_its_threads_are_polite_and_nobody_elses(project: Project) -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    images = draw(project, 1)
    generation = Generation(host_view(project))
    generation.saved(images[0])
    ids = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("thumbnails-generate")]
    assert ids
    wait_for(lambda: all(id_ is not None and os.getpriority(os.PRIO_PROCESS, id_) >= 10 for id_ in ids))
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    generation.finish(images)


def test_a_truncated_image_that_is_completed_in_time_is_ready(project: Project) -> None:
    images = draw(project, 1)
    whole = images[0].read_bytes()
    images[0].write_bytes(whole[: len(whole) // 2])
    generation = Generation(host_view(project))
    generation.saved(images[0])
    images[0].write_bytes(whole)  # the annotator was writing it
    assert generation.finish(images) == Tally(1, 0, 0)
    assert project.is_exact()


def test_a_generation_of_which_nothing_was_said_leaves_its_images(project: Project) -> None:
    images = draw(project, 2)
    waits: list[int] = []
    assert Generation(host_view(project)).finish(images, on_wait=waits.append) == Tally(0, 0, 2)
    assert not waits, "there is nothing to wait for"


def test_waiting_ends_with_the_last_thumbnail_and_tells_how_far_it_is(project: Project) -> None:
    images = draw(project, 3)
    generation = Generation(host_view(project))
    seen: list[int] = []
    address = f"{os.path.realpath(project.thumbnails)}/{SESSION}/2.webp"
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with BuildLocks(find_home().build_locks_file).holding(address):
            held.set()
            let_go.wait(10)

    def on_wait(done: int) -> None:
        seen.append(done)
        if done == 2:  # all but the one that is held
            let_go.set()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        for image in images:
            generation.saved(image)
        assert generation.finish(images, on_wait=on_wait) == Tally(3, 0, 0)
    finally:
        let_go.set()
        holder.join()
    assert 2 in seen
    assert seen == sorted(seen)


def test_an_interruption_while_it_waits_ends_its_threads(project: Project) -> None:
    images = draw(project, 2)
    generation = Generation(host_view(project))
    address = f"{os.path.realpath(project.thumbnails)}/{SESSION}/0.webp"

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with BuildLocks(find_home().build_locks_file).holding(address):
        for image in images:
            generation.saved(image)
        with pytest.raises(KeyboardInterrupt):
            generation.finish(images, on_wait=interrupt)
    wait_for(lambda: not [one for one in threading.enumerate() if one.name.startswith("thumbnails-generate")])


def test_an_image_outside_the_source_folder_is_not_ready(project: Project) -> None:
    images = draw(project, 1)
    (project.root / "elsewhere").mkdir()
    (project.root / "sdgen_config.json").write_text('{"thumbnails": {"source_dir": "elsewhere"}}')
    generation = Generation(host_view(project))
    generation.saved(images[0])
    tally = generation.finish(images)
    assert list(project.root.rglob("*.webp")) == []
    assert (tally.ready, tally.left) == (0, 1)
