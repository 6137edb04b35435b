"""The one line between a watcher that starts and the process that started it."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from sdgen_thumbnail_plugin.daemon.readiness import Answer, Readiness, read_answer
from sdgen_thumbnail_plugin.errors import AlreadyRunningError, RootsError, ThumbnailError


def answer_after(error: BaseException | None, *, watching: bool = False) -> Answer:
    """What a starter reads of a start that ends in an error, or in order."""
    reading, writing = os.pipe()
    with contextlib.suppress(ThumbnailError, RuntimeError), Readiness(writing) as readiness:
        if watching:
            readiness.watching()
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
        with Readiness(os.dup(writing)) as readiness:  # the reader is gone, which is no reason to fail
            readiness.watching()
    finally:
        os.close(writing)


def test_in_the_foreground_nothing_is_said() -> None:
    with Readiness(None) as readiness:
        readiness.watching()
