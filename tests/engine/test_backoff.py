"""The machine's faults: how long is waited, and what is reported of them."""

from __future__ import annotations

import time

import pytest

from sdgen_thumbnail_plugin.engine import backoff
from sdgen_thumbnail_plugin.engine.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff
from sdgen_thumbnail_plugin.errors import AccessDeniedError, DiskFullError, MachineError


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    time = staticmethod(time.time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backoff, "time", clock)
    return clock


def full() -> MachineError:
    """A fault that stops everything."""
    error = DiskFullError("no space left on device", path="/t")
    error.everywhere = True
    return error


def denied(key: str = "s/a.png") -> MachineError:
    """A fault at one place."""
    return AccessDeniedError("permission denied", path=key)


def test_a_directory_that_fails_is_left_alone_longer_each_time(clock: Clock) -> None:
    waits = Backoff()
    pauses_s = []
    for _ in range(7):
        waits.leave_alone("s")
        assert waits.is_left_alone("s")
        before_s = clock.now_s
        while waits.is_left_alone("s"):
            clock.now_s += 0.5
        pauses_s.append(clock.now_s - before_s)
    assert pauses_s == [FIRST_PAUSE_S, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert not waits.is_left_alone("t")


def test_a_success_begins_the_pauses_again(clock: Clock) -> None:
    waits = Backoff()
    for _ in range(3):
        waits.leave_alone("s")
    waits.note_success("s", "s", is_directory=True, wrote=False)
    assert not waits.is_left_alone("s")
    waits.leave_alone("s")
    clock.now_s += FIRST_PAUSE_S
    assert not waits.is_left_alone("s")


def test_what_stops_everything_pauses_all_work_until_something_could_be_written(clock: Clock) -> None:
    waits = Backoff()
    assert waits.note("s/a.png", "s", full(), pauses=True)
    assert waits.paused_until_s == clock.now_s + FIRST_PAUSE_S
    waits.note("s/b.png", "s", full(), pauses=True)
    assert waits.paused_until_s == clock.now_s + 2 * FIRST_PAUSE_S
    waits.note_success("t/c.png", "t", is_directory=False, wrote=False)
    assert waits.problems(), "nothing was written, so nothing shows that it is over"
    waits.note_success("t/c.png", "t", is_directory=False, wrote=True)
    assert (waits.problems(), waits.paused_until_s) == ([], 0.0)


def test_what_stops_everything_is_over_when_nothing_is_left_that_it_stopped() -> None:
    waits = Backoff()
    waits.note("s/a.png", "s", full(), pauses=True)
    waits.note_success("s/a.png", "s", is_directory=False, wrote=False)
    assert waits.problems() == []


def test_without_patience_nothing_is_paused() -> None:
    waits = Backoff()
    waits.note("s/a.png", "s", full(), pauses=False)
    assert waits.paused_until_s == 0.0


def test_the_same_fault_is_news_once() -> None:
    waits = Backoff()
    assert waits.note("s/a.png", "s", denied(), pauses=True)
    assert not waits.note("s/a.png", "s", denied(), pauses=True)
    assert waits.note("s/a.png", "s", AccessDeniedError("read-only file system", path="s/a.png"), pauses=True)


def test_of_the_images_of_one_directory_the_oldest_problem_is_reported() -> None:
    waits = Backoff()
    for key in ("s/a.png", "s/b.png", "t/c.png"):
        waits.note(key, key[0], denied(key), pauses=True)
    assert [problem.message for problem in waits.problems()] == [
        "s/a.png: permission denied", "t/c.png: permission denied"
    ]  # fmt: skip


def test_a_directory_as_it_should_be_ends_the_problems_of_its_images_only() -> None:
    waits = Backoff()
    for key in ("s/a.png", "s/b.png", "s/deep/c.png", "t/d.png"):
        waits.note(key, key.rpartition("/")[0], denied(key), pauses=True)
    waits.note_success("s", "s", is_directory=True, wrote=False)
    assert [problem.message.partition(":")[0] for problem in waits.problems()] == ["s/deep/c.png", "t/d.png"]
