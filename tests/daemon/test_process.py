"""The background process, as a person uses it: real processes, started and stopped through the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sdgen_thumbnail_plugin.daemon import process as daemon_process
from sdgen_thumbnail_plugin.daemon.identity import identity_of, is_locked
from sdgen_thumbnail_plugin.daemon.process import (
    Answer,
    answering,
    clean_stale_pid_file,
    holding_the_lock,
    read_answer,
    start_watcher,
)
from sdgen_thumbnail_plugin.daemon.state import find_watcher
from sdgen_thumbnail_plugin.errors import AlreadyRunningError, RootsError, ThumbnailError
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.settings import Settings
from support.commands import run
from support.pictures import png
from support.project import Project
from support.waiting import wait_for
from support.watcher import pid_of


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.image("20251110_151059-old/first.png")
    yield project
    run(project, "stop")


def test_start_returns_when_the_watcher_is_watching(project: Project) -> None:
    started = run(project, "start")
    assert started.returncode == 0, started.stderr
    project.image("20251110_151059-old/at_once.png")
    wait_for(lambda: project.is_fresh("20251110_151059-old/at_once.png"))
    wait_for(lambda: project.is_fresh("20251110_151059-old/first.png"))
    assert "👀 Watching for new images..." in project.log()


def test_the_pid_file_holds_the_pid_and_nothing_else(project: Project) -> None:
    run(project, "start")
    text = project.home.pid_file.read_text("ascii")
    assert text == str(int(text))
    assert psutil.pid_exists(int(text))


def test_a_second_start_says_that_it_runs(project: Project) -> None:
    run(project, "start")
    pid = pid_of(project)
    again = run(project, "start")
    assert again.returncode == 0
    assert f"running already (PID {pid})" in again.stdout
    assert pid_of(project) == pid


def test_a_start_for_other_folders_hands_over(project: Project) -> None:
    run(project, "start")
    pid = pid_of(project)
    (project.root / "other").mkdir()
    other = run(project, "start", "--source-dir", "other", "--target-dir", "other-thumbnails")
    assert other.returncode == 0, other.stderr
    assert "Stopped the watcher of" in other.stdout
    assert pid_of(project) != pid
    assert identity_of(pid) is None


def test_many_starts_at_once_leave_one_watcher(project: Project) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(run(project, "start"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.returncode for result in results] == [0] * 4, [result.stderr for result in results]
    ours = [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if "watch" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("SDGEN_THUMBNAILS_HOME") == str(project.home.root)
    ]
    assert ours == [pid_of(project)]


def test_stop_ends_it_and_removes_the_pid_file(project: Project) -> None:
    run(project, "start")
    pid = pid_of(project)
    stopped = run(project, "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert identity_of(pid) is None
    assert not project.home.pid_file.exists()
    assert run(project, "stop").returncode == 3


def test_stop_with_other_folders_named_leaves_the_watcher_alone(project: Project) -> None:
    run(project, "start")
    other = run(project, "stop", "--source-dir", "elsewhere")
    assert other.returncode == 3
    assert "the running watcher watches" in other.stderr
    assert run(project, "stop", "--source-dir", "results").returncode == 0


def test_restart_gives_a_new_process_and_loses_nothing(project: Project) -> None:
    run(project, "start")
    pid = pid_of(project)
    project.image("20251110_151059-old/second.png")
    assert run(project, "restart").returncode == 0
    assert pid_of(project) != pid
    wait_for(project.is_exact)


def test_status_says_what_is_true(project: Project) -> None:
    before = run(project, "status", "--json")
    assert before.returncode == 3
    assert json.loads(before.stdout)["running"] is False
    run(project, "start")
    wait_for(lambda: project.state().get("thumbnails") == 1)
    report = json.loads(run(project, "status", "--json").stdout)
    assert report["running"] is True
    assert report["health"] == "healthy"
    assert report["pid"] == pid_of(project)
    assert (report["images"], report["thumbnails"], report["failures"]) == (1, 1, 0)
    shown = run(project, "status")
    assert shown.returncode == 0
    assert "running for" in shown.stdout


def test_nothing_is_lost_when_it_is_killed_in_the_middle(project: Project) -> None:
    data = png()
    for number in range(200):
        (project.results / "20251110_151059-old" / f"{number:03}.png").write_bytes(data)
    run(project, "start")
    wait_for(lambda: any(project.thumbnails.rglob("*.webp")))
    os.kill(pid_of(project), signal.SIGKILL)
    wait_for(lambda: not is_locked(project.home))  # it is dead with its last thread, not with its first
    for path in project.thumbnails.rglob("*.webp"):
        assert path.read_bytes()[:4] == b"RIFF"
    assert run(project, "status").returncode == 3
    assert run(project, "start").returncode == 0
    wait_for(project.is_exact, 30)


def test_a_pid_file_that_names_a_stranger_harms_nobody(project: Project) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        project.home.pid_file.parent.mkdir(parents=True)
        project.home.pid_file.write_text(str(stranger.pid), "ascii")
        assert run(project, "stop").returncode == 3
        assert run(project, "start").returncode == 0
        assert pid_of(project) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("garbage", [b"", b"not a number", b"\xff\xfe", b"-1", b"0", b"99999999999999999999"])
def test_garbage_in_the_pid_file_is_cleaned_up(project: Project, garbage: bytes) -> None:
    project.home.pid_file.parent.mkdir(parents=True)
    project.home.pid_file.write_bytes(garbage)
    assert find_watcher(project.home) is None
    assert run(project, "stop").returncode == 3
    assert not project.home.pid_file.exists()


def test_a_state_file_of_a_newer_version_is_not_misread(project: Project) -> None:
    project.home.state_dir.mkdir(parents=True)
    project.home.state_file.write_text(json.dumps({"schema": 99, "pid": os.getpid()}), "ascii")
    assert find_watcher(project.home) is None
    assert run(project, "status").returncode == 3
    assert run(project, "start").returncode == 0


def test_a_watcher_whose_state_file_is_lost_can_still_be_stopped(project: Project) -> None:
    run(project, "start")
    project.home.state_file.unlink()
    assert run(project, "stop").returncode == 0


def test_a_start_that_cannot_work_says_why(project: Project) -> None:
    failed = run(project, "start", "--target-dir", "results/thumbnails")
    assert failed.returncode == 2
    assert "thumbnails of thumbnails" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not project.home.pid_file.exists()


HOUR_S = 3600.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in no hurry waits for an hour, so who comes back was in a hurry."""
    monkeypatch.setattr(daemon_process, "START_TIMEOUT_S", HOUR_S)
    monkeypatch.setattr(daemon_process, "STOP_TIMEOUT_S", HOUR_S)


@contextlib.contextmanager
def held_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Python that is started meanwhile begins before the context ends."""
    folder, go = project.root / "held-up", project.root / "go"
    folder.mkdir()
    wait = f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n"
    (folder / "sitecustomize.py").write_text(wait)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        try:
            yield
        finally:
            go.touch()


@pytest.mark.usefixtures("patient")
def test_a_hurried_start_returns_in_time_and_the_watcher_gets_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(project.home.root))
    settings = Settings(source_dir=project.results, target_dir=project.thumbnails)
    with held_up(project, monkeypatch):  # its start comes back before the watcher has begun
        started = start_watcher(settings, project.home, folder=project.root, hurried_s=0.001)
        assert not is_locked(project.home)
    with ended_at_the_latest_now(project, started.watcher.pid):
        assert not started.watching
        assert started.watcher.watches(settings)
        wait_for(lambda: project.is_fresh("20251110_151059-old/first.png"))
        assert pid_of(project) == started.watcher.pid
        again = start_watcher(settings, project.home, folder=project.root, hurried_s=1.0)
        assert again.already
        assert again.watcher == started.watcher


@contextlib.contextmanager
def ended_at_the_latest_now(project: Project, *pids: int) -> Iterator[None]:
    """However the test ends: a watcher that is still on its way is not found by a stop."""
    try:
        yield
    finally:
        run(project, "stop")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def test_hurried_starts_one_after_the_other_leave_one_watcher(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(project.home.root))
    settings = Settings(source_dir=project.results, target_dir=project.thumbnails)
    pids = {start_watcher(settings, project.home, folder=project.root, hurried_s=0.001).watcher.pid for _ in range(3)}
    with ended_at_the_latest_now(project, *pids):
        wait_for(lambda: project.is_fresh("20251110_151059-old/first.png"))
        wait_for(lambda: {pid for pid in pids if identity_of(pid)} == {pid_of(project)})


@contextlib.contextmanager
def named_in_the_pid_file(project: Project, *arguments: str, code: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host's, or of anybody; it runs the given code first."""
    package = project.root / "old" / "sd_generator_watchdog"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(f"{code}\nimport time\nprint('up', flush=True)\ntime.sleep(100)\n")
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    with subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            project.home.prepare()
            project.home.pid_file.write_text(str(process.pid))
            yield process
        finally:
            process.kill()


OLD = ("-m", "sd_generator_watchdog.cli", "thumbnail", "--source-dir", "results")


@pytest.fixture
def old_watchdog(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """What an earlier ``sdgen webui start`` left behind: the host's own watchdog, and its PID file."""
    with named_in_the_pid_file(project, *OLD) as process:
        yield process


def test_a_start_ends_the_hosts_old_watchdog(project: Project, old_watchdog: subprocess.Popen[bytes]) -> None:
    assert run(project, "start").returncode == 0
    assert old_watchdog.wait() == -signal.SIGTERM
    assert pid_of(project) != old_watchdog.pid


def test_a_stop_ends_the_hosts_old_watchdog(project: Project, old_watchdog: subprocess.Popen[bytes]) -> None:
    stopped = run(project, "stop")
    assert stopped.stdout == f"✓ Stopped the watcher (PID {old_watchdog.pid})\n"
    assert old_watchdog.wait() == -signal.SIGTERM
    assert not project.home.pid_file.exists()


@pytest.mark.usefixtures("patient")
def test_an_old_watchdog_that_will_not_end_is_killed_by_a_hurried_start(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(project.home.root))
    settings = Settings(source_dir=project.results, target_dir=project.thumbnails)
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with named_in_the_pid_file(project, *OLD, code=stubborn) as old:
        started = start_watcher(settings, project.home, folder=project.root, hurried_s=0.001)
        with ended_at_the_latest_now(project, started.watcher.pid):
            assert old.wait() == -signal.SIGKILL
            assert daemon_process._HURRIED_STOP_S <= 1, "the host waits for us"
            wait_for(lambda: project.is_fresh("20251110_151059-old/first.png"))
            assert pid_of(project) == started.watcher.pid


SLEEPS = "import time; print('up', flush=True); time.sleep(100)"


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "sd_generator_watchdog.cli", "sessions", "--db-path", "x"),  # the host's other watchdog
        ("-c", SLEEPS, "thumbnail"),
        ("-c", SLEEPS, "not-sd_generator_watchdog.cli", "thumbnail"),
    ],
)
@pytest.mark.parametrize("command", ["start", "stop"])
def test_an_innocent_process_that_has_the_old_watchdogs_number_survives(
    project: Project, command: str, arguments: tuple[str, ...]
) -> None:
    with named_in_the_pid_file(project, *arguments) as innocent:
        assert run(project, command).returncode == (0 if command == "start" else 3)
        assert innocent.poll() is None
        if command == "start":
            assert pid_of(project) != innocent.pid
        else:
            assert not project.home.pid_file.exists()


# A session of its own, that prints its priority before and after a watcher was polite beside it, or in its place.
TERMINAL = """
import subprocess, sys
code = "from sdgen_thumbnail_plugin.daemon.priority import be_polite; be_polite()"
priority = lambda: open("/proc/self/autogroup").read().split()[-1:]
print(priority(), end=";")
if sys.argv[1] == "beside":
    subprocess.run([sys.executable, "-c", code], check=True)
else:
    exec(code)
print(priority(), end="")
"""


@pytest.mark.parametrize(("where", "after"), [("beside", "['0']"), ("alone", "['19']")])
def test_only_a_watcher_with_a_session_of_its_own_lowers_its_sessions_priority(where: str, after: str) -> None:
    if not Path("/proc/self/autogroup").exists():
        pytest.skip("this system has no groups of sessions")
    before, later = subprocess.run(
        [sys.executable, "-c", TERMINAL, where], capture_output=True, text=True, check=True, start_new_session=True
    ).stdout.split(";")
    if before == "[]":
        pytest.skip("this system's groups of sessions are switched off")
    assert (before, later) == ("['0']", after)


# -- the one line between a watcher that starts and the process that started it


def answer_after(error: BaseException | None, *, watching: bool = False) -> Answer:
    """What a starter reads of a start that ends in an error, or in order."""
    reading, writing = os.pipe()
    with contextlib.suppress(ThumbnailError, RuntimeError), answering(writing) as say_watching:
        if watching:
            say_watching()
        if error is not None:
            raise error
    return read_answer(reading, time.monotonic() + 30)


def test_a_watcher_that_watches_says_so_once() -> None:
    assert answer_after(None, watching=True) == Answer(watching=True)
    assert answer_after(RuntimeError("later"), watching=True) == Answer(watching=True)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (
            RootsError("is not there", path="/a", remedy="make it"),
            Answer(error=str(RootsError("is not there", path="/a")), remedy="make it"),
        ),
        (RuntimeError("a bug"), Answer(error="unexpected: RuntimeError: a bug")),
        (None, Answer(error="it ended before it was watching")),
    ],
)
def test_a_watcher_that_does_not_watch_says_why(error: BaseException | None, answer: Answer) -> None:
    assert answer_after(error) == answer


def test_that_another_one_runs_is_no_failure() -> None:
    answer = answer_after(AlreadyRunningError("a watcher is running already"))
    assert answer.already
    assert "running already" in answer.error


def test_a_process_that_ends_without_a_word_leaves_an_empty_answer() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert read_answer(reading, time.monotonic() + 30) == Answer()


def test_no_answer_in_time_is_late() -> None:
    reading, writing = os.pipe()
    try:
        assert read_answer(reading, time.monotonic()) == Answer(late=True)
        with answering(os.dup(writing)) as say_watching:  # the reader is gone, which is no reason to fail
            say_watching()
    finally:
        os.close(writing)


def test_in_the_foreground_nothing_is_said() -> None:
    with answering(None) as say_watching:
        say_watching()


# -- the lock and the PID file


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / ".sdgen")
    home.prepare()
    return home


def test_the_lock_is_held_by_one_and_names_it_in_the_pid_file(home: Home) -> None:
    assert not is_locked(home)
    with holding_the_lock(home):
        assert is_locked(home)
        assert home.read_pid() == os.getpid()
        assert not clean_stale_pid_file(home)
        with pytest.raises(AlreadyRunningError), holding_the_lock(home):
            pass
    assert not is_locked(home)
    assert not home.pid_file.exists()


def test_a_pid_file_that_its_writer_left_behind_is_stale(home: Home) -> None:
    home.pid_file.write_text(str(os.getpid()))
    assert find_watcher(home) is None
    assert clean_stale_pid_file(home)
    assert not clean_stale_pid_file(home)
