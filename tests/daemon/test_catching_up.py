"""The thread that catches up: one pass at a time, and never a reason for the watcher to end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from sdgen_thumbnail_plugin.daemon.catching_up import CatchUpThread
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Phase, Progress, Summary
from sdgen_thumbnail_plugin.errors import DiskFullError
from support.waiting import wait_for


class Pass:
    """Stands in for a catch-up: waits until it may go on."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self.on_progress = on_progress
        self.go_on = threading.Event()
        self.done: list[str] = []
        self.fault: Exception | None = None

    def run(self, *, smart: bool, everything: bool) -> Summary:
        self.on_progress(Progress(Phase.AUDIT, 1, 2))
        assert self.go_on.wait(30)
        if self.fault is not None:
            raise self.fault
        self.done += ["smart"] if smart else []
        self.done.append("everything" if everything else "what differs")
        return Summary()


class Place:
    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self.changes = 0
        self.thread = CatchUpThread(self._make, self._note_change)

    def _make(self, on_progress: Callable[[Progress], None]) -> CatchUp:
        self.passes.append(Pass(on_progress))
        return cast("CatchUp", self.passes[-1])

    def _note_change(self) -> None:
        self.changes += 1

    def end(self) -> None:
        self.passes[-1].go_on.set()
        wait_for(lambda: not self.thread.is_running)
        self.thread.join(30)


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.end()


def test_passes_run_one_at_a_time(place: Place) -> None:
    assert place.thread.start()
    assert not place.thread.start(everything=True)
    wait_for(lambda: place.thread.progress == Progress(Phase.AUDIT, 1, 2))
    assert place.changes == 2
    place.end()
    assert place.thread.progress == Progress(Phase.DONE)
    assert place.changes == 3
    assert place.thread.start(smart=False, everything=True)
    place.end()
    assert [one.done for one in place.passes] == [["smart", "what differs"], ["everything"]]


@pytest.mark.parametrize("fault", [DiskFullError("no space left", path="/a"), RuntimeError("a bug")])
def test_a_pass_that_fails_is_logged_and_another_one_can_start(
    place: Place, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place.thread.start()
    wait_for(lambda: place.passes)
    place.passes[-1].fault = fault
    place.end()
    assert str(fault) in caplog.text
    assert place.thread.start()
