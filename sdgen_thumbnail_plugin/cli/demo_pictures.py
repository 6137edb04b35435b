"""The pictures of the demonstration: small landscapes, drawn from a number."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from pathlib import Path

from PIL import Image, ImageDraw, PngImagePlugin

__all__ = ["SIZES_PX", "draw", "main", "save", "write_session"]

SIZES_PX = ((512, 768), (1024, 1024), (832, 1216), (768, 512))
"""Sizes that people generate at."""

_SKIES = (((255, 170, 90), (70, 50, 120)), ((250, 220, 190), (60, 120, 190)), ((240, 120, 130), (30, 30, 80)))


def draw(seed: int, size_px: tuple[int, int]) -> Image.Image:
    """A landscape: sky, sun, and hills behind hills. The same seed gives the same picture.

    Args:
        seed: chooses sky, sun and hills.
        size_px: width and height.
    """
    chance = random.Random(seed)
    width, height = size_px
    low, high = chance.choice(_SKIES)
    ramp = Image.linear_gradient("L").resize(size_px)
    picture = Image.composite(Image.new("RGB", size_px, low), Image.new("RGB", size_px, high), ramp)
    pen = ImageDraw.Draw(picture)
    radius = width * chance.uniform(0.06, 0.13)
    x, y = width * chance.uniform(0.2, 0.8), height * chance.uniform(0.25, 0.5)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 236, 200))
    for layer in range(4):
        base = height * (0.5 + 0.13 * layer)
        waves = [(chance.uniform(0.5, 3.0), chance.uniform(0, 7), height * 0.06 / (n + 1)) for n in range(3)]
        ridge = [
            (step, base + sum(a * math.sin(f * 2 * math.pi * step / width + p) for f, p, a in waves))
            for step in range(0, width + 8, 8)
        ]
        shade = tuple(int(c * (0.75 - 0.17 * layer)) for c in high)
        pen.polygon([(0, height), *ridge, (width, height)], fill=shade)
    grain = Image.effect_noise(size_px, 18).convert("RGB")
    return Image.blend(picture, grain, 0.06)


def save(path: Path, seed: int, size_px: tuple[int, int], prompt: str) -> None:
    """Writes a picture with the text that Stable Diffusion's web interfaces write."""
    text = PngImagePlugin.PngInfo()
    size = f"{size_px[0]}x{size_px[1]}"
    text.add_text(
        "parameters",
        f"{prompt}\nNegative prompt: people, text\n"
        f"Steps: 28, Sampler: DPM++ 2M, CFG scale: 6, Seed: {seed}, Size: {size}",
    )
    draw(seed, size_px).save(path, pnginfo=text, compress_level=1)


def write_session(folder: Path, count: int, *, status: str, pause_s: float = 0.0) -> None:
    """Writes a session as the host does: numbered images, then a manifest.

    Args:
        folder: the session's folder; its name gives the images theirs.
        count: how many images.
        status: what the manifest says, ``ongoing`` or ``completed``.
        pause_s: seconds between two images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.name.partition("-")[2]
    (folder / "manifest.json").write_text(json.dumps({"status": "ongoing", "total": count}), "utf-8")
    for number in range(count):
        seed = 100 + number + sum(name.encode())
        path = folder / f"{name}_{number:04}_seed-{seed}.png"
        save(path, seed, SIZES_PX[number % len(SIZES_PX)], name.replace("-", " "))
        time.sleep(pause_s)
    (folder / "manifest.json").write_text(json.dumps({"status": status, "total": count}), "utf-8")


def main() -> None:
    """The other process of the demonstration: ``python -m …demo_pictures FOLDER COUNT PAUSE_S``."""
    folder, count, pause_s = sys.argv[1:4]
    write_session(Path(folder), int(count), status="completed", pause_s=float(pause_s))


if __name__ == "__main__":
    main()
