"""What a tick finds and asks for, with an observer and a catch-up that only say what they were asked."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from sdgen_thumbnail_plugin.daemon import ticks as ticks_module
from sdgen_thumbnail_plugin.daemon.hints import Hint, HintKind
from sdgen_thumbnail_plugin.daemon.observers import Choice
from sdgen_thumbnail_plugin.daemon.state import Problems
from sdgen_thumbnail_plugin.daemon.supervisor import Supervisor
from sdgen_thumbnail_plugin.daemon.ticks import CatchUpThread, Ticks
from sdgen_thumbnail_plugin.engine.catchup import CatchUp, Phase, Progress, Summary
from sdgen_thumbnail_plugin.errors import DiskFullError
from sdgen_thumbnail_plugin.model import Priority
from sdgen_thumbnail_plugin.settings import Settings
from support.engine import Engine, open_engine
from support.pictures import png
from support.project import Project, draw, session_of
from support.waiting import wait_for

ONE, OTHER = session_of(1), session_of(2)
INTERVAL_S = 0.05


class Observing(Supervisor):
    """Reports what a test sets."""

    def __init__(self, project: Project) -> None:
        problems = Problems()
        super().__init__(Settings(source_dir=project.results), project.results, lambda _: None, problems)
        self.problems = problems
        self.native = True
        self.lost = False
        self.new_events = 0
        self.renewed: list[str] = []

    @property
    def hears(self) -> bool:
        return self.native

    @property
    def choice(self) -> Choice:
        return Choice("native" if self.native else "polling", "as the test says")

    def check(self, known: Sequence[str]) -> tuple[bool, Sequence[str]]:
        lost, self.lost = self.lost, False
        return lost, []

    def count_events(self) -> int:
        count, self.new_events = self.new_events, 0
        return count

    def renew(self, reason: str, known: Sequence[str] = (), *, at_once: bool = False) -> bool:
        self.renewed.append(reason)
        return True


class CatchingUp(CatchUpThread):
    """Runs until a test ends it."""

    def __init__(self) -> None:
        self.is_running = False
        self.started_at_s = 0.0
        self.started: list[tuple[bool, bool]] = []
        self.on_start: Callable[[], None] = lambda: None

    def start(self, *, smart: bool = True, everything: bool = False) -> bool:
        if self.is_running:
            return False
        self.is_running = True
        self.started_at_s = time.monotonic() + 3600.0  # later than all that happens
        self.started.append((smart, everything))
        self.on_start()
        return True


@dataclass
class Place:
    engine: Engine
    supervisor: Observing
    catch_up: CatchingUp
    hints: list[Hint] = field(default_factory=list)
    asked: list[tuple[str, Priority]] = field(default_factory=list)

    def __post_init__(self) -> None:
        workers = self.engine.workers
        submit = workers.submit_directory

        def note(directory: str, priority: Priority) -> None:
            self.asked.append((directory, priority))
            submit(directory, priority)

        workers.submit_directory = note  # type: ignore[assignment,method-assign]
        self.ticks = Ticks(
            dataclasses.replace(
                self.engine.parts, settings=Settings(tick_interval_s=INTERVAL_S, polling_interval_s=INTERVAL_S)
            ),
            workers,
            self.supervisor,
            self.catch_up,
            put=self.hints.append,
            problems=self.supervisor.problems,
        )

    def ticks_until(self, condition: Callable[[], object]) -> None:
        def holds() -> bool:
            self.ticks.tick()
            return bool(condition())

        wait_for(holds, 10)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Two sessions, complete and known to be."""
    project = Project(tmp_path)
    for session in (ONE, OTHER):
        draw(project, session, 1, done=1)
    project.age()
    with open_engine(project) as engine:
        engine.catch_up()
        engine.catch_up()
        yield Place(engine, Observing(project), CatchingUp())


def test_a_full_look_that_is_asked_for_while_one_starts_is_not_lost(place: Place) -> None:
    def lose_events() -> None:
        if len(place.catch_up.started) == 1:
            place.supervisor.lost = True

    place.catch_up.on_start = lose_events
    place.supervisor.lost = True
    place.ticks_until(lambda: place.catch_up.started)
    assert place.catch_up.started == [(False, True)]
    place.ticks.tick()
    place.catch_up.is_running = False
    place.ticks_until(lambda: len(place.catch_up.started) == 2)
    place.catch_up.is_running = False
    for _ in range(5):
        time.sleep(INTERVAL_S)
        place.ticks.tick()
    assert place.catch_up.started == [(False, True)] * 2


def test_a_new_observer_while_catching_up_leads_to_a_full_look_afterwards(place: Place) -> None:
    place.catch_up.start()
    place.engine.project.results.rename(place.engine.project.root / "away")
    place.ticks.tick()
    (place.engine.project.root / "away").rename(place.engine.project.results)
    place.ticks.tick()
    assert place.supervisor.renewed == ["The source folder is back"]
    place.catch_up.is_running = False
    place.ticks_until(lambda: (False, True) in place.catch_up.started)


def test_a_full_look_waits_until_nothing_happens_any_more(place: Place) -> None:
    place.ticks.tick()
    place.supervisor.lost = True
    deadline_s = time.monotonic() + 10 * INTERVAL_S
    while time.monotonic() < deadline_s:
        place.supervisor.new_events = 1
        place.ticks.tick()
    assert not place.catch_up.started
    place.ticks_until(lambda: place.catch_up.started)


def test_lost_events_are_a_problem_until_everything_was_looked_at(place: Place) -> None:
    place.supervisor.problems.report("overflow", "events were lost", "a remedy")
    place.supervisor.lost = True
    place.ticks_until(lambda: place.catch_up.started)
    place.ticks.tick()
    assert "overflow" in place.supervisor.problems.all()
    place.catch_up.is_running = False
    place.ticks.tick()
    assert "overflow" not in place.supervisor.problems.all()


def test_what_a_notification_reports_better_is_left_to_it_for_a_while(place: Place) -> None:
    (place.engine.project.results / ONE / "new.png").write_bytes(png())
    found_s = time.monotonic()
    place.ticks_until(lambda: place.asked)
    assert time.monotonic() - found_s >= ticks_module._NOTIFICATION_S
    assert place.asked == [(ONE, Priority.URGENT)]


def test_without_notifications_it_is_asked_for_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks_module, "_NOTIFICATION_S", 3600.0)
    place.supervisor.native = False
    (place.engine.project.results / ONE / "new.png").write_bytes(png())
    place.ticks.tick()
    assert place.asked == [(ONE, Priority.URGENT)]


def test_without_notifications_a_directory_that_is_gone_may_have_moved_for_a_while(place: Place) -> None:
    place.supervisor.native = False
    place.ticks.tick()
    (place.engine.project.results / ONE).rename(place.engine.project.root / "held")
    gone_s = time.monotonic()
    place.ticks_until(lambda: (ONE, Priority.AUDIT) in place.asked)
    assert time.monotonic() - gone_s >= ticks_module._NOTIFICATION_S


def test_while_catching_up_only_what_happens_meanwhile_is_asked_for(place: Place) -> None:
    place.supervisor.native = False
    place.catch_up.start()
    (place.engine.project.results / ONE / "new.png").write_bytes(png())
    time.sleep(0.02)  # a coarse clock's tick: the change lies before the catch-up's beginning
    place.ticks.tick()
    assert not place.asked
    place.catch_up.is_running = False
    place.ticks_until(lambda: place.asked == [(ONE, Priority.URGENT)])


def test_an_image_that_was_overwritten_in_an_active_session_is_a_hint(place: Place) -> None:
    place.supervisor.native = False
    draw(place.engine.project, ONE, 2, done=2)  # and so active
    place.ticks.tick()
    place.engine.idle()
    with (place.engine.project.results / ONE / "000.png").open("r+b") as file:
        file.write(png((32, 48)))
    place.ticks_until(lambda: place.hints)
    assert place.hints == [Hint(f"{ONE}/000.png", HintKind.WRITTEN)]


def test_a_root_that_is_not_there_is_a_problem_until_it_is_back(place: Place) -> None:
    place.engine.project.results.rename(place.engine.project.root / "away")
    place.ticks.tick()
    assert "is not there" in place.supervisor.problems.all()["root"].message
    assert not place.supervisor.renewed
    assert place.engine.project.thumbnail(f"{ONE}/000.png").exists()
    (place.engine.project.root / "away").rename(place.engine.project.results)
    place.ticks.tick()
    assert not place.supervisor.problems.all()
    assert place.catch_up.started == [(True, False)]


def test_another_folder_in_the_roots_place_gets_a_new_observer(place: Place) -> None:
    place.ticks.tick()
    place.engine.project.results.rename(place.engine.project.root / "away")
    place.engine.project.results.mkdir()
    place.ticks.tick()
    assert place.supervisor.renewed == ["Another folder took the source's place"]


# -- the thread that catches up: one pass at a time, and never a reason for the watcher to end


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


class Passes:
    def __init__(self) -> None:
        self.made: list[Pass] = []
        self.changes = 0
        self.thread = CatchUpThread(self._make, self._note_change)

    def _make(self, on_progress: Callable[[Progress], None]) -> CatchUp:
        self.made.append(Pass(on_progress))
        return cast("CatchUp", self.made[-1])

    def _note_change(self) -> None:
        self.changes += 1

    def end(self) -> None:
        self.made[-1].go_on.set()
        wait_for(lambda: not self.thread.is_running)
        self.thread.join(30)


@pytest.fixture
def passes() -> Iterator[Passes]:
    passes = Passes()
    yield passes
    passes.end()


def test_passes_run_one_at_a_time(passes: Passes) -> None:
    assert passes.thread.start()
    assert not passes.thread.start(everything=True)
    wait_for(lambda: passes.thread.progress == Progress(Phase.AUDIT, 1, 2))
    assert passes.changes == 2
    passes.end()
    assert passes.thread.progress == Progress(Phase.DONE)
    assert passes.changes == 3
    assert passes.thread.start(smart=False, everything=True)
    passes.end()
    assert [one.done for one in passes.made] == [["smart", "what differs"], ["everything"]]


@pytest.mark.parametrize("fault", [DiskFullError("no space left", path="/a"), RuntimeError("a bug")])
def test_a_pass_that_fails_is_logged_and_another_one_can_start(
    passes: Passes, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    passes.thread.start()
    wait_for(lambda: passes.made)
    passes.made[-1].fault = fault
    passes.end()
    assert str(fault) in caplog.text
    assert passes.thread.start()
