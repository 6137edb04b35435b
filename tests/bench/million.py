"""A million images, all complete: what a start costs, and what the watcher holds in memory.

    python bench/million.py [SESSIONS IMAGES_PER_SESSION]

By default 10,000 sessions of 100 images; that tree takes two million names (40,000 inodes, 2 minutes in all). The
watcher is a real process with default settings and two workers. RSS is all it has in memory, the peak is ``VmHWM``, USS
what would be free without it (it changes with whoever else uses the same libraries); all of it in MiB. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.memory import ask, caught_up, peak_bytes, row
from bench.start import Engine, compare_catching_up
from measuring import say
from trees import link_tree
from waiting import wait_for
from watching import Project, watcher_process

IDLE_TARGET_MIB, PEAK_TARGET_MIB = 60, 250

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
    """A watcher audits the project, then has nothing to do."""
    with watcher_process(project, "--workers", "2") as process:
        wait_for(lambda: caught_up(project), 120)
        time.sleep(5)
        state = project.state()
        assert state["sessions"] == {"complete": sessions, "incomplete": 0}, state
        assert state["thumbnails"] == sessions * images, state
        ours, highest_bytes = process.memory_full_info(), peak_bytes(process)
        kind = state["observer"]["kind"]
        say(f"{sessions:,} sessions, {sessions * images:,} images, all complete and audited, {kind} observer:")
    rss_bytes, uss_bytes = ask(SNAPSHOT, project.results)
    row(f"idle watcher, RSS (target {IDLE_TARGET_MIB}) : snapshot of watchdog's PollingObserver", ours.rss, rss_bytes)
    row("the same, USS", ours.uss, uss_bytes)
    row(f"peak, in the first audit (target {PEAK_TARGET_MIB}) : the same snapshot", highest_bytes, rss_bytes)


def started(project: Project) -> None:
    """What a start does, over the catalog that the watcher left."""
    engine = Engine(project.root, project.home.catalog_file(str(project.results), str(project.thumbnails)))
    engine.start()
    say("A start over them:")
    compare_catching_up(engine, project.root, listings=3, walks=1)


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (10_000, 100)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        project = Project(Path(os.path.realpath(name)))
        link_tree(project.root, sessions, images)
        watched(project, sessions, images)
        started(project)
        # Half a minute with Python's own means; the two trees can go at once.
        removals = [subprocess.Popen(["rm", "-rf", str(tree)]) for tree in (project.results, project.thumbnails)]
        assert not any(removal.wait() for removal in removals)


if __name__ == "__main__":
    main()
