"""Projects of many sessions, complete: every image has its fresh thumbnail."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

LONG_AGO_S = 1_762_000_000
LINKS_PER_FILE = 40_000  # ext4 allows 65,000


def _drawn(size: tuple[int, int], form: str) -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", size).save(file, form)
        return file.getvalue()


def _session(number: int) -> str:
    return f"2025{number // 2500 + 1:02}{number // 100 % 25 + 1:02}_{number % 100:02}0000-session"


def make_tree(root: Path, sessions: int, images: int) -> None:
    """Makes ``results`` and ``thumbnails`` with so many sessions of so many images each.

    The images are 64 by 96 pixels: nothing here decodes them.
    """
    kinds = (("results", "png", _drawn((64, 96), "PNG")), ("thumbnails", "webp", _drawn((160, 240), "WEBP")))
    for number in range(sessions):
        for base, suffix, content in kinds:
            folder = root / base / _session(number)
            folder.mkdir(parents=True)
            for image in range(images):
                path = f"{folder}/image_{image:04}.{suffix}"
                with open(path, "wb", buffering=0) as file:
                    file.write(content)
                ns = LONG_AGO_S * 10**9 + image * 3_141_592_653 + 1  # one every three seconds, as they are generated
                os.utime(path, ns=(ns, ns))
            os.utime(folder, (LONG_AGO_S, LONG_AGO_S))
    for base, _, _ in kinds:
        os.utime(root / base, (LONG_AGO_S, LONG_AGO_S))


def link_tree(root: Path, sessions: int, images: int) -> None:
    """Makes what ``make_tree`` makes, in a fifth of the time: almost all files are names of a few."""
    kinds = (("results", "png", (64, 96), "PNG"), ("thumbnails", "webp", (160, 240), "WEBP"))
    for base, suffix, size, form in kinds:
        (root / base).mkdir()
        names = [f"image_{number:04}.{suffix}" for number in range(images)]
        for number in range(sessions):
            if number % max(1, LINKS_PER_FILE // images) == 0:
                seed = f"{root}/{number}.{suffix}"
                Image.new("RGB", size).save(seed, form)
                os.utime(seed, (LONG_AGO_S, LONG_AGO_S))
            folder = f"{root}/{base}/{_session(number)}"
            os.mkdir(folder)
            opened = os.open(folder, os.O_RDONLY)
            for name in names:
                os.link(seed, name, dst_dir_fd=opened)
            os.close(opened)
            os.utime(folder, (LONG_AGO_S, LONG_AGO_S))
        os.utime(root / base, (LONG_AGO_S, LONG_AGO_S))
