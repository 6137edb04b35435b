"""The watcher in its own process: the time until a new image has its thumbnail, and the load on other processes.

    PYTHONPATH=tests python benchmarks/watching.py [PART ...]

Parts: latency, backlog, burst, idle; without any, all of them, in two minutes on a quiet machine. Linux with inotify.
"A bare build" reads the file, makes the thumbnail and writes it, in the benchmark's own process, which nothing slows
down; the watcher is niced, waits for the notification, compares, locks, stamps and renames.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import say, show
from sdgen_thumbnail_plugin.daemon.observers import inotify_limits
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from support.commands import output_of
from support.pictures import as_png
from support.project import LONG_AGO_S, Project, link_tree
from support.waiting import wait_for
from support.watcher import watcher_process
from throughput import draw

SIZE = (512, 768)
PICTURES = 8  # distinct ones; files are copies of them, or links to them
IMAGES = 40  # latencies measured in each part
LOOK_EVERY_S = 0.0005

QUEUED = 10_000
QUEUE_WARMTH_S = 1.0

GENERATORS = 2
GENERATED = 6  # images of one generator in one round
GENERATING_BYTES = 100 * 2**20  # hashed for each image: some 70 ms of processor time
GENERATING_ROUNDS = 8

BURST = 20_000  # more than the 16,384 events that the kernel keeps, even at one event a file
BURST_SIZE = (8, 240)  # little to encode: what is measured is the way there
BARE = 500  # of them built bare, with the watcher stopped, every BARE_EVERY_S
BARE_EVERY_S = 5.0

IDLE_S = 20.0
IDLE_SHARE = 0.002  # of a core (the limit that the watcher sets itself)


def main() -> None:
    parts: dict[str, Callable[[Project], None]] = {
        "latency": latency, "backlog": backlog, "burst": burst, "idle": idle,
    }  # fmt: skip
    for name in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            parts[name](Project(Path(os.path.realpath(folder))))


# -- the parts


def latency(project: Project) -> None:
    """A new image, while the watcher has nothing else to do."""
    pictures = [as_png(draw(SIZE, number)) for number in range(PICTURES)]
    folder = project.results / "20251124_120000-new"
    folder.mkdir(parents=True)
    watched_s: list[float] = []
    bare_s: list[float] = []
    with a_watcher(project):
        wait_for_thumbnail(project, write(folder / "first.png", pictures[0]))  # imports Pillow
        for number in range(IMAGES):
            path = folder / f"{number:04}.png"
            watched_s.append(wait_for_thumbnail(project, write(path, pictures[number % PICTURES])))
            time.sleep(0.1)
            bare_s.append(seconds(lambda path=path: build(path, project.root / "bare.webp")))  # type: ignore[misc]
        wait_for_count(project, IMAGES + 1)
    assert project.is_exact()
    say(f"{IMAGES} images of {SIZE[0]} x {SIZE[1]} pixels, one at a time:")
    show_times("new image, idle watcher, median : bare build, median", watched_s, bare_s)
    show_times("new image, idle watcher, 95 % of them within : bare build, median", watched_s, bare_s, percent=95)


def backlog(project: Project) -> None:
    """A new image, and the work of other processes, while the watcher catches up on many images."""
    pictures = [as_png(draw(SIZE, number)) for number in range(PICTURES)]
    sources = [write(project.root / f"picture_{number}.png", content) for number, content in enumerate(pictures)]
    for source in sources:
        os.utime(source, (LONG_AGO_S, LONG_AGO_S))
    # In one session: of several, only the images of the first would be in the queue.
    link_many(sources, project.results / "20251023_120000-queued", QUEUED)
    folder = project.results / "20251124_120000-new"
    folder.mkdir()
    pauses = random.Random(0)
    watched_s: list[float] = []
    bare_s: list[float] = []
    with a_watcher(project) as pid:
        wait_for(lambda: queued(project) > 0.9 * QUEUED, 30)
        time.sleep(QUEUE_WARMTH_S)
        for number in range(IMAGES):
            path = write(folder / f"{number:04}.png", pictures[number % PICTURES])
            watched_s.append(wait_for_thumbnail(project, path))
            with stopped(pid):
                bare_s.append(seconds(lambda path=path: build(path, project.root / "bare.webp")))  # type: ignore[misc]
            time.sleep(pauses.uniform(0.05, 0.15))  # not always at the same point of the builds that are under way
        assert queued(project) > QUEUED / 2
        generating_s = compare_generating(pid, folder, pictures)
        assert queued(project) > QUEUED / 2
    say(f"While it catches up on {QUEUED:,} such images:")
    show_times("new image, 95 % of them within : bare build (watcher stopped), median", watched_s, bare_s, percent=95)
    show_times("new image, median : bare build (watcher stopped), median", watched_s, bare_s)
    title = f"{GENERATORS} busy generators, beside the watcher : alone (the watcher stopped)"
    show_times(title, *generating_s)


def burst(project: Project) -> None:
    """More new images at once than the kernel keeps notifications for."""
    kept = inotify_limits()["max_queued_events"]
    assert kept < BURST, f"a burst of {BURST:,} loses nothing: the kernel keeps {kept:,}, see max_queued_events"
    folder = project.results / "20251124_120000-burst"
    folder.mkdir(parents=True)
    content = as_png(draw(SIZE, 0).resize(BURST_SIZE))
    bare = project.root / "bare"
    bare.mkdir()
    paths = [folder / f"{number:05}.png" for number in range(BURST)]
    bare_s: list[float] = []
    bare_processor_s: list[float] = []
    pauses_s: list[tuple[float, float]] = []
    os.utime(folder, (LONG_AGO_S, LONG_AGO_S))  # not active: the watcher does not look at its files
    with a_watcher(project) as pid, ThreadPoolExecutor(os.cpu_count()) as pool:

        def build_some() -> None:
            before_s = time.process_time()
            bare_s.append(seconds(lambda: list(pool.map(lambda path: build(path, bare / path.name), paths[:BARE]))))
            bare_processor_s.append(time.process_time() - before_s)

        # Stopped, so that it cannot keep up: of at least three notifications a file, the kernel drops most.
        with stopped(pid):
            for path in paths:
                write(path, content)
        started_s, before_s = time.time(), processor_s(pid)
        while created(project) < BURST:
            assert time.time() - started_s < 120, status(project)
            time.sleep(BARE_EVERY_S)
            with stopped(pid):
                stopped_s = time.time()
                build_some()
                pauses_s.append((stopped_s, time.time()))
        taken_processor_s = processor_s(pid) - before_s
        # Not by the state file, which is written once a second.
        names = [f"{folder.name}/{path.name}" for path in paths]
        ended_s = max(os.stat(project.thumbnail(name)).st_ctime_ns for name in names) / 1e9
        taken_s = ended_s - started_s - sum(end_s - begin_s for begin_s, end_s in pauses_s if end_s < ended_s)
        time.sleep(3.0)  # two more ticks: time to make a thumbnail twice, if there is a fault
        report = status(project)
        assert report["pid"] == pid
        assert report["counts"]["created"] == BURST, report["counts"]
    assert project.is_exact()
    log = read_logs(project)
    logged = re.findall(r"✓ Created thumbnail: (\S+)", log)
    assert len(logged) == len(set(logged))
    say(f"{BURST:,} images of {BURST_SIZE[0]} x {BURST_SIZE[1]} pixels at once; all made, none twice, by one process:")
    ours, other = BURST / taken_s, BARE / statistics.median(bare_s)
    show(f"burst : bare builds, {os.cpu_count()} threads", f"{ours:.0f}/s", f"{other:.0f}/s", ours / other)
    lost = "some were lost" if "events were lost" in log else "watchdog tells of none lost"
    show(f"images at once : notifications that the kernel keeps ({lost})", f"{BURST:,}", f"{kept:,}", BURST / kept)
    title = "burst, for one image : bare build (processor time)"
    show_times(title, [taken_processor_s / BURST], [one_s / BARE for one_s in bare_processor_s])


def idle(project: Project) -> None:
    """The load of a watcher with nothing to do."""
    sessions, images = 1090, 63
    link_tree(project.root, sessions, images)
    with a_watcher(project) as pid:
        wait_for(lambda: project.state().get("phase") == "watching", 30)
        time.sleep(3.0)  # the first ticks after an audit write the catalog
        started_s, before_s = time.perf_counter(), processor_s(pid)
        time.sleep(IDLE_S)
        share = (processor_s(pid) - before_s) / (time.perf_counter() - started_s)
        report = status(project)
        assert (report["pid"], report["counts"].get("created", 0)) == (pid, 0)
        assert report["sessions"]["complete"] == sessions
    say(f"{sessions:,} sessions, {sessions * images:,} images, nothing happens for {IDLE_S:.0f} s:")
    title = "idle watcher, share of a core : what it may take"
    show(title, f"{share:.3%}", f"{IDLE_SHARE:.3%}", share / IDLE_SHARE)


# -- the watcher


@contextlib.contextmanager
def a_watcher(project: Project) -> Iterator[int]:
    """Runs a watcher with native notifications; yields its PID."""
    with watcher_process(project, "--observer", "native") as process:
        report = status(project)
        assert report["observer"]["kind"] == "native", report["observer"]
        yield process.pid


def status(project: Project) -> dict[str, Any]:
    """What ``status --json`` reports; fails unless the watcher is well."""
    report: dict[str, Any] = json.loads(output_of(project, "status", "--json"))
    return report


def created(project: Project) -> int:
    """How many thumbnails the watcher has made, as of a second ago."""
    return int(project.state().get("counts", {}).get("created", 0))


def queued(project: Project) -> int:
    return int(project.state().get("queue", {}).get("catch_up", 0))


def wait_for_count(project: Project, count: int) -> None:
    """Waits until the state file reports a number of thumbnails; fails if there are more."""
    wait_for(lambda: created(project) >= count)
    assert created(project) == count


def wait_for_thumbnail(project: Project, path: Path) -> float:
    """Waits until an image that was closed just now has its thumbnail; returns the seconds that took."""
    started_s = time.perf_counter()
    thumbnail = project.thumbnails / path.relative_to(project.results).with_suffix(".webp")
    wanted_ns = path.stat().st_mtime_ns
    # With a pause: without one, the loop would take a core from the watcher.
    while time.perf_counter() - started_s < 30.0:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(thumbnail).st_mtime_ns == wanted_ns:
                return time.perf_counter() - started_s
        time.sleep(LOOK_EVERY_S)
    raise AssertionError(f"no thumbnail of {path} within 30 s")


def read_logs(project: Project) -> str:
    """The watcher's log, with those that were rotated away."""
    log = project.home.log_file
    return "".join(path.read_text("utf-8") for path in sorted(log.parent.glob(f"{log.name}*"), reverse=True))


def processor_s(pid: int) -> float:
    """Processor time that a process has taken, in all its threads; unlike /proc/PID/stat's, not in steps of 10 ms."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), which Python has for threads alone


# -- images


def write(path: Path, content: bytes) -> Path:
    with open(path, "wb", buffering=0) as file:
        file.write(content)
    return path


def link_many(sources: Sequence[Path], folder: Path, count: int) -> None:
    """Fills a folder with images that are links to a few: 10,000 take a second."""
    folder.mkdir(parents=True)
    for number in range(count):
        os.link(sources[number % len(sources)], folder / f"{number:05}.png")


def build(source: Path, target: Path) -> None:
    """A bare build, as the obvious program does it."""
    target.write_bytes(make_thumbnail(source.read_bytes(), Recipe()))


# -- generating


def compare_generating(pid: int, folder: Path, pictures: list[bytes]) -> tuple[list[float], list[float]]:
    """Times generators beside the watcher, and with the watcher stopped, in turn; the seconds of each round."""
    beside_s: list[float] = []
    alone_s: list[float] = []
    # Spawned, not forked: in the session (and so the scheduler's group) of the benchmark, as ``sdgen generate`` is in
    # its terminal's, and the watcher in one of its own.
    with ProcessPoolExecutor(GENERATORS, multiprocessing.get_context("spawn")) as pool:

        def generate_all(name: str) -> float:
            started_s = time.perf_counter()
            for done in [
                pool.submit(generate, folder, f"{name}_{number}", pictures[number]) for number in range(GENERATORS)
            ]:
                done.result()
            return time.perf_counter() - started_s

        generate_all("warm")
        for number in range(GENERATING_ROUNDS):
            beside_s.append(generate_all(f"beside_{number}"))
            with stopped(pid):
                alone_s.append(generate_all(f"alone_{number}"))
    return beside_s, alone_s


def generate(folder: Path, name: str, content: bytes) -> None:
    """Stands in for a process that generates images: a fixed amount of work for each, then the file."""
    block = bytes(2**20)
    for number in range(GENERATED):
        digest = hashlib.sha256()
        for _ in range(GENERATING_BYTES // len(block)):
            digest.update(block)
        write(folder / f"{name}_{number}.png", content)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# -- results


def seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def show_times(title: str, ours_s: Sequence[float], other_s: Sequence[float], *, percent: int = 50) -> None:
    """Prints one row: a percentile of ours, the median of the other, and their ratio."""
    ours = statistics.quantiles(ours_s, n=100, method="inclusive")[percent - 1] if len(ours_s) > 1 else ours_s[0]
    other = statistics.median(other_s)
    show(title, f"{ours * 1e3:.1f} ms", f"{other * 1e3:.1f} ms", ours / other)


if __name__ == "__main__":
    main()
