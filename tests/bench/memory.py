"""What a watcher holds in memory: idle over a million images, at work, and with one huge image among ordinary ones.

    python bench/memory.py [SESSIONS IMAGES_PER_SESSION]

By default 10,000 sessions of 100 images; that tree takes two million names (40,000 inodes, 2 minutes in all). Each
watcher is a real process with default settings and two workers. RSS is all it has in memory, USS what would be free
without it (it changes with whoever else uses the same libraries), the peak is ``VmHWM``; all of it in MiB. Linux only.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.throughput import SIZES, draw
from drawing import SIGNATURE, as_png, chunk, header_chunk
from measuring import say
from trees import LONG_AGO_S
from waiting import wait_for
from watching import Project, watcher_process

MIB = 1024 * 1024
IDLE_TARGET_MIB, PEAK_TARGET_MIB = 60, 250
ORDINARY = 300
PICTURES = 12  # of each size; the rest are other names of theirs
HUGE_PX = 16_384
AMONG = 200
DECODING_MIB = 300  # more than ordinary images ever take, less than a third of the huge one
LINKS_PER_FILE = 40_000  # ext4 allows 65,000

# What watchdog's PollingObserver keeps between two passes; during one it holds two of these.
SNAPSHOT = """
import sys
from psutil import Process
from watchdog.utils.dirsnapshot import DirectorySnapshot
snapshot = DirectorySnapshot(sys.argv[1])
found = Process().memory_full_info()
print(found.rss, found.uss)
"""

# The obvious program in Pillow, one image after the other.
NAIVE = """
import os, sys
from PIL import Image
Image.MAX_IMAGE_PIXELS = None
for name in os.listdir(sys.argv[1]):
    with Image.open(f"{sys.argv[1]}/{name}") as image:
        small = image.convert("RGB").resize((round(240 * image.width / image.height), 240), Image.Resampling.LANCZOS)
    small.save(f"{sys.argv[2]}/{name}.webp", quality=85, method=6)
print(next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def link_tree(root: Path, sessions: int, images: int) -> None:
    """Makes what ``trees.make_tree`` makes, in a fifth of the time: almost all files are names of a few."""
    kinds = (("results", "png", (64, 96), "PNG"), ("thumbnails", "webp", (160, 240), "WEBP"))
    for base, suffix, size, form in kinds:
        (root / base).mkdir()
        names = [f"image_{number:04}.{suffix}" for number in range(images)]
        for number in range(sessions):
            if number % max(1, LINKS_PER_FILE // images) == 0:
                seed = f"{root}/{number}.{suffix}"
                Image.new("RGB", size).save(seed, form)
                os.utime(seed, (LONG_AGO_S, LONG_AGO_S))
            folder = (
                f"{root}/{base}/2025{number // 2500 + 1:02}{number // 100 % 25 + 1:02}_{number % 100:02}0000-session"
            )
            os.mkdir(folder)
            opened = os.open(folder, os.O_RDONLY)
            for name in names:
                os.link(seed, name, dst_dir_fd=opened)
            os.close(opened)
            os.utime(folder, (LONG_AGO_S, LONG_AGO_S))
        os.utime(root / base, (LONG_AGO_S, LONG_AGO_S))


def huge_png(path: Path) -> None:
    """Writes stripes of colour: a first row, and then rows that say "as above", which pack and unpack at once."""
    packer = zlib.compressobj(1)
    with open(path, "wb") as file:
        file.write(SIGNATURE + header_chunk(HUGE_PX, HUGE_PX))
        first = bytes(value >> shift & 255 for value in range(HUGE_PX) for shift in (0, 3, 6))
        same = (b"\2" + bytes(3 * HUGE_PX)) * 64
        packed = packer.compress(b"\0" + first)
        for _ in range((HUGE_PX - 1) // 64):
            packed += packer.compress(same)
        packed += packer.compress((b"\2" + bytes(3 * HUGE_PX)) * ((HUGE_PX - 1) % 64)) + packer.flush()
        file.write(chunk(b"IDAT", packed) + chunk(b"IEND"))


def caught_up(project: Project) -> bool:
    """Whether the first audit is over."""
    return "✓ Audit complete" in project.log()


def peak_bytes(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def ask(code: str, *arguments: Path) -> list[int]:
    """The numbers that a Python process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return [int(word) for word in subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()]


def row(title: str, ours_bytes: int, other_bytes: int) -> None:
    ratio = ours_bytes / other_bytes
    print(f"| {title} | {ours_bytes / MIB:.1f} MiB | {other_bytes / MIB:.1f} MiB | {ratio:.3f} |", flush=True)


def idle(folder: Path, sessions: int, images: int) -> None:
    project = Project(folder)
    link_tree(folder, sessions, images)
    with watcher_process(project, "--workers", "2") as process:
        wait_for(lambda: caught_up(project), 120)
        time.sleep(5)
        state = project.state()
        assert state["sessions"] == {"complete": sessions, "incomplete": 0}, state
        assert state["thumbnails"] == sessions * images, state
        ours = process.memory_full_info()
        kind = state["observer"]["kind"]
        say(f"{sessions:,} sessions, {sessions * images:,} images, all complete and audited, {kind} observer:")
    rss_bytes, uss_bytes = ask(SNAPSHOT, project.results)
    # Half a minute with Python's own means; the two trees can go at once.
    removals = [subprocess.Popen(["rm", "-rf", str(tree)]) for tree in (project.results, project.thumbnails)]
    assert not any(removal.wait() for removal in removals)
    row(f"idle watcher, RSS (target {IDLE_TARGET_MIB}) : snapshot of watchdog's PollingObserver", ours.rss, rss_bytes)
    row("the same, USS", ours.uss, uss_bytes)


def at_work(folder: Path, pictures: list[Path]) -> None:
    project = Project(folder)
    session, other = project.results / "session", folder / "other"
    session.mkdir(parents=True)
    other.mkdir()
    for number, picture in zip(range(ORDINARY), itertools.cycle(pictures), strict=False):
        os.link(picture, session / f"{number:04}.png")
    with watcher_process(project, "--workers", "2") as process:
        wait_for(lambda: caught_up(project), 120)
        assert project.is_exact()
        ours_bytes = peak_bytes(process)
    [other_bytes] = ask(NAIVE, pictures[0].parent, other)
    say(f"{ORDINARY} images of default sizes, at work:")
    row(f"peak, two workers (target {PEAK_TARGET_MIB}) : naive Pillow, one thread", ours_bytes, other_bytes)


def with_a_huge_one(folder: Path, pictures: list[Path]) -> None:
    project = Project(folder)
    session, alone, other = project.results / "session", folder / "alone", folder / "other"
    for made in (session, alone, other):
        made.mkdir(parents=True)
    huge_png(alone / "huge.png")
    # In the order of their names: one worker gets the huge one after a few, and the other is to go on meanwhile.
    os.link(alone / "huge.png", session / "0010_huge.png")
    for number, picture in zip(range(AMONG), itertools.cycle(pictures), strict=False):
        os.link(picture, session / f"{number:04}.png")
    made = project.thumbnails / "session"
    huge = made / "0010_huge.webp"
    decoding: list[tuple[float, int]] = []  # at what time, how many others were there
    with watcher_process(project, "--workers", "2") as process:
        while not caught_up(project):
            if not huge.exists() and process.memory_info().rss > DECODING_MIB * MIB:
                decoding.append((time.monotonic(), len(list(made.glob("[0-9][0-9][0-9][0-9].webp")))))
            time.sleep(0.02)
        assert project.is_exact()
        ours_bytes = peak_bytes(process)
    [other_bytes] = ask(NAIVE, alone, other)
    (began_s, before), (ended_s, after) = decoding[0], decoding[-1]
    written_s = sorted(path.stat().st_ctime for path in made.iterdir() if path != huge)
    huge_s = huge.stat().st_ctime
    during = [at_s for at_s in written_s if huge_s - (ended_s - began_s) <= at_s <= huge_s]
    longest_s = max((b - a for a, b in itertools.pairwise(during)), default=ended_s - began_s)
    assert after > before, "the others waited for the huge one"
    say(
        f"One image of {HUGE_PX:,} x {HUGE_PX:,} pixels among {AMONG} of default sizes; all were made. While it was "
        f"decoded ({ended_s - began_s:.1f} s) {after - before} others were, with a pause of {longest_s:.2f} s at most:"
    )
    row("peak, two workers : naive Pillow, the huge one alone", ours_bytes, other_bytes)
    rates = (after - before) / (ended_s - began_s), sum(at_s > huge_s for at_s in written_s) / (written_s[-1] - huge_s)
    ratio = rates[0] / rates[1]
    print(f"| others made during it, one worker : after it, two | {rates[0]:.1f}/s | {rates[1]:.1f}/s | {ratio:.2f} |")


def main() -> None:
    sessions, images = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (10_000, 100)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        root = Path(name)
        for part in ("pictures", "idle"):
            (root / part).mkdir()
        pictures = [root / "pictures" / f"{width}_{number}.png" for width, _ in SIZES for number in range(PICTURES)]
        for path, (size, number) in zip(pictures, itertools.product(SIZES, range(PICTURES)), strict=True):
            path.write_bytes(as_png(draw(size, number)))
        idle(root / "idle", sessions, images)
        at_work(root / "work", pictures)
        with_a_huge_one(root / "huge", pictures)


if __name__ == "__main__":
    main()
