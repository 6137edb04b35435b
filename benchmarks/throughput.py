"""Thumbnails per second, compared with other programs; and their distance from an exact resize.

Photographs (those that scikit-image brings, cut to 512 x 768, 1024 x 1024 and 832 x 1216 pixels; where it is not
installed, drawn pictures with their grain); quality 85, method 6, 240 px high. Ours is the whole of ``catchup``:
comparing, reading, writing, stamping. It is run with the extra [fast], where that is installed, and without.

sharp is used where node finds it: ``npm install sharp`` in a folder, and ``NODE_PATH=FOLDER/node_modules``. Like ours
it is warm when it is measured.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageChops, ImageStat, PngImagePlugin

from measuring import compare, say
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.imaging import accelerators
from sdgen_thumbnail_plugin.imaging.png import read_header
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Priority, Recipe
from sdgen_thumbnail_plugin.paths import Home
from sdgen_thumbnail_plugin.project import assemble
from sdgen_thumbnail_plugin.settings import Settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage
from sdgen_thumbnail_plugin.storage.sessions import LocalSessionStorage

SIZES = ((512, 768), (1024, 1024), (832, 1216))
PICTURES = 24  # of each size
HEIGHT_PX = 240
LANCZOS = Image.Resampling.LANCZOS
CONCURRENCIES = ((1, 2), (1, 4), (1, 8), (2, 2), (2, 4), (2, 8))  # threads for each image, and images at once

PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png",
    "motorcycle_right.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip

# Makes all thumbnails for each line that it reads: number of threads for each image, and of images at once.
SHARP = """
const sharp = require('sharp'), fs = require('fs'), [source, target] = process.argv.slice(1);
require('readline').createInterface({input: process.stdin}).on('line', async (line) => {
  const [threads, count] = line.split(' ').map(Number), names = fs.readdirSync(source);
  sharp.concurrency(threads);
  let next = 0;
  const work = async () => {
    while (next < names.length) {
      const name = names[next++];
      await sharp(`${source}/${name}`).resize({height: 240, kernel: 'lanczos3'}).webp({quality: 85, effort: 6})
        .toFile(`${target}/${name.replace('.png', '.webp')}`);
    }
  };
  await Promise.all(Array.from({length: count}, work));
  console.log('made');
});
"""


def draw(size: tuple[int, int], seed: int) -> Image.Image:
    """Noise in octaves, as clouds, skin and leaves have it, in three channels that mostly agree."""
    channels = []
    for channel in range(3):
        picture = Image.linear_gradient("L").resize(size).rotate(37 * seed + channel)
        for scale in (128, 64, 32, 16, 8, 4, 2, 1):
            small = (max(2, size[0] // scale), max(2, size[1] // scale))
            layer = Image.effect_noise(small, 14 * math.sqrt(scale)).resize(size, Image.Resampling.BICUBIC)
            picture = Image.blend(picture, layer, 0.12 if scale > 1 else 0.04)
        channels.append(picture)
    return Image.merge("RGB", channels)


def photographs() -> list[Image.Image]:
    """The photographs of scikit-image; none where it is not installed."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS if (folder / name).is_file()]


def cut(photograph: Image.Image, size: tuple[int, int], where: random.Random) -> Image.Image:
    """A piece of it that has this size, enlarged where it is too small."""
    scale = max(1.0, size[0] / photograph.width, size[1] / photograph.height)
    large = photograph.resize((math.ceil(photograph.width * scale), math.ceil(photograph.height * scale)), LANCZOS)
    left, top = where.randint(0, large.width - size[0]), where.randint(0, large.height - size[1])
    return large.crop((left, top, left + size[0], top + size[1]))


def make_pictures(folder: Path) -> str:
    """Fills the folder; returns a description of the pictures."""
    found, where = photographs(), random.Random(0)
    for size in SIZES:
        for number in range(PICTURES):
            picture = cut(found[number % len(found)], size, where) if found else draw(size, number)
            picture.info.clear()  # ours would apply a colour profile, the others would not
            picture.save(folder / f"{number:02}_{size[0]}.png")
    if found:
        return "photographs"
    return "drawn pictures (for photographs: pip install scikit-image)"


def naive(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        with Image.open(path) as image:
            size = (max(1, round(HEIGHT_PX * image.width / image.height)), HEIGHT_PX)
            small = image.convert("RGB").resize(size, LANCZOS)
            small.save(target / f"{path.stem}.webp", "WEBP", quality=85, method=6)


def ours(root: Path, workers: int) -> None:
    shutil.rmtree(root / "thumbnails", ignore_errors=True)
    source = LocalImageStorage(root / "results")
    target = LocalImageStorage(root / "thumbnails", ".webp")
    settings = Settings(source_dir=root / "results", target_dir=root / "thumbnails", workers=workers)
    with Catalog(root / f"catalog-{workers}.sqlite3") as catalog:
        pool = assemble(settings, source, target, LocalSessionStorage(source), catalog, Home(root)).workers()
        pool.submit_directory("session", Priority.CATCH_UP)
        assert pool.wait_idle(120)
        pool.close()
    assert len(list((root / "thumbnails" / "session").iterdir())) == len(SIZES) * PICTURES


def switch(on: bool) -> None:
    """Switches the extra on or off, and clears the decisions that a process caches."""
    if on:
        sys.modules.pop("imagecodecs", None)
    else:
        sys.modules["imagecodecs"] = None  # type: ignore[assignment]
    accelerators._decoder.cache_clear()
    accelerators.crc32.cache_clear()


@contextlib.contextmanager
def without_resizer() -> Iterator[None]:
    """Hides the resizer, as on a platform without its wheels."""
    sys.modules["cykooz_resizer"] = None  # type: ignore[assignment]
    accelerators._resizer.cache_clear()
    try:
        yield
    finally:
        sys.modules.pop("cykooz_resizer", None)
        accelerators._resizer.cache_clear()


class Sharp:
    """A node with sharp that waits for work.

    Args:
        source: the folder of PNGs.
        target: where the thumbnails go.
    """

    def __init__(self, source: Path, target: Path) -> None:
        command = ["node", "-e", SHARP, str(source), str(target)]
        # sharp works in libuv's thread pool, which has four threads by default.
        environment = {**os.environ, "UV_THREADPOOL_SIZE": str(max(4, *(at_once for _, at_once in CONCURRENCIES)))}
        self._node = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def make(self, threads: int, at_once: int) -> None:
        """Makes all thumbnails."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        print(threads, at_once, file=self._node.stdin, flush=True)
        assert self._node.stdout.readline() == "made\n"

    def at_its_best(self) -> tuple[int, int]:
        """The number of threads for each image, and of images at once, with which it is fastest here."""
        found = []
        for threads, at_once in (CONCURRENCIES[0], *CONCURRENCIES * 2):
            started_s = time.perf_counter()
            self.make(threads, at_once)
            found.append((time.perf_counter() - started_s, threads, at_once))
        return min(found)[1:]

    def close(self) -> None:
        self._node.communicate()


def has_sharp() -> bool:
    if not shutil.which("node"):
        return False
    return subprocess.run(["node", "-e", "require('sharp')"], capture_output=True, check=False).returncode == 0


def two_threads(source: Path, target: Path) -> None:
    """A careful program in Pillow."""

    def make(path: Path) -> None:
        with Image.open(path) as image:
            size = (max(1, round(HEIGHT_PX * image.width / image.height)), HEIGHT_PX)
            small = image.convert("RGB").resize(size, LANCZOS, reducing_gap=2.0)
            small.save(target / f"{path.stem}.webp", "WEBP", quality=85, method=6)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, sorted(source.iterdir())))


def other_programs(source: Path, target: Path) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Other programs: a name, how to install it, and a function that makes all thumbnails."""

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run([*command, *map(str, sorted(source.iterdir()))], check=True, capture_output=True)

    yield "Pillow with a reducing gap, two threads", "", lambda: two_threads(source, target)
    yield (
        "vipsthumbnail", "apt install libvips-tools",
        run("vipsthumbnail", "--size", f"x{HEIGHT_PX}", "-o", f"{target}/%s.webp[Q=85,effort=6]"),
    )  # fmt: skip
    yield (
        "mogrify", "apt install imagemagick",
        run("mogrify", "-path", str(target), "-format", "webp", "-filter", "Lanczos", "-resize", f"x{HEIGHT_PX}",
            "-quality", "85", "-define", "webp:method=6"),
    )  # fmt: skip


def parts_alone(root: Path, folder: Path, workers: int) -> None:
    """Whole thumbnails, with all that ``catchup`` does, against the sum of their three dear parts, each by the fastest
    way that is installed."""
    pngs = [path.read_bytes() for path in sorted(folder.iterdir())]
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    sizes = [(max(1, round(HEIGHT_PX * image.width / image.height)), HEIGHT_PX) for image in pictures]
    samples = [image.tobytes() for image in pictures]
    small = [image.resize(size, LANCZOS) for image, size in zip(pictures, sizes, strict=True)]
    headers = [read_header(png) for png in pngs]

    def parts() -> None:
        for png, header in zip(pngs, headers, strict=True):
            if accelerators.decode(png, header) is None:
                PngImagePlugin.PngImageFile(io.BytesIO(png)).load()
        for image, data, size in zip(pictures, samples, sizes, strict=True):
            if accelerators.resize(data, image.size, size) is None:
                image.resize(size, LANCZOS)
        for image in small:
            image.save(io.BytesIO(), "WEBP", quality=85, method=6)

    compare(
        f"the whole : decode, resize and encode alone ({', '.join(accelerators.names()) or 'Pillow'}; processor time)",
        lambda: ours(root, workers), parts, clock=time.process_time, rounds=3,
    )  # fmt: skip


def psnr_db(a: Image.Image, b: Image.Image) -> float:
    squares = ImageStat.Stat(ImageChops.difference(a.convert("RGB"), b.convert("RGB"))).sum2
    return 10 * math.log10(255**2 * 3 * a.width * a.height / sum(squares))


def fidelity(folder: Path, who: str) -> None:
    """PSNR to the exact Lanczos resize, in dB, and bytes: ours and the naive program's."""
    found: list[tuple[float, float, int, int]] = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            size = (max(1, round(HEIGHT_PX * image.width / image.height)), HEIGHT_PX)
            exact = image.convert("RGB").resize(size, LANCZOS)
        with io.BytesIO() as file:
            exact.save(file, "WEBP", quality=85, method=6)
            theirs = file.getvalue()
        made = make_thumbnail(path.read_bytes(), Recipe())
        shown = [psnr_db(exact, Image.open(io.BytesIO(content))) for content in (made, theirs)]
        found.append((shown[0], shown[1], len(made), len(theirs)))
    ours_db, theirs_db = (sum(row[column] for row in found) / len(found) for column in (0, 1))
    ours_bytes, theirs_bytes = (sum(row[column] for row in found) for column in (2, 3))
    print(f"| PSNR, {who} : naive Pillow | {ours_db:.2f} dB | {theirs_db:.2f} dB | {ours_db - theirs_db:+.2f} dB |")
    print(f"| size, {who} : naive Pillow | {ours_bytes:,} B | {theirs_bytes:,} B | {ours_bytes / theirs_bytes:.3f} |")


def main() -> None:
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as ends:
        root = Path(name)
        folder, other = root / "results" / "session", root / "other"
        folder.mkdir(parents=True)
        other.mkdir()
        what = make_pictures(folder)
        pieces = len(SIZES) * PICTURES
        say(f"{pieces} {what}, {cores} cores:")
        sharp, best = None, (0, 0)
        if has_sharp():
            sharp = Sharp(folder, other)
            ends.callback(sharp.close)
            best = sharp.at_its_best()
        else:
            say("sharp is not installed: npm install sharp, then NODE_PATH=$PWD/node_modules")
        switch(True)
        if not accelerators.has_extra():
            say("The extra is not installed: pip install 'sdgen-thumbnail-plugin[fast]'")
        for extra in (False, True) if accelerators.has_extra() else (False,):
            switch(extra)
            who = "[fast]" if extra else "default"
            compare(
                f"{who}, {cores} threads : naive Pillow, one thread",
                lambda: ours(root, cores), lambda: naive(folder, other), pieces=pieces, rounds=3,
            )  # fmt: skip
            if sharp is not None:
                made = functools.partial(sharp.make, *best)
                title = f"{who}, {cores} threads : sharp, at its best, {best[1]} at a time, {best[0]} threads each"
                compare(title, lambda: ours(root, cores), made, pieces=pieces, rounds=7)
            fidelity(folder, who)
            parts_alone(root, folder, cores)
        switch(False)
        for title, remedy, make in other_programs(folder, other):
            if remedy and not shutil.which(title):
                say(f"{title} is not installed: {remedy}")
                continue
            compare(f"default, {cores} threads : {title}", lambda: ours(root, cores), make, pieces=pieces, rounds=2)
        with without_resizer():
            fidelity(folder, "Pillow's resize (no cykooz-resizer)")


if __name__ == "__main__":
    main()
