from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from drawing import as_png
from engines import LONG_AGO_S, Engine, draw, inodes, open_engine, session_of
from sdgen_thumbnail_plugin.engine.renames import Orphans, packed_stamps, unpacked_stamps
from sdgen_thumbnail_plugin.model import Stamp
from watching import Project

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
        engine.audit()
        settle(project)
        engine.audit()


@pytest.fixture
def complete(project: Project) -> Project:
    """Two sessions of three and a deeper folder, complete and known to be."""
    draw_telling(project, OLD, 3)
    draw_telling(project, OLD, 2, below="deeper")
    draw_telling(project, session_of(3), 3)
    made_complete(project)
    return project


@pytest.fixture(params=["smart", "audit"])
def after(request: pytest.FixtureRequest) -> str:
    """Catching up begins with its smart half, or is the audit alone."""
    return str(request.param)


def caught_up(project: Project, after: str, *, height_px: int = 32) -> list[str]:
    """What the next start makes."""
    with open_engine(project, height_px=height_px) as engine:
        if after == "smart":
            engine.smart()
        summary = engine.audit()
        assert summary.held_back == 0
        assert_exact(engine)
        return engine.made()


def assert_exact(engine: Engine) -> None:
    project = engine.project
    sources = {path.relative_to(project.results).with_suffix(".webp") for path in project.results.rglob("*.png")}
    assert {path.relative_to(project.thumbnails) for path in project.thumbnails.rglob("*.webp")} == sources
    assert all(project.is_fresh(str(key.with_suffix(".png"))) for key in sources)


def test_a_session_renamed_while_away_keeps_its_thumbnails(complete: Project, after: str) -> None:
    before = inodes(complete)
    (complete.results / OLD).rename(complete.results / NEW)
    assert caught_up(complete, after) == []
    assert inodes(complete) == {key.replace(OLD, NEW): inode for key, inode in before.items()}
    assert not (complete.thumbnails / OLD).exists()


def test_a_session_moved_into_a_folder_keeps_its_thumbnails(complete: Project, after: str) -> None:
    before = inodes(complete)
    (complete.results / "archive").mkdir()
    (complete.results / OLD).rename(complete.results / "archive" / OLD)
    assert caught_up(complete, after) == []
    assert sorted(inodes(complete).values()) == sorted(before.values())


def test_a_renamed_session_that_lost_an_image_keeps_the_other_thumbnails(complete: Project, after: str) -> None:
    (complete.results / OLD).rename(complete.results / NEW)
    (complete.results / NEW / "001.png").unlink()
    assert caught_up(complete, after) == []


def test_many_renamed_sessions_are_not_held_back_as_deleted_ones(project: Project, after: str) -> None:
    for day in range(1, 6):
        draw_telling(project, session_of(day), 25)
    made_complete(project)
    for day in range(1, 6):
        (project.results / session_of(day)).rename(project.results / session_of(day + 20))
    assert caught_up(project, after) == []


def test_an_image_renamed_while_away_keeps_its_thumbnail(complete: Project, after: str) -> None:
    before = inodes(complete)
    (complete.results / OLD / "001.png").rename(complete.results / OLD / "best.png")
    assert caught_up(complete, after) == []
    assert inodes(complete)[f"{OLD}/best.webp"] == before[f"{OLD}/001.webp"]


@pytest.mark.parametrize(("start", "end"), [(OLD, session_of(3)), (session_of(3), OLD), (OLD, "favourites")])
def test_an_image_moved_to_another_session_while_away_keeps_its_thumbnail(
    complete: Project, start: str, end: str
) -> None:
    before = inodes(complete)
    (complete.results / end).mkdir(exist_ok=True)
    (complete.results / start / "001.png").rename(complete.results / end / "moved.png")
    assert caught_up(complete, "audit") == []
    assert inodes(complete)[f"{end}/moved.webp"] == before[f"{start}/001.webp"]


def test_an_image_renamed_and_written_over_is_made_anew(complete: Project, after: str) -> None:
    new = complete.results / OLD / "other.png"
    (complete.results / OLD / "001.png").rename(new)
    stamp = new.stat()
    new.write_bytes(new.read_bytes() + b"more")
    os.utime(new, ns=(stamp.st_mtime_ns, stamp.st_mtime_ns))
    assert caught_up(complete, after) == [f"{OLD}/other.png"]


def test_a_copy_with_the_same_time_gets_a_thumbnail_of_its_own(complete: Project, after: str) -> None:
    before = inodes(complete)
    shutil.copy2(complete.results / OLD / "001.png", complete.results / OLD / "copy.png")
    assert caught_up(complete, after) == [f"{OLD}/copy.png"]
    assert before.items() <= inodes(complete).items()


def test_images_that_nothing_tells_apart_are_made_anew(project: Project, after: str) -> None:
    for key in draw(project, OLD, 2):
        os.utime(project.results / key, ns=(NS + 5, NS + 5))
    made_complete(project)
    for name in ("000", "001"):
        (project.results / OLD / f"{name}.png").rename(project.results / OLD / f"{name}-renamed.png")
    assert len(caught_up(project, after)) == 2


def test_times_in_whole_seconds_tell_nothing(project: Project, after: str) -> None:
    draw(project, OLD, 1)
    made_complete(project)
    (project.results / OLD / "000.png").rename(project.results / OLD / "renamed.png")
    assert caught_up(project, after) == [f"{OLD}/renamed.png"]
    settle(project)
    caught_up(project, after)
    (project.results / OLD).rename(project.results / NEW)
    assert caught_up(project, after) == [f"{NEW}/renamed.png"]


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
        engine.audit(everything=True)
        assert engine.made() == [twins[1]]
    assert [shown(project, key) for key in twins] == ["red", "blue"]


def test_a_rename_told_late_leaves_the_thumbnail_of_an_image_alike_alone(project: Project, twins: list[str]) -> None:
    # The first went to another session and the second took its name, went on, and was made meanwhile.
    (project.results / NEW).mkdir()
    (project.results / twins[0]).rename(project.results / NEW / "000.png")
    (project.results / twins[1]).rename(project.results / OLD / "002.png")
    project.thumbnail(twins[1]).replace(project.thumbnail(twins[0]))
    with open_engine(project) as engine:
        assert not engine.reconciler.rename_image(twins[0], f"{NEW}/000.png")
        engine.audit()
    assert shown(project, f"{NEW}/000.png") == "red"
    assert shown(project, f"{OLD}/002.png") == "blue"


def test_thumbnails_made_with_other_settings_are_not_reused(complete: Project, after: str) -> None:
    (complete.results / OLD).rename(complete.results / NEW)
    assert len(caught_up(complete, after, height_px=20)) == 8


def test_a_failed_image_moves_along_and_is_not_tried_again(complete: Project) -> None:
    bad = complete.results / OLD / "bad.png"
    bad.write_bytes(b"broken")
    made_complete(complete)
    (complete.results / OLD).rename(complete.results / NEW)
    with open_engine(complete) as engine:
        engine.audit()
        assert engine.made() == []
        assert list(engine.catalog.failures()) == [f"{NEW}/bad.png"]


@given(st.dictionaries(st.text(), stamps))
def test_packed_stamps_are_those_of_the_images_in_the_order_of_their_names(sources: dict[str, Stamp]) -> None:
    assert unpacked_stamps(packed_stamps(sources)) == [sources[key] for key in sorted(sources)]


def test_a_directory_that_is_back_is_no_longer_offered() -> None:
    sources = {"s/a.png": Stamp(5, 100)}
    orphans = Orphans()
    assert orphans.note_gone(["s", "t"], ["s"]) == ["s"]
    orphans.note_directory("s", packed_stamps(sources))
    assert orphans.note_gone(["t"], []) == []
    assert orphans.note_gone(["s", "t"], ["s"]) == []
    orphans.note_gone(["s", "t"], [])
    assert orphans.take_directory(sources) is None
    assert orphans.note_gone(["s"], ["s"]) == ["s"]


@given(st.dictionaries(st.text(min_size=1), stamps, max_size=8))
def test_a_thumbnail_is_offered_once_and_only_for_its_own_stamp(sources: dict[str, Stamp]) -> None:
    orphans = Orphans()
    thumbnails = {key: Stamp(stamp.mtime_ns, 7) for key, stamp in sources.items()}
    orphans.note_images(thumbnails, thumbnails, packed_stamps(sources))
    for stamp in sources.values():
        found = orphans.take_image(stamp)
        alike = [key for key in sources if sources[key].mtime_ns == stamp.mtime_ns]
        assert found == (alike[0] if len(alike) == 1 and stamp.mtime_ns % 10**9 else None)
        assert orphans.take_image(stamp) is None
