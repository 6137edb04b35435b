"""After any sequence of changes, and the audit of the next start, every image has its own fresh thumbnail.

Hypothesis generates the sequences. The test knows exactly what the source holds, and each image has its own colour, so
that a thumbnail of another image shows. Two cases that the design cannot see are excused: an image that replaces
another one of the same time (only times are compared), unless that is in whole seconds and their sizes differ; and two
images of the same size and the same time, which is not in whole seconds (this is how a renamed image is recognised).

    python tests/faults/test_any_sequence.py [EXAMPLES [STEPS]]

searches longer.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll
from sdgen_thumbnail_plugin.engine.catalog import parent_of
from sdgen_thumbnail_plugin.model import Priority, Stamp
from support.engine import Engine, open_engine
from support.pictures import SIGNATURE, chunk, header_chunk
from support.project import LONG_AGO_S, Project

SIDE_PX = 16
SESSIONS = tuple(f"2025110{day}_120000-session" for day in range(1, 5))
DIRECTORIES = (*SESSIONS, f"{SESSIONS[0]}/below", f"{SESSIONS[2]}/below")
NAMES = ("a.png", "b.png", "c.png")
KEPT = "20251101_000000-kept/kept.png"
SECOND_NS = 10**9
NOW_NS = LONG_AGO_S * SECOND_NS
LEVELS = range(0, 256, 51)
COLOURS = [(red, green, blue) for green in LEVELS for blue in LEVELS for red in LEVELS]

keys = st.builds("{}/{}".format, st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))
choices = st.integers(0, 15)
times = st.sampled_from(["new", "new", "new", "older", "whole second", "another's"])
sizes = st.integers(0, 2)


@dataclass(frozen=True)
class Picture:
    """An image as the source holds it; its colour is the index of one of ``COLOURS``."""

    colour: int
    stamp: Stamp


@cache
def content(colour: int, size: int) -> bytes:
    """A PNG of one colour; files of one size are equally long, whatever the colour."""
    rows = (b"\0" + bytes(COLOURS[colour]) * SIDE_PX) * SIDE_PX
    padding = chunk(b"prVt", bytes(100 * size))
    return (
        SIGNATURE + header_chunk(SIDE_PX, SIDE_PX) + padding + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND")
    )


def shown_by(thumbnail: Path) -> int:
    """The colour of a thumbnail."""
    with Image.open(thumbnail) as image:
        assert image.size == (SIDE_PX, SIDE_PX)
        pixel = image.convert("RGB").getpixel((SIDE_PX // 2, SIDE_PX // 2))
    assert isinstance(pixel, tuple)
    nearest = [51 * round(value / 51) for value in pixel]
    assert max(abs(value - near) for value, near in zip(pixel, nearest, strict=True)) < 16, pixel
    return COLOURS.index((nearest[0], nearest[1], nearest[2]))


class Alike:
    """Images that cannot be distinguished: a partition of the colours."""

    def __init__(self) -> None:
        self._groups: dict[int, set[int]] = {}
        self._first: dict[object, int] = {}

    def note(self, sign: object, colour: int) -> None:
        """Records the sign of an image; others with the same sign are like it."""
        self.join(colour, self._first.setdefault(sign, colour))

    def join(self, one: int, other: int) -> None:
        ours, theirs = (self._groups.setdefault(colour, {colour}) for colour in (one, other))
        if ours is not theirs:
            theirs |= ours
            for member in ours:
                self._groups[member] = theirs

    def of(self, colour: int) -> set[int]:
        return self._groups[colour]


class AnySequence(RuleBasedStateMachine):
    """The source, its thumbnails and the engine between them; changes to all three, and what must hold."""

    folder: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.project = Project(Path(tempfile.mkdtemp(dir=self.folder)))
        self.project.results.mkdir()
        self.project.thumbnails.mkdir()
        self.pictures: dict[str, Picture] = {}
        self.alike = Alike()
        self.colours = iter(range(len(COLOURS)))
        self.path(KEPT).parent.mkdir()
        self.path(KEPT).write_bytes(content(next(self.colours), 0))  # of a root without images nothing is deleted
        self.clock = itertools.count(1)
        self.untold: list[Callable[[Engine], None]] = []
        self.unseen = False  # whether something changed that leaves no trace in a directory's time
        self.catalog_once: dict[str, bytes] = {}
        self.start()

    def start(self) -> None:
        self.running = contextlib.ExitStack()
        self.engine = self.running.enter_context(open_engine(self.project, height_px=SIDE_PX))
        self.poll = DirectoryPoll(self.engine.directories, self.engine.parts.sessions)
        self.has_audited = False

    def teardown(self) -> None:
        try:
            self.engine.idle()
            self.restart(ending="orderly", smart=True)
        finally:
            self.running.close()
            shutil.rmtree(self.project.root)

    # -- what the source is made of

    def path(self, key: str) -> Path:
        return self.project.results / key

    def key(self, choice: int) -> str:
        """One of the existing images."""
        return sorted(self.pictures)[choice % len(self.pictures)]

    def time_ns(self, kind: str, choice: int) -> int:
        if kind == "another's" and self.pictures:
            return self.pictures[self.key(choice)].stamp.version
        if kind == "whole second":
            return NOW_NS + choice % 3 * SECOND_NS
        number = next(self.clock)
        return NOW_NS + (-number if kind == "older" else number) * (SECOND_NS + 7) + 1

    def holds(self, key: str, picture: Picture) -> None:
        """Puts a picture into the source."""
        self.pictures[key] = picture
        if picture.stamp.version % SECOND_NS:
            self.alike.note((key, picture.stamp.version), picture.colour)
            self.alike.note(picture.stamp, picture.colour)
        else:
            self.alike.note((key, picture.stamp), picture.colour)

    def make_directory(self, directory: str) -> None:
        for made in (directory.partition("/")[0], directory):
            if not self.path(made).is_dir():
                self.path(made).mkdir()
                self.untold.append(partial(told_of_new_directory, made))

    def write(self, key: str, time_ns: int, size: int, *, into_place: bool) -> None:
        colour = next(self.colours)
        data = content(colour, size)
        path = self.path(key)
        written = path.with_name(f".{path.name}.part") if into_place else path
        written.write_bytes(data)
        os.utime(written, ns=(time_ns, time_ns))
        if into_place:
            written.rename(path)
        self.holds(key, Picture(colour, Stamp(time_ns, len(data))))
        self.untold.append(partial(told_of_image, key))

    # -- what people and generators do

    @rule(key=keys, kind=times, choice=choices, size=sizes)
    def create(self, key: str, kind: str, choice: int, size: int) -> None:
        if key not in self.pictures:
            self.make_directory(parent_of(key))
            self.write(key, self.time_ns(kind, choice), size, into_place=False)

    @rule(directory=st.sampled_from(DIRECTORIES), kind=times, choice=choices, size=sizes)
    def create_several(self, directory: str, kind: str, choice: int, size: int) -> None:
        for name in NAMES:
            self.create(f"{directory}/{name}", kind, choice, size)

    @precondition(lambda self: self.pictures)
    @rule(which=choices, kind=times, choice=choices, size=sizes, into_place=st.booleans())
    def overwrite(self, which: int, kind: str, choice: int, size: int, into_place: bool) -> None:
        self.write(self.key(which), self.time_ns(kind, choice), size, into_place=into_place)
        self.unseen |= not into_place

    @precondition(lambda self: self.pictures)
    @rule(which=choices, new=keys)
    def move_image(self, which: int, new: str) -> None:
        old = self.key(which)
        self.make_directory(parent_of(new))
        self.path(old).rename(self.path(new))
        self.holds(new, self.pictures.pop(old))
        self.untold.append(partial(told_of_moved_image, old, new))

    @precondition(lambda self: self.pictures)
    @rule(which=choices, name=st.sampled_from(NAMES))
    def rename_image(self, which: int, name: str) -> None:
        self.move_image(which, f"{parent_of(self.key(which))}/{name}")

    @rule(old=st.sampled_from(SESSIONS), new=st.sampled_from(SESSIONS))
    def rename_session(self, old: str, new: str) -> None:
        if self.path(old).exists() and not self.path(new).exists():
            self.path(old).rename(self.path(new))
            for key in [key for key in self.pictures if key.startswith(old + "/")]:
                self.holds(new + key[len(old) :], self.pictures.pop(key))
            self.untold.append(partial(told_of_moved_directory, old, new))

    @precondition(lambda self: self.pictures)
    @rule(which=choices)
    def delete_image(self, which: int) -> None:
        key = self.key(which)
        self.path(key).unlink()
        del self.pictures[key]
        self.untold.append(partial(told_of_image, key))

    @rule(directory=st.sampled_from(DIRECTORIES))
    def delete_directory(self, directory: str) -> None:
        if self.path(directory).exists():
            shutil.rmtree(self.path(directory))
            self.pictures = {key: one for key, one in self.pictures.items() if not key.startswith(directory + "/")}
            self.untold.append(partial(told_of_deleted_directory, directory))

    @precondition(lambda self: self.pictures)
    @rule(which=choices)
    def delete_thumbnail(self, which: int) -> None:
        self.project.thumbnail(self.key(which)).unlink(missing_ok=True)

    @precondition(lambda self: self.pictures)
    @rule(which=choices, ago_s=st.sampled_from([0.5, 3600.0]))
    def set_a_thumbnails_time_back(self, which: int, ago_s: float) -> None:
        thumbnail = self.project.thumbnail(self.key(which))
        with contextlib.suppress(FileNotFoundError):
            ns = thumbnail.stat().st_mtime_ns - int(ago_s * SECOND_NS)
            os.utime(thumbnail, ns=(ns, ns))
            self.unseen = True

    @precondition(lambda self: self.pictures)
    @rule(which=choices)
    def empty_a_thumbnail(self, which: int) -> None:
        thumbnail = self.project.thumbnail(self.key(which))
        with contextlib.suppress(FileNotFoundError):
            ns = thumbnail.stat().st_mtime_ns
            os.truncate(thumbnail, 0)
            os.utime(thumbnail, ns=(ns, ns))
            self.unseen = True

    @precondition(lambda self: self.pictures)
    @rule(moves=st.lists(st.tuples(choices, keys), min_size=1, max_size=3), told=st.booleans())
    def reorganise(self, moves: list[tuple[int, str]], told: bool) -> None:
        """Moves from a known state, heard of at once or not at all: what following them is for."""
        self.catch_up_again(smart=False)
        self.untold.clear()
        for which, new in moves:
            self.move_image(which, new)
        if told:
            self.tell(count=len(self.untold), at_once=False)
        else:
            self.restart(ending="orderly", smart=False)

    # -- what time and the engine do

    @rule()
    def time_passes(self) -> None:
        """Until now no directory is old enough to be trusted; each change that time has passed over shows in a time of
        its own."""
        self.engine.idle()
        for root in (self.project.results, self.project.thumbnails):
            for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
                if folder.stat().st_mtime_ns > NOW_NS + 10**6 * SECOND_NS:
                    ns = NOW_NS + next(self.clock) * 1_000_003
                    os.utime(folder, ns=(ns, ns))

    @rule(count=st.integers(1, 5), at_once=st.booleans())
    def tell(self, count: int, at_once: bool) -> None:
        """Delivers some notifications late, in their order."""
        told, self.untold = self.untold[:count], self.untold[count:]
        for hint in told:
            hint(self.engine)
        if not at_once:
            self.engine.idle()

    @rule()
    def lose_notifications(self) -> None:
        self.untold.clear()

    @rule()
    def look(self) -> None:
        """A tick: once an audit has allowed deletes, everything is right afterwards."""
        findings = self.poll.look(share=1.0)
        for key in findings.files:
            self.engine.ask(key)
        for directory in findings.directories:
            self.engine.workers.submit_directory(directory, Priority.AUDIT)
        self.engine.idle()
        if self.has_audited and not self.unseen:
            self.assert_exact(folders=False)  # one whose thumbnails moved on after it was looked at goes with the next

    @rule(smart=st.booleans())
    def catch_up_again(self, smart: bool) -> None:
        if smart:
            self.engine.smart()
        self.engine.catch_up(everything=self.unseen)
        self.has_audited = True
        self.unseen = False
        self.assert_exact()

    @rule()
    def flush(self) -> None:
        """As every tick does."""
        self.engine.catalog.flush()

    @rule()
    def keep_a_copy_of_the_catalog(self) -> None:
        self.catalog_once = self.catalog_files()

    def catalog_files(self) -> dict[str, bytes]:
        path = self.engine.catalog.path
        assert path is not None
        return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}

    @rule(
        ending=st.sampled_from(["orderly", "killed", "killed", "catalog of old", "catalog lost"]), smart=st.booleans()
    )
    def restart(self, ending: str, smart: bool) -> None:
        """Ends the watcher in one way or another; the next one catches up, and then everything must be right."""
        self.end(ending)
        self.start()
        self.catch_up_again(smart)
        made = len(self.engine.made())
        self.engine.catch_up(everything=True)
        assert self.engine.made()[made:] == [], "made again, though nothing happened"

    @rule(ending=st.sampled_from(["orderly", "killed"]))
    def restart_without_catching_up(self, ending: str) -> None:
        self.end(ending)
        self.start()

    def end(self, ending: str) -> None:
        files = self.catalog_files()  # a process that dies takes with it what it did not write
        assert self.engine.catalog.path is not None
        folder = self.engine.catalog.path.parent
        self.running.close()
        self.untold.clear()
        if ending != "orderly":
            shutil.rmtree(folder)
            folder.mkdir()
        left = {"killed": files, "catalog of old": self.catalog_once}.get(ending, {})
        for name, data in left.items():
            (folder / name).write_bytes(data)

    # -- what must hold

    def assert_exact(self, *, folders: bool = True) -> None:
        thumbnails = self.project.thumbnails
        there = {path.relative_to(thumbnails).as_posix() for path in thumbnails.rglob("*") if path.is_file()}
        there.discard(KEPT.replace(".png", ".webp"))
        assert there == {key.replace(".png", ".webp") for key in self.pictures}
        if folders:
            made = {path.relative_to(thumbnails).as_posix() for path in thumbnails.rglob("*") if path.is_dir()}
            assert all(self.path(folder).is_dir() for folder in made), f"left empty: {made}"
        for key, picture in self.pictures.items():
            thumbnail = self.project.thumbnail(key)
            assert thumbnail.stat().st_mtime_ns == picture.stamp.version, key
            assert shown_by(thumbnail) in self.alike.of(picture.colour), f"{key} has the thumbnail of another image"


# The engine's answer to each notification, as in the watcher's loop.


def told_of_image(key: str, engine: Engine) -> None:
    engine.catalog.discover([parent_of(key)])
    engine.ask(key)


def told_of_moved_image(old: str, new: str, engine: Engine) -> None:
    engine.directories.rename_image(old, new)
    for key in (new, old):
        told_of_image(key, engine)


def told_of_new_directory(directory: str, engine: Engine) -> None:
    engine.catalog.discover([directory])
    engine.workers.submit_directory(directory, Priority.URGENT)


def told_of_deleted_directory(directory: str, engine: Engine) -> None:
    for below in engine.catalog.below(directory):
        engine.workers.submit_directory(below, Priority.URGENT)


def told_of_moved_directory(old: str, new: str, engine: Engine) -> None:
    engine.directories.rename_directory(old, new)
    engine.catalog.discover([new])
    for directory in (new, old):
        told_of_deleted_directory(directory, engine)


def search(place: Path, *, examples: int, steps: int) -> None:
    """Tries a number of sequences."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),  # disks and threads are slow, and not the same every time
    )

    class Here(AnySequence):
        folder = place

    run_state_machine_as_test(Here, settings=chosen)


@pytest.mark.timeout(300)
def test_after_any_sequence_of_events_every_image_has_its_own_thumbnail(tmp_path: Path) -> None:
    examples = 200
    search(tmp_path, examples=examples, steps=30)


# Sequences that such a search found.


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    (project.results / SESSIONS[0]).mkdir(parents=True)
    (project.results / "notes.txt").touch()
    return project


def put(project: Project, name: str, colour: int, time_ns: int, size: int = 0) -> Path:
    """An image of one colour in the first session."""
    path = project.results / SESSIONS[0] / name
    path.write_bytes(content(colour, size))
    os.utime(path, ns=(time_ns, time_ns))
    return path


def shown(project: Project, image: Path) -> int:
    return shown_by(project.thumbnail(image.relative_to(project.results).as_posix()))


def test_an_older_image_written_over_one_in_a_new_session_gets_its_own_thumbnail(project: Project) -> None:
    key = f"{SESSIONS[0]}/a.png"
    with open_engine(project, height_px=SIDE_PX) as engine:
        for colour, time_ns in ((1, NOW_NS + 5), (2, NOW_NS - 5)):
            image = put(project, "a.png", colour, time_ns)
            told_of_image(key, engine)
            engine.idle()
        engine.catch_up(everything=True)
        assert shown(project, image) == 2


def test_a_lost_catalog_costs_time_and_no_wrong_thumbnail(project: Project) -> None:
    put(project, "a.png", 1, NOW_NS + 5)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
    shutil.rmtree(project.home.root)
    image = put(project, "a.png", 2, NOW_NS - 5)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up(everything=True)
    assert shown(project, image) == 2


@pytest.mark.parametrize("ending", ["deleted", "renamed"])
def test_a_broken_image_that_went_while_nobody_watched_is_no_longer_told_as_failed(
    project: Project, ending: str
) -> None:
    bad = put(project, "bad.png", 1, NOW_NS + 5)
    put(project, "good.png", 2, NOW_NS + 7)
    bad.write_bytes(b"no image")
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
        assert len(engine.catalog.failures()) == 1
    if ending == "deleted":
        bad.unlink()
    else:
        bad.rename(bad.with_name("renamed.png"))
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up(everything=True)
        assert list(engine.catalog.failures()) == ([f"{SESSIONS[0]}/renamed.png"] if ending == "renamed" else [])


@pytest.mark.parametrize("name", ["a.png", "below/a.png"])
def test_a_session_whose_thumbnails_were_deleted_leaves_no_folder_behind(project: Project, name: str) -> None:
    (project.results / SESSIONS[0] / name).parent.mkdir(exist_ok=True)
    put(project, name, 1, NOW_NS + 5)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
        project.thumbnail(f"{SESSIONS[0]}/{name}").unlink()
        shutil.rmtree(project.results / SESSIONS[0])
        engine.catch_up()
        assert list(project.thumbnails.iterdir()) == []


def test_a_renamed_session_that_holds_only_a_folder_leaves_none_behind(project: Project) -> None:
    (project.results / SESSIONS[0] / "below").mkdir()
    put(project, "below/a.png", 1, NOW_NS + 5)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
        (project.results / SESSIONS[0]).rename(project.results / SESSIONS[1])
        engine.catch_up()
        assert [path.name for path in project.thumbnails.iterdir()] == [SESSIONS[1]]


def test_a_renamed_session_is_made_right_with_all_below_it_at_one_look(project: Project) -> None:
    (project.results / SESSIONS[0] / "below").mkdir()
    put(project, "a.png", 1, NOW_NS + 5)
    put(project, "below/b.png", 2, NOW_NS + 7)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
        project.thumbnail(f"{SESSIONS[0]}/below/b.png").unlink()
        (project.results / SESSIONS[0]).rename(project.results / SESSIONS[1])
        directories = [SESSIONS[0], f"{SESSIONS[0]}/below"]
        assert engine.directories.changed_directories(directories) == directories  # that they are gone is known first
        engine.workers.submit_directory(SESSIONS[1], Priority.AUDIT)
        engine.idle()
        assert shown(project, project.results / SESSIONS[1] / "below" / "b.png") == 2


def test_of_two_images_that_are_alike_none_gets_the_others_thumbnail(project: Project) -> None:
    first, second = put(project, "a.png", 1, NOW_NS + 5), put(project, "b.png", 2, NOW_NS + 5)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
    first.unlink()
    project.thumbnail(f"{SESSIONS[0]}/b.png").unlink()
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
    assert shown(project, second) == 2


def test_a_move_told_late_leaves_the_thumbnail_of_another_image_alone(project: Project) -> None:
    old = put(project, "a.png", 1, NOW_NS, size=1)
    with open_engine(project, height_px=SIDE_PX) as engine:
        engine.catch_up()
        old.rename(old.with_name("b.png"))
        new = put(project, "b.png", 2, NOW_NS + SECOND_NS)
        put(project, "a.png", 3, NOW_NS + SECOND_NS, size=2)
        engine.catch_up(everything=True)
        told_of_moved_image(f"{SESSIONS[0]}/a.png", f"{SESSIONS[0]}/b.png", engine)
        engine.catch_up(everything=True)
    assert shown(project, new) == 2


def main() -> None:
    examples, steps = [*map(int, sys.argv[1:]), *(1000, 40)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder), examples=examples, steps=steps)


if __name__ == "__main__":
    main()
