"""The background process killed, stopped, started twice, with wrong files, a wrong clock, and without descriptors.

Every fault is a real one, on a real watcher in its own process. ``SDGEN_FAULT_ROUNDS`` is the number of random moments
at which it is killed (200 by default, at least 16); half as many races run. ``SDGEN_FAULT_SEED`` selects the moments.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from sdgen_thumbnail_plugin.daemon import state
from sdgen_thumbnail_plugin.daemon.identity import is_locked
from sdgen_thumbnail_plugin.daemon.process import holding_the_lock
from sdgen_thumbnail_plugin.daemon.state import watcher_report
from sdgen_thumbnail_plugin.errors import AlreadyRunningError
from sdgen_thumbnail_plugin.paths import HOME_VARIABLE, Home
from sdgen_thumbnail_plugin.settings import Settings
from support.commands import command_line, environment_of, python_process, run, status
from support.pictures import as_png, png
from support.project import Project, inodes
from support.waiting import wait_for
from support.watcher import pid_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the faults are made with Linux's means")

PARTS = 8  # so that parallel test processes can share them
ROUNDS = max(2 * PARTS, int(os.environ.get("SDGEN_FAULT_ROUNDS", "200")))
RACES = ROUNDS // 2

PATIENCE_S = 90.0  # for work that takes a second on an idle machine
SESSION = "20251110_151059-old"
FIRST = f"{SESSION}/first.png"
HOUR_S = 3600
NOTHING_MORE: Mapping[str, str] = {}

# -- the watcher, started by its commands


def started(
    project: Project, *arguments: str, prefix: tuple[str, ...] = (), environment: Mapping[str, str] = NOTHING_MORE
) -> psutil.Process:
    """Starts the watcher; it runs at the priority of the tests beside it, which would starve it otherwise."""
    result = run(project, "start", *arguments, prefix=prefix, environment=environment)
    assert result.returncode == 0, result.stderr + project.log()
    watcher = psutil.Process(pid_of(project))
    with contextlib.suppress(OSError):  # an ordinary user may not
        Path(f"/proc/{watcher.pid}/autogroup").write_text("0")
        for task in tasks_of(watcher):
            os.setpriority(os.PRIO_PROCESS, int(task.name), 0)
    return watcher


@contextlib.contextmanager
def starting(project: Project) -> Iterator[subprocess.Popen[str]]:
    """A start that has begun; it has ended when the context ends."""
    process = subprocess.Popen(
        command_line("start"), cwd=project.root, env=environment_of(project), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def watchers(project: Project) -> list[psutil.Process]:
    """All watchers of this project's home, including those that its files do not name."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "watch" in process.cmdline() and process.environ().get(HOME_VARIABLE) == str(project.home.root):
                found.append(process)
    return found


def killed(process: psutil.Process, number: int = signal.SIGKILL) -> None:
    """Signals a watcher and waits for its end."""
    process.send_signal(number)
    wait_for(lambda: is_dead(process), PATIENCE_S)


def is_dead(process: psutil.Process) -> bool:
    """Whether its last thread has ended: the first one may end a moment before the others release the lock."""
    try:
        states = [Path(task, "stat").read_bytes().rpartition(b")")[2].split()[0] for task in tasks_of(process)]
    except OSError:
        return not process.is_running()
    return all(state in (b"Z", b"X") for state in states)


def tasks_of(process: psutil.Process) -> list[Path]:
    return list(Path(f"/proc/{process.pid}/task").iterdir())


def quick_status(project: Project) -> dict[str, Any]:
    """The same without a process of its own."""
    return watcher_report(project.home, Settings(source_dir=project.results, target_dir=project.thumbnails))


def assert_told(report: dict[str, Any], health: str, message: str, remedy: str) -> None:
    assert report["health"] == health, report
    assert [True for one in report["problems"] if message in one["message"] and remedy in one["remedy"]], report


def is_exact(project: Project) -> bool:
    with contextlib.suppress(FileNotFoundError):  # a folder that went while it was looked at: look again
        return project.is_exact()
    return False


def is_quiet(project: Project) -> bool:
    """Whether the watcher reports that everything is done, without problems."""
    state = project.state()
    return state.get("phase") == "watching" and not state["problems"] and not any(state["queue"].values())


def assert_all_is_well(project: Project, *, prefix: tuple[str, ...] = ()) -> None:
    """Waits for exact thumbnails, one watcher and a status that says so."""
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    report = status(project, prefix=prefix)
    assert (report["running"], report["health"], report["problems"]) == (True, "healthy", []), report
    assert [process.pid for process in watchers(project)] == [report["pid"]] == [pid_of(project)]


def assert_no_half_thumbnail(project: Project) -> None:
    """Every WebP file is as long as its header says."""
    for path in project.thumbnails.rglob("*.webp"):
        data = path.read_bytes()
        assert data[:4] == b"RIFF", path
        assert struct.unpack_from("<I", data, 4)[0] + 8 == len(data), path


def large_png(width_px: int = 2500) -> bytes:
    """An image whose thumbnail takes a tenth of a second."""
    return as_png(Image.linear_gradient("L").resize((width_px, width_px)).convert("RGB"), compress_level=1)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project with one image. No watcher of it outlives the test."""
    project = Project(tmp_path)
    project.image(FIRST)
    try:
        yield project
    finally:
        while left := watchers(project):
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            for process in left:
                wait_for(functools.partial(is_dead, process), PATIENCE_S)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that prints each signal instead of ending."""
    code = (
        "import signal, sys\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCONT):\n"
        "    signal.signal(number, lambda number, _: print(number, flush=True))\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    # Its command line looks like a watcher's: that must not be taken for proof.
    command = [sys.executable, "-c", code, "sdgen_thumbnail_plugin", "watch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield process
        finally:
            process.kill()


def assert_left_alone(stranger: subprocess.Popen[bytes]) -> None:
    assert stranger.poll() is None
    out, _ = stranger.communicate(timeout=PATIENCE_S)  # it ends with its input
    assert (stranger.returncode, out) == (0, b"")


def numbers_of(part: int, total: int) -> range:
    """The rounds of one part; together, the parts do all of them."""
    return range(total * part // PARTS, total * (part + 1) // PARTS)


# -- killed at any moment


class Busybody:
    """Creates, replaces, renames and deletes images and sessions as fast as possible.

    It overwrites nothing in place: such a change does not show in the folder's time, and another test combines it with
    a kill.
    """

    def __init__(self, project: Project, chance: random.Random) -> None:
        self._project = project
        self._chance = chance
        self._names = 0
        self._large = large_png(600)

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            self._do_something()

    def _do_something(self) -> None:
        sessions = sorted(path for path in self._project.results.iterdir())
        session = self._chance.choice(sessions)
        images = sorted(session.glob("*.png"))
        what = self._chance.random()
        # The number of images stays below what a start makes in a second or two.
        if len(sessions) > 8 or (len(sessions) > 2 and (what < 0.04 or len(images) > 8)):
            shutil.rmtree(session)
        elif what < 0.14:
            self._write(self._project.results / f"20251111_{self._number():06}-new")
        elif what < 0.20:
            session.rename(session.with_name(f"20251111_{self._number():06}-renamed"))
        elif what < 0.30 and images:
            self._chance.choice(images).unlink()
        elif what < 0.40 and images:
            self._chance.choice(images).rename(session / f"renamed_{self._number()}.png")
        elif what < 0.55 and images:
            self._write(session, self._chance.choice(images).name)
        else:
            self._write(session)

    def _write(self, session: Path, name: str | None = None) -> None:
        session.mkdir(exist_ok=True)
        part = session / ".part"
        part.write_bytes(self._large if self._chance.random() < 0.3 else png((48, 40 + self._number() % 50)))
        part.rename(session / (name or f"{self._number()}.png"))

    def _number(self) -> int:
        self._names += 1
        return self._names


@pytest.mark.timeout(60 + 10 * (ROUNDS // PARTS + 1))
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_any_moment_of_a_busy_run_nothing_is_lost_or_left_over(project: Project, part: int) -> None:
    seed = int(os.environ.get("SDGEN_FAULT_SEED", "1")) + part
    busybody = Busybody(project, random.Random(seed))
    chance = random.Random(-seed)
    interrupted = 0
    for number in numbers_of(part, ROUNDS):
        watcher = started(project)
        if number % 4 == 3:  # in the middle of catching up with what the last one left
            killed_after(watcher, chance.uniform(0, 0.2))
            watcher = started(project)
        wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
        assert [one.pid for one in watchers(project)] == [watcher.pid] == [pid_of(project)]
        assert quick_status(project)["health"] == "healthy"
        stopped = threading.Event()
        busy = threading.Thread(target=busybody.run, args=(stopped,))
        busy.start()
        try:
            killed_at_ns = killed_after(watcher, chance.uniform(0, 0.8))
        finally:
            stopped.set()
            busy.join()
        interrupted += bool(unmade(project, killed_at_ns))
        assert_no_half_thumbnail(project)
        report = quick_status(project)
        assert report["running"] is False
        assert_told(report, "not running", "ended without tidying up", "sdgen-thumbnails start")
    assert interrupted >= len(numbers_of(part, ROUNDS)) // 4, "most kills were to come in the middle of work"
    started(project)
    assert_all_is_well(project)


def killed_after(watcher: psutil.Process, moment_s: float) -> int:
    """Kills it after a time; returns the moment as a file time."""
    time.sleep(moment_s)  # the fault's own moment, not a wait for anything
    moment_ns = time.time_ns()
    killed(watcher)
    return moment_ns


def unmade(project: Project, moment_ns: int) -> set[Path]:
    """Images that existed at a moment without their thumbnails: the watcher had work to do then.

    A thumbnail is known by its image's time, so that what was renamed after the moment is not taken for one of them.
    """
    there_ns = {path.stat().st_mtime_ns for path in project.thumbnails.rglob("*.webp")}
    clock_ns = 20_000_000  # files have the time of a clock that ticks a hundred times a second, or oftener
    statuses = {path: path.stat() for path in project.results.rglob("*.png")}
    return {
        path for path, status in statuses.items()
        if status.st_ctime_ns < moment_ns - clock_ns and status.st_mtime_ns not in there_ns
    }  # fmt: skip


def known_to_be_complete(
    project: Project, *arguments: str, environment: Mapping[str, str] = NOTHING_MORE
) -> psutil.Process:
    """Starts the watcher of a complete project whose folders have old times."""
    watcher = started(project, *arguments, environment=environment)
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    killed(watcher, signal.SIGTERM)
    project.age()
    watcher = started(project, *arguments, environment=environment)
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    return watcher


def test_an_image_written_over_just_before_a_kill_is_made_up_for(project: Project) -> None:
    watcher = known_to_be_complete(project)
    watcher.suspend()  # so that it cannot be faster than the kill
    with (project.results / FIRST).open("r+b") as file:
        file.write(png((96, 64)))
    killed(watcher)
    assert not is_exact(project)
    started(project)
    wait_for(lambda: is_exact(project), 8)
    assert_all_is_well(project)


# -- asked to end at any moment


def ended_politely(project: Project, watcher: psutil.Process) -> None:
    killed(watcher, signal.SIGTERM)
    assert "✓ Stopped" in project.log()
    assert "Unexpected" not in project.log()
    assert not project.home.pid_file.exists()
    assert not project.home.state_file.exists()
    assert_no_half_thumbnail(project)
    assert not [path for path in project.thumbnails.rglob("*") if path.is_file() and path.suffix != ".webp"]
    report = status(project)
    assert (report["running"], report["health"], report["problems"]) == (False, "not running", [])


def test_asked_to_end_during_a_build_it_finishes_it_and_the_next_start_does_the_rest(project: Project) -> None:
    data = large_png()
    for number in range(30):
        (project.results / SESSION / f"{number:02}.png").write_bytes(data)
    watcher = started(project)
    wait_for(lambda: project.state().get("making"), PATIENCE_S)
    ended_politely(project, watcher)
    assert not is_exact(project), "it was to be in the middle"
    started(project)
    assert_all_is_well(project)


def test_asked_to_end_during_the_audit_it_ends_and_the_next_start_does_the_rest(project: Project) -> None:
    data = large_png()
    for number in range(30):  # behind the complete session where the smart catch-up stops: left to the audit
        path = project.results / "20251101_000000-oldest" / f"{number:02}" / "a.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    (project.results / "20251105_000000-complete").mkdir()
    watcher = started(project)
    wait_for(lambda: project.state().get("phase") == "audit: processing" and project.state()["making"], PATIENCE_S)
    ended_politely(project, watcher)
    assert not is_exact(project), "it was to be in the middle"
    started(project)
    assert_all_is_well(project)


def test_asked_to_end_before_it_is_ready_the_start_says_so(project: Project) -> None:
    with starting(project) as start:
        wait_for(lambda: watchers(project), PATIENCE_S)
        killed(watchers(project)[0], signal.SIGTERM)
        _, told = start.communicate(timeout=PATIENCE_S)
    assert start.returncode == 1, told
    assert "the watcher did not start" in told
    assert "fix: " in told
    assert "Traceback" not in told
    assert status(project)["health"] == "not running"
    started(project)
    assert_all_is_well(project)


@contextlib.contextmanager
def held_up_before_it_is_ready(project: Project) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A start, and its watcher that has the lock and waits (5 s at most) for a catalog that this process has locked."""
    started(project)
    run(project, "stop")
    [catalog] = project.home.state_dir.glob("*.sqlite3")
    with contextlib.closing(sqlite3.connect(catalog, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with starting(project) as start:
            wait_for(project.home.pid_file.exists, PATIENCE_S)
            yield start, psutil.Process(pid_of(project))


def test_asked_to_end_between_lock_and_readiness_it_tidies_up(project: Project) -> None:
    with held_up_before_it_is_ready(project) as (start, watcher):
        killed(watcher, signal.SIGTERM)
        assert not project.home.pid_file.exists()
        assert start.wait(PATIENCE_S) == 1
    report = status(project)
    assert (report["running"], report["health"], report["problems"]) == (False, "not running", [])
    started(project)
    assert_all_is_well(project)


# -- started twice, or by a process that dies


@pytest.mark.timeout(60 + 15 * (RACES // PARTS + 1))
@pytest.mark.parametrize("part", range(PARTS))
def test_of_two_starts_at_once_exactly_one_watcher_is_left(project: Project, part: int) -> None:
    for number in numbers_of(part, RACES):
        project.image(f"{SESSION}/{number}.png")
        with starting(project) as one, starting(project) as other:
            for start in (one, other):
                out, told = start.communicate(timeout=PATIENCE_S)
                assert start.returncode == 0, told + project.log()
                assert f"(PID {pid_of(project)})" in out
        [watcher] = watchers(project)
        assert watcher.pid == pid_of(project)
        wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
        assert quick_status(project)["health"] == "healthy"
        # Every other race begins with what a dead one left behind.
        killed(watcher, signal.SIGKILL if number % 2 else signal.SIGTERM)
    started(project)
    assert_all_is_well(project)


@contextlib.contextmanager
def asking_all_the_time(home: Home) -> Iterator[None]:
    """A process that only asks whether a watcher runs."""
    code = (
        "import pathlib, sys\n"
        "from sdgen_thumbnail_plugin.daemon.identity import is_locked\n"
        "from sdgen_thumbnail_plugin.paths import Home\n"
        "home = Home(pathlib.Path(sys.argv[1]))\n"
        "print('up', flush=True)\n"
        "while True:\n"
        "    is_locked(home)\n"
    )
    home.prepare()
    home.lock_file.touch()
    with python_process(code, str(home.root), says="up") as asker:
        yield
        assert asker.poll() is None


def test_somebody_who_only_asks_turns_no_start_away(project: Project) -> None:
    refused = 0
    with asking_all_the_time(project.home):
        for _ in range(1500):
            try:
                with holding_the_lock(project.home):
                    pass
            except AlreadyRunningError:
                refused += 1
    assert refused == 0


def test_two_who_only_ask_do_not_take_each_other_for_a_watcher(project: Project) -> None:
    with asking_all_the_time(project.home):
        assert sum(is_locked(project.home) for _ in range(3000)) == 0


@pytest.mark.parametrize("moment", ["its child runs", "its child has the lock"])
def test_whoever_starts_it_may_die_meanwhile(project: Project, moment: str) -> None:
    with starting(project) as start:
        wait_for(
            lambda: watchers(project) if moment == "its child runs" else project.home.pid_file.exists(), PATIENCE_S
        )
        start.kill()
        assert start.wait(PATIENCE_S) == -signal.SIGKILL
    wait_for(lambda: project.state().get("phase") == "watching", PATIENCE_S)
    assert_all_is_well(project)
    again = run(project, "start")
    assert f"running already (PID {pid_of(project)})" in again.stdout
    project.image(f"{SESSION}/later.png")
    assert_all_is_well(project)


# -- a PID file and a state file that are wrong


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def _as_an_ordinary_user() -> tuple[str, ...]:
    """The prefix for a command that permissions apply to."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root is refused nothing, and there is no setpriv to change that")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


def write_unreadable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0)
    read = subprocess.run([*_as_an_ordinary_user(), "cat", str(path)], capture_output=True, text=True)
    assert (read.returncode, read.stdout) == (1, "")


PID_FILES: dict[str, Callable[[Path, int], object]] = {
    "of another process": lambda path, stranger: path.write_text(str(stranger)),
    "of a dead process": lambda path, _: path.write_text(str(dead_pid())),
    "garbage": lambda path, _: path.write_bytes(b"\xff\x00 no number\n" * 100),
    "empty": lambda path, _: path.touch(),
    "unreadable": lambda path, stranger: write_unreadable(path, str(stranger)),
}


@pytest.mark.parametrize("what", PID_FILES)
def test_a_wrong_pid_file_is_told_and_replaced(project: Project, stranger: subprocess.Popen[bytes], what: str) -> None:
    prefix = _as_an_ordinary_user() if what == "unreadable" else ()
    project.home.prepare()
    PID_FILES[what](project.home.pid_file, stranger.pid)
    report = status(project, prefix=prefix)
    assert report["running"] is False
    assert_told(report, "not running", "ended without tidying up", "sdgen-thumbnails start")
    assert started(project, prefix=prefix).pid != stranger.pid
    assert_all_is_well(project)
    assert run(project, "stop", prefix=prefix).returncode == 0
    assert not project.home.pid_file.exists()
    PID_FILES[what](project.home.pid_file, stranger.pid)
    assert run(project, "stop", prefix=prefix).returncode == 3
    assert not project.home.pid_file.exists()
    assert_left_alone(stranger)


@pytest.mark.parametrize("what", [*PID_FILES, "gone"])
def test_a_pid_file_spoiled_while_it_runs_misleads_nobody(
    project: Project, stranger: subprocess.Popen[bytes], what: str
) -> None:
    prefix = _as_an_ordinary_user() if what == "unreadable" else ()
    watcher = started(project, prefix=prefix)
    assert_all_is_well(project)
    project.home.pid_file.unlink()
    if what != "gone":
        PID_FILES[what](project.home.pid_file, stranger.pid)
    report = status(project, prefix=prefix)
    assert (report["health"], report["pid"]) == ("healthy", watcher.pid)
    assert f"running already (PID {watcher.pid})" in run(project, "start", prefix=prefix).stdout
    stopped = run(project, "stop", prefix=prefix)
    assert stopped.stdout == f"✓ Stopped the watcher (PID {watcher.pid})\n"
    assert not watchers(project)
    started(project, prefix=prefix)
    assert_all_is_well(project)
    assert_left_alone(stranger)


def test_a_folder_in_the_pid_files_place_is_told_with_the_remedy(project: Project) -> None:
    (project.home.pid_file / "something").mkdir(parents=True)
    refused = run(project, "start")
    assert refused.returncode != 0
    assert str(project.home.pid_file) in refused.stderr
    assert "unexpected" not in refused.stderr
    assert "fix: " in refused.stderr
    shutil.rmtree(project.home.pid_file)
    started(project)
    assert_all_is_well(project)


def _another_state(project: Project, **values: object) -> bytes:
    return json.dumps(project.state() | values).encode("ascii")


STATES: dict[str, Callable[[Project], bytes]] = {
    "empty": lambda _: b"",
    "garbage": lambda _: os.urandom(1000),
    "half": lambda project: project.home.state_file.read_bytes()[:200],
    "another shape": lambda _: b'{"schema": 1, "pid": "x", "queue": []}',
    "deep": lambda _: b"[" * 100_000,
}


@pytest.mark.parametrize("what", STATES)
def test_a_spoiled_state_file_is_told_and_written_anew(project: Project, what: str) -> None:
    watcher = started(project)
    assert_all_is_well(project)
    watcher.suspend()  # else it would write the file again before the test can look
    project.home.state_file.write_bytes(STATES[what](project))
    report = status(project)
    assert report["pid"] == watcher.pid
    assert_told(report, "degraded", "state file is damaged", "restart")
    watcher.resume()
    project.image(f"{SESSION}/later.png")
    assert_all_is_well(project)
    assert pid_of(project) == watcher.pid


def test_a_state_file_left_behind_that_names_a_stranger_harms_nobody(
    project: Project, stranger: subprocess.Popen[bytes]
) -> None:
    watcher = started(project)
    assert_all_is_well(project)
    killed(watcher)
    # The PID of the dead watcher belongs to another process, which even looks like it.
    project.home.state_file.write_bytes(_another_state(project, pid=stranger.pid))
    project.home.pid_file.write_text(str(stranger.pid))
    assert_told(status(project), "not running", "ended without tidying up", "sdgen-thumbnails start")
    assert run(project, "stop").returncode == 3
    started(project)
    assert_all_is_well(project)
    assert_left_alone(stranger)


# -- time


_SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *shift_s;

__attribute__((constructor)) static void open_shift(void) {
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *found = mmap(0, sizeof *shift_s, PROT_READ, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) shift_s = found;
        close(file);
    }
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, which, now);
    if (!result && shift_s && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift_s;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    (void)zone;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class Clock:
    """A clock that can be set for processes with its environment; the machine's own stays as it is."""

    def __init__(self, folder: Path) -> None:
        source, library, self._shift = (folder / name for name in ("clock.c", "clock.so", "shift"))
        source.write_text(_SHIM)
        self._shift.write_bytes(bytes(8))
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a clock of its own takes a C compiler")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._shift)}

    def set(self, seconds: int) -> None:
        """Sets it to a number of seconds from the right time, also for running processes."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def is_obeyed(self) -> bool:
        command = [sys.executable, "-c", "import time; print(time.time())"]
        told = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, check=True).stdout
        return abs(float(told) - time.time() + HOUR_S) < HOUR_S / 2


@pytest.fixture
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    clock = Clock(tmp_path_factory.mktemp("clock"))
    clock.set(-HOUR_S)
    if not clock.is_obeyed():
        pytest.skip("this Python asks the kernel itself what time it is")
    clock.set(0)
    return clock


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_a_clock_set_back_an_hour_changes_nothing(project: Project, clock: Clock, observer: str) -> None:
    """The watcher and all our commands see the clock jump back, by a preloaded library.

    The kernel, which nobody fools, gives new files their true times; so of the new images one is given the time that
    it would have, and the other lies an hour in the watcher's future.
    """
    watcher = started(project, "--observer", observer, environment=clock.environment)
    assert_all_is_well(project)
    clock.set(-HOUR_S)
    set_back_s = time.time() - HOUR_S
    wait_for(lambda: project.state()["updated_at_s"] < set_back_s + HOUR_S / 2, PATIENCE_S)  # it has seen it
    for name in ("as_the_clock_says", "of_the_future"):
        project.image(f"20251111_000000-new/{name}.png")
    path = project.results / "20251111_000000-new" / "as_the_clock_says.png"
    for older in (path, path.parent):
        os.utime(older, (set_back_s, set_back_s))
    with (project.results / FIRST).open("r+b") as file:
        file.write(png((96, 64)))
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    (project.results / "20251111_000000-new" / "of_the_future.png").unlink()
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    report = status(project, environment=clock.environment)
    assert (report["health"], report["pid"], report["problems"]) == ("healthy", watcher.pid, [])
    assert report["uptime_s"] >= 0
    before = inodes(project)
    assert run(project, "restart", "--observer", observer, environment=clock.environment).returncode == 0
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    assert inodes(project) == before, "nothing had to be made again"
    assert status(project, environment=clock.environment)["health"] == "healthy"


def test_files_and_folders_of_the_future_get_their_thumbnails(project: Project) -> None:
    """After a clock was set back, everything seems to change an hour from now."""
    future_s = time.time() + HOUR_S
    project.image("20251111_000000-new/a.png")
    for path in project.results.rglob("*"):
        os.utime(path, (future_s, future_s))
    started(project)
    assert_all_is_well(project)
    before = inodes(project)
    project.image("20251111_000000-new/b.png")
    os.utime(project.results / "20251111_000000-new", (future_s, future_s))
    (project.results / FIRST).unlink()
    assert_all_is_well(project)
    assert set(inodes(project).items()) & set(before.items()) == {
        ("20251111_000000-new/a.webp", before["20251111_000000-new/a.webp"])
    }
    assert run(project, "restart").returncode == 0
    assert_all_is_well(project)


def test_a_machine_that_was_just_started_is_no_different(project: Project) -> None:
    """A restart of the machine, as a time namespace simulates it: the monotonic clock starts at zero, and the files of
    the last watcher are from a time when it was far ahead."""
    before_s = int(time.clock_gettime(time.CLOCK_MONOTONIC)) - 1
    prefix = ("unshare", "--time", "--fork", "--monotonic", f"-{before_s}")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("time namespaces are not permitted here")
    killed(started(project))
    project.image(f"{SESSION}/meanwhile.png")
    started(project, prefix=prefix)
    assert_all_is_well(project, prefix=prefix)
    project.image("20251111_000000-new/later.png")
    (project.results / FIRST).unlink()
    assert_all_is_well(project, prefix=prefix)


def test_after_the_clock_was_set_back_a_session_that_begins_anew_is_looked_at(project: Project, clock: Clock) -> None:
    """A session that is being generated has its files compared, even if its folder looks old."""
    watcher = known_to_be_complete(project, "--observer", "polling", environment=clock.environment)
    project.image("20251111_000000-another/a.png")
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)  # so it has read the manifests before
    clock.set(-HOUR_S)
    watcher.suspend()  # so that it does not look while the folder has today's time
    (project.results / SESSION / "manifest.json").write_text(json.dumps({"status": "ongoing"}))
    project.age()
    watcher.resume()
    saved_at_s = 0.0

    def saved_again_and_shown() -> bool:
        nonlocal saved_at_s
        if saved_at_s and project.is_fresh(FIRST):
            return True
        if time.monotonic() - saved_at_s > 2:  # the first look only takes notes
            saved_at_s = time.monotonic()
            with (project.results / FIRST).open("r+b") as file:
                file.write(png((96, 64)))
        return False

    wait_for(saved_again_and_shown, 15)
    assert_all_is_well(project)


def test_a_clock_that_was_years_ahead_does_not_put_off_the_sweep_for_years(project: Project, clock: Clock) -> None:
    sweeps = {"SDGEN_THUMBNAILS_SWEEP_INTERVAL_S": "1"}
    clock.set(5 * 365 * 24 * HOUR_S)
    killed(known_to_be_complete(project, environment=clock.environment | sweeps), signal.SIGTERM)
    clock.set(0)
    with (project.results / FIRST).open("r+b") as file:  # without a watcher, and without a change of the folder's time
        file.write(png((96, 64)))
    started(project, environment=clock.environment | sweeps)
    wait_for(lambda: is_exact(project), 10)
    assert_all_is_well(project)


# -- stopped and continued


def test_a_watcher_that_is_stopped_is_told_and_goes_on_where_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = started(project)
    assert_all_is_well(project)
    watcher.suspend()
    for number in range(20):
        project.image(f"20251111_000000-new/{number}.png")
    (project.results / FIRST).unlink()
    with monkeypatch.context() as patience:
        patience.setattr(state, "STALLED_S", 1.0)  # instead of half a minute
        wait_for(lambda: quick_status(project)["health"] == "stalled", PATIENCE_S)
        assert_told(quick_status(project), "stalled", "no sign of life", "sdgen-thumbnails restart")
    assert "running already" in run(project, "start").stdout
    watcher.resume()
    assert_all_is_well(project)
    assert pid_of(project) == watcher.pid


def test_a_watcher_that_is_stopped_can_be_ended_and_replaced(project: Project) -> None:
    watcher = started(project)
    watcher.suspend()
    project.image(f"{SESSION}/meanwhile.png")
    assert run(project, "restart").returncode == 0
    assert pid_of(project) != watcher.pid
    assert_all_is_well(project)


def test_a_watcher_that_is_stopped_is_told_after_the_clock_was_set_back_too(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.set(HOUR_S)  # its last sign of life is from the time before
    watcher = started(project, environment=clock.environment)
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)
    watcher.suspend()
    monkeypatch.setattr(state, "STALLED_S", 1.0)  # instead of half a minute
    wait_for(lambda: quick_status(project)["health"] == "stalled", 5)
    watcher.resume()
    wait_for(lambda: is_exact(project) and is_quiet(project), PATIENCE_S)


# -- the log


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mounts a folder on itself, read-only even for root."""
    for arguments in (("--bind", folder, folder), ("-o", "remount,ro,bind", folder)):
        mounted = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
        if mounted.returncode:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True)
            pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def replaced_by_a_file(folder: Path) -> Iterator[None]:
    away = folder.with_name("away")
    folder.rename(away)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


LOG_FAULTS = {"read-only": read_only, "a file": replaced_by_a_file}


def wait_until_lines_come(project: Project) -> None:
    """Creates images until the log has a line of one: the watcher checks once a second that its log exists."""
    names = (f"20251113_000000-later/{number}.png" for number in range(1000))

    def told() -> bool:
        project.image(next(names))
        return "20251113_000000-later" in project.log()

    wait_for(told, PATIENCE_S)


def test_a_deleted_log_is_begun_anew(project: Project) -> None:
    started(project)
    assert_all_is_well(project)
    project.home.log_file.unlink()
    wait_until_lines_come(project)
    assert_all_is_well(project)


@pytest.mark.parametrize("what", LOG_FAULTS)
def test_a_start_without_a_place_for_the_log_says_so(project: Project, what: str) -> None:
    project.home.prepare()
    with LOG_FAULTS[what](project.home.log_file.parent):
        refused = run(project, "start")
        assert refused.returncode == 2, refused.stderr
        assert str(project.home.log_file.parent) in refused.stderr
        assert "fix: make it writable" in refused.stderr
        assert not watchers(project)
        assert status(project)["health"] == "not running"
    started(project)
    assert_all_is_well(project)


@contextlib.contextmanager
def without_a_log(project: Project, what: str) -> Iterator[None]:
    """Deletes a watcher's log and prevents a new one until the context ends."""
    project.home.log_file.unlink()
    with LOG_FAULTS[what](project.home.log_file.parent):
        yield


@pytest.mark.parametrize("what", LOG_FAULTS)
def test_a_log_that_cannot_be_written_costs_nothing_but_lines(project: Project, what: str) -> None:
    watcher = started(project)
    assert_all_is_well(project)
    with without_a_log(project, what):
        for number in range(20):
            project.image(f"20251111_000000-new/{number}.png")
        (project.results / FIRST).unlink()
        wait_for(lambda: is_exact(project), PATIENCE_S)
    wait_until_lines_come(project)
    assert_all_is_well(project)
    assert pid_of(project) == watcher.pid


@pytest.mark.parametrize("what", LOG_FAULTS)
def test_a_log_that_cannot_be_written_is_told(project: Project, what: str) -> None:
    started(project)
    assert_all_is_well(project)
    with without_a_log(project, what):
        names = (f"20251111_000000-new/{number}.png" for number in range(1000))

        def told() -> bool:
            project.image(next(names))
            return any("log" in one["message"] for one in project.state()["problems"])

        wait_for(told, 8)
        why = {"read-only": "read-only file system", "a file": "not a directory"}[what]
        assert_told(status(project), "degraded", f"the log cannot be written: {why}", "make its folder writable")
    project.image(f"{SESSION}/later.png")
    assert_all_is_well(project)


def test_a_folder_in_the_logs_place_stops_no_watcher(project: Project) -> None:
    project.home.log_file.mkdir(parents=True)
    started(project)
    wait_for(lambda: is_exact(project), PATIENCE_S)
    project.home.log_file.rmdir()
    project.image(f"{SESSION}/later.png")
    assert_all_is_well(project)


# -- descriptors


def open_descriptors(watcher: psutil.Process) -> set[int]:
    """Descriptors that stay open: those open for a moment are not in every sample."""
    looks = []
    for _ in range(5):
        looks.append({int(name) for name in os.listdir(f"/proc/{watcher.pid}/fd")})
        time.sleep(0.05)
    return set.intersection(*looks)


@pytest.mark.parametrize("since", ["its start", "a while"])
def test_sixty_four_descriptors_are_enough(project: Project, since: str) -> None:
    prefix = ("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh") if since == "its start" else ()
    watcher = started(project, prefix=prefix)
    assert_all_is_well(project)
    soft, hard = resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE)
    if since == "its start":
        assert soft == 64
    else:
        resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE, (64, hard))
    for session in range(40):
        for image in range(2):
            project.image(f"20251111_{session:06}-new/below/it/{image}.png")
    for session in range(0, 40, 4):
        folder = project.results / f"20251111_{session:06}-new"
        folder.rename(folder.with_name(f"20251112_{session:06}-renamed"))
    (project.results / FIRST).unlink()
    assert_all_is_well(project)
    assert pid_of(project) == watcher.pid
    assert "Too many open files" not in project.log()


@contextlib.contextmanager
def out_of_descriptors(watcher: psutil.Process) -> Iterator[None]:
    """Leaves one descriptor, for the state file; listing a folder takes two."""
    soft, hard = resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE)
    taken = open_descriptors(watcher)
    first, second = itertools.islice((number for number in range(soft) if number not in taken), 2)
    assert first < second
    resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE, (second, hard))
    try:
        yield
    finally:
        resource.prlimit(watcher.pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_a_watcher_that_runs_out_of_descriptors_tells_it_and_makes_up_for_it(project: Project) -> None:
    watcher = started(project)
    assert_all_is_well(project)
    with out_of_descriptors(watcher):
        project.image("20251111_000000-new/a.png")
        (project.results / FIRST).unlink()
        wait_for(lambda: project.state()["problems"], PATIENCE_S)
        report = status(project)
        assert_told(report, "degraded", "too many open files", "")
        assert all(one["remedy"] for one in report["problems"])
    assert_all_is_well(project)
    assert pid_of(project) == watcher.pid


def test_what_is_told_of_too_few_descriptors_names_the_limit(project: Project) -> None:
    watcher = started(project)
    assert_all_is_well(project)
    with out_of_descriptors(watcher):
        project.image("20251111_000000-new/a.png")
        wait_for(lambda: project.state()["problems"], PATIENCE_S)
        remedies = [one["remedy"] for one in project.state()["problems"]]
    assert_all_is_well(project)
    assert any("ulimit" in remedy for remedy in remedies), remedies
