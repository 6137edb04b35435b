"""An attacker with access to the folders: nothing outside the roots is created, changed or deleted, no other process is
signalled, and names of files reach a terminal only as text.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import secrets
import select
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from sdgen_thumbnail_plugin.cli.status import EXIT_CODES, render
from sdgen_thumbnail_plugin.daemon.identity import identity_of
from sdgen_thumbnail_plugin.daemon.process import holding_the_lock
from sdgen_thumbnail_plugin.daemon.state import (
    STATE_SCHEMA,
    ObserverState,
    SessionsState,
    WatcherState,
    watcher_report,
    write_state,
)
from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.model import Priority
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from support.commands import command_line, environment_of, output_of, run, status
from support.engine import open_engine
from support.pictures import chunk, iccp_chunk, png, rgb_profile, with_chunks
from support.project import Project, wait_until_faultless
from support.waiting import wait_for
from support.watcher import watcher_process, watching

SESSION = "20251110_151059-ours"
SOON_S = 30.0
SWAPPING_S = 2.0  # a few thousand swaps, and as many chances

ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All control characters but newline and tab: they move a cursor, change a title or end a line."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.results.mkdir(parents=True)
    return project


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the project, with files of the same names."""
    folder = tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    for name in ("a.png", "b.png", "below/c.png"):
        (folder / name).write_bytes(png((80, 60)))
        (folder / name).with_suffix(".webp").write_bytes(b"a thumbnail of somebody else")
    (folder / "empty.webp").touch()
    (folder / ".999999-0123456789abcdef.sdgen-tmp").write_bytes(b"looks like a temporary of ours")
    (folder / "no_folder_but_empty").mkdir()
    return folder


def everything_in(folder: Path) -> dict[str, tuple[object, ...]]:
    """The state of a tree: names, contents, modes and times."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        name = path.relative_to(folder).as_posix()
        found[name] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest)
    return found


# -- no path leaves the roots


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_links_in_either_root_lead_nowhere(project: Project, outside: Path, observer: str) -> None:
    project.image(f"{SESSION}/a.png")
    (project.thumbnails / SESSION).mkdir(parents=True)
    (project.results / "linked").symlink_to(outside)
    (project.results / SESSION / "linked").symlink_to(outside)
    (project.results / SESSION / "b.png").symlink_to(outside / "b.png")
    (project.thumbnails / "linked").symlink_to(outside)
    (project.thumbnails / SESSION / "a.webp").symlink_to(outside / "a.webp")
    (project.thumbnails / SESSION / "gone.webp").symlink_to(outside / "b.webp")
    before = everything_in(outside)
    with watching(project, observer=observer):
        wait_for(lambda: project.is_fresh(f"{SESSION}/a.png"), SOON_S)
        (project.results / "late").symlink_to(outside)
        project.image(f"{SESSION}/last.png")
        wait_for(lambda: project.is_fresh(f"{SESSION}/last.png"), SOON_S)
        wait_for(lambda: not (project.thumbnails / SESSION / "gone.webp").is_symlink(), SOON_S)
    assert everything_in(outside) == before
    assert not project.thumbnail(f"{SESSION}/a.png").is_symlink()
    there = {path.relative_to(project.thumbnails).as_posix() for path in project.thumbnails.rglob("*.webp")}
    assert there == {f"{SESSION}/a.webp", f"{SESSION}/last.webp"}


def test_a_linked_session_in_the_target_is_told_and_made_up_for(project: Project, outside: Path) -> None:
    project.thumbnails.mkdir()
    (project.thumbnails / SESSION).symlink_to(outside)
    before = everything_in(outside)
    with watcher_process(project):
        project.image(f"{SESSION}/a.png")
        wait_for(lambda: project.state().get("problems"), SOON_S)
        told = status(project)
        assert told["health"] == "degraded"
        assert all(problem["message"] and problem["remedy"] for problem in told["problems"])
        assert any(SESSION in problem["message"] for problem in told["problems"])
        assert everything_in(outside) == before
        (project.thumbnails / SESSION).unlink()
        wait_until_faultless(project, SOON_S)
        wait_for(lambda: project.state()["problems"] == [], SOON_S)
        assert status(project)["health"] == "healthy"
    assert everything_in(outside) == before


NO_KEYS = (
    "../outside/a.png",
    "/etc/a.png",
    f"{SESSION}/../../outside/a.png",
    "./a.png",
    "//a.png",
    "a//b.png",
    "a\0.png",
)


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_leaves_the_roots_is_refused_by_every_call(project: Project, outside: Path, key: str) -> None:
    before = everything_in(outside)
    (project.thumbnails / SESSION).mkdir(parents=True)
    for root, suffix in ((project.results, ".png"), (project.thumbnails, ".webp")):
        storage = LocalImageStorage(root, suffix)
        image = key.removesuffix(".png") + suffix
        temporary = f"{key.rpartition('/')[0]}/.999999-0123456789abcdef.sdgen-tmp"
        calls: list[Callable[[], object]] = [
            lambda: storage.path(image), lambda: storage.read_image(image),  # noqa: B023 - called at once
            lambda: storage.write_image_bytes(image, b"x"), lambda: storage.set_time(image, 1),  # noqa: B023
            lambda: storage.delete_image(image), lambda: storage.rename_image(image, "ours.webp"),  # noqa: B023
            lambda: storage.rename_directory(image, "ours"), lambda: storage.list_directory(image),  # noqa: B023
            lambda: storage.get_image_metadata(image), lambda: storage.remove_empty_directory(image),  # noqa: B023
            lambda: storage.read_heads([image], 9),  # noqa: B023
        ]  # fmt: skip
        if key.startswith((".", "/")):
            calls.append(lambda: storage.delete_temporary(temporary))  # noqa: B023
        for call in calls:
            with pytest.raises(ValueError, match="not a"):
                call()
    assert everything_in(outside) == before


@contextlib.contextmanager
def swapped(place: Path, other: Path) -> Iterator[Callable[[], int]]:
    """Swaps a folder for a link to another one and back, as fast as possible, until the context ends; yields a function
    that counts the swaps."""
    aside, link = place.with_name(".aside"), place.with_name(".link")
    link.symlink_to(other)
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            with contextlib.suppress(OSError):  # the watcher may create the folder again in between
                place.rename(aside)
                link.rename(place)
                swaps += 1
                place.rename(link)
            if place.is_dir() and not place.is_symlink() and aside.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            with contextlib.suppress(OSError):
                aside.rename(place)

    thread = threading.Thread(target=swap, name="swap")
    thread.start()
    try:
        yield lambda: swaps
    finally:
        stop.set()
        thread.join()
        if place.is_symlink():
            place.unlink()
        if aside.is_dir() and not place.exists():
            aside.rename(place)
        for left in (link, aside):
            if left.is_symlink():
                left.unlink()
            elif left.is_dir():
                shutil.rmtree(left)


@pytest.mark.parametrize("side", ["results", "thumbnails"])
def test_a_session_swapped_for_a_link_while_the_engine_works_leads_nobody_outside(
    project: Project, outside: Path, side: str
) -> None:
    for name in ("a", "b"):
        project.image(f"{SESSION}/{name}.png")
    gone = [f"{SESSION}/{path.name}" for path in outside.glob("*.webp") if path.stem not in ("a", "b")]
    before = everything_in(outside)
    place = project.root / side / SESSION
    place.mkdir(parents=True, exist_ok=True)
    with open_engine(project) as engine:
        deadline_s = time.monotonic() + SWAPPING_S
        drawn = os.open(project.results / SESSION, os.O_RDONLY | os.O_DIRECTORY)  # wherever it is called by now
        with swapped(place, outside) as swaps:
            while time.monotonic() < deadline_s:
                for name in ("a", "b"):
                    os.utime(f"{name}.png", dir_fd=drawn)
                    engine.workers.submit_image(f"{SESSION}/{name}.png", Priority.URGENT)
                engine.workers.submit_directory(SESSION, Priority.URGENT)
                for key in gone:
                    engine.target.delete_image(key)
            assert swaps() > 100
        os.close(drawn)
        engine.idle()
    assert everything_in(outside) == before


@pytest.mark.parametrize("side", ["results", "thumbnails"])
def test_a_session_swapped_for_a_link_under_a_watcher_leads_nobody_outside(
    project: Project, outside: Path, side: str
) -> None:
    names = [f"{SESSION}/{name}.png" for name in ("a", "b", "c")]
    for name in names:
        project.image(name)
    before = everything_in(outside)
    place = project.root / side / SESSION
    with watcher_process(project, "--workers", "2"):
        wait_for(lambda: project.is_fresh(names[0]), SOON_S)
        with swapped(place, outside) as swaps:
            deadline_s = time.monotonic() + SWAPPING_S
            while time.monotonic() < deadline_s:
                project.image("20251111_000000-beside/x.png")
                if side == "thumbnails":
                    for name in names:
                        project.image(name)
                time.sleep(0.02)
            assert swaps() > 100
        assert everything_in(outside) == before
        for name in names:
            project.image(name)
        wait_until_faultless(project, SOON_S)
        wait_for(lambda: project.state()["problems"] == [], SOON_S)
    assert everything_in(outside) == before


# -- modes, and temporaries


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_of_all_that_is_written_follow_the_umask(project: Project, mask: int) -> None:
    before = os.umask(mask)
    try:
        with watcher_process(project):
            project.image(f"{SESSION}/a.png")
            wait_until_faultless(project, SOON_S)
            wait_for(lambda: project.state().get("images") == 1, SOON_S)
            for root in (project.thumbnails, project.home.root):
                for path in (root, *root.rglob("*")):
                    status = path.stat()
                    allowed = (0o777 if path.is_dir() else 0o666) & ~mask
                    assert stat.S_IMODE(status.st_mode) & ~allowed == 0, (path, oct(status.st_mode))
            thumbnail = project.thumbnail(f"{SESSION}/a.png")
            assert stat.S_IMODE(thumbnail.stat().st_mode) == 0o666 & ~mask
            assert stat.S_IMODE(thumbnail.parent.stat().st_mode) == 0o777 & ~mask
    finally:
        os.umask(before)


@contextlib.contextmanager
def made_in(folder: Path) -> Iterator[list[str]]:
    """Records the name of every file that is created in a folder, even if it is renamed at once."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    names: list[str] = []

    class Hear(FileSystemEventHandler):
        def on_created(self, event: FileSystemEvent) -> None:
            names.append(Path(os.fsdecode(event.src_path)).name)

    observer = Observer()
    observer.schedule(Hear(), str(folder))
    observer.start()
    try:
        yield names
    finally:
        observer.stop()
        observer.join()


def write_a_thumbnail(project: Project) -> None:
    LocalImageStorage(project.thumbnails, ".webp").write_image_bytes(f"{SESSION}/a.webp", b"the same every time")


def write_the_state_file(project: Project) -> None:
    write_state(project.home.state_file, state_of(project, os.getpid()))


def write_the_pid_file(project: Project) -> None:
    with holding_the_lock(project.home):
        assert project.home.pid_file.read_text("ascii") == str(os.getpid())


@dataclass(frozen=True)
class Written:
    """A file that is written through a temporary file."""

    write: Callable[[Project], None]
    path: Callable[[Project], Path]
    temporary: str  # a pattern; its group must be unpredictable


WRITTEN = {
    "thumbnail": Written(
        write_a_thumbnail, lambda project: project.thumbnail(f"{SESSION}/a.png"), r"\.\d+-([0-9a-f]{16})\.sdgen-tmp"
    ),
    "state file": Written(
        write_the_state_file, lambda project: project.home.state_file, r"\.\w+\.json\.([0-9a-f]{16})\.tmp"
    ),
    "PID file": Written(write_the_pid_file, lambda project: project.home.pid_file, r"\.\w+\.pid\.([0-9a-f]{16})\.tmp"),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_the_names_of_temporaries_cannot_be_foreseen(project: Project, what: str) -> None:
    written = WRITTEN[what]
    written.path(project).parent.mkdir(parents=True)
    with made_in(written.path(project).parent) as names:
        for _ in range(50):
            written.write(project)
        wait_for(lambda: len(names) >= 50)
    found = [re.fullmatch(written.temporary, name) for name in names]
    assert len({match[1] for match in found if match}) == len(names) == 50


@pytest.mark.parametrize("what", WRITTEN)
def test_a_link_laid_in_the_place_of_a_temporary_is_not_followed(
    project: Project, outside: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Files of others are left alone too, as if an attacker had guessed the name."""
    monkeypatch.setattr(os, "urandom", lambda length: bytes(length))
    monkeypatch.setattr(secrets, "token_hex", lambda length: "00" * length)
    written = WRITTEN[what]
    folder = written.path(project).parent
    folder.mkdir(parents=True)
    with made_in(folder) as names:
        written.write(project)
        wait_for(lambda: names)
    [foreseen] = names
    before = everything_in(outside)
    for target in ("a.png", "not there"):
        (folder / foreseen).symlink_to(outside / target)
        with contextlib.suppress(ThumbnailError):
            written.write(project)
        assert everything_in(outside) == before
        assert not written.path(project).is_symlink(), "what was laid there was put in place"
        (folder / foreseen).unlink(missing_ok=True)
    with made_in(folder) as names:
        written.write(project)
        wait_for(lambda: names)
    assert names == [foreseen], "it was the name that was tried in between"


# -- ~/.sdgen is not trusted


SLEEPER = ["-c", "import time; time.sleep(600)", "sdgen_thumbnail_plugin"]
SPEAKING = {
    # What `watch -n 5 sdgen-thumbnails status`, or a search for the word in our sources, looks like to psutil.
    "watch sdgen-thumbnails": ["-c", "import time; time.sleep(600)", "watch", "sdgen-thumbnails", "status"],
    "grep watch": ["-c", "import time; time.sleep(600)", "-r", "watch", "sdgen_thumbnail_plugin"],
}


@contextlib.contextmanager
def stranger(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def state_of(project: Project, pid: int) -> WatcherState:
    """A state in which everything about a process is true, except that it is a watcher."""
    return WatcherState(
        schema=STATE_SCHEMA, version="0.1.0", pid=pid, identity=identity_of(pid) or "",
        source_dir=str(project.results), target_dir=str(project.thumbnails), started_at_s=time.time(),
        updated_at_s=time.time(), updated_monotonic_s=time.monotonic(), phase="watching",
        observer=ObserverState(kind="native", reason="-"), progress={}, queue={}, making=[], images_per_s=0, counts={},
        sessions=SessionsState(complete=1, incomplete=0), images=0, thumbnails=0, failures=0, orphans_held_back=0,
        last_image=None, problems=[], tick_interval_s=1,
    )  # fmt: skip


def forge(project: Project, pid: int) -> None:
    """Writes another process into every file that names one."""
    project.home.prepare()
    project.home.pid_file.write_text(str(pid), "ascii")
    write_state(project.home.state_file, state_of(project, pid))


def test_files_that_name_a_stranger_do_not_make_us_signal_it(project: Project) -> None:
    with stranger(SLEEPER) as process:
        for command in ("stop", "restart", "start"):
            forge(project, process.pid)
            try:
                run(project, command)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                assert process.poll() is None, command
            finally:
                run(project, "stop")


@pytest.mark.parametrize("who", list(SPEAKING))
def test_files_that_name_a_stranger_whose_arguments_are_like_ours_do_not_make_us_signal_it(
    project: Project, who: str
) -> None:
    with stranger(SPEAKING[who]) as process:
        forge(project, process.pid)
        run(project, "stop")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        assert process.poll() is None


@pytest.mark.parametrize(
    "content", ["0", "1", "-1", "-9", "99999999999999999999", "1e3", "", "\0", "４２", "self", "../1"]
)
def test_a_pid_file_of_no_process_is_harmless(project: Project, content: str) -> None:
    project.home.prepare()
    project.home.pid_file.write_text(content, "utf-8")
    stopped = run(project, "stop")
    assert stopped.returncode == 3, stopped
    assert "no watcher is running" in stopped.stderr


FORGED_DIRECTORIES = ("../outside", "../outside/below", "/", "..", ".", "a//b", f"{SESSION}/../../outside", "a\0b")


def forge_catalog(project: Project, outside: Path) -> None:
    """Adds directories and failures outside the roots to the catalog."""
    source, target = LocalImageStorage(project.results), LocalImageStorage(project.thumbnails, ".webp")
    with contextlib.closing(sqlite3.connect(project.home.catalog_file(source.location, target.location))) as catalog:
        for directory in (*FORGED_DIRECTORIES, str(outside)):
            row = (directory.encode(), 1, 1, "h240-q85-m6", 9, 9, 0, 9, 1, 0.0)
            catalog.execute("INSERT OR REPLACE INTO directories VALUES (?,?,?,?,?,?,?,?,?,?)", row)
            for place, name in ((directory.encode(), b"a.png"), (b"", f"{directory}/a.png".encode())):
                failure = (place, name, 1, 1, "DamagedImageError", "m", "r", "0", 1.0)
                catalog.execute("INSERT OR REPLACE INTO failures VALUES (?,?,?,?,?,?,?,?,?)", failure)
        catalog.commit()


@pytest.mark.parametrize("command", ["catchup", "clean", "retry", "failures", "status", "doctor"])
def test_a_forged_catalog_makes_no_command_touch_anything_outside(
    project: Project, outside: Path, command: str
) -> None:
    project.image(f"{SESSION}/a.png")
    output_of(project, "catchup")
    forge_catalog(project, outside)
    before = everything_in(outside)
    run(project, command)
    assert everything_in(outside) == before


def test_a_forged_catalog_makes_no_watcher_touch_anything_outside(project: Project, outside: Path) -> None:
    project.image(f"{SESSION}/a.png")
    output_of(project, "catchup")
    forge_catalog(project, outside)
    before = everything_in(outside)
    with watcher_process(project):
        project.image(f"{SESSION}/late.png")
        wait_for(lambda: project.is_fresh(f"{SESSION}/late.png"), SOON_S)
    assert everything_in(outside) == before


def test_a_forged_catalog_costs_no_thumbnail_and_no_trouble(project: Project, outside: Path) -> None:
    project.image(f"{SESSION}/a.png")
    output_of(project, "catchup")
    forge_catalog(project, outside)
    project.image("20251001_000000-older/unmade.png")
    with watcher_process(project):
        wait_for(project.is_exact, 8.0)
        wait_for(lambda: project.state().get("phase") == "watching", SOON_S)
        assert project.state()["problems"] == []
        assert "Unexpected error" not in project.log()


@contextlib.contextmanager
def state_of_a_watcher(project: Project, **values: object) -> Iterator[dict[str, object]]:
    """The state of a real watcher with some values changed. The watcher is suspended, so that it writes no other."""
    project.image(f"{SESSION}/a.png")
    with watcher_process(project) as watcher:
        wait_for(lambda: project.state().get("phase") == "watching" and project.is_exact(), SOON_S)
        wait_for(lambda: project.state().get("last_image"), SOON_S)
        watcher.suspend()
        try:
            state = project.state() | values
            project.home.state_file.write_text(json.dumps(state), "ascii")
            yield state
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):  # a command may have replaced it
                watcher.resume()


def write_forged(project: Project, state: Mapping[str, object]) -> None:
    project.home.state_file.write_text(json.dumps(state), "ascii")


def assert_status_is_told(project: Project) -> str:
    """Asserts that both forms of ``status`` work, without escapes; returns the text."""
    told = run(project, "status", "--json")
    assert told.returncode == 4, told
    report = json.loads(told.stdout, parse_constant=pytest.fail)  # NaN is not JSON
    assert report["health"] == "degraded"
    shown = without_colours(on_a_terminal(project, "status"))
    for text in (shown, told.stdout, told.stderr):
        assert_is_plain(text)
        assert "Traceback" not in text
        assert "unexpected" not in text
    return shown


HOSTILE_TEXT = "\x1b]0;owned\x07\x9b31m\u202e[bold]\r\udcff"


def test_hostile_texts_in_the_state_file_are_shown_as_text(project: Project) -> None:
    hostile = {
        "source_dir": HOSTILE_TEXT, "target_dir": HOSTILE_TEXT, "phase": HOSTILE_TEXT,
        "observer": {"kind": HOSTILE_TEXT, "reason": HOSTILE_TEXT}, "queue": {HOSTILE_TEXT: 1},
        "progress": {"phase": HOSTILE_TEXT, "done": 1, "total": 2, "session": HOSTILE_TEXT},
        "last_image": {"key": HOSTILE_TEXT, "at_s": 1.0, "build_s": 1.0, "latency_s": None},
        "problems": [{"message": HOSTILE_TEXT, "remedy": HOSTILE_TEXT, "since_s": None}],
        "making": [HOSTILE_TEXT], "counts": {HOSTILE_TEXT: 1}, "version": HOSTILE_TEXT,
    }  # fmt: skip
    with state_of_a_watcher(project, **hostile):
        shown = assert_status_is_told(project)
        assert shown.count("owned") >= 8
        for arguments in (("start",), ("stop", "--source-dir", "."), ("doctor",)):
            assert_is_plain(without_colours(on_a_terminal(project, *arguments)))


def spoiled(state: Mapping[str, object], places: tuple[str, ...], value: object) -> dict[str, object]:
    """A state with another value in one place, at any depth; ``...`` removes it."""
    place, *below = places
    inner = state[place]
    if below and isinstance(inner, list):
        return {**state, place: [spoiled(inner[0], tuple(below), value)]}
    if below and isinstance(inner, dict):
        return {**state, place: spoiled(inner, tuple(below), value)}
    return {key: one for key, one in state.items() if key != place} | ({} if value is ... else {place: value})


WRONG: tuple[object, ...] = (..., {}, [[]], True, "x" * 9, -1, 1.5, float("nan"), float("inf"), 10**400)


def test_a_state_file_of_a_wrong_shape_is_damaged_and_nothing_worse(project: Project) -> None:
    problem = {"message": "m", "remedy": "r", "since_s": 1.0}
    progress = {"phase": "audit", "done": 1, "total": 2, "session": "s"}
    with state_of_a_watcher(project, problems=[problem], progress=progress) as state:
        settings, home = Settings(source_dir=project.results, target_dir=project.thumbnails), project.home
        places: list[tuple[str, ...]] = [(name,) for name in state]
        places += [(name, inner) for name, one in state.items() if isinstance(one, dict) for inner in one]
        places += [("problems", name) for name in problem]
        for place in places:
            for value in WRONG:
                write_forged(project, spoiled(state, place, value))
                report = watcher_report(home, settings)
                json.dumps(report, allow_nan=False)
                Console(file=io.StringIO()).print(render(report))
                assert report["health"] in EXIT_CODES, (place, value)
        for place in (("images",), ("last_image", "at_s"), ("problems", "remedy"), ("sessions", "complete")):
            write_forged(project, spoiled(state, place, ...))
            assert "state file is damaged" in assert_status_is_told(project)


def test_a_state_file_says_nothing_but_what_a_state_is(project: Project) -> None:
    problem = {"message": "m", "remedy": "r"}
    more = {"health": "superb", "running": "\x1b", "uptime_s": "x", "memory_bytes": [], "problems": [problem]}
    with state_of_a_watcher(project, **more):
        assert_status_is_told(project)


@pytest.mark.parametrize("command", ["status", "stop", "start", "restart", "catchup", "clean"])
def test_a_state_file_that_names_folders_outside_makes_no_command_touch_them(
    project: Project, outside: Path, command: str
) -> None:
    project.image(f"{SESSION}/a.png")
    (outside / "results").mkdir()
    before = everything_in(outside)
    with watcher_process(project):
        wait_until_faultless(project, SOON_S)
        for source, target in ((outside, outside / "below"), (outside / "results", outside), (outside, "\0")):
            state = project.state() | {"source_dir": str(source), "target_dir": str(target)}
            write_forged(project, state)
            done = run(project, command)
            assert "Traceback" not in done.stderr
            assert "unexpected" not in done.stderr
            assert everything_in(outside) == before
            run(project, "start")
        project.image(f"{SESSION}/later.png")
        wait_until_faultless(project, SOON_S)
    assert everything_in(outside) == before


# -- nothing from outside reaches a terminal as anything but text

HOSTILE_NAMES = (
    "\x1b[31mred", "\x1b]0;owned\x07", "\x1b]8;;http:evil\x1b\\", "back\b\b\b\b", "line\nfeed", "return\rover",
    "\x9b31mc1", "tab\tbell\x07", "right\u202eleft", "undecodable\udcff", "[red]markup[", "[link=http:evil]x",
    "zero\u200bwidth", "[bold", ":skull:", "100%s %d {0}",
)  # fmt: skip


def draw_hostile_names(project: Project) -> tuple[int, int]:
    """Creates good and bad images, and two for one thumbnail, with hostile names; returns the number of each."""
    good = bad = 0
    for number, name in enumerate(HOSTILE_NAMES):
        folder = project.results / f"202511{number + 1:02}_000000-{name}"
        folder.mkdir()
        (folder / f"{name}.png").write_bytes(png())
        (folder / f"bad {name}.png").write_bytes(b"no image " + os.fsencode(name))
        good, bad = good + 1, bad + 1
        if "\udcff" not in name:  # see the test of such rivals
            (folder / f"{name}.PNG").write_bytes(png())
            bad += 1
    # As a key the two are markup that closes what was never opened.
    (project.results / "20251130_000000-[").mkdir()
    (project.results / "20251130_000000-[" / "bold].png").write_bytes(png())
    return good + 1, bad


TITLE = b"\x1b]0;owned\x07"


def profile_with(escape: bytes, *, instead_of: bytes) -> bytes:
    """A chunk iCCP with an escape in its profile."""
    profile = rgb_profile()
    assert profile.count(instead_of) == 1
    assert len(escape) == len(instead_of)
    return iccp_chunk(profile.replace(instead_of, escape))


HOSTILE_CONTENTS = {
    "keyword": with_chunks(png(), chunk(b"tEXt", TITLE + b"\0" + TITLE)),
    "packed keyword": with_chunks(png(), chunk(b"zTXt", TITLE + b"\0\0" + zlib.compress(TITLE))),
    "name of a profile": with_chunks(png(), chunk(b"iCCP", TITLE + b"\0\0" + zlib.compress(rgb_profile()))),
    "profile": with_chunks(png(), profile_with(b"\x1b[1m\0", instead_of=b"test\0")),
    "class of a profile": with_chunks(png(), profile_with(b"\x1b[1mRGB ", instead_of=b"mntrRGB ")),
    "colours of a profile": with_chunks(png(), profile_with(b"mntr\x1b[1m", instead_of=b"mntrRGB ")),
}
HOSTILE_BROKEN = {
    "kind of a chunk": with_chunks(png(), chunk(b"\x1b[1m", b"x")),
    "kind of a critical chunk": with_chunks(png(), chunk(b"A\x1b[m", b"x")),
    "keyword and an unknown chunk": with_chunks(png(), chunk(b"tEXt", TITLE + b"\0x"), chunk(b"ABCD", TITLE)),
    "pixels": png()[:33] + chunk(b"IDAT", TITLE) + chunk(b"IEND"),
    "packed pixels": png()[:33] + chunk(b"IDAT", zlib.compress(TITLE * 99)) + chunk(b"IEND"),
    "behind its header": png()[:33] + TITLE * 9,
    "all of it": TITLE * 99,
}


def draw_hostile_contents(project: Project) -> tuple[int, int]:
    """Creates good and bad images with escapes in every text of a PNG; returns the number of each."""
    folder = project.results / "20251129_000000-contents"
    folder.mkdir()
    for what, content in (HOSTILE_CONTENTS | HOSTILE_BROKEN).items():
        (folder / f"{what}.png").write_bytes(content)
    return len(HOSTILE_CONTENTS), len(HOSTILE_BROKEN)


def on_a_terminal(project: Project, *arguments: str) -> str:
    """The output of a command on a terminal with colours."""
    ours, theirs = pty.openpty()
    environment = environment_of(project, {"TERM": "xterm-256color", "COLUMNS": "400", "LINES": "50"})
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command_line(*arguments), cwd=project.root, env=environment,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    received = b""
    deadline_s = time.monotonic() + 60
    try:
        while (
            time.monotonic() < deadline_s and select.select([ours], [], [], 1.0) != ([], [], [])
        ) or process.poll() is None:
            try:
                received += os.read(ours, 65_536)
            except OSError:  # EIO: the other end is closed
                break
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return received.decode("utf-8", "surrogateescape")


def without_colours(text: str) -> str:
    """The text without colours and the terminal's line ends, which our commands may print."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n")


def assert_is_plain(text: str) -> None:
    found = ESCAPES.search(text)
    assert found is None, (found, text[max(0, found.start() - 60) : found.end() + 60])
    assert "\u202e" not in text
    assert not any("\ud800" <= char <= "\udfff" for char in text)


@pytest.fixture
def named_hostile(project: Project) -> Iterator[Project]:
    good, bad = map(sum, zip(draw_hostile_names(project), draw_hostile_contents(project), strict=True))
    with watcher_process(project):
        wait_for(lambda: sum(1 for _ in project.thumbnails.rglob("*.webp")) == good, SOON_S)
        wait_for(lambda: project.state().get("failures") == bad, SOON_S)
        wait_for(lambda: len(json.loads(run(project, "failures", "--json").stdout)["failures"]) == bad, SOON_S)
        yield project


def test_names_and_contents_reach_neither_logs_nor_commands_as_escapes(named_hostile: Project) -> None:
    assert_is_plain(named_hostile.log())
    for arguments in (
        ("failures",),
        ("failures", "--json"),
        ("logs", "-n", "1000"),
        ("status",),
        ("status", "--json"),
        ("doctor",),
    ):
        done = run(named_hostile, *arguments)
        assert done.returncode in (0, 4), done
        assert_is_plain(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
    assert_is_plain(named_hostile.home.state_file.read_text("utf-8"))


def test_names_reach_a_terminal_as_text(named_hostile: Project) -> None:
    for arguments in (("failures",), ("logs", "-n", "1000"), ("doctor",)):
        shown = without_colours(on_a_terminal(named_hostile, *arguments))
        assert len(shown) > 20
        assert_is_plain(shown)


def test_status_shows_the_last_image_under_its_own_name(project: Project) -> None:
    """Names are shown as they are, not as markup."""
    for key in ("20251130_000000-[/bold].png", "20251130_000000-x/[link=http:evil]:skull:.png"):
        (project.results / key).parent.mkdir()
        with watcher_process(project):
            (project.results / key).write_bytes(png())
            wait_for(lambda key=key: (project.state().get("last_image") or {}).get("key") == key, SOON_S)  # type: ignore[misc]
            shown = without_colours(on_a_terminal(project, "status"))
            assert_is_plain(shown)
            assert key in shown


def test_two_images_for_one_name_that_is_no_valid_text_are_no_trouble(project: Project) -> None:
    folder = project.results / SESSION
    folder.mkdir()
    for suffix in ("png", "PNG"):
        (folder / f"undecodable\udcff.{suffix}").write_bytes(png())
    with watcher_process(project):
        wait_for(lambda: project.is_fresh(f"{SESSION}/undecodable\udcff.png"), SOON_S)
        wait_for(lambda: project.state().get("failures") == 1, 8.0)
        wait_for(lambda: len(json.loads(run(project, "failures", "--json").stdout)["failures"]) == 1, 8.0)
        assert project.state()["problems"] == []


def test_retry_shows_hostile_names_as_text(project: Project) -> None:
    folder = project.results / SESSION
    folder.mkdir()
    for suffix in ("png", "PNG"):
        (folder / f"\x1b]0;owned\x07.{suffix}").write_bytes(png())
    assert run(project, "catchup").returncode == 1
    shown = without_colours(on_a_terminal(project, "retry"))
    assert "shares its thumbnail with" in shown
    assert_is_plain(shown)


def test_a_watcher_in_the_foreground_shows_hostile_names_as_text(project: Project) -> None:
    folder = project.results / SESSION
    folder.mkdir()
    for suffix in ("png", "PNG"):
        (folder / f"\x1b]0;owned\x07.{suffix}").write_bytes(png())
    with (project.root / "shown").open("wb") as shown:
        process = subprocess.Popen(
            command_line("watch"), cwd=project.root, env=environment_of(project), stdout=shown, stderr=shown
        )  # fmt: skip
        try:
            wait_for(lambda: b"shares its thumbnail with" in (project.root / "shown").read_bytes(), SOON_S)
        finally:
            process.terminate()
            process.wait(20)
    assert_is_plain((project.root / "shown").read_text("utf-8"))


@pytest.mark.parametrize("command", ["status", "start", "catchup"])
def test_a_configuration_of_hostile_names_reaches_no_terminal(project: Project, command: str) -> None:
    content = {"output_dir": "\x1b]0;owned\x07\u202e[/bold]"}
    (project.root / "sdgen_config.json").write_text(json.dumps(content), "utf-8")
    try:
        done = run(project, command)
        assert "unexpected" not in done.stderr
        assert_is_plain(done.stdout + done.stderr)
    finally:
        run(project, "stop")
