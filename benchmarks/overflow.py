"""More events at once than the kernel keeps (16,384): a bare watchdog, and our watcher, over thousands of folders.

    PYTHONPATH=tests python benchmarks/overflow.py [SESSIONS]

By default 4,600 sessions; 17000 makes more folders than the queue holds events, so that even removing the watches
fills it.

Each is stopped (SIGSTOP), misses a flood of events and then images whose events are dropped, and continues; then its
processor time is measured. watchdog 7.1 answers an overflow by adding all watches again, and opens and closes enough
folders for that to cause the next overflow. Linux only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import psutil

from measuring import say, show
from sdgen_thumbnail_plugin.daemon.observers import inotify_limits
from support.project import Project, make_tree
from support.waiting import wait_for
from support.watcher import watcher_process

MEASURED_S = 10.0
NEW_IMAGES = 100  # in folders that are there
NEW_SESSIONS = 10  # folders that appear meanwhile, one image in each
REBUILDING = (7, 1)  # from this watchdog on

# Watches until its input ends, then prints the overflows that its log reports and the new images that it saw.
BARE = """
import json, logging, sys
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

class Counting(FileSystemEventHandler, logging.Handler):
    overflows = 0
    heard = set()
    def dispatch(self, event):
        name = event.src_path.rpartition("/")[2]
        if name.startswith("new_"):
            self.heard.add(event.src_path)
    def emit(self, record):
        self.overflows += record.name == "watchdog.observers.inotify_c" and "overflow" in record.getMessage()

counting = Counting()
logging.Handler.__init__(counting)
logging.getLogger("watchdog").addHandler(counting)
observer = Observer()
observer.schedule(counting, sys.argv[1], recursive=True)
observer.start()
print("watching", flush=True)
sys.stdin.read()
print(json.dumps([counting.overflows, len(counting.heard)]), flush=True)
"""


def flood(project: Project, process: psutil.Process, *, part: str) -> list[str]:
    """Stops the process, fills its queue, makes new images whose events are dropped, and continues the process.

    Args:
        part: distinguishes the images of one flood from those of another.

    Returns:
        The new images' names below the source.
    """
    sessions = sorted(path.name for path in project.results.iterdir())
    process.send_signal(signal.SIGSTOP)
    try:
        noise = project.results / sessions[0] / "noise.tmp"
        for _ in range(inotify_limits()["max_queued_events"] // 2):  # at least two events each, whatever is filtered
            noise.touch()
            noise.unlink()
        names = [f"{session}/new_{part}.png" for session in sessions[:: len(sessions) // NEW_IMAGES][:NEW_IMAGES]]
        names += [f"2026010{part}_{number:06}-new/new_{part}.png" for number in range(NEW_SESSIONS)]
        for name in names:
            project.image(name)
    finally:
        process.send_signal(signal.SIGCONT)
    return names


def share_of_a_core(process: psutil.Process, during_s: float) -> float:
    """Processor time during the next seconds, as a part of a core."""
    before, began_s = process.cpu_times(), time.monotonic()
    time.sleep(during_s)
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    return max(0.0, used_s) / (time.monotonic() - began_s)  # a difference of nothing may come out below it


def bare(project: Project) -> tuple[float, int, int, int]:
    """A plain watchdog: its share of a core, its overflows, the images it heard of, and how many there were."""
    command = [sys.executable, "-c", BARE, str(project.results)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "watching\n"
            process = psutil.Process(child.pid)
            names = flood(project, process, part="1")
            share = share_of_a_core(process, MEASURED_S)
            answer, _ = child.communicate(timeout=20)  # ends its input
            overflows, heard = json.loads(answer)
        finally:
            child.kill()  # it may be too busy to stop by itself
    return share, overflows, heard, len(names)


def seconds_until(condition: Callable[[], bool], timeout_s: float) -> float:
    began_s = time.monotonic()
    wait_for(condition, timeout_s)
    return time.monotonic() - began_s


def main() -> None:
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 4600
    rebuilding = tuple(map(int, version("watchdog").split(".")[:2])) >= REBUILDING
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        project = Project(Path(name))
        make_tree(project.root, sessions, 1)
        say(f"{sessions:,} sessions, watchdog {version('watchdog')}, an overflow of the kernel's queue:")
        if not rebuilding:
            say("This watchdog is older than 7.1: a bare one drops the events in silence and does not loop.")
        other_share, overflows, heard, told = bare(project)
        with watcher_process(project, "--observer", "native") as process:
            wait_for(lambda: "✓ Audit complete" in project.log(), 60)
            assert project.state()["observer"]["kind"] == "native", project.state()["problems"]
            names = flood(project, process, part="2")
            with ThreadPoolExecutor(1) as beside:
                made = beside.submit(seconds_until, lambda: all(map(project.is_fresh, names)), 120)
                share = share_of_a_core(process, MEASURED_S)
                made_s = made.result()
            settled = share_of_a_core(process, 3)
            late = names[-1].replace("new_", "late_")
            project.image(late)
            late_s = seconds_until(lambda: project.is_fresh(late), 120)
            ours_overflows = project.log().count("events were lost")
        assert project.is_exact()
        say(
            f"Ours made the last of {len(names)} images that no event told of {made_s:.1f} s after the overflow, then "
            f"took {settled:.1%} of a core; an image written later in a folder that appeared meanwhile had its "
            f"thumbnail after {late_s:.2f} s. A bare watchdog heard of {heard} of its {told} images. Overflows in the "
            f"log: {ours_overflows} in ours, {overflows} in the bare watchdog's."
        )
        title = f"processor in the {MEASURED_S:.0f} s after the overflow, part of a core, ours : bare watchdog"
        show(title, f"{share:.1%}", f"{other_share:.1%}", share / max(other_share, 1e-4))


if __name__ == "__main__":
    main()
