"""Watching over an observer that works, dies, refuses or loses events as a test says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.daemon import supervisor as supervisor_module
from sdgen_thumbnail_plugin.daemon.hints import Hint
from sdgen_thumbnail_plugin.daemon.state import Problems
from sdgen_thumbnail_plugin.daemon.supervisor import Supervisor
from sdgen_thumbnail_plugin.settings import Settings


class Native:
    """Stands in for ``NativeObserver``."""

    made: list[Native]
    refusal: OSError | None = None
    proves = True
    deaf: frozenset[str] = frozenset()

    def __init__(self, root: Path, put: Callable[[Hint], None]) -> None:
        self.events = 0
        self.alive = False
        self.made.append(self)

    def start(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.alive = True

    def stop(self) -> None:
        self.alive = False

    def proves_itself(self) -> bool:
        return self.proves

    def deaf_directories(self, directories: Iterable[str]) -> list[str]:
        return [directory for directory in directories if directory in self.deaf]


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> type[Native]:
    class Fresh(Native):
        made: list[Native] = []  # noqa: RUF012 - of one test

    monkeypatch.setattr(supervisor_module, "NativeObserver", Fresh)
    monkeypatch.setattr(supervisor_module, "unread_bytes", lambda: 0)
    return Fresh


@pytest.fixture
def problems() -> Problems:
    return Problems()


@pytest.fixture
def supervisor(tmp_path: Path, problems: Problems) -> Iterator[Supervisor]:
    supervisor = Supervisor(Settings(source_dir=tmp_path, observer="native"), tmp_path, lambda _: None, problems)
    yield supervisor
    supervisor.stop()


NOTHING: tuple[bool, list[str]] = (False, [])


def test_an_observer_that_proves_itself_serves(supervisor: Supervisor) -> None:
    supervisor.start()
    assert supervisor.choice.kind == "native"
    assert supervisor.check([""]) == NOTHING
    supervisor.stop()
    assert not supervisor.hears


def test_without_a_root_there_is_none_until_it_is_back(supervisor: Supervisor, tmp_path: Path) -> None:
    tmp_path.rmdir()
    supervisor.start()
    assert not supervisor.hears
    tmp_path.mkdir()
    assert supervisor.renew("The source folder is back", at_once=True)
    assert supervisor.hears


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [(OSError(28, "no space left"), "max_user_watches"), (OSError(24, "x"), "max_user_instances")],
)
def test_a_refusal_is_reported_with_its_remedy_and_tried_again(
    supervisor: Supervisor, native: type[Native], problems: Problems, refusal: OSError, remedy: str
) -> None:
    native.refusal = refusal
    supervisor.start()
    assert supervisor.choice.kind == "polling"
    assert remedy in problems.all()["observer"].remedy
    native.refusal = None
    assert supervisor.check([""]) == NOTHING, "tried a moment ago"
    supervisor._renew_at_s = 0.0
    assert supervisor.check([""]) == (True, [])
    assert supervisor.hears
    assert not problems.all()


def test_a_refusal_is_logged_once(
    supervisor: Supervisor, native: type[Native], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    native.refusal = OSError(28, "no space left")
    supervisor.start()
    for _ in range(3):
        supervisor._renew_at_s = 0.0
        supervisor.check([""])
    assert caplog.text.count("Native notifications do not work: no space left; polling instead") == 1
    native.refusal = None
    supervisor._renew_at_s = 0.0
    supervisor.check([""])
    assert "✓ Native notifications work again" in caplog.text


def test_one_that_hears_nothing_is_replaced_by_polling(supervisor: Supervisor, native: type[Native]) -> None:
    native.proves = False
    supervisor.start()
    assert supervisor.choice.kind == "polling"
    assert [one.alive for one in native.made] == [False]


def test_one_that_died_is_replaced_less_and_less_often(
    supervisor: Supervisor, native: type[Native], caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start()
    supervisor._renew_at_s = 0.0  # it lived for a while
    native.made[-1].alive = False
    assert supervisor.check([""]) == (True, [])
    assert "The observer died: starting a new observer" in caplog.text
    assert native.made[-1].alive
    native.made[-1].alive = False
    assert supervisor.check([""]) == NOTHING, "a moment ago"
    assert len(native.made) == 2


def test_a_directory_without_a_watch_gets_a_new_observer(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start()
    assert supervisor.check(["", "a"]) == NOTHING
    first = native.made[-1]
    first.deaf = frozenset(["a"])
    assert supervisor.check(["", "a"]) == NOTHING, "checked a moment ago"
    supervisor.expect_new_directories()
    assert supervisor.check(["", "a"]) == (True, ["a"])
    assert not first.alive
    assert supervisor.hears


def test_directories_that_cannot_be_watched_lead_to_polling(
    supervisor: Supervisor, native: type[Native], problems: Problems
) -> None:
    supervisor.start()
    native.deaf = frozenset(["a"])
    assert supervisor.check(["", "a"]) == (True, ["a"])
    assert supervisor.choice.kind == "polling"
    assert "max_user_watches" in problems.all()["observer"].remedy


def lose_events() -> None:
    """What watchdog says from 7.1 on; it has no other way."""
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; events were lost")


def test_lost_events_are_reported_once_each_and_lead_to_a_new_observer_if_they_go_on(
    supervisor: Supervisor, native: type[Native], problems: Problems, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start()
    assert supervisor.check([""]) == NOTHING
    supervisor._renew_at_s = 0.0  # it lived for a while
    for number in range(3):
        assert len(native.made) == 1, number
        lose_events()
        assert supervisor.check([""]) == (True, [])
        assert supervisor.check([""]) == NOTHING
    assert "max_queued_events" in problems.all()["overflow"].remedy
    assert "Notifications overflow again and again: starting a new observer" in caplog.text
    assert len(native.made) == 2
    supervisor.stop()
    lose_events()
    assert supervisor.check([""]) == NOTHING


def test_so_many_events_that_some_may_be_lost_count_as_lost(
    supervisor: Supervisor, native: type[Native], problems: Problems
) -> None:
    supervisor.start()
    native.made[-1].events = 10_000
    assert supervisor.check([""]) == (True, [])
    assert not problems.all()
    assert supervisor.count_events() == 10_000
    assert supervisor.count_events() == 0
    assert supervisor.check([""]) == NOTHING


def test_one_that_is_stopped_starts_no_more(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start()
    supervisor.stop()
    supervisor.renew("too late", at_once=True)
    assert not supervisor.hears
    assert not any(one.alive for one in native.made)
