"""One look at a directory: what is found, what is counted, what is asked for."""

from __future__ import annotations

import os

from sdgen_thumbnail_plugin.model import ActionKind, Reason
from support.engine import Engine
from support.project import LONG_AGO_S, draw, inodes, put_thumbnail, session_of

SESSION = session_of(1)


def test_a_look_counts_and_changes_nothing(engine: Engine) -> None:
    draw(engine.project, SESSION, 5, done=3)
    (engine.project.thumbnails / SESSION / "orphan.webp").write_bytes(b"x")
    before = inodes(engine.project)
    look = engine.directories.look(SESSION)
    assert (look.lacking, len(look.orphans), look.fresh) == (2, 1, 3)
    assert look.builds == [f"{SESSION}/003.png", f"{SESSION}/004.png"]
    assert inodes(engine.project) == before
    assert engine.catalog.record(SESSION) is None


def test_a_look_lists_each_side_once(engine: Engine) -> None:
    draw(engine.project, SESSION, 5, done=3)
    engine.directories.look(SESSION)
    assert (engine.source.listed, engine.target.listed) == ([SESSION], [SESSION])


def test_where_all_times_are_exact_nothing_is_planned(engine: Engine) -> None:
    draw(engine.project, SESSION, 3, done=3)
    for number, path in enumerate(sorted((engine.project.results / SESSION).iterdir())):
        ns = LONG_AGO_S * 10**9 + number + 1  # times in whole seconds, or that are alike, tell less
        for file in (path, engine.project.thumbnail(f"{SESSION}/{path.name}")):
            os.utime(file, ns=(ns, ns))
    look = engine.directories.look(SESSION)
    assert (look.actions, look.fresh, look.lacking) == ((), 3, 0)


def test_a_directory_that_is_gone_has_nothing_but_orphans(engine: Engine) -> None:
    draw(engine.project, SESSION, 2, done=2)
    for path in (engine.project.results / SESSION).iterdir():
        path.unlink()
    (engine.project.results / SESSION).rmdir()
    look = engine.directories.look(SESSION)
    assert look.exists == (False, True)
    assert look.orphans == [f"{SESSION}/000.webp", f"{SESSION}/001.webp"]
    assert not look.is_left_empty
    for orphan in look.orphans:
        (engine.project.thumbnails / orphan).unlink()
    assert engine.directories.look(SESSION).is_left_empty


def test_an_image_that_is_known_to_fail_is_not_lacking(engine: Engine) -> None:
    draw(engine.project, SESSION, 1, done=1)
    (engine.project.results / SESSION / "bad.png").write_bytes(b"no image at all")
    os.utime(engine.project.results / SESSION / "bad.png", (LONG_AGO_S, LONG_AGO_S))
    assert engine.directories.look(SESSION).lacking == 1
    engine.catch_up()
    look = engine.directories.look(SESSION)
    assert (look.lacking, look.failed, look.fresh) == (0, 1, 1)


def test_directories_of_both_sides_are_found(engine: Engine) -> None:
    (engine.project.results / SESSION / "ours").mkdir(parents=True)
    (engine.project.thumbnails / SESSION / "theirs").mkdir(parents=True)
    assert engine.directories.look(SESSION).directories == [f"{SESSION}/ours", f"{SESSION}/theirs"]


def test_two_images_with_one_thumbnail_are_told_apart(engine: Engine) -> None:
    draw(engine.project, SESSION, 1)
    (engine.project.results / SESSION / "000.PNG").write_bytes(b"another image")
    kinds = [(action.kind, action.reason) for action in engine.directories.look(SESSION).actions]
    assert kinds == [(ActionKind.REFUSE, Reason.NAME_TAKEN), (ActionKind.BUILD, Reason.MISSING)]


def test_only_its_bytes_say_whether_a_thumbnail_was_made_from_an_image(engine: Engine) -> None:
    keys = draw(engine.project, SESSION, 2)
    engine.catch_up()
    looker = engine.directories._looker
    assert looker.is_made_from(f"{SESSION}/000.webp", keys[0])
    (engine.project.results / keys[0]).write_bytes(b"other bytes")
    assert not looker.is_made_from(f"{SESSION}/000.webp", keys[0])
    put_thumbnail(engine.project, keys[1])  # of a program that leaves no mark
    assert not looker.is_made_from(f"{SESSION}/001.webp", keys[1])
    assert not looker.is_made_from(f"{SESSION}/001.webp", f"{SESSION}/gone.png")
