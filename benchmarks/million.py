"""A million images, all complete: the cost of a start, and the memory of the watcher.

    PYTHONPATH=tests python benchmarks/million.py [SESSIONS IMAGES_PER_SESSION]

By default 10,000 sessions of 100 images; that tree takes two million names (40,000 inodes, 2 minutes in all). The
watcher is a real process with default settings and two workers. RSS is all of its memory, the peak is ``VmHWM``, USS
the memory that would be free without it (other processes that use the same libraries change it); all in MiB. Linux
only.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import say
from memory import ask, caught_up, peak_bytes, row
from start import Starter, compare_catching_up
from support.pictures import as_png
from support.project import Project, link_tree
from support.waiting import wait_for
from support.watcher import watcher_process
from throughput import SIZES, draw

IDLE_TARGET_MIB, PEAK_TARGET_MIB = 60, 250
NEW_IMAGES = 48  # of default sizes, before it is idle again
DISTINCT = 12  # pictures drawn for them
IDLE_AFTER_S = 15.0  # the watcher gives memory back after ten

# What watchdog's PollingObserver keeps between two passes; during one it holds two of these.
SNAPSHOT = """
import sys
from psutil import Process
from watchdog.utils.dirsnapshot import DirectorySnapshot
snapshot = DirectorySnapshot(sys.argv[1])
found = Process().memory_full_info()
print(found.rss, found.uss)
"""


def watched(project: Project, sessions: int, images: int) -> None:
    """A watcher audits the project, makes some thumbnails, then has nothing to do."""
    pictures = [as_png(draw(SIZES[number % len(SIZES)], number)) for number in range(DISTINCT)]
    with watcher_process(project, "--workers", "2") as process:
        wait_for(lambda: caught_up(project), 120)
        time.sleep(IDLE_AFTER_S)
        state = project.state()
        assert state["sessions"] == {"complete": sessions, "incomplete": 0}, state
        assert state["thumbnails"] == sessions * images, state
        ours, highest_bytes = process.memory_full_info(), peak_bytes(process)
        work(project, pictures)
        worked = process.memory_full_info()
        kind = state["observer"]["kind"]
        what = f"{sessions:,} sessions, {sessions * images:,} images, all complete and audited"
        say(f"{what}, {kind} observer, default install:")
    rss_bytes, uss_bytes = ask(SNAPSHOT, project.results)
    for when, found in (("before any work", ours), (f"{IDLE_AFTER_S:.0f} s after {NEW_IMAGES} new images", worked)):
        title = f"idle watcher, {when}, RSS (target {IDLE_TARGET_MIB}) : snapshot of watchdog's PollingObserver"
        row(title, found.rss, rss_bytes)
        row("the same, USS", found.uss, uss_bytes)
    row(f"peak, in the first audit (target {PEAK_TARGET_MIB}) : the same snapshot", highest_bytes, rss_bytes)


def work(project: Project, pictures: list[bytes]) -> None:
    """Lets the watcher make thumbnails of new images; returns when it has been idle for a while."""
    folder = project.results / "20261124_120000-new"
    folder.mkdir()
    names = [f"{folder.name}/{number:04}.png" for number in range(NEW_IMAGES)]
    for name, picture in zip(names, itertools.cycle(pictures), strict=False):
        (project.results / name).write_bytes(picture)
    wait_for(lambda: all(map(project.is_fresh, names)))
    wait_for(lambda: not any(project.state()["queue"].values()))
    time.sleep(IDLE_AFTER_S)


def started(project: Project) -> None:
    """Measures a start over the catalog that the watcher left."""
    starter = Starter(project.root, project.home.catalog_file(str(project.results), str(project.thumbnails)))
    starter.start()
    say("A start over them:")
    compare_catching_up(starter, project.root, listings=3, walks=1)


def hide_the_extra(folder: Path) -> None:
    """Makes watchers run as in the default install: numpy, which the extra [fast] brings, takes memory too."""
    folder.mkdir()
    (folder / "imagecodecs.py").write_text("raise ImportError\n", "ascii")
    os.environ["PYTHONPATH"] = str(folder)


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (10_000, 100)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        project = Project(Path(os.path.realpath(name)))
        hide_the_extra(project.root / "without")
        link_tree(project.root, sessions, images)
        watched(project, sessions, images)
        started(project)
        # rmtree takes half a minute; rm can delete both trees at once.
        removals = [subprocess.Popen(["rm", "-rf", str(tree)]) for tree in (project.results, project.thumbnails)]
        assert not any(removal.wait() for removal in removals)


if __name__ == "__main__":
    main()
