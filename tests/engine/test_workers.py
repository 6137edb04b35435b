"""The workers: order, sharing, bounded memory, and the machine's faults."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from sdgen_thumbnail_plugin.errors import DiskFullError, StorageUnavailableError
from sdgen_thumbnail_plugin.model import Outcome, OutcomeKind, Priority
from sdgen_thumbnail_plugin.storage.base import StoredImage
from support.engine import Engine, open_engine
from support.pictures import as_png, png
from support.project import LONG_AGO_S, Project, draw, session_of
from support.waiting import wait_for

SESSION = session_of(1)


class Gate:
    """Holds workers at the end of an image until it is opened."""

    def __init__(self) -> None:
        self.held = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, _: Outcome) -> None:
        self.held.release()
        assert self._open.wait(20)

    def wait_for_a_worker(self) -> None:
        assert self.held.acquire(timeout=20)

    def open(self) -> None:
        self._open.set()


# -- order


def test_images_that_are_rewritten_all_the_time_hold_up_no_directory(project: Project) -> None:
    hot, others = draw(project, SESSION, 3), draw(project, session_of(2), 2)
    holder: list[Engine] = []

    def ask_again(outcome: Outcome) -> None:
        if outcome.key in hot and not all(map(project.is_fresh, others)):
            holder[0].ask(outcome.key)

    with open_engine(project, count=2, on_outcome=ask_again) as engine:
        holder.append(engine)
        for key in hot:
            engine.ask(key)
        engine.workers.submit_directory(session_of(2), Priority.URGENT)
        engine.idle()
        assert sorted(key for key in engine.made() if key not in hot) == sorted(others)


def test_an_urgent_image_overtakes_500_that_are_queued(project: Project) -> None:
    draw(project, SESSION, 500)
    urgent = draw(project, session_of(2), 1)[0]
    gate = Gate()
    with open_engine(project, count=1, on_outcome=gate) as engine:
        engine.workers.submit_directory(SESSION, Priority.CATCH_UP)
        gate.wait_for_a_worker()
        assert engine.workers.queued()[Priority.CATCH_UP] == 500
        engine.ask(urgent)
        gate.open()
        wait_for(lambda: urgent in engine.made())
        assert engine.made()[1] == urgent
        assert engine.workers.close(20)


def test_an_image_that_is_queued_already_moves_forward_when_it_becomes_urgent(project: Project) -> None:
    keys = draw(project, SESSION, 20)
    gate = Gate()
    with open_engine(project, count=1, on_outcome=gate) as engine:
        engine.workers.submit_directory(SESSION, Priority.AUDIT)
        gate.wait_for_a_worker()
        engine.ask(keys[-1])
        gate.open()
        engine.idle()
        assert engine.made() == [keys[0], keys[-1], *keys[1:-1]]


def test_catching_up_goes_before_the_audit(project: Project) -> None:
    first = draw(project, session_of(3), 1)[0]
    audited = draw(project, SESSION, 3)
    caught_up = draw(project, session_of(2), 3)
    gate = Gate()
    with open_engine(project, count=1, on_outcome=gate) as engine:
        engine.ask(first)
        gate.wait_for_a_worker()
        engine.workers.submit_directory(SESSION, Priority.AUDIT)
        engine.workers.submit_directory(session_of(2), Priority.CATCH_UP)
        gate.open()
        engine.idle()
        assert engine.made() == [first, *caught_up, *audited]


def test_the_images_of_one_directory_come_before_the_next_directory(project: Project) -> None:
    keys = [key for day in (1, 2, 3) for key in draw(project, session_of(day), 3)]
    with open_engine(project, count=1) as engine:
        for day in (1, 2, 3):
            engine.workers.submit_directory(session_of(day), Priority.CATCH_UP)
        engine.idle()
        assert engine.made() == keys


# -- sharing


def test_twenty_threads_asking_for_one_image_share_one_build(project: Project) -> None:
    first, wanted = draw(project, SESSION, 2)
    gate = Gate()
    with open_engine(project, count=2, on_outcome=gate) as engine:
        engine.ask(first)
        gate.wait_for_a_worker()
        together = threading.Barrier(20)

        def ask() -> None:
            together.wait(20)
            engine.ask(wanted, Priority.CATCH_UP)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gate.open()
        engine.idle()
        assert engine.made().count(wanted) == 1


def test_requests_while_a_build_runs_make_it_look_once_more_not_build_twice(project: Project) -> None:
    key = draw(project, SESSION, 1)[0]
    gate = Gate()
    with open_engine(project, count=1, on_outcome=gate) as engine:
        engine.ask(key)
        gate.wait_for_a_worker()
        engine.ask(key)
        engine.ask(key)
        gate.open()
        engine.idle()
        assert engine.made() == [key]
        assert engine.workers.counts == {OutcomeKind.CREATED: 1, OutcomeKind.FRESH: 1}


@pytest.mark.parametrize("same_time", [False, True])
def test_an_image_overwritten_while_it_is_made_ends_up_right(project: Project, same_time: bool) -> None:
    key = draw(project, SESSION, 1)[0]
    gate = Gate()
    with open_engine(project, count=1, on_outcome=gate) as engine:
        engine.ask(key)
        gate.wait_for_a_worker()
        (project.results / key).write_bytes(png((64, 64)))
        if same_time:
            os.utime(project.results / key, (LONG_AGO_S, LONG_AGO_S))
        engine.ask(key)
        gate.open()
        engine.idle()
    assert project.is_fresh(key)
    with Image.open(project.thumbnail(key)) as thumbnail:
        assert thumbnail.size == (32, 32)


# -- memory


def test_big_images_wait_for_room_without_stopping_others(project: Project) -> None:
    small = draw(project, SESSION, 30)
    big = [f"{session_of(2)}/big{number}.png" for number in range(4)]
    (project.results / session_of(2)).mkdir()
    data = as_png(Image.new("RGB", (400, 400)))
    for key in big:
        (project.results / key).write_bytes(data)
    with open_engine(project, count=4, budget_pixels=48 * 64) as engine:
        engine.workers.submit_directory(session_of(2), Priority.CATCH_UP)
        engine.workers.submit_directory(SESSION, Priority.CATCH_UP)
        engine.idle()
        assert sorted(engine.made()) == sorted([*small, *big])


ROOM = 4 * 48 * 64  # for a small image, whatever is used to decode it


def test_small_images_pass_a_giant_that_is_being_made(project: Project) -> None:
    """The giant's read blocks inside the room until a small image is through."""
    small = draw(project, SESSION, 1)[0]
    (project.results / "giant.png").write_bytes(as_png(Image.new("RGB", (400, 400))))
    inside, leave = threading.Event(), threading.Event()
    with open_engine(project, count=2, budget_pixels=ROOM) as engine:
        room = engine.workers._budget

        @contextlib.contextmanager
        def slow_budget(pixels: int) -> Iterator[None]:
            with room(pixels):
                if pixels > ROOM:
                    inside.set()
                    assert leave.wait(20)
                yield

        engine.workers._budget = slow_budget  # type: ignore[assignment]
        engine.ask("giant.png")
        assert inside.wait(20)
        engine.ask(small)
        wait_for(lambda: engine.made() == [small])
        assert engine.workers.running() == ["giant.png"]
        leave.set()
        engine.idle()
        assert engine.made() == [small, "giant.png"]


# -- reading


def test_a_young_truncated_image_is_made_once_a_writer_completes_it(project: Project) -> None:
    data = png()
    path = project.results / "slow.png"
    path.write_bytes(data[: len(data) // 2])
    tried = threading.Event()

    def complete() -> None:
        assert tried.wait(20)
        path.write_bytes(data)

    with open_engine(project) as engine:
        source_read: Callable[..., StoredImage] = engine.source.read_image

        def noted(key: str, *, limit_bytes: int | None = None) -> StoredImage:
            tried.set()
            return source_read(key, limit_bytes=limit_bytes)

        writer = threading.Thread(target=complete)
        writer.start()
        engine.source.read_image = noted
        engine.ask("slow.png")
        engine.idle()
        writer.join()
        assert engine.kinds() == [OutcomeKind.CREATED]
        assert not engine.catalog.failures()
    assert project.is_fresh("slow.png")


def test_an_old_truncated_image_is_a_failure_at_once(project: Project) -> None:
    key = draw(project, SESSION, 1)[0]
    (project.results / key).write_bytes(png()[:-100])
    os.utime(project.results / key, (LONG_AGO_S, LONG_AGO_S))
    with open_engine(project) as engine:
        engine.ask(key)
        engine.idle()
        assert engine.kinds() == [OutcomeKind.FAILED]


# -- faults


def test_an_exception_in_a_job_does_not_end_the_worker(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    broken, other = draw(project, SESSION, 2)
    with open_engine(project, count=1) as engine:
        make = engine.images.reconcile

        def fail(key: str, **options: object) -> Outcome:
            if key == broken:
                raise RuntimeError("a bug")
            return make(key, **options)  # type: ignore[arg-type]

        engine.images.reconcile = fail  # type: ignore[method-assign]
        engine.workers.submit_directory(SESSION, Priority.URGENT)
        engine.idle()
        assert engine.made() == [other]
        assert engine.workers.is_backing_off(SESSION)
    assert "✗ Unexpected error at" in caplog.text
    assert "a bug" in caplog.text


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_calls_off_what_is_not_patient(project: Project, small_disk: Path) -> None:
    draw(project, SESSION, 20)
    (small_disk / SESSION).mkdir()
    fill(small_disk)
    with open_engine(project, target=small_disk) as engine:
        engine.workers.submit_directory(SESSION, Priority.CATCH_UP)
        engine.idle()
        assert isinstance(engine.workers.fault, DiskFullError)
        assert engine.workers.fault.everywhere
        assert not engine.made()
        assert not engine.catalog.failures()
        assert not list(small_disk.rglob(".*sdgen-tmp"))
        (problem,) = engine.workers.problems()
        assert "no space left on device" in problem.message


def test_a_patient_worker_recovers_from_a_full_disk_by_itself(project: Project, small_disk: Path) -> None:
    keys = draw(project, SESSION, 5)
    (small_disk / SESSION).mkdir()
    filler = fill(small_disk)
    with open_engine(project, target=small_disk, patient=True) as engine:
        engine.ask(keys[0])
        wait_for(lambda: engine.kinds() == [OutcomeKind.DEFERRED])
        assert engine.workers.fault is None
        assert len(engine.workers.problems()) == 1
        filler.unlink()
        for key in keys:
            engine.ask(key)
        engine.idle()
        assert sorted(engine.made()) == keys
        assert not engine.workers.problems()
        assert not engine.catalog.failures()


def test_a_file_in_the_way_of_the_target_is_the_machines_fault(project: Project) -> None:
    key = draw(project, SESSION, 1)[0]
    project.thumbnails.write_text("a file, not a folder")
    with open_engine(project) as engine:
        engine.ask(key)
        engine.idle()
        assert isinstance(engine.workers.fault, StorageUnavailableError)
        assert not engine.catalog.failures()
        assert project.thumbnails.read_text() == "a file, not a folder"


def test_a_deferred_image_keeps_its_directory_from_being_complete(project: Project) -> None:
    draw(project, SESSION, 1)
    os.utime(project.results / SESSION, (LONG_AGO_S, LONG_AGO_S))
    project.thumbnails.write_text("a file, not a folder")
    with open_engine(project) as engine:
        engine.catch_up()
        assert engine.directories.changed_directories([SESSION]) == [SESSION]
        project.thumbnails.unlink()
    with open_engine(project) as engine:
        engine.catch_up()
    assert project.is_exact()


# -- ending


def closed(engine: Engine) -> bool:
    return engine.workers.close(20)


def test_closing_finishes_what_runs_and_drops_the_rest(project: Project) -> None:
    keys = draw(project, SESSION, 50)
    gate = Gate()
    with open_engine(project, count=1, on_outcome=gate) as engine:
        engine.workers.submit_directory(SESSION, Priority.CATCH_UP)
        gate.wait_for_a_worker()
        closing = threading.Thread(target=closed, args=(engine,))
        closing.start()
        wait_for(lambda: engine.workers.queued()[Priority.CATCH_UP] <= 1)
        gate.open()
        closing.join(20)
        assert engine.made() == keys[:1]
        engine.ask(keys[1])
        assert engine.workers.wait_idle(1) is True
        assert engine.made() == keys[:1]


def test_waiting_ends_when_the_workers_are_closed(project: Project) -> None:
    with open_engine(project) as engine:
        closing = threading.Timer(0.05, closed, args=(engine,))
        closing.start()
        assert engine.workers.wait_for(lambda: False, 20) is False
        closing.join()


def test_waiting_for_too_long_says_so(project: Project) -> None:
    with open_engine(project) as engine:
        assert engine.workers.wait_for(lambda: False, 0.01) is False


def test_no_count_is_lost_when_many_threads_count(project: Project) -> None:
    with open_engine(project) as engine:

        def count() -> None:
            for _ in range(5000):
                engine.workers.count(OutcomeKind.FRESH)

        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert engine.workers.counts == {OutcomeKind.FRESH: 40_000}
