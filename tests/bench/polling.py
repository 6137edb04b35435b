"""A tree that sends no notifications: what a pass over it costs, against watchdog's ``PollingObserver`` in processor
time, and how soon a watcher sees what happens in it.

python bench/polling.py [SESSIONS IMAGES_PER_SESSION]
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.utils.dirsnapshot import DirectorySnapshot, DirectorySnapshotDiff

from sdgen_thumbnail_plugin.daemon.polling import DirectoryPoll

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.throughput import draw
from bench.watching import SIZE, as_png, wait_for_thumbnail, write
from measuring import compare, say, show
from trees import link_tree
from waiting import wait_for
from watching import Project, make_engine, watcher_process

INTERVAL_S = 0.5
ROUNDS = 6


def passes(project: Project) -> None:
    with make_engine(project) as engine:
        engine.catch_up()
        poll = DirectoryPoll(engine.reconciler, engine.sessions)
        before = DirectorySnapshot(str(project.results))

        def theirs() -> None:
            # What its emitter does in each pass.
            DirectorySnapshotDiff(before, DirectorySnapshot(str(project.results)))

        title = "one pass of ours : one of watchdog's PollingObserver (processor time)"
        compare(title, lambda: poll.look(share=1.0), theirs, rounds=3, clock=time.process_time)  # a hundredth


def seen(project: Project) -> None:
    """How long after it happened, at any moment between two passes, the thumbnails are as they should be."""
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
