"""The sessions of the demonstration, written as sdgen writes them.

Run as a module it is the other process of the demonstration, which writes images into a session that is being watched.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from sdgen_thumbnail_plugin.demo.latency import Arrival
from sdgen_thumbnail_plugin.demo.pictures import SCENES, annotated, draw, encode

SIZES_PX = ((512, 768), (1024, 1024), (832, 1216), (768, 512))
"""Sizes that people generate at: widths and heights."""

_PIECES = 6
_PIECE_PAUSE_S = 0.08
_ANNOTATED_AFTER_S = 0.3
_FIRST_SEED = 100

_LIVE_WAYS = ("plain", "plain", "in pieces", "renamed", "plain", "overwritten", "in pieces", "plain")
"""How the live images arrive, in turn. The host writes plainly, and overwrites where annotations are on."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An image before it is written."""

    name: str
    seed: int
    picture: Image.Image
    png: bytes


def write_session(folder: Path, count: int) -> None:
    """Writes a completed session as the host does: numbered images and a manifest.

    Args:
        folder: the session's folder; its name gives the images theirs, and the scene.
        count: the number of images.
    """
    folder.mkdir(parents=True)
    for image in _draw(folder, count):
        (folder / image.name).write_bytes(image.png)
    _write_manifest(folder, "completed", count)


def write_live(folder: Path, count: int, *, record: Path, pause_s: float) -> None:
    """Writes a session image by image, in every way in which images arrive, and records when each was finished.

    Args:
        folder: the session's folder, made here.
        count: the number of images.
        record: a file of JSON lines, each an ``Arrival``; an overwritten image has two.
        pause_s: seconds from one image to the next.
    """
    # All are drawn beforehand: a real generator computes on the graphics card, and leaves the processor alone.
    images = _draw(folder, count)
    folder.mkdir(parents=True)
    _write_manifest(folder, "ongoing", count)
    next_s = time.monotonic()
    for number, image in enumerate(images):
        way, path = _LIVE_WAYS[number % len(_LIVE_WAYS)], folder / image.name
        if way == "overwritten":
            words = annotated(image.picture, f"{_prompt_of(folder)}, seed {image.seed}")
            second = encode(words, prompt=_prompt_of(folder), seed=image.seed)
            path.write_bytes(image.png)
            _note(record, path, "plain", image.picture)
            time.sleep(_ANNOTATED_AFTER_S)
            path.write_bytes(second)
        else:
            _write(path, image.png, way)
        _note(record, path, way, image.picture)
        next_s += pause_s
        time.sleep(max(0.0, next_s - time.monotonic()))
    _write_manifest(folder, "completed", count)


def _write(path: Path, content: bytes, way: str) -> None:
    if way == "in pieces":
        with path.open("wb") as file:
            step = -(-len(content) // _PIECES)
            for start in range(0, len(content), step):
                if start:
                    time.sleep(_PIECE_PAUSE_S)
                file.write(content[start : start + step])
                file.flush()
    elif way == "renamed":
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_bytes(content)
        unfinished.replace(path)
    else:
        path.write_bytes(content)


def _note(record: Path, path: Path, way: str, picture: Image.Image) -> None:
    """An image was written to its end just now."""
    at_s = time.time()
    stat = path.stat()
    arrival = Arrival(path.name, way, at_s, stat.st_mtime_ns, stat.st_size, *picture.size)
    with record.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(arrival)) + "\n")


def _draw(folder: Path, count: int) -> list[_Drawn]:
    """A session's images, by its name. Two at a time: Pillow releases the GIL."""
    name = folder.name.partition("-")[2]
    scene = next((known for known in SCENES if known in name), "hills")

    def one(number: int) -> _Drawn:
        seed = _FIRST_SEED + number
        picture = draw(scene, seed, SIZES_PX[number % len(SIZES_PX)])
        png = encode(picture, prompt=_prompt_of(folder), seed=seed)
        return _Drawn(f"{name}_{number:04}_seed-{seed}.png", seed, picture, png)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(count)))


def _prompt_of(folder: Path) -> str:
    return folder.name.partition("-")[2].replace("-", " ")


def _write_manifest(folder: Path, status: str, count: int) -> None:
    content = {"status": status, "prompt": _prompt_of(folder), "images": count}
    (folder / "manifest.json").write_text(json.dumps(content, indent=2), "utf-8")


def main() -> None:
    """The other process of the demonstration: ``python -m …demo.sessions FOLDER COUNT RECORD PAUSE_S``."""
    folder, count, record, pause_s = sys.argv[1:5]
    write_live(Path(folder), int(count), record=Path(record), pause_s=float(pause_s))


if __name__ == "__main__":
    main()
