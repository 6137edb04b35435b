"""Memory of a watcher at work, and with one huge image among ordinary ones; ``million`` measures the idle one.

Each watcher is a real process with default settings and two workers. The peak is ``VmHWM``, in MiB. Linux only.
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

from measuring import say, show
from support.pictures import SIGNATURE, as_png, chunk, header_chunk
from support.project import Project
from support.waiting import wait_for
from support.watcher import watcher_process
from throughput import SIZES, draw

MIB = 1024 * 1024
PEAK_TARGET_MIB = 250
ORDINARY = 300
PICTURES = 12  # of each size; the rest are links to them
HUGE_PX = 16_384
AMONG = 200
DECODING_MIB = 300  # more than ordinary images ever take, less than a third of the huge one

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
    show(title, f"{ours_bytes / MIB:.1f} MiB", f"{other_bytes / MIB:.1f} MiB", ours_bytes / other_bytes)


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
    decoding: list[tuple[float, int]] = []  # time, and number of other thumbnails at that time
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
    title = "others made during it, one worker : after it, two"
    show(title, f"{rates[0]:.1f}/s", f"{rates[1]:.1f}/s", rates[0] / rates[1])


def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        root = Path(name)
        (root / "pictures").mkdir()
        pictures = [root / "pictures" / f"{width}_{number}.png" for width, _ in SIZES for number in range(PICTURES)]
        for path, (size, number) in zip(pictures, itertools.product(SIZES, range(PICTURES)), strict=True):
            path.write_bytes(as_png(draw(size, number)))
        at_work(root / "work", pictures)
        with_a_huge_one(root / "huge", pictures)


if __name__ == "__main__":
    main()
