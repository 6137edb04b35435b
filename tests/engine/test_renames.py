from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdgen_thumbnail_plugin.engine.renames import LostThumbnails
from sdgen_thumbnail_plugin.imaging.webp import Mark, marked
from sdgen_thumbnail_plugin.model import Stamp
from sdgen_thumbnail_plugin.storage.base import Listing
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from support.engine import Engine, open_engine
from support.pictures import as_png
from support.project import LONG_AGO_S, QUICK, Project, draw, inodes, session_of, thumbnail_bytes

OLD, NEW = session_of(1), session_of(2)
NS = LONG_AGO_S * 10**9

numbers = st.integers(-(2**63), 2**63 - 1)
stamps = st.builds(Stamp, numbers, numbers)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def draw_telling(project: Project, session: str, count: int, *, below: str = "") -> list[str]:
    """Images that differ in time and size, as generated ones do."""
    keys = draw(project, f"{session}/{below}" if below else session, count)
    for number, key in enumerate(keys):
        path = project.results / key
        with path.open("ab") as file:
            file.write(bytes(number))
        ns = NS + len(session + below) * 10**12 + int(session[6:8]) * 10**10 + number * 1_000_003 + 1
        os.utime(path, ns=(ns, ns))
    settle(project)
    return keys


def settle(project: Project) -> None:
    """As if the last change were long ago: nobody needs to look again."""
    for root in (project.results, project.thumbnails):
        for folder in [root, *root.rglob("*")]:
            if folder.is_dir():
                os.utime(folder, (LONG_AGO_S, LONG_AGO_S))


def made_complete(project: Project) -> None:
    with open_engine(project) as engine:
        engine.catch_up()
        settle(project)
        engine.catch_up()


@pytest.fixture
def complete(project: Project) -> Project:
    """Two sessions of three and a deeper folder, complete and known to be."""
    draw_telling(project, OLD, 3)
    draw_telling(project, OLD, 2, below="deeper")
    draw_telling(project, session_of(3), 3)
    made_complete(project)
    return project


def caught_up(project: Project, *, height_px: int = 32) -> list[str]:
    """What the next start makes."""
    with open_engine(project, height_px=height_px) as engine:
        summary = engine.catch_up()
        assert summary.held_back == 0
        assert_exact(engine)
        return engine.made()


def assert_exact(engine: Engine) -> None:
    project = engine.project
    sources = {path.relative_to(project.results).with_suffix(".webp") for path in project.results.rglob("*.png")}
    assert {path.relative_to(project.thumbnails) for path in project.thumbnails.rglob("*.webp")} == sources
    assert all(project.is_fresh(str(key.with_suffix(".png"))) for key in sources)


def test_a_session_renamed_while_away_keeps_its_thumbnails(complete: Project) -> None:
    before = inodes(complete)
    (complete.results / OLD).rename(complete.results / NEW)
    assert caught_up(complete) == []
    assert inodes(complete) == {key.replace(OLD, NEW): inode for key, inode in before.items()}
    assert not (complete.thumbnails / OLD).exists()


def test_a_session_moved_into_a_folder_keeps_its_thumbnails(complete: Project) -> None:
    before = inodes(complete)
    (complete.results / "archive").mkdir()
    (complete.results / OLD).rename(complete.results / "archive" / OLD)
    assert caught_up(complete) == []
    assert sorted(inodes(complete).values()) == sorted(before.values())


def test_a_renamed_session_that_lost_an_image_keeps_the_other_thumbnails(complete: Project) -> None:
    (complete.results / OLD).rename(complete.results / NEW)
    (complete.results / NEW / "001.png").unlink()
    assert caught_up(complete) == []


def test_many_renamed_sessions_are_not_held_back_as_deleted_ones(project: Project) -> None:
    for day in range(1, 6):
        draw_telling(project, session_of(day), 25)
    made_complete(project)
    for day in range(1, 6):
        (project.results / session_of(day)).rename(project.results / session_of(day + 20))
    assert caught_up(project) == []


def test_an_image_renamed_while_away_keeps_its_thumbnail(complete: Project) -> None:
    before = inodes(complete)
    (complete.results / OLD / "001.png").rename(complete.results / OLD / "best.png")
    assert caught_up(complete) == []
    assert inodes(complete)[f"{OLD}/best.webp"] == before[f"{OLD}/001.webp"]


def test_a_thumbnail_that_lost_its_time_has_it_again_under_the_new_name(complete: Project) -> None:
    thumbnail = complete.thumbnail(f"{OLD}/001.png")
    os.utime(thumbnail, ns=(0, thumbnail.stat().st_mtime_ns - 500_000_000))
    (complete.results / OLD / "001.png").rename(complete.results / OLD / "best.png")
    assert caught_up(complete) == []


def test_an_image_of_a_session_that_is_gone_keeps_its_thumbnail_in_another_one(complete: Project) -> None:
    before = inodes(complete)
    (complete.results / OLD / "001.png").rename(complete.results / session_of(3) / "moved.png")
    shutil.rmtree(complete.results / OLD)
    assert caught_up(complete) == []
    assert inodes(complete)[f"{session_of(3)}/moved.webp"] == before[f"{OLD}/001.webp"]


def test_an_image_moved_to_another_session_has_its_thumbnail_there(complete: Project) -> None:
    (complete.results / OLD / "001.png").rename(complete.results / session_of(3) / "moved.png")
    assert caught_up(complete) in ([], [f"{session_of(3)}/moved.png"])


def test_an_image_renamed_and_written_over_is_made_anew(complete: Project) -> None:
    new = complete.results / OLD / "other.png"
    (complete.results / OLD / "001.png").rename(new)
    stamp = new.stat()
    new.write_bytes(new.read_bytes() + b"more")
    os.utime(new, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert caught_up(complete) == [f"{OLD}/other.png"]


def test_a_copy_with_the_same_time_gets_a_thumbnail_of_its_own(complete: Project) -> None:
    before = inodes(complete)
    shutil.copy2(complete.results / OLD / "001.png", complete.results / OLD / "copy.png")
    assert caught_up(complete) == [f"{OLD}/copy.png"]
    assert before.items() <= inodes(complete).items()


def test_images_that_nothing_tells_apart_are_made_anew(project: Project) -> None:
    for key in draw(project, OLD, 2):
        os.utime(project.results / key, ns=(NS + 5, NS + 5))
    made_complete(project)
    for name in ("000", "001"):
        (project.results / OLD / f"{name}.png").rename(project.results / OLD / f"{name}-renamed.png")
    assert len(caught_up(project)) == 2


def test_times_in_whole_seconds_tell_nothing(project: Project) -> None:
    draw(project, OLD, 1)
    made_complete(project)
    (project.results / OLD / "000.png").rename(project.results / OLD / "renamed.png")
    assert caught_up(project) == [f"{OLD}/renamed.png"]
    settle(project)
    caught_up(project)
    (project.results / OLD).rename(project.results / NEW)
    assert caught_up(project) == [f"{NEW}/renamed.png"]


@pytest.fixture
def twins(project: Project) -> list[str]:
    """Two images that nothing but their contents tells apart, complete and known to be."""
    keys = [f"{OLD}/000.png", f"{OLD}/001.png"]
    (project.results / OLD).mkdir(parents=True)
    for key, colour in zip(keys, ("red", "blue"), strict=True):
        (project.results / key).write_bytes(as_png(Image.new("RGB", (48, 64), colour)).ljust(200, b"\0"))
        os.utime(project.results / key, (LONG_AGO_S, LONG_AGO_S))
    first, second = ((project.results / key).stat() for key in keys)
    assert first.st_size == second.st_size
    made_complete(project)
    return keys


def shown(project: Project, key: str) -> str:
    """What colour the thumbnail of one of them has."""
    with Image.open(project.thumbnail(key)) as image:
        red, _, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    return "red" if red > blue else "blue"


def test_two_thumbnails_made_from_one_of_two_images_alike_are_found_out(project: Project, twins: list[str]) -> None:
    # As when the other had its name for a moment, and was read then.
    shutil.copy2(project.thumbnail(twins[0]), project.thumbnail(twins[1]))
    with open_engine(project) as engine:
        engine.catch_up(everything=True)
        assert engine.made() == [twins[1]]
    assert [shown(project, key) for key in twins] == ["red", "blue"]


def test_a_rename_told_late_leaves_the_thumbnail_of_an_image_alike_alone(project: Project, twins: list[str]) -> None:
    # The first went to another session and the second took its name, went on, and was made meanwhile.
    (project.results / NEW).mkdir()
    (project.results / twins[0]).rename(project.results / NEW / "000.png")
    (project.results / twins[1]).rename(project.results / OLD / "002.png")
    project.thumbnail(twins[1]).replace(project.thumbnail(twins[0]))
    with open_engine(project) as engine:
        assert not engine.directories.rename_image(twins[0], f"{NEW}/000.png")
        engine.catch_up()
    assert shown(project, f"{NEW}/000.png") == "red"
    assert shown(project, f"{OLD}/002.png") == "blue"


def test_thumbnails_made_with_other_settings_are_not_reused(complete: Project) -> None:
    (complete.results / OLD).rename(complete.results / NEW)
    assert len(caught_up(complete, height_px=20)) == 8


def test_a_failed_image_moves_along_and_is_not_tried_again(complete: Project) -> None:
    bad = complete.results / OLD / "bad.png"
    bad.write_bytes(b"broken")
    made_complete(complete)
    (complete.results / OLD).rename(complete.results / NEW)
    with open_engine(complete) as engine:
        engine.catch_up()
        assert engine.made() == []
        assert list(engine.catalog.failures()) == [f"{NEW}/bad.png"]


class Thumbnails(LocalImageStorage):
    """Thumbnails that exist as heads alone."""

    def __init__(self, heads: dict[str, bytes]) -> None:
        super().__init__(Path("/nowhere"), ".webp")
        self._heads = heads

    def list_directory(self, directory: str) -> Listing:
        return Listing({key: Stamp(1, 1) for key in self._heads if key.startswith(f"{directory}/")})

    def read_heads(self, keys: Sequence[str], limit_bytes: int) -> dict[str, bytes]:
        return {key: self._heads[key][:limit_bytes] for key in keys if key in self._heads}


def lost(made_from: dict[str, Stamp]) -> LostThumbnails:
    """Thumbnails by what they were made from."""
    webp = thumbnail_bytes()
    plain = webp[:12] + webp[webp.index(b"VP8 ") :]
    heads = {key: marked(plain, Mark(stamp, 0, QUICK.quality, QUICK.method)) for key, stamp in made_from.items()}
    return LostThumbnails(Thumbnails(heads), QUICK)


def test_a_directory_that_is_back_is_no_longer_offered() -> None:
    found = lost({"s/a.webp": Stamp(5, 100)})
    found.note_gone(["s"])
    assert found.find_directory("t", {"t/a.png": Stamp(5, 100)}) == "s"
    found.forget_directory("s")
    assert found.find_directory("t", {"t/a.png": Stamp(5, 100)}) is None


def test_a_directory_is_offered_for_all_its_images_by_the_same_names_only() -> None:
    found = lost({"s/a.webp": Stamp(5, 100), "s/b.webp": Stamp(6, 100)})
    found.note_gone(["s"])
    both = {"t/a.png": Stamp(5, 100), "t/b.png": Stamp(6, 100)}
    assert found.find_directory("t", both) == "s"
    assert found.find_directory("t", both | {"t/new.png": Stamp(7, 1)}) == "s"
    assert found.find_directory("t", {"t/a.png": Stamp(5, 100)}) is None
    assert found.find_directory("t", {"t/b.png": Stamp(5, 100), "t/a.png": Stamp(6, 100)}) is None
    assert found.find_directory("t", both | {"t/old.png": Stamp(10**9, 1)}) is None, "a time in whole seconds"


@given(st.dictionaries(st.text(st.characters(exclude_characters="/"), min_size=1), stamps, max_size=8))
def test_a_thumbnail_is_offered_for_its_own_stamp_only_and_not_where_two_are_alike(sources: dict[str, Stamp]) -> None:
    found = lost({f"s/{name}.webp": stamp for name, stamp in sources.items()})
    found.note_orphans(f"s/{name}.webp" for name in sources)
    for name, stamp in sources.items():
        alike = [other for other in sources if sources[other] == stamp]
        expected = {"t/x.png": f"s/{name}.webp"} if len(alike) == 1 and stamp.version % 10**9 else {}
        assert found.find_images({"t/x.png": stamp}) == expected
    for stamp in sources.values():
        found.forget_image(stamp)
        assert found.find_images({"t/x.png": stamp}) == {}
