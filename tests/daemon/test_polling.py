"""What one look at the directories finds, without any observer around it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll, Findings, Pace
from support.engine import Engine, open_engine
from support.pictures import png
from support.project import LONG_AGO_S, Project, draw, just_now, session_of

OLD, ACTIVE = session_of(1), session_of(2)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An old session and an active one, everything complete and known to be."""
    project = Project(tmp_path)
    for session in (OLD, ACTIVE):
        draw(project, session, 2, done=2)
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
        make_active(engine)
        yield engine


def make_active(engine: Engine) -> None:
    """Something happened in it a minute ago; what happened is done."""
    for root in (engine.project.results, engine.project.thumbnails):
        just_now(root / ACTIVE, seconds_ago=60)
    engine.catch_up()


@pytest.fixture
def poll(engine: Engine) -> DirectoryPoll:
    poll = DirectoryPoll(engine.directories, engine.parts.sessions)
    found = look(poll)
    assert (found.directories, found.files) == ([], [])
    return poll


def look(poll: DirectoryPoll, *, besides: list[str] | None = None) -> Findings:
    return poll.look(besides=besides, share=1e6)


def test_nothing_is_found_where_nothing_happens(engine: Engine, poll: DirectoryPoll) -> None:
    engine.source.listed.clear()
    engine.target.listed.clear()
    found = look(poll)
    assert (found.directories, found.files) == ([], [])
    assert engine.source.listed == [ACTIVE]
    assert not engine.target.listed


@pytest.mark.parametrize("session", [OLD, ACTIVE])
def test_a_new_and_a_deleted_image_are_found_by_the_next_look(
    engine: Engine, poll: DirectoryPoll, session: str
) -> None:
    folder = engine.project.results / session
    (folder / "new.png").write_bytes(png())
    assert look(poll).directories == [session]
    engine.catch_up()
    make_active(engine)
    (folder / "new.png").unlink()
    assert session in look(poll).directories


def test_an_image_written_over_in_an_active_session_is_found_by_the_next_look(
    engine: Engine, poll: DirectoryPoll
) -> None:
    path = engine.project.results / ACTIVE / "000.png"
    with path.open("r+b") as file:
        file.write(png((32, 48)))
    found = look(poll)
    assert (found.directories, found.files) == ([], [f"{ACTIVE}/000.png"])
    assert look(poll).files == []


def test_a_session_that_is_being_generated_is_active_however_old_it_is(engine: Engine) -> None:
    (engine.project.results / OLD / "manifest.json").write_text(json.dumps({"status": "ongoing"}))
    os.utime(engine.project.results / OLD, (LONG_AGO_S, LONG_AGO_S))
    poll = DirectoryPoll(engine.directories, engine.parts.sessions)
    look(poll)
    just_now(engine.project.results / OLD / "000.png")
    assert look(poll).files == [f"{OLD}/000.png"]


def test_a_new_session_is_told_by_its_root(engine: Engine, poll: DirectoryPoll) -> None:
    draw(engine.project, session_of(3), 1)
    assert look(poll).directories == [""]


def test_a_quick_look_asks_for_the_root_the_active_and_the_named_directories_alone(
    engine: Engine, poll: DirectoryPoll
) -> None:
    engine.source.asked.clear()
    for session in (OLD, ACTIVE):
        (engine.project.results / session / "new.png").write_bytes(png())
    assert look(poll, besides=[]).directories == [ACTIVE]
    assert set(engine.source.asked) == {"", ACTIVE}
    assert sorted(look(poll, besides=[OLD]).directories) == [OLD, ACTIVE]


def test_files_of_a_directory_that_only_waits_for_the_catch_up_are_not_listed(
    engine: Engine, poll: DirectoryPoll
) -> None:
    waiting = session_of(3)
    draw(engine.project, waiting, 2)
    engine.project.age()
    make_active(engine)
    engine.catalog.forget(waiting)
    engine.catalog.discover([waiting])
    engine.source.listed.clear()
    assert look(poll, besides=[waiting]).directories == [waiting]
    look(poll, besides=[])
    assert waiting not in engine.source.listed


def test_listing_a_large_folder_pauses_while_directories_are_looked_at(engine: Engine, poll: DirectoryPoll) -> None:
    for _ in range(3):
        poll.look(share=1e-9)  # from now on listing has used up its share for years
    engine.source.listed.clear()
    (engine.project.results / ACTIVE / "new.png").write_bytes(png())
    assert look(poll).directories == [ACTIVE]
    assert engine.source.listed == []


def test_of_a_root_that_is_not_there_all_is_found_and_nothing_changed(engine: Engine, poll: DirectoryPoll) -> None:
    engine.project.results.rename(engine.project.root / "away")
    assert set(look(poll).directories) == {"", OLD, ACTIVE}
    assert engine.project.thumbnail(f"{OLD}/000.png").exists()


# -- how pauses grow with what something costs


def test_what_costs_little_is_due_after_the_shortest_pause() -> None:
    pace = Pace(1.0)
    assert pace.is_due
    pace.note(0.001, share=0.1, shortest_s=1.0)
    assert pace.pause_s == 1.0
    assert not pace.is_due


def test_what_costs_much_takes_no_more_than_its_share() -> None:
    pace = Pace(1.0)
    for _ in range(3):
        pace.note(3.0, share=0.1, shortest_s=1.0)
    assert pace.pause_s == pytest.approx(30.0)
    assert pace.due_at_s - time.monotonic() == pytest.approx(30.0, abs=1.0)


def test_an_interruption_does_not_put_it_off() -> None:
    pace = Pace(1.0)
    pauses_s = []
    for cost_s in (0.001, 600.0, 600.0, 0.001, 600.0, 0.001):
        pace.note(cost_s, share=0.1, shortest_s=1.0)
        pauses_s.append(pace.pause_s)
    assert pauses_s == [1.0] * 6


def test_it_can_be_hastened_and_not_put_off_by_that() -> None:
    pace = Pace(1.0)
    for _ in range(3):
        pace.note(3.0, share=0.1, shortest_s=1.0)
    due_at_s = pace.due_at_s
    pace.hasten(3600.0)
    assert pace.due_at_s == due_at_s
    pace.hasten(0.0)
    assert pace.is_due
