"""Many days of work in a short time: thumbnails stay exact, nothing grows, and `status` stays right.

    python tests/faults/soak.py [MINUTES [SEED]]

30 minutes by default. On each day a session is generated, image after image, then comes housekeeping: renames, moves,
deletes, overwrites, a file that is not an image. After each part the run waits until every image has the right
thumbnail, byte for byte, and the target holds nothing else; then it reads memory, descriptors and threads of the
watcher. The first watcher runs for two thirds of the time, so that slow growth shows; the others are stopped or killed
one after the other, with changes in between. Prints a table with one row for each watcher, and exits with 1 if anything
was wrong. Linux only.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from support.commands import output_of, status
from support.pictures import as_png, photo, picture_in
from support.project import Project, files_below
from support.waiting import wait_for
from support.watcher import pid_of

MIB = 1024 * 1024
SIZES = ((512, 768), (256, 384), (160, 240))
PICTURES = 24  # distinct ones; files are copies of them
SESSIONS = 8  # kept; older ones are deleted, so that the watcher has no reason to grow
GENERATED = (8, 20)  # images of one session
HOUSEKEEPING = 8  # things done in one part
WATCHERS = 3  # in a run of up to ten minutes; in a longer one, one more for each three minutes
FIRST = 2 / 3  # of the time is the first watcher's
MOST_S = 60.0  # that may pass until all is as it should be; seconds on a machine with nothing else to do
WARM_AFTER = 3  # quiet points: until then the libraries are loaded and all workers have had the largest images
GROWTH_MIB = (
    12.0  # over the warm process: what the workers have in hand for the largest images, and the allocator's slack
)
DRIFT_MIB = 3.0  # from the first third of a life, once it is warm, to its last, in the middle
ENOUGH = 6  # quiet points of one watcher, or the run says nothing about what grows
MORE_DESCRIPTORS = 2  # than the warm process had: a catalog's page or a claim open at that moment


class Violation(Exception):  # noqa: N818 - the run looks for them
    """Something was wrong."""


@dataclass
class Life:
    """Measurements of one watcher at its quiet points."""

    ended: str = ""
    days: int = 0
    made: int = 0
    longest_s: float = 0.0
    rss_mib: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def warm(self, values: list[float] | list[int]) -> float:
        return max(values[:WARM_AFTER], default=0)

    def drift_mib(self) -> float:
        """Growth of memory from the first third of its warm life to the last."""
        values = self.rss_mib[WARM_AFTER:]
        third = len(values) // 3
        return statistics.median(values[-third:]) - statistics.median(values[:third]) if third else 0.0

    def row(self, number: int) -> str:
        def span(values: list[float] | list[int]) -> str:
            return f"{self.warm(values):.0f} → {max(values, default=0):.0f}"

        return (
            f"| {number} | {self.ended} | {self.days} | {len(self.rss_mib)} | {self.made} | {self.longest_s:.1f} | "
            f"{span(self.rss_mib)} | {self.drift_mib():+.1f} | {span(self.descriptors)} | {span(self.threads)} |"
        )


def draw_pictures() -> list[bytes]:
    """Pictures that all differ."""
    hue = Image.new("RGB", (1, 1))
    drawn = []
    for number in range(PICTURES):
        image = photo(*SIZES[number % len(SIZES)])
        hue.putpixel((0, 0), (37 * number % 256, 101 * number % 256, 211 * number % 256))
        drawn.append(as_png(Image.blend(image, hue.resize(image.size), 0.5)))
    return drawn


class Soak:
    """One run over one project.

    Args:
        project: empty folders.
        seed: of the random work.
    """

    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.pictures = draw_pictures()
        self.thumbnails = [picture_in(make_thumbnail(picture, Recipe())) for picture in self.pictures]
        self.shows: dict[str, int] = {}  # which picture an image is, by key
        self.broken: set[str] = set()
        self.days = 0
        self.lives: list[Life] = []
        project.results.mkdir()
        (project.results / "notes.txt").touch()  # of an empty root nothing is deleted

    # -- the watcher

    def start(self) -> None:
        output_of(self.project, "start")
        self.process = psutil.Process(pid_of(self.project))
        self.lives.append(Life())

    def end(self, *, killed: bool) -> None:
        life = self.lives[-1]
        life.ended = "killed" if killed else "stopped"
        if killed:
            self.process.kill()
            self.until("the killed watcher is gone", lambda: not is_alive(self.process))
        else:
            output_of(self.project, "stop")

        def is_told() -> bool:
            told = status(self.project)
            return told["health"] == "not running" and bool(told["problems"]) == killed

        # Of a killed process the first thread may be gone a moment before the last, which holds the lock.
        self.until(f"status says that the watcher was {life.ended}", is_told, lambda: status(self.project))

    # -- the work

    def path(self, key: str) -> Path:
        return self.project.results / key

    def sessions(self) -> list[str]:
        return sorted(path.name for path in self.project.results.iterdir() if path.is_dir())

    def write(self, key: str) -> None:
        """Writes a picture in one of the ways in which programs write files."""
        number = self.random.randrange(PICTURES)
        data, path = self.pictures[number], self.path(key)
        way = self.random.choice(("at once", "into place", "slowly", "older"))
        if way == "into place":
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(data)
            part.replace(path)
        elif way == "slowly":
            with path.open("wb") as file:
                for start in range(0, len(data), len(data) // 3 + 1):
                    file.write(data[start : start + len(data) // 3 + 1])
                    file.flush()
                    time.sleep(0.05)  # a generator's own pace
        else:
            path.write_bytes(data)
        if way == "older":
            ns = time.time_ns() - self.random.randrange(10**15)
            os.utime(path, ns=(ns, ns))
        self.shows[key] = number
        self.broken.discard(key)

    def generate(self) -> None:
        """Generates a session, image after image, and deletes the oldest ones."""
        self.days += 1
        session = f"2025{self.days // 10_000 % 12 + 1:02}01_{self.days % 10_000:06}-session"
        self.path(session).mkdir()
        manifest = self.path(session) / "manifest.json"
        manifest.write_text('{"status": "ongoing"}', "ascii")
        for number in range(self.random.randint(*GENERATED)):
            self.write(f"{session}/{number:04}.png")
            time.sleep(self.random.uniform(0, 0.05))
        manifest.write_text('{"status": "completed"}', "ascii")
        for old in self.sessions()[:-SESSIONS]:
            self.delete_session(old)

    def housekeeping(self) -> None:
        for _ in range(HOUSEKEEPING):
            keys = sorted(self.shows)
            key, other = self.random.choice(keys), self.random.choice(keys)
            session = self.random.choice(self.sessions())
            new = f"{session}/moved-{self.random.randrange(10**6)}.png"
            what: list[Callable[[], None]] = [
                partial(self.write, key),
                partial(self.write, f"{session}/added-{self.random.randrange(10**6)}.png"),
                partial(self.move, key, f"{key.rpartition('/')[0]}/renamed-{self.random.randrange(10**6)}.png"),
                partial(self.move, key, new),
                partial(self.move, key, other),
                partial(self.delete, key),
                partial(self.rename_session, session),
                partial(self.spoil, key),
                partial(self.project.thumbnail(key).unlink, missing_ok=True),
            ]
            self.random.choice(what)()

    def move(self, old: str, new: str) -> None:
        self.path(old).replace(self.path(new))
        self.shows[new] = self.shows.pop(old)
        if new != old:
            self.broken.discard(new)
        if old in self.broken:
            self.broken.remove(old)
            self.broken.add(new)

    def delete(self, key: str) -> None:
        self.path(key).unlink()
        del self.shows[key]
        self.broken.discard(key)

    def delete_session(self, session: str) -> None:
        shutil.rmtree(self.path(session))
        self.shows = {key: number for key, number in self.shows.items() if not key.startswith(session + "/")}
        self.broken = {key for key in self.broken if not key.startswith(session + "/")}

    def rename_session(self, old: str) -> None:
        new = f"{old.partition('-')[0]}-renamed-{self.random.randrange(10**6)}"
        self.path(old).rename(self.path(new))
        for key in [key for key in self.shows if key.startswith(old + "/")]:
            self.move_in_mind(key, new + key[len(old) :])

    def move_in_mind(self, old: str, new: str) -> None:
        self.shows[new] = self.shows.pop(old)
        if old in self.broken:
            self.broken.remove(old)
            self.broken.add(new)

    def spoil(self, key: str) -> None:
        """Replaces an image by a file that is not one."""
        self.path(key).write_bytes(b"no image")
        self.broken.add(key)

    # -- the quiet points

    def quiet(self) -> None:
        """Waits until everything is right and ``status`` says so, then measures the process."""
        life = self.lives[-1]
        started_s = time.monotonic()
        self.until("source and thumbnails agree", lambda: not self.drift(), self.drift)
        life.longest_s = max(life.longest_s, time.monotonic() - started_s)
        told: dict[str, Any] = {}

        def is_told() -> bool:
            nonlocal told
            if self.untruths(self.project.state()):  # cheaper to ask
                return False
            told = status(self.project)
            return told["health"] == "healthy" and told["running"] and not self.untruths(told)

        # More than once: the numbers follow with the next look, and of the day before may be today's by chance.
        self.until("status agrees", is_told, lambda: [self.untruths(told), self.project.state()])
        life.made = told["counts"].get("created", 0)
        with self.process.oneshot():
            life.rss_mib.append(self.process.memory_info().rss / MIB)
            life.descriptors.append(len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())))
            life.threads.append(self.process.num_threads())
        for name, values, more in (
            ("MiB", life.rss_mib, GROWTH_MIB),
            ("descriptors", life.descriptors, MORE_DESCRIPTORS),
            ("threads", life.threads, 0),
        ):
            if values[-1] > life.warm(values) + more:
                raise Violation(f"grew to {values[-1]:.0f} {name}: {[round(value) for value in values]}")

    def drift(self) -> list[str]:
        """Thumbnails that are missing, wrong or without an image."""
        wanted = {key.replace(".png", ".webp"): key for key in self.shows if key not in self.broken}
        there = {path.as_posix() for path in files_below(self.project.thumbnails)}
        wrong = [f"{name}: {'missing' if name in wanted else 'too many'}" for name in sorted(there ^ wanted.keys())]
        for name in sorted(there & wanted.keys()):
            key = wanted[name]
            try:
                right = picture_in((self.project.thumbnails / name).read_bytes()) == self.thumbnails[self.shows[key]]
            except FileNotFoundError:
                right = False
            if not right:
                wrong.append(f"{name}: shows another image")
            elif not self.project.is_fresh(key):
                wrong.append(f"{name}: has another time than its source")
        return wrong

    def untruths(self, told: dict[str, Any]) -> list[str]:
        """Statements of a report that are wrong."""
        sessions = {"complete": len(self.sessions()), "incomplete": 0}
        wanted = {
            "pid": self.process.pid, "phase": "watching", "images": len(self.shows), "failures": len(self.broken),
            "thumbnails": len(self.shows) - len(self.broken), "sessions": sessions, "problems": [], "making": [],
            "orphans_held_back": 0, "queue": {"urgent": 0, "catch_up": 0, "audit": 0},
        }  # fmt: skip
        return [
            f"{name} {told.get(name)!r}, not {value!r}" for name, value in wanted.items() if told.get(name) != value
        ]

    def until(self, what: str, holds: Callable[[], object], details: Callable[[], object] = lambda: "") -> None:
        try:
            wait_for(holds, MOST_S, lambda: f"{what}\n{details()}\n{self.project.log()[-3000:]}")
        except AssertionError as error:
            raise Violation(str(error)) from None

    # -- the run

    def run(self, minutes: float) -> None:
        """Raises ``Violation``."""
        watchers = max(WATCHERS, round(minutes / 3))
        began_s = time.monotonic()
        for number in range(1, watchers + 1):
            self.start()
            if self.days:
                self.quiet()  # changes that no watcher saw
            while True:
                self.generate()
                self.quiet()
                self.housekeeping()
                self.quiet()
                self.lives[-1].days += 1
                if time.monotonic() > began_s + 60 * minutes * (FIRST + (1 - FIRST) * (number - 1) / (watchers - 1)):
                    break
            if number % 2:
                self.generate()  # it ends in the middle of it
            self.end(killed=bool(number % 2))
            life = self.lives[-1]
            if life.drift_mib() > DRIFT_MIB:
                raise Violation(f"grew by {life.drift_mib():.1f} MiB: {[round(value, 1) for value in life.rss_mib]}")
            if number < watchers:
                self.generate()
                self.housekeeping()
        if max(len(life.rss_mib) for life in self.lives) < ENOUGH:
            raise Violation(f"no watcher was looked at {ENOUGH} times: the run was too short")


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**9)
    violation = ""
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Project(Path(folder)), seed)
        try:
            soak.run(minutes)
        except Violation as error:
            violation = str(error)
        finally:
            if soak.lives and is_alive(soak.process):
                output_of(soak.project, "stop")
    print(f"{minutes:g} minutes, seed {seed}")
    print("| watcher | ended | days | quiet points | made | longest catch-up, s | RSS, MiB: warm → most |", end="")
    print(" from third to third | descriptors | threads |\n|" + " --- |" * 10)
    for number, life in enumerate(soak.lives, 1):
        print(life.row(number))
    print(f"✗ {violation}" if violation else "✓ no drift, nothing grew, status was right")
    return 1 if violation else 0


if __name__ == "__main__":
    sys.exit(main())
