"""Events that are lost, that run out or come in thousands, and names that no program expects.

Every fault is a real one: a stopped process misses more events than the kernel keeps, and limits are set in a user
namespace, so that no other process runs into them.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from sdgen_thumbnail_plugin.daemon import supervisor
from sdgen_thumbnail_plugin.daemon.hints import Dispatcher, Hint
from sdgen_thumbnail_plugin.daemon.observers import NativeObserver, inotify_limits
from sdgen_thumbnail_plugin.daemon.ticks import Ticks
from sdgen_thumbnail_plugin.paths import ENVIRONMENT_PREFIX
from support.commands import failures, output_of, run, status
from support.pictures import as_png, png
from support.project import Project, wait_until_faultless
from support.waiting import wait_for
from support.watcher import pid_of, watcher_process, watching

# watchdog's own threads may die of these events (the watcher then starts a new observer); pytest would report that.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SOON_S = 20.0
"""The promise is a second on an idle machine; other tests run on this one."""

STARVED_S = 2.0
"""The same in processor time, for a watcher that gets little of it: a minute of a thirtieth of a processor."""

_LONGEST_TURN_S = 2.0

OLD = "20251110_151059-old"
STARTED = "start.txt"
"""What ``start`` printed."""

TELLING = (7, 1)
"""The first watchdog that reports lost events."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.image(f"{OLD}/first.png")
    return project


@pytest.fixture(params=["native", "polling"])
def watched(request: pytest.FixtureRequest, project: Project) -> Iterator[Project]:
    with watching(project, observer=request.param):
        wait_until_well(project)
        yield project


def told(project: Project, *words: str) -> bool:
    """Whether the state file reports a problem with all these words and a remedy."""
    problems = project.state().get("problems", ())
    return any(all(word in f"{one['message']} {one['remedy']}" for word in words) and one["remedy"] for one in problems)


def wait_until_well(project: Project, *, failures: int = 0) -> None:
    """Waits until every image has its thumbnail, the target holds nothing else and no problem is reported."""
    wait_for(project.is_exact, SOON_S)
    wait_until_content(project, failures=failures)
    wait_until_faultless(project, SOON_S)


def wait_until_content(project: Project, *, failures: int = 0) -> None:
    """Waits until no problem is reported and there is nothing left to do."""
    wait_for(lambda: project.state().get("problems") == [], SOON_S)
    wait_for(lambda: project.state().get("phase") == "watching", SOON_S)
    wait_for(lambda: project.state().get("failures") == failures, SOON_S)
    wait_for(lambda: not any(project.state()["queue"].values()), SOON_S)


def failure_of(project: Project, key: str) -> dict[str, Any]:
    """The report of a failed image. It comes from the catalog, which the watcher writes with its ticks, some time after
    the state file."""
    wait_for(lambda: key in failures(project), SOON_S)
    return failures(project)[key]


# -- events that are lost


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_an_overflow_of_the_kernels_queue_is_told_and_made_up_for(project: Project) -> None:
    sessions = [f"202511{day:02}_000000-session" for day in range(11, 16)]
    for session in sessions:
        for number in range(2):
            project.image(f"{session}/{number}.png")
    with watcher_process(project, "--observer", "native") as process:
        wait_until_well(project)
        assert project.state()["observer"]["kind"] == "native"
        process.send_signal(signal.SIGSTOP)
        try:
            noise = project.results / OLD / "noise.txt"
            for _ in range(inotify_limits()["max_queued_events"] // 2 + 1):  # two events each, or more
                noise.touch()
                noise.unlink()
            # From here on the kernel tells of nothing.
            for session in sessions[:3]:
                project.image(f"{session}/new.png")
                (project.results / session / "0.png").unlink()
            (project.results / sessions[3] / "0.png").rename(project.results / sessions[3] / "renamed.png")
            (project.results / sessions[3] / "1.png").write_bytes(png((64, 48)))
            shutil.rmtree(project.results / sessions[4])
            project.image("20251116_000000-unheard/below/a.png")
        finally:
            process.send_signal(signal.SIGCONT)
        if tuple(map(int, version("watchdog").split(".")[:2])) >= TELLING:
            wait_for(lambda: told(project, "events were lost", "max_queued_events"), SOON_S)
            assert "events were lost. raise the limit: sudo sysctl fs.inotify.max_queued_events" in project.log()
        wait_until_well(project)
        assert status(project)["health"] == "healthy"
        project.image("20251116_000000-unheard/below/later.png")
        wait_until_well(project)


def processor_time_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def wait_in_its_time(process: psutil.Process, condition: Callable[[], object]) -> None:
    """Waits until the condition holds, or the process has had its share: how long that takes depends on the machine."""
    deadline_s = processor_time_s(process) + STARVED_S
    wait_for(lambda: condition() or processor_time_s(process) > deadline_s, 400)
    assert condition(), f"not within {STARVED_S} s of processor time"


@contextlib.contextmanager
def starved(process: psutil.Process, *, runs_s: float = 0.01, waits_s: float = 0.25) -> Iterator[None]:
    """Gives the process a small part of one processor, as on a busy machine.

    A turn is over when so much processor time was used: on a machine that is busy with other things a process of low
    priority gets nothing at all in ten milliseconds. One with nothing to do has a longer turn.
    """
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            enough_s, deadline_s = processor_time_s(process) + runs_s, time.monotonic() + _LONGEST_TURN_S
            while processor_time_s(process) < enough_s and time.monotonic() < deadline_s and not ended.wait(0.002):
                pass
            process.send_signal(signal.SIGSTOP)
            ended.wait(waits_s)
            process.send_signal(signal.SIGCONT)

    holding = threading.Thread(target=hold)
    holding.start()
    try:
        yield
    finally:
        ended.set()
        holding.join()


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_an_overflow_that_is_read_after_a_new_session_was_found_is_told_and_made_up_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ticks find the new session before the watcher has read the whole queue. It looks as if it were not watched, but
    # the notification that leads to its watch may be among what is queued, and so may be that events were lost.
    monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}TICK_INTERVAL_S", "0.1")
    with watcher_process(project, "--observer", "native") as process:
        wait_until_well(project)
        process.send_signal(signal.SIGSTOP)
        (project.results / OLD / "first.png").write_bytes(png((64, 48)))
        noise = project.results / OLD / "noise.txt"
        for _ in range(inotify_limits()["max_queued_events"] // 2 + 1):
            noise.touch()
            noise.unlink()
        project.image("20251116_000000-unheard/a.png")
        with starved(process):
            if tuple(map(int, version("watchdog").split(".")[:2])) >= TELLING:
                wait_in_its_time(process, lambda: "events were lost. raise the limit" in project.log())
            wait_in_its_time(process, project.is_exact)
        wait_until_well(project)


# -- limits of inotify


@contextlib.contextmanager
def watcher_limited(project: Project, limit: str, value: int) -> Iterator[psutil.Process]:
    """A watcher in its own user namespace, with another value for a limit of inotify."""
    namespace = ["unshare", "--user", "--map-root-user", "sh", "-c", f'echo {value} > /proc/sys/user/{limit} && "$@"']
    if shutil.which("unshare") is None or subprocess.run([*namespace, "sh", "true"], capture_output=True).returncode:
        pytest.skip("cannot make a user namespace with limits of its own here")
    done = run(project, "start", prefix=[*namespace, "sh"])
    assert done.returncode == 0, done.stderr
    (project.root / STARTED).write_text(done.stdout + done.stderr)
    try:
        yield psutil.Process(pid_of(project))
    finally:
        output_of(project, "stop")


def raise_limit(process: psutil.Process, limit: str, value: int) -> None:
    """Does what the remedy asks for, in the watcher's namespace."""
    command = ["nsenter", "--user", "--preserve-credentials", "--target", str(process.pid)]
    subprocess.run([*command, "sh", "-c", f"echo {value} > /proc/sys/user/{limit}"], check=True)


LIMITS = [("max_inotify_watches", "max_user_watches"), ("max_inotify_instances", "max_user_instances")]


@pytest.mark.parametrize(("limit", "named"), LIMITS)
def test_without_watches_or_instances_it_polls_and_says_what_to_do(project: Project, limit: str, named: str) -> None:
    project.image("20251111_000000-other/below/a.png")
    with watcher_limited(project, limit, 1 if "watches" in limit else 0):
        wait_for(lambda: told(project, "polling", f"sudo sysctl fs.inotify.{named}="), SOON_S)
        assert f"sudo sysctl fs.inotify.{named}=" in project.log()
        if "instances" in limit:  # that watches are missing shows when the folders are known
            assert f"sudo sysctl fs.inotify.{named}=" in (project.root / STARTED).read_text()
        report = status(project)
        assert report["observer"]["kind"] == "polling"
        assert report["health"] == "degraded"
        wait_for(project.is_exact, SOON_S)
        project.image("20251111_000000-other/below/later.png")
        project.image("20251112_000000-new/a.png")
        (project.results / OLD / "first.png").unlink()
        wait_for(project.is_exact, SOON_S)
        assert status(project)["health"] == "degraded", "it still polls"


def test_watches_that_run_out_while_watching_are_told_and_it_polls(project: Project) -> None:
    with watcher_limited(project, "max_inotify_watches", 6):
        wait_until_well(project)
        assert project.state()["observer"]["kind"] == "native"
        for day in range(11, 20):
            project.image(f"202511{day}_000000-more/a.png")
        wait_for(lambda: told(project, "polling", "sudo sysctl fs.inotify.max_user_watches="), SOON_S)
        wait_for(project.is_exact, SOON_S)
        for day in range(11, 20):
            project.image(f"202511{day}_000000-more/later.png")
        wait_for(project.is_exact, SOON_S)
        assert status(project)["health"] == "degraded"


@pytest.mark.parametrize(("limit", "named"), LIMITS)
def test_a_raised_limit_ends_the_polling_and_the_complaint(project: Project, limit: str, named: str) -> None:
    with watcher_limited(project, limit, 1 if "watches" in limit else 0) as process:
        wait_for(lambda: told(project, "polling", f"sudo sysctl fs.inotify.{named}="), SOON_S)
        raise_limit(process, limit, 1000)
        wait_for(lambda: project.state().get("problems") == [], 15)
        assert project.state()["observer"]["kind"] == "native"
        project.image(f"{OLD}/later.png")
        wait_until_well(project)


def test_a_raised_limit_and_a_restart_end_the_polling_and_the_complaint(project: Project) -> None:
    with watcher_limited(project, "max_inotify_watches", 1):
        wait_for(lambda: told(project, "polling", "sudo sysctl fs.inotify.max_user_watches="), SOON_S)
        output_of(project, "restart")  # in the namespace of this process, whose limit is a usual one
        wait_until_well(project)
        assert project.state()["observer"]["kind"] == "native"


# -- many changes, quick changes


def coloured(number: int) -> bytes:
    """An image of a colour of its own."""
    return as_png(Image.new("RGB", (48, 64), (number * 25 % 256, 255 - number * 25 % 256, number * 83 % 256)))


def shows_its_source(project: Project, name: str) -> bool:
    """Whether a thumbnail has its image's colour: times do not distinguish images of the same time."""
    with contextlib.suppress(OSError):
        seen, wanted = (
            Image.open(BytesIO(path.read_bytes())).convert("RGB").resize((1, 1)).getpixel((0, 0))
            for path in (project.thumbnail(name), project.results / name)
        )
        assert isinstance(seen, tuple)
        assert isinstance(wanted, tuple)
        return all(abs(one - other) < 12 for one, other in zip(seen, wanted, strict=True))
    return False


def turn_the_ring(folder: Path, names: list[str], rounds: int) -> int:
    """Renames each to the next one, and the last to the first, again and again; returns the number of renames."""
    renames = 0
    for _ in range(rounds):
        (folder / names[-1]).rename(folder / "held.png")
        for old, new in zip(names[-2::-1], names[:0:-1], strict=True):
            (folder / old).rename(folder / new)
        (folder / "held.png").rename(folder / names[0])
        renames += len(names) + 1
    return renames


def test_a_thousand_renames_in_a_ring_leave_every_image_its_own_thumbnail(watched: Project) -> None:
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        (watched.results / OLD / name).write_bytes(coloured(number))
        os.utime(watched.results / OLD / name, ns=(1_762_000_000_000_000_001 + number,) * 2)
    wait_until_well(watched)
    assert turn_the_ring(watched.results / OLD, names, 93) >= 1000
    wait_until_well(watched)
    wait_for(lambda: all(shows_its_source(watched, f"{OLD}/{name}") for name in names), SOON_S)


def test_a_thousand_renames_of_images_with_one_time_leave_every_image_its_own_thumbnail(watched: Project) -> None:
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        (watched.results / OLD / name).write_bytes(coloured(number))
        os.utime(watched.results / OLD / name, (1_762_000_000, 1_762_000_000))  # as an archive leaves them
    wait_until_well(watched)
    assert turn_the_ring(watched.results / OLD, names, 93) >= 1000
    wait_until_well(watched)
    wait_for(lambda: all(shows_its_source(watched, f"{OLD}/{name}") for name in names), 6)


def test_two_images_with_one_time_that_swap_names_swap_thumbnails(project: Project) -> None:
    with watching(project, observer="native"):
        wait_until_well(project)
        swap_two_images_with_one_time(project)


def test_two_images_with_one_time_that_swap_names_swap_thumbnails_without_notifications(project: Project) -> None:
    with watching(project, observer="polling"):
        wait_until_well(project)
        swap_two_images_with_one_time(project)


def swap_two_images_with_one_time(watched: Project) -> None:
    names = ["0.png", "1.png"]
    for number, name in enumerate(names):
        (watched.results / OLD / name).write_bytes(coloured(number * 5))
        os.utime(watched.results / OLD / name, (1_762_000_000, 1_762_000_000))
    wait_until_well(watched)
    turn_the_ring(watched.results / OLD, names, 1)
    wait_until_well(watched)
    wait_for(lambda: all(shows_its_source(watched, f"{OLD}/{name}") for name in names), 6)


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_a_thousand_renames_of_sessions_in_a_ring_leave_every_image_its_own_thumbnail(
    project: Project, observer: str
) -> None:
    sessions = [f"202511{day}_000000-ring" for day in range(11, 16)]
    for number, session in enumerate(sessions):
        (project.results / session).mkdir()
        (project.results / session / "a.png").write_bytes(coloured(number))
        os.utime(project.results / session / "a.png", ns=(1_762_000_000_000_000_001 + number,) * 2)
    # In a process of its own: watchdog warns of what it sees here, and the tests' own process makes errors of warnings.
    with watcher_process(project, "--observer", observer):
        wait_until_well(project)
        held = project.root / "held"
        for _ in range(167):  # of six renames
            (project.results / sessions[-1]).rename(held)
            for old, new in zip(sessions[-2::-1], sessions[:0:-1], strict=True):
                (project.results / old).rename(project.results / new)
            held.rename(project.results / sessions[0])
        wait_until_well(project)
        wait_for(lambda: all(shows_its_source(project, f"{session}/a.png") for session in sessions), SOON_S)
        for session in sessions:
            project.image(f"{session}/later.png")
        wait_until_well(project)
    assert "Unexpected error" not in project.log()
    assert "Traceback" not in project.log()
    assert not project.home.state_file.exists(), "it did not end in order"


class OutOfOrder(NativeObserver):
    """Passes the kernel's events on in batches, in any order, and never the last few."""

    chance = random.Random(1)

    def __init__(self, root: Path, put: Callable[[Hint], None]) -> None:
        super().__init__(root, self._hold)
        self._hand_on = put
        self._held: list[Hint] = []

    def _hold(self, hint: Hint) -> None:
        self._held.append(hint)
        if self.chance.random() < 0.05:
            self.chance.shuffle(self._held)
            while self._held:
                self._hand_on(self._held.pop())


@pytest.mark.parametrize("seed", range(4))
def test_events_out_of_order_leave_every_image_its_own_thumbnail(
    project: Project, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "NativeObserver", OutOfOrder)
    monkeypatch.setattr(OutOfOrder, "chance", random.Random(seed))
    chance = random.Random(-seed)
    sessions = [project.results / f"2025111{number}_000000-mixed" for number in range(4)]
    with watching(project, observer="native"):
        wait_until_well(project)
        for number in range(300):
            session = chance.choice([one for one in sessions if one.is_dir()] or [project.results / OLD])
            images = sorted(session.glob("*.png"))
            what = chance.random()
            if what < 0.5 or not images:
                session = chance.choice(sessions)
                session.mkdir(exist_ok=True)
                (session / f"{chance.randrange(10)}.png").write_bytes(coloured(number))
            elif what < 0.7:
                chance.choice(images).rename(chance.choice(images).with_name(f"{chance.randrange(10)}.png"))
            elif what < 0.85:
                chance.choice(images).unlink()
            elif what < 0.95 and (free := [one for one in sessions if not one.exists()]):
                session.rename(chance.choice(free))
            elif session.name != OLD:
                shutil.rmtree(session)
        wait_until_well(project)
        names = [path.relative_to(project.results).as_posix() for path in project.results.rglob("*.png")]
        wait_for(lambda: all(shows_its_source(project, name) for name in names), SOON_S)


@contextlib.contextmanager
def asleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Watchers handle no event until the context ends."""
    sleeps, awake = threading.Event(), threading.Event()
    tick, take = Ticks.tick, Dispatcher.take

    def tick_when_awake(ticks: Ticks) -> None:
        sleeps.set()
        awake.wait()
        tick(ticks)

    def take_when_awake(dispatcher: Dispatcher, hint: Hint) -> None:
        awake.wait()
        take(dispatcher, hint)

    with monkeypatch.context() as patch:
        patch.setattr(Ticks, "tick", tick_when_awake)
        patch.setattr(Dispatcher, "take", take_when_awake)
        try:
            wait_for(sleeps.is_set)
            yield
        finally:
            awake.set()


def test_a_session_made_filled_and_deleted_at_once_leaves_nothing(
    watched: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = png()

    def come_and_go(numbers: range) -> None:
        for number in numbers:
            session = watched.results / f"20251111_{number:06}-brief"
            session.mkdir()
            for image in range(5):
                (session / f"{image}.png").write_bytes(data)
            shutil.rmtree(session)

    come_and_go(range(20))  # the watcher may see some of it, and begin with some
    with asleep(monkeypatch):  # it hears of these when they are gone
        come_and_go(range(20, 40))
    watched.image("20251112_000000-stays/a.png")  # behind all these events
    wait_until_well(watched)
    wait_for(lambda: {path.name for path in watched.thumbnails.iterdir()} == {OLD, "20251112_000000-stays"}, SOON_S)
    wait_for(lambda: watched.state()["sessions"] == {"complete": 2, "incomplete": 0}, SOON_S)


def test_a_session_deleted_and_made_again_at_once_has_the_new_thumbnails(watched: Project) -> None:
    session = watched.results / "20251111_000000-again"
    for _ in range(10):
        session.mkdir()
        for number in range(5):
            (session / f"{number}.png").write_bytes(coloured(number))
        shutil.rmtree(session)
    session.mkdir()
    for number in range(5):
        (session / f"{number}.png").write_bytes(coloured(9 - number))
    wait_until_well(watched)
    wait_for(lambda: all(shows_its_source(watched, f"{session.name}/{number}.png") for number in range(5)), SOON_S)


# -- links and names


def test_a_loop_of_links_is_not_followed(watched: Project) -> None:
    session = watched.results / OLD
    (session / "below").mkdir()
    (session / "below" / "up").symlink_to(session, target_is_directory=True)
    (session / "root").symlink_to(watched.results, target_is_directory=True)
    (watched.results / "20251111_000000-here").symlink_to(watched.results, target_is_directory=True)
    (session / "one.link").symlink_to(session / "two.link")
    (session / "two.link").symlink_to(session / "one.link")
    watched.image(f"{OLD}/below/a.png")
    wait_until_well(watched)
    assert sorted(path.name for path in watched.thumbnails.rglob("*")) == [OLD, "a.webp", "below", "first.webp"]


def test_an_image_that_is_a_link_to_itself_has_no_thumbnail_and_is_no_failure(watched: Project) -> None:
    loop = watched.results / OLD / "loop.png"
    loop.symlink_to(loop)
    watched.image(f"{OLD}/later.png")
    wait_for(lambda: watched.is_fresh(f"{OLD}/later.png"), SOON_S)
    wait_until_content(watched)
    assert not watched.thumbnail(f"{OLD}/loop.png").exists()
    loop.unlink()
    wait_until_well(watched)


STRANGE_NAMES = {
    "newline": b"two\nlines.png",
    "emoji": "🐧 at the 🏖️.png".encode(),
    "254 bytes": b"x" * 250 + b".png",
    "undecodable": b"\xff\xfe\x80.png",
    "terminal escape": b"\x1b[31mred\x1b[0m.png",
    "right to left": "\u202egnp.png".encode(),
    "dots": b"...png.png.png",
    "blanks": b" .png",
    "decomposed": "a\u0308.png".encode(),
    "quotes": b"'\"$(touch x)`%s.png",
}


@pytest.mark.parametrize("name", STRANGE_NAMES.values(), ids=STRANGE_NAMES)
def test_an_image_with_a_strange_name_is_like_any_other(project: Project, name: bytes) -> None:
    shown = os.fsdecode(name)
    if shown.startswith("."):
        shown = f"a{shown}"  # hidden files are not ours
    renamed = f"b{shown[1:]}"
    with watching(project, observer="native"):
        project.image(f"{OLD}/{shown}")
        wait_until_well(project)
        wait_for(lambda: project.state()["last_image"] is not None, SOON_S)
        (project.results / OLD / shown).write_bytes(png((64, 48)))
        wait_until_well(project)
        (project.results / OLD / shown).rename(project.results / OLD / renamed)
        wait_until_well(project)
        (project.results / OLD / renamed).unlink()
        wait_until_well(project)


@pytest.mark.parametrize("name", STRANGE_NAMES.values(), ids=STRANGE_NAMES)
def test_a_session_with_a_strange_name_is_like_any_other(project: Project, name: bytes) -> None:
    shown = os.fsdecode(name).replace(".png", "")  # else the folder looks like an image to the test
    if shown.startswith("."):
        shown = f"a{shown}"
    with watching(project, observer="native"):
        project.image(f"{shown}/a.png")
        wait_until_well(project)
    with watching(project, observer="polling"):  # and what the catalog remembers of it
        wait_until_well(project)
        (project.results / shown).rename(project.results / f"b{shown[1:]}")
        wait_until_well(project)
        shutil.rmtree(project.results / f"b{shown[1:]}")
        wait_until_well(project)


def test_status_tells_of_an_image_with_a_strange_name(project: Project) -> None:
    with watcher_process(project):
        wait_until_well(project)
        for name in map(os.fsdecode, (STRANGE_NAMES["undecodable"], STRANGE_NAMES["newline"])):
            path = project.results / OLD / name
            path.write_bytes(b"no image at all")
            wait_for(lambda: status(project)["failures"] == 1, SOON_S)
            assert failure_of(project, f"{OLD}/{name}")["remedy"]
            assert len(failures(project)) == 1
            path.unlink()
            wait_until_well(project)


def test_a_name_too_long_for_its_thumbnail_is_told_until_it_is_shorter(watched: Project) -> None:
    longest = f"{'x' * 251}.png"  # 255 bytes; with .webp there would be one more than a name may have
    path = watched.image(f"{OLD}/{longest}")
    watched.image(f"{OLD}/later.png")
    wait_for(lambda: watched.is_fresh(f"{OLD}/later.png"), SOON_S)
    wait_until_content(watched, failures=1)
    assert failure_of(watched, f"{OLD}/{longest}")["remedy"] == "shorten the file name"
    path.rename(path.with_name(longest[1:]))
    wait_until_well(watched)


def test_two_images_for_one_thumbnail_are_told_until_one_is_gone(watched: Project) -> None:
    if (watched.results / OLD / "FIRST.PNG").exists():
        pytest.skip("this file system does not tell capitals from small letters")
    thumbnail = f"{OLD}/a.png"
    (watched.results / OLD / "a.PNG").write_bytes(coloured(3))
    wait_for(lambda: watched.thumbnail(thumbnail).exists(), SOON_S)
    (watched.results / OLD / "a.png").write_bytes(coloured(8))
    wait_until_well(watched, failures=1)
    wait_for(lambda: shows_its_source(watched, thumbnail), SOON_S)
    assert failure_of(watched, f"{OLD}/a.PNG")["remedy"] == "rename one of the two images"
    (watched.results / OLD / "a.PNG").rename(watched.results / OLD / "b.png")
    wait_until_well(watched)
    wait_for(lambda: shows_its_source(watched, f"{OLD}/b.png"), SOON_S)


def test_the_second_of_two_images_for_one_thumbnail_has_it_once_the_first_is_gone(watched: Project) -> None:
    if (watched.results / OLD / "FIRST.PNG").exists():
        pytest.skip("this file system does not tell capitals from small letters")
    (watched.results / OLD / "a.png").write_bytes(coloured(8))
    capitals = watched.results / OLD / "a.PNG"
    capitals.write_bytes(coloured(3))
    wait_until_well(watched, failures=1)
    (watched.results / OLD / "a.png").unlink()
    thumbnail = watched.thumbnail(f"{OLD}/a.png")
    wait_for(lambda: thumbnail.exists() and thumbnail.stat().st_mtime_ns == capitals.stat().st_mtime_ns, SOON_S)
    wait_until_content(watched)
    capitals.unlink()
    wait_until_well(watched)
