"""The one thumbnail that somebody asks for now."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import sdgen_thumbnail_plugin
from sdgen_thumbnail_plugin import generate_thumbnail, generate_thumbnail_sync
from sdgen_thumbnail_plugin.engine import reconcile
from sdgen_thumbnail_plugin.engine.catalog import Catalog, DirectoryRecord
from sdgen_thumbnail_plugin.errors import (
    AccessDeniedError,
    ImageError,
    MachineError,
    NameTakenError,
    NotAnImageError,
    NotAPngError,
    SettingsError,
    SourceGoneError,
    ThumbnailError,
    TooManyPixelsError,
    TruncatedImageError,
    UnusableNameError,
)
from sdgen_thumbnail_plugin.imaging import thumbnail
from sdgen_thumbnail_plugin.model import Failure, Recipe, Stamp
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.version import __version__
from support.pictures import png
from support.project import Project, just_now
from support.waiting import begin_together, wait_for
from support.watcher import watching

NAME = "20261101_120000-s/a.png"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.root.mkdir()
    (project.root / "sdgen_config.json").write_text("{}")
    return project


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The modification times of the images of all builds in this process."""
    built: list[int] = []
    needed_pixels = reconcile.needed_pixels  # type: ignore[attr-defined]

    def counted(head: bytes, stamp: Stamp, *, max_pixels: int) -> int:
        built.append(stamp.version)
        return needed_pixels(head, stamp, max_pixels=max_pixels)

    monkeypatch.setattr(reconcile, "needed_pixels", counted)
    return built


def modified_ns(project: Project, *names: str) -> list[int]:
    return sorted((project.results / name).stat().st_mtime_ns for name in names)


def ask(project: Project, name: str = NAME) -> Path:
    return generate_thumbnail_sync(project.results / name, project.thumbnail(name))


def catalog_of(project: Project) -> Catalog:
    roots = [os.path.realpath(root) for root in (project.results, project.thumbnails)]
    return Catalog(find_home().catalog_file(roots[0], roots[1]))


def from_threads(count: int, work: Callable[[], object]) -> list[object]:
    """What the work returned, or raised, in so many threads that begin together."""
    together = threading.Barrier(count)

    def run() -> object:
        together.wait()
        try:
            return work()
        except ThumbnailError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(count)]]


def test_a_missing_thumbnail_is_made_by_all_the_rules(project: Project) -> None:
    source = project.image(NAME)
    thumbnail = ask(project)
    assert thumbnail == project.thumbnail(NAME)
    assert project.is_exact()
    assert thumbnail.stat().st_mtime_ns == source.stat().st_mtime_ns
    with Image.open(thumbnail) as image:
        assert (image.format, image.size) == ("WEBP", (180, 240))


def test_a_fresh_thumbnail_is_left_alone_and_a_stale_one_made_anew(project: Project, builds: list[int]) -> None:
    project.image(NAME)
    first = ask(project).stat()
    assert ask(project).stat() == first
    assert len(builds) == 1
    (project.results / NAME).write_bytes(png((64, 64)))
    ask(project)
    assert len(builds) == 2
    os.utime(project.results / NAME, (1_600_000_000, 1_600_000_000))  # an older file copied over it
    ask(project)
    assert len(builds) == 3
    assert project.is_exact()


def test_a_hundred_threads_cause_one_build(project: Project, builds: list[int]) -> None:
    project.image(NAME)
    assert from_threads(100, lambda: ask(project)) == [project.thumbnail(NAME)] * 100
    assert len(builds) == 1
    assert project.is_exact()


def test_beside_a_running_watcher_there_is_one_build_of_each_image(
    project: Project, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(project.home.root))
    names = [f"20261101_120000-s/{number}.png" for number in range(8)]
    project.image("20261101_120000-s/first.png")
    with watching(project):
        for name in names:
            # Moved into place: an attempt of the watcher's at a half-written file would count as a build.
            (project.root / "whole").write_bytes(png())
            (project.root / "whole").replace(project.results / name)
            assert from_threads(3, lambda name=name: ask(project, name)) == [project.thumbnail(name)] * 3  # type: ignore[misc]
        wait_for(project.is_exact)
    assert sorted(builds) == modified_ns(project, *names, "20261101_120000-s/first.png")


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Lets builds take a while; how many were at work at once, each time one began."""
    at_once: list[int] = []
    inside: set[int] = set()
    make = thumbnail.make_thumbnail

    def slow(data: bytes, recipe: Recipe, *, max_pixels: int) -> bytes:
        inside.add(threading.get_ident())
        at_once.append(len(inside))
        time.sleep(0.02)  # for others to come in, if they could
        at_once.append(len(inside))
        inside.discard(threading.get_ident())
        return make(data, recipe, max_pixels=max_pixels)

    monkeypatch.setattr(thumbnail, "make_thumbnail", slow)
    yield at_once
    assert inside == set()


def ask_for_many(project: Project, count: int) -> list[object]:
    """Asks for so many different thumbnails at once."""
    names = [f"20261101_120000-s/{number}.png" for number in range(count)]
    for name in names:
        project.image(name)
    left = list(names)
    return from_threads(count, lambda: ask(project, left.pop()))


def test_no_more_builds_at_once_than_processors(project: Project, slowly: list[int]) -> None:
    ask_for_many(project, (os.cpu_count() or 1) + 4)
    assert project.is_exact()
    assert max(slowly) <= (os.cpu_count() or 1)


def test_builds_wait_for_room_in_memory(project: Project, slowly: list[int]) -> None:
    (project.root / "sdgen_config.json").write_text(json.dumps({"thumbnails": {"memory_pixels": 48 * 64}}))
    ask_for_many(project, 6)
    assert project.is_exact()
    assert max(slowly) == 1


ASKER = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from sdgen_thumbnail_plugin import generate_thumbnail_sync
from sdgen_thumbnail_plugin.engine import reconcile

builds = []
needed_pixels = reconcile.needed_pixels
reconcile.needed_pixels = lambda *arguments, **named: builds.append(1) or needed_pixels(*arguments, **named)
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(25) as pool:
    paths = set(pool.map(lambda _: generate_thumbnail_sync(*sys.argv[1:]), range(25)))
assert [str(path) for path in paths] == [sys.argv[2]], paths
print(len(builds))
"""


def test_four_processes_with_a_hundred_threads_cause_one_build(project: Project) -> None:
    project.image(NAME)
    paths = [str(project.results / NAME), str(project.thumbnail(NAME))]
    askers = begin_together(ASKER, *paths, count=4)
    assert sum(int(asker.communicate(timeout=30)[0]) for asker in askers) == 1
    assert project.is_exact()


def test_a_failure_is_shared_and_not_tried_again_before_the_file_changes(project: Project, builds: list[int]) -> None:
    source = project.image(NAME)
    source.write_text("no image")
    found = from_threads(20, lambda: ask(project))
    assert {type(error) for error in found} == {NotAnImageError}
    assert len(builds) == 1
    with pytest.raises(NotAnImageError) as caught:
        ask(project)
    assert caught.value.path == str(source)
    assert caught.value.remedy
    assert len(builds) == 1
    source.write_bytes(png())
    ask(project)
    assert project.is_exact()


def test_a_failure_reaches_the_watchers_catalog(project: Project) -> None:
    project.image(NAME).write_text("no image")
    with catalog_of(project):
        pass
    with pytest.raises(NotAnImageError):
        ask(project)
    with catalog_of(project) as catalog:
        assert list(catalog.failures()) == [NAME]


def let_the_watcher_know_a_failure(project: Project, version: str) -> None:
    status = project.image(NAME).stat()
    stamp = Stamp(status.st_mtime_ns, status.st_size)
    with catalog_of(project) as catalog:
        catalog.put_failure(Failure(NAME, stamp, "TooManyPixelsError", "is too large", "shrink it", version, 0.0))


def test_a_failure_that_the_watcher_knows_is_not_tried(project: Project, builds: list[int]) -> None:
    let_the_watcher_know_a_failure(project, __version__)
    with pytest.raises(TooManyPixelsError) as caught:
        ask(project)
    assert (caught.value.message, caught.value.remedy) == ("is too large", "shrink it")
    assert caught.value.path == str(project.results / NAME)
    assert builds == []


def test_a_failure_of_another_version_is_tried_again_and_forgotten(project: Project) -> None:
    let_the_watcher_know_a_failure(project, "0.0.0")
    ask(project)
    assert project.is_exact()
    with catalog_of(project) as catalog:
        assert catalog.failures() == {}


def test_an_image_larger_than_the_limit_is_refused(project: Project) -> None:
    (project.root / "sdgen_config.json").write_text(json.dumps({"thumbnails": {"max_pixels": 48 * 64 - 1}}))
    project.image(NAME)
    with pytest.raises(TooManyPixelsError):
        ask(project)


def test_a_missing_image_is_told_and_its_thumbnail_left_to_the_watcher(project: Project) -> None:
    project.image(NAME)
    project.image("20261101_120000-s/other.png")
    ask(project)
    (project.results / NAME).unlink()
    before = project.thumbnail(NAME).stat()
    with pytest.raises(SourceGoneError) as caught:
        ask(project)
    assert caught.value.path == str(project.results / NAME)
    project.results.rename(project.root / "unmounted")
    with pytest.raises(SourceGoneError):
        ask(project)
    assert project.thumbnail(NAME).stat() == before


@pytest.mark.parametrize(
    ("source", "thumbnail", "error"),
    [("a.jpg", "a.webp", NotAPngError), ("a.png", "a.jpg", UnusableNameError), (".a.png", "a.webp", NotAPngError)],
)
def test_other_names_are_refused(tmp_path: Path, source: str, thumbnail: str, error: type[ImageError]) -> None:
    (tmp_path / source).write_bytes(png())
    with pytest.raises(error):
        generate_thumbnail_sync(tmp_path / source, tmp_path / thumbnail)
    assert not (tmp_path / thumbnail).exists()


def test_of_two_images_with_one_thumbnail_it_belongs_to_the_first(project: Project) -> None:
    project.image(NAME)
    project.image(NAME.replace(".png", ".PNG"))
    ask(project)
    with pytest.raises(NameTakenError):
        generate_thumbnail_sync(project.results / NAME.replace(".png", ".PNG"), project.thumbnail(NAME))


def test_any_folder_and_any_name_will_do(tmp_path: Path, builds: list[int]) -> None:
    source = tmp_path / "anywhere" / "a.png"
    source.parent.mkdir()
    source.write_bytes(png())
    wanted = tmp_path / "cache" / "deep" / "1234.webp"
    assert generate_thumbnail_sync(str(source), str(wanted)) == wanted
    assert wanted.stat().st_mtime_ns == source.stat().st_mtime_ns
    generate_thumbnail_sync(source, wanted)
    assert len(builds) == 1
    source.write_text("broken")
    just_now(source, seconds_ago=60)
    for _ in range(2):
        with pytest.raises(NotAnImageError):
            generate_thumbnail_sync(source, wanted)
        assert not wanted.exists(), "it showed what the file was before it broke"
    assert len(builds) == 2


@pytest.mark.parametrize("how", ["nearest", "variable"])
def test_the_projects_settings_hold(project: Project, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    config = project.root / "sdgen_config.json"
    if how == "variable":
        config = project.root / "elsewhere" / "sdgen_config.json"
        config.parent.mkdir()
        monkeypatch.setenv("SDGEN_CONFIG_PATH", str(config))
    config.write_text(json.dumps({"thumbnails": {"height_px": 100}}))
    project.image(NAME)
    with Image.open(ask(project)) as image:
        assert image.size == (75, 100)


@pytest.mark.parametrize("place", ["source", "thumbnail", "working directory", "environment", "nowhere"])
def test_settings_are_looked_for_above_image_and_thumbnail_and_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folders = {name: tmp_path / name for name in ("source", "thumbnail", "working directory")}
    for folder in folders.values():
        (folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(folders["working directory"] / "deep" / "er")
    chosen = json.dumps({"thumbnails": {"height_px": 100}})
    if place in folders:
        (folders[place] / "sdgen_config.json").write_text(chosen)
    elif place == "environment":
        monkeypatch.setenv("SDGEN_THUMBNAILS_HEIGHT_PX", "100")
    source = folders["source"] / "deep" / "er" / "a.png"
    source.write_bytes(png())
    with Image.open(generate_thumbnail_sync(source, folders["thumbnail"] / "deep" / "er" / "a.webp")) as image:
        assert image.height == (240 if place == "nowhere" else 100)


def test_the_images_own_project_comes_before_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, height_px in ((".", 50), ("source", 60), ("source/inner", 70), ("thumbnail", 80), ("here", 90)):
        (tmp_path / place).mkdir(exist_ok=True)
        config = {"thumbnails": {"height_px": height_px}}
        (tmp_path / place / "sdgen_config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path / "here")
    source = tmp_path / "source" / "inner" / "a.png"
    source.write_bytes(png())
    with Image.open(generate_thumbnail_sync(source, tmp_path / "thumbnail" / "a.webp")) as image:
        assert image.height == 70


@pytest.mark.parametrize("where", ["file", "environment"])
def test_settings_changed_between_two_calls_hold_for_the_second(
    project: Project, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    project.image(NAME)
    ask(project)
    project.thumbnail(NAME).unlink()
    if where == "file":
        (project.root / "sdgen_config.json").write_text(json.dumps({"thumbnails": {"height_px": 100}}))
    else:
        monkeypatch.setenv("SDGEN_THUMBNAILS_HEIGHT_PX", "100")
    with Image.open(ask(project)) as image:
        assert image.height == 100


def test_wrong_settings_are_told(project: Project) -> None:
    project.image(NAME)
    (project.root / "sdgen_config.json").write_text('{"thumbnails": {"height_px": "tall"}}')
    with pytest.raises(SettingsError):
        ask(project)


def test_changed_heights_are_seen_where_nothing_is_remembered(project: Project, builds: list[int]) -> None:
    project.image(NAME)
    ask(project)
    for height_px in (100, 120, 100):
        (project.root / "sdgen_config.json").write_text(json.dumps({"thumbnails": {"height_px": height_px}}))
        for _ in range(3):
            ask(project)
        with Image.open(project.thumbnail(NAME)) as image:
            assert image.height == height_px
    assert len(builds) == 4


def test_changed_settings_make_it_anew_once(project: Project, builds: list[int]) -> None:
    project.image(NAME)
    ask(project)
    with catalog_of(project) as catalog:
        catalog.put(NAME.partition("/")[0], DirectoryRecord(recipe="h240-q85-m6", complete=True))
    (project.root / "sdgen_config.json").write_text(json.dumps({"thumbnails": {"height_px": 100}}))
    for _ in range(3):
        ask(project)
    assert len(builds) == 2
    with Image.open(project.thumbnail(NAME)) as image:
        assert image.height == 100


def test_a_newer_thumbnail_of_another_program_is_adopted(project: Project, builds: list[int]) -> None:
    source = project.image(NAME)
    os.utime(source, (1_700_000_000, 1_700_000_000))
    other = project.thumbnail(NAME)
    other.parent.mkdir(parents=True)
    Image.new("RGB", (200, 256)).save(other, "WEBP")
    ask(project)
    assert builds == []
    assert project.is_exact()


def test_a_file_that_is_being_written_is_waited_for(project: Project) -> None:
    content = png()
    source = project.results / NAME
    source.parent.mkdir(parents=True)
    source.write_bytes(content[:-40])

    def complete() -> None:
        source.write_bytes(content)

    timer = threading.Timer(0.2, complete)
    timer.start()
    ask(project)
    timer.join()
    assert project.is_exact()


def test_an_old_file_that_ends_too_early_is_a_failure(project: Project) -> None:
    source = project.image(NAME)
    source.write_bytes(png()[:-40])
    just_now(source, seconds_ago=60)
    with pytest.raises(TruncatedImageError):
        ask(project)


def test_a_target_that_cannot_be_written_is_the_machines_fault(project: Project) -> None:
    project.image(NAME)
    project.thumbnails.write_text("in the way")
    with pytest.raises(MachineError) as caught:
        ask(project)
    assert caught.value.remedy


def test_a_read_only_disk_is_told(project: Project, read_only_disk: Path) -> None:
    project.image(NAME)
    with pytest.raises(AccessDeniedError):
        generate_thumbnail_sync(project.results / NAME, read_only_disk / "a.webp")


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """The pool of the async twin lives as long as the process; a test ends it."""
    from sdgen_thumbnail_plugin import api

    yield
    api._threads(os.getpid()).shutdown()
    api._threads.cache_clear()


@pytest.mark.usefixtures("no_threads_left")
def test_the_async_twin_works_in_threads_of_its_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []
    make = thumbnail.make_thumbnail

    def noting(data: bytes, recipe: Recipe, *, max_pixels: int) -> bytes:
        places.append(threading.current_thread().name)
        return make(data, recipe, max_pixels=max_pixels)

    monkeypatch.setattr(thumbnail, "make_thumbnail", noting)
    project.image(NAME)
    asyncio.run(generate_thumbnail(project.results / NAME, project.thumbnail(NAME)))
    assert len(places) == 1
    assert places[0].startswith("thumbnails-on-demand")


@pytest.mark.usefixtures("no_threads_left")
def test_the_async_twin_does_the_same(project: Project, builds: list[int]) -> None:
    names = [f"20261101_120000-s/{number}.png" for number in range(5)]
    for name in names:
        project.image(name)

    async def all_twice() -> list[Path]:
        asked = [generate_thumbnail(project.results / name, project.thumbnail(name)) for name in names * 2]
        return list(await asyncio.gather(*asked))

    assert asyncio.run(all_twice()) == [project.thumbnail(name) for name in names * 2]
    assert sorted(builds) == modified_ns(project, *names)
    assert project.is_exact()
    with pytest.raises(SourceGoneError):
        asyncio.run(generate_thumbnail(project.results / "none.png", project.thumbnail("none.png")))


def test_the_package_alone_is_cheap_to_import() -> None:
    code = "import sys, sdgen_thumbnail_plugin; print(sorted({'PIL', 'sqlite3', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env=_path_of_the_package()
    )
    assert done.stdout.strip() == "[]", done.stderr


def _path_of_the_package() -> dict[str, str]:
    place = sdgen_thumbnail_plugin.__file__
    assert place is not None
    return {**os.environ, "PYTHONPATH": str(Path(place).parent.parent)}


def test_the_package_offers_nothing_else() -> None:
    with pytest.raises(AttributeError):
        sdgen_thumbnail_plugin.generate_everything  # noqa: B018
