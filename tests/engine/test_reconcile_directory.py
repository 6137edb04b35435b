"""One directory reconciled, on real folders."""

from __future__ import annotations

import os
import threading

import pytest

from sdgen_thumbnail_plugin.model import Priority
from support.engine import Engine
from support.project import draw, inodes, just_now, put_thumbnail, session_of

SESSION = session_of(1)


# -- one directory


def test_what_a_dead_process_left_unfinished_is_swept_and_what_a_living_one_writes_is_kept(engine: Engine) -> None:
    draw(engine.project, SESSION, 1, done=1)
    folder = engine.project.thumbnails / SESSION
    dead = folder / f".999999999-{'0' * 16}.sdgen-tmp"
    living = folder / f".{os.getpid()}-{'0' * 16}.sdgen-tmp"
    dead.touch()
    living.touch()
    engine.catch_up()
    assert not dead.exists()
    assert living.exists()


def test_a_directory_is_known_to_be_complete_once_its_times_are_old(engine: Engine) -> None:
    draw(engine.project, SESSION, 2, done=2)
    just_now(engine.project.results / SESSION)
    engine.directories.record(engine.directories.look(SESSION))
    assert engine.directories.changed_directories([SESSION]) == [SESSION]
    engine.project.age()
    engine.directories.record(engine.directories.look(SESSION))
    assert engine.directories.changed_directories([SESSION]) == []
    engine.catalog.look_again(SESSION)
    assert engine.directories.changed_directories([SESSION]) == [SESSION]


@pytest.mark.parametrize("root", ["results", "thumbnails"])
def test_a_change_on_either_side_is_noticed(engine: Engine, root: str) -> None:
    draw(engine.project, SESSION, 2, done=2)
    engine.project.age()
    engine.directories.record(engine.directories.look(SESSION))
    (engine.project.root / root / SESSION / "something").touch()
    assert engine.directories.changed_directories([SESSION]) == [SESSION]


def test_a_link_in_a_thumbnails_place_is_replaced_not_followed(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    victim = engine.project.root / "victim"
    victim.write_text("precious")
    just_now(victim)
    engine.project.thumbnail(key).parent.mkdir(parents=True)
    engine.project.thumbnail(key).symlink_to(victim)
    engine.catch_up()
    assert engine.project.is_exact()
    assert not engine.project.thumbnail(key).is_symlink()
    assert victim.read_text() == "precious"


# -- moves


def test_a_renamed_image_keeps_its_thumbnail(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 2)[0]
    engine.reconcile(key)
    before = engine.project.thumbnail(key).stat().st_ino
    new = f"{session_of(2)}/renamed.png"
    (engine.project.results / session_of(2)).mkdir()
    (engine.project.results / key).rename(engine.project.results / new)
    assert engine.directories.rename_image(key, new)
    assert engine.project.is_fresh(new)
    assert engine.project.thumbnail(new).stat().st_ino == before
    assert not engine.project.thumbnail(key).exists()


def test_a_thumbnail_that_was_stale_is_not_renamed(engine: Engine) -> None:
    key = draw(engine.project, SESSION, 1)[0]
    put_thumbnail(engine.project, key, age_s=50)
    new = f"{SESSION}/renamed.png"
    (engine.project.results / key).rename(engine.project.results / new)
    assert not engine.directories.rename_image(key, new)
    assert not engine.directories.rename_image(f"{SESSION}/none.png", f"{SESSION}/no.png")


def test_a_renamed_session_keeps_its_thumbnails_and_its_failures(engine: Engine) -> None:
    draw(engine.project, SESSION, 3)
    bad = engine.project.results / SESSION / "deeper" / "bad.png"
    bad.parent.mkdir()
    bad.write_bytes(b"broken")
    engine.catch_up()
    tried = len(engine.outcomes)
    before = inodes(engine.project)
    new = session_of(2)
    (engine.project.results / SESSION).rename(engine.project.results / new)
    assert engine.directories.rename_directory(SESSION, new)
    assert inodes(engine.project) == {key.replace(SESSION, new): inode for key, inode in before.items()}
    assert list(engine.catalog.failures()) == [f"{new}/deeper/bad.png"]
    engine.catch_up()
    assert len(engine.outcomes) == tried
    assert not (engine.project.thumbnails / SESSION).exists()


def test_a_copied_session_leaves_the_first_ones_thumbnails_alone(engine: Engine) -> None:
    draw(engine.project, SESSION, 1, done=1)
    draw(engine.project, session_of(2), 1)
    before = inodes(engine.project)
    assert not engine.directories.rename_directory(SESSION, session_of(2))
    assert inodes(engine.project) == before


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
