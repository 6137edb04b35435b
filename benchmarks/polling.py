"""A tree that sends no notifications: what a pass over it costs, against watchdog's ``PollingObserver`` in processor
time, and how soon a watcher sees what happens in it.

    PYTHONPATH=tests python benchmarks/polling.py [SESSIONS IMAGES_PER_SESSION]
"""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.utils.dirsnapshot import DirectorySnapshot, DirectorySnapshotDiff

from measuring import compare, say, show
from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll
from sdgen_thumbnail_plugin.model import Recipe
from support.engine import open_engine
from support.pictures import as_png
from support.project import Project, link_tree
from support.waiting import wait_for
from support.watcher import watcher_process
from throughput import draw
from watching import SIZE, wait_for_thumbnail, write

INTERVAL_S = 0.5
ROUNDS = 6


def passes(project: Project) -> None:
    with open_engine(project, **dataclasses.asdict(Recipe())) as engine:
        engine.catch_up()
        poll = DirectoryPoll(engine.directories, engine.parts.sessions)
        before = DirectorySnapshot(str(project.results))

        def theirs() -> None:
            # as its emitter does in each pass
            DirectorySnapshotDiff(before, DirectorySnapshot(str(project.results)))

        title = "one pass of ours : one of watchdog's PollingObserver (processor time)"
        compare(title, lambda: poll.look(share=1.0), theirs, rounds=3, clock=time.process_time)  # a hundredth


def seen(project: Project) -> None:
    """The time from a change, at any moment between two passes, until the thumbnails are right."""
    folder = project.results / "20251124_120000-new"
    pictures = [as_png(draw(SIZE, number)) for number in range(2)]
    pauses = random.Random(0)

    def deleted(path: Path) -> float:
        thumbnail, started_s = project.thumbnail(f"{folder.name}/{path.name}"), time.perf_counter()
        path.unlink()
        wait_for(lambda: not thumbnail.exists())
        return time.perf_counter() - started_s

    kinds: dict[str, Callable[[Path], float]] = {
        "a new image": lambda path: wait_for_thumbnail(project, write(path, pictures[0])),
        "an overwritten one": lambda path: wait_for_thumbnail(project, write(path, pictures[1])),
        "a deleted one": deleted,
    }
    found_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    with watcher_process(project, "--observer", "polling", "--polling-interval", str(INTERVAL_S)):
        wait_for(lambda: project.state().get("phase") == "watching")
        folder.mkdir()
        wait_for_thumbnail(project, write(folder / "first.png", pictures[0]))  # imports Pillow
        for number in range(ROUNDS):
            for kind, happens in kinds.items():
                time.sleep(pauses.uniform(0.0, 2 * INTERVAL_S))
                found_s[kind].append(happens(folder / f"{number}.png"))
    say(f"A watcher that polls it every {INTERVAL_S} s, the slowest of {ROUNDS}:")
    for kind, times_s in found_s.items():
        slowest_s, two_s = max(times_s), 2 * INTERVAL_S
        title = f"{kind}, until the thumbnails are right : two intervals"
        show(title, f"{slowest_s * 1e3:.0f} ms", f"{two_s * 1e3:.0f} ms", slowest_s / two_s)


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (1090, 63)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        project = Project(Path(os.path.realpath(name)))
        link_tree(project.root, sessions, images)
        say(f"{sessions:,} sessions, {sessions * images:,} images, nothing happens:")
        passes(project)
        seen(project)


if __name__ == "__main__":
    main()
