"""Thumbnails per second, against the obvious program in Pillow and against sharp; and how near they come to the truth.

Drawn pictures with the grain of photographs, at 512 x 768, 1024 x 1024 and 832 x 1216 pixels; quality 85, method 6,
240 px high. Ours is the whole of ``catchup``: comparing, reading, writing, stamping. It is run with the extra [fast],
where that is installed, and without.

sharp is used where node finds it: ``npm install sharp`` in a folder, and ``NODE_PATH=FOLDER/node_modules``.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageChops, ImageStat, PngImagePlugin

from sdgen_thumbnail_plugin import fast, heap
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.execute import Workers
from sdgen_thumbnail_plugin.engine.keeper import Keeper
from sdgen_thumbnail_plugin.imaging import make_thumbnail
from sdgen_thumbnail_plugin.model import Priority, Recipe
from sdgen_thumbnail_plugin.png import read_header
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage

sys.path.insert(0, str(Path(__file__).parent.parent))

from measuring import compare, say

SIZES = ((512, 768), (1024, 1024), (832, 1216))
PICTURES = 24  # of each size
HEIGHT_PX = 240

SHARP = """
const sharp = require('sharp'), fs = require('fs');
(async () => {
  const [source, target, threads, count] = process.argv.slice(1), names = fs.readdirSync(source);
  sharp.concurrency(Number(threads));
  let next = 0;
  const work = async () => {
    while (next < names.length) {
      const name = names[next++];
      await sharp(`${source}/${name}`).resize({height: 240, kernel: 'lanczos3'}).webp({quality: 85, effort: 6})
        .toFile(`${target}/${name.replace('.png', '.webp')}`);
    }
  };
  await Promise.all(Array.from({length: Number(count)}, work));
})();
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


def naive(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        with Image.open(path) as image:
            size = (max(1, round(HEIGHT_PX * image.width / image.height)), HEIGHT_PX)
            small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            small.save(target / f"{path.stem}.webp", "WEBP", quality=85, method=6)


def ours(root: Path, workers: int) -> None:
    shutil.rmtree(root / "thumbnails", ignore_errors=True)
    source = LocalImageStorage(root / "results")
    target = LocalImageStorage(root / "thumbnails", ".webp")
    with Catalog(root / f"catalog-{workers}.sqlite3") as catalog:
        keeper = Keeper(source, target, catalog, recipe=Recipe(), max_pixels=10**8)
        pool = Workers(keeper, count=workers, budget_pixels=64_000_000)
        pool.submit_directory("session", Priority.CATCH_UP)
        assert pool.wait_idle(120)
        pool.close()
    assert len(list((root / "thumbnails" / "session").iterdir())) == len(SIZES) * PICTURES


def switch(on: bool) -> None:
    """The extra, on or off; what a process decides once is decided anew."""
    if on:
        sys.modules.pop("imagecodecs", None)
    else:
        sys.modules["imagecodecs"] = None  # type: ignore[assignment]
    fast._extra.cache_clear()
    fast._decoder.cache_clear()


def sharp_command(folder: Path, target: Path, threads: int, at_once: int) -> list[str]:
    return ["node", "-e", SHARP, str(folder), str(target), str(threads), str(at_once)]


def sharp_at_its_best(folder: Path, target: Path) -> tuple[int, int]:
    """The number of threads for each image, and of images at once, with which sharp is fastest here."""
    found = []
    for threads, at_once in ((1, 2), (1, 4), (1, 8), (2, 2), (2, 4), (2, 8)) * 2:
        started_s = time.perf_counter()
        subprocess.run(sharp_command(folder, target, threads, at_once), check=True)
        found.append((time.perf_counter() - started_s, threads, at_once))
    return min(found)[1:]


def has_sharp() -> bool:
    if not shutil.which("node"):
        return False
    return subprocess.run(["node", "-e", "require('sharp')"], capture_output=True, check=False).returncode == 0


def parts_alone(pngs: list[bytes]) -> None:
    """A whole thumbnail against the sum of its three dear parts, each by the fastest way that is installed."""
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    sizes = [(max(1, round(HEIGHT_PX * image.width / image.height)), HEIGHT_PX) for image in pictures]
    samples = [image.tobytes() for image in pictures]
    small = [image.resize(size, Image.Resampling.LANCZOS) for image, size in zip(pictures, sizes, strict=True)]
    headers = [read_header(png) for png in pngs]

    def parts() -> None:
        for png, header in zip(pngs, headers, strict=True):
            if fast.decode(png, header) is None:
                PngImagePlugin.PngImageFile(io.BytesIO(png)).load()
        for image, data, size in zip(pictures, samples, sizes, strict=True):
            if fast.resize(data, image.size, size) is None:
                image.resize(size, Image.Resampling.LANCZOS)
        for image in small:
            image.save(io.BytesIO(), "WEBP", quality=85, method=6)

    compare(
        f"a thumbnail : its decode, resize and encode alone ({', '.join(fast.names()) or 'Pillow'}; processor time)",
        lambda: [make_thumbnail(png, Recipe()) for png in pngs], parts, clock=time.process_time,
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
            exact = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
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
    heap.keep_freed()  # as ``catchup`` and the watcher do
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = root / "results" / "session"
        folder.mkdir(parents=True)
        (root / "other").mkdir()
        for size in SIZES:
            for number in range(PICTURES):
                draw(size, number).save(folder / f"{number}_{size[0]}.png")
        pieces = len(SIZES) * PICTURES
        say(f"{pieces} pictures, {cores} cores; sharp is a program, and takes 0.1 s to begin:")
        concurrencies = {}
        if has_sharp():
            best = sharp_at_its_best(folder, root / "other")
            concurrencies = {f"at its best, {best[1]} at a time, {best[0]} threads each": best}
        else:
            say("sharp is not installed: npm install sharp, then NODE_PATH=$PWD/node_modules")
        switch(True)
        if not fast.has_extra():
            say("The extra is not installed: pip install 'sdgen-thumbnail-plugin[fast]'")
        for extra in (False, True) if fast.has_extra() else (False,):
            switch(extra)
            who = "[fast]" if extra else "default"
            compare(
                f"{who}, {cores} threads : naive Pillow, one thread",
                lambda: ours(root, cores), lambda: naive(folder, root / "other"), pieces=pieces, rounds=3,
            )  # fmt: skip
            for how, (threads, at_once) in concurrencies.items():
                command = sharp_command(folder, root / "other", threads, at_once)
                compare(
                    f"{who}, {cores} threads : sharp, {how}",
                    lambda: ours(root, cores), lambda command=command: subprocess.run(command, check=True),  # type: ignore[misc]
                    pieces=pieces, rounds=5,
                )  # fmt: skip
            fidelity(folder, who)
            parts_alone([path.read_bytes() for path in sorted(folder.iterdir())[:PICTURES]])


if __name__ == "__main__":
    main()
