"""``logs``: the last lines of the watcher's log, and those that are added."""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from support.commands import command_line, environment_of
from support.project import Project

Run = Callable[..., tuple[int, str]]


class Following:
    """``logs -f`` in a process of its own."""

    def __init__(self, project: Project) -> None:
        self.process = subprocess.Popen(
            command_line("logs", "-n", "1", "-f"),
            cwd=project.root, env=environment_of(project, {"PYTHONUNBUFFERED": "1"}),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.put(line.rstrip("\n"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def next_line(self) -> str:
        return self._lines.get(timeout=30)


@pytest.fixture
def following(project: Project) -> Iterator[Following]:
    """Follows a log that has two lines already."""
    project.home.log_file.parent.mkdir(parents=True)
    project.home.log_file.write_text("first\nsecond\n")
    following = Following(project)
    yield following
    following.end()


def test_without_a_log_it_says_so(project: Project, run: Run) -> None:
    code, output = run("logs")
    assert code == 3
    assert "there is no log yet" in output


def test_the_last_lines_are_shown_safe_to_print(project: Project, run: Run) -> None:
    project.home.log_file.parent.mkdir(parents=True)
    project.home.log_file.write_text("first\nsecond\nthird \x1b[31m\n")
    assert run("logs", "-n", "2") == (0, "second\nthird \\x1b[31m\n")


def test_a_followed_log_shows_whole_lines_as_they_come(project: Project, following: Following) -> None:
    assert following.next_line() == "second"
    with project.home.log_file.open("a") as log:
        log.write("third\nfou")
        log.flush()
        assert following.next_line() == "third"
        log.write("rth\n")
    assert following.next_line() == "fourth"


def test_a_followed_log_is_followed_when_it_is_rotated(project: Project, following: Following) -> None:
    assert following.next_line() == "second"
    log = project.home.log_file
    log.rename(log.with_name("old"))
    log.write_text("of the new file\n")
    assert following.next_line() == "of the new file"


def test_ctrl_c_ends_following(following: Following) -> None:
    assert following.next_line() == "second"
    following.process.send_signal(signal.SIGINT)
    assert following.process.wait(30) == 130
