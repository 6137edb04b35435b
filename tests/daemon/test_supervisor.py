"""Watching over an observer that works, dies, refuses or loses events as a test says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.daemon import supervisor as supervisor_module
from sdgen_thumbnail_plugin.daemon.hints import Hint
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
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(Settings(source_dir=tmp_path, observer="native"), tmp_path, lambda _: None)


def test_an_observer_that_proves_itself_serves(supervisor: Supervisor) -> None:
    supervisor.start(root_is_there=True)
    assert supervisor.choice.kind == "native"
    assert supervisor.trouble() is None
    supervisor.stop()
    assert not supervisor.hears


def test_without_a_root_there_is_none_until_it_is_back(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start(root_is_there=False)
    assert not supervisor.hears
    assert supervisor.rearm("The source folder is back", at_once=True)
    assert supervisor.hears
    supervisor.stop()


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [(OSError(28, "no space left"), "max_user_watches"), (OSError(24, "x"), "max_user_instances")],
)
def test_a_refusal_is_reported_with_its_remedy_and_tried_again(
    supervisor: Supervisor, native: type[Native], monkeypatch: pytest.MonkeyPatch, refusal: OSError, remedy: str
) -> None:
    native.refusal = refusal
    supervisor.start(root_is_there=True)
    assert supervisor.choice.kind == "polling"
    assert remedy in supervisor.problems["observer"].remedy
    assert not supervisor.try_notifications_again(list), "a moment ago"
    native.refusal = None
    supervisor._retry_at_s = 0.0
    assert supervisor.try_notifications_again(list)
    assert supervisor.hears
    assert not supervisor.problems
    supervisor.stop()


def test_one_that_hears_nothing_is_replaced_by_polling(supervisor: Supervisor, native: type[Native]) -> None:
    native.proves = False
    supervisor.start(root_is_there=True)
    assert supervisor.choice.kind == "polling"
    assert [one.alive for one in native.made] == [False]
    supervisor.stop()


def test_one_that_died_is_trouble(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start(root_is_there=True)
    native.made[-1].alive = False
    assert supervisor.trouble() == "The observer died"
    assert supervisor.rearm("The observer died")
    assert supervisor.trouble() is None
    assert not supervisor.rearm("The observer died"), "less and less often"
    supervisor.stop()


def test_a_directory_without_a_watch_gets_a_new_observer(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start(root_is_there=True)
    assert supervisor.deaf_directories(["", "a"]) == []
    first = native.made[-1]
    first.deaf = frozenset(["a"])
    assert supervisor.deaf_directories(["", "a"]) == [], "checked a moment ago"
    supervisor.expect_new_directories()
    assert supervisor.deaf_directories(["", "a"]) == ["a"]
    assert not first.alive
    assert supervisor.hears
    supervisor.stop()


def test_directories_that_cannot_be_watched_lead_to_polling(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start(root_is_there=True)
    native.deaf = frozenset(["a"])
    assert supervisor.deaf_directories(["", "a"]) == ["a"]
    assert supervisor.choice.kind == "polling"
    assert "max_user_watches" in supervisor.problems["observer"].remedy
    supervisor.stop()


def lose_events() -> None:
    """What watchdog says from 7.1 on; it has no other way."""
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; events were lost")


def test_lost_events_are_reported_once_each_and_are_trouble_if_they_go_on(supervisor: Supervisor) -> None:
    supervisor.start(root_is_there=True)
    assert not supervisor.lost_events()
    for _ in range(3):
        lose_events()
        assert supervisor.lost_events()
        assert not supervisor.lost_events()
    assert "max_queued_events" in supervisor.problems["overflow"].remedy
    assert supervisor.trouble() == "Notifications overflow again and again"
    supervisor.note_caught_up()
    assert not supervisor.problems
    supervisor.stop()
    lose_events()
    assert not supervisor.lost_events()


def test_so_many_events_that_some_may_be_lost_count_as_lost(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start(root_is_there=True)
    native.made[-1].events = 10_000
    assert supervisor.lost_events()
    assert not supervisor.problems
    assert supervisor.count_events() == 10_000
    assert supervisor.count_events() == 0
    assert not supervisor.lost_events()
    supervisor.stop()


def test_one_that_is_stopped_starts_no_more(supervisor: Supervisor, native: type[Native]) -> None:
    supervisor.start(root_is_there=True)
    supervisor.stop()
    supervisor.rearm("too late", at_once=True)
    assert not supervisor.hears
    assert not any(one.alive for one in native.made)
    supervisor.stop()
