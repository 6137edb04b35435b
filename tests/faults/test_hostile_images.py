"""One session of hostile files beside good images, and a real watcher over it: every image that can be shown gets its
thumbnail, all others are reported with a reason, and none costs much time or memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import stat
import struct
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageChops, ImageStat

from sdgen_thumbnail_plugin.engine.reconcile import ImageReconciler
from sdgen_thumbnail_plugin.errors import SourceChangedError
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Outcome, Recipe
from support.commands import failures, output_of, status
from support.pictures import (
    SIGNATURE,
    as_png,
    chunk,
    chunks_of,
    header_chunk,
    iccp_chunk,
    joined,
    photo,
    picture_in,
    png_of,
    rgb_profile,
    with_chunks,
)
from support.project import Project
from support.waiting import wait_for
from support.watcher import watcher_process, watching

SESSION = "20251110_151059-hostile"
BOMB_BYTES = 256 * 2**20
MEMORY_PIXELS = 8_000_000
ALLOWED_BYTES = MEMORY_PIXELS * 4 + 64 * 2**20
"""More than a watcher uses for the good images alone: the pixels it may decode at once, and half a bomb's worth for
files, encoders and the allocator."""

SOON_S = 60.0  # truncated files are tried again for 4.4 s; the rest is for other tests on the same cores

TITLE = b"\x1b]0;owned\x07"
"""Changes the title of a terminal's window, if it reaches one."""

TRUNCATED, DAMAGED = "TruncatedImageError", "DamagedImageError"


@dataclass(frozen=True)
class Bad:
    """A file that cannot be shown, and the class of its error."""

    content: bytes
    kind: str


@dataclass(frozen=True)
class Odd:
    """A file that can be shown, and its picture: upright, opaque, mode RGB."""

    content: bytes
    picture: Image.Image


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    section = {"memory_pixels": MEMORY_PIXELS, "workers": 2, "tick_interval_s": 0.3, "polling_interval_s": 0.2}
    (tmp_path / "sdgen_config.json").write_text(json.dumps({"thumbnails": section}), "utf-8")
    (project.results / SESSION).mkdir(parents=True)
    return project


# -- the corpus


def zeros_packed(length: int) -> bytes:
    """Zeros as a zlib stream, a thousandth of their size."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(length // len(block))) + packer.flush()


def whole_png() -> bytes:
    """A good PNG of many chunks."""
    picture = photo(64, 48)
    rgb = picture.tobytes()
    png = png_of(64, 48, 8, 2, lambda x, y: rgb[(y * 64 + x) * 3 : (y * 64 + x) * 3 + 3], idat_bytes=700)
    return with_chunks(png, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"tEXt", b"parameters\0a harbour"))


def borders_of(png: bytes) -> list[int]:
    """Where each chunk of a PNG ends, and its signature before them."""
    found = [len(SIGNATURE)]
    for _, data in chunks_of(png):
        found.append(found[-1] + 12 + len(data))
    return found


def with_wrong_crc(png: bytes, wanted: bytes) -> bytes:
    """The PNG with one bit of the checksum flipped, in the first chunk of a kind."""
    changed = bytearray(png)
    at = len(SIGNATURE)
    for kind, data in chunks_of(png):
        at += 12 + len(data)
        if kind == wanted:
            changed[at - 1] ^= 1
            return bytes(changed)
    raise AssertionError(f"no chunk {wanted!r}")


def without(png: bytes, unwanted: bytes) -> bytes:
    return joined([(kind, data) for kind, data in chunks_of(png) if kind != unwanted])


def with_pixel_data(stream: bytes, width_px: int = 64, height_px: int = 48) -> bytes:
    """A PNG with the given bytes as pixel data."""
    return SIGNATURE + header_chunk(width_px, height_px) + chunk(b"IDAT", stream) + chunk(b"IEND")


def encoded(picture: Image.Image, image_format: str) -> bytes:
    file = BytesIO()
    picture.save(file, image_format)
    return file.getvalue()


def on_white(picture: Image.Image, transparency: Image.Image) -> Image.Image:
    return Image.composite(picture.convert("RGB"), Image.new("RGB", picture.size, "white"), transparency)


def bad_files() -> dict[str, Bad]:
    png = whole_png()
    picture = photo(64, 48)
    palette_png = as_png(picture.quantize(16))
    rows = zlib.compress(b"".join(b"\0" + bytes(64 * 3) for _ in range(48)))
    page = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
    cut = {f"cut_at_{border:05}.png": Bad(png[:border], TRUNCATED) for border in borders_of(png)[:-1]}
    return cut | {
        "empty.png": Bad(b"", TRUNCATED),
        "zeros.png": Bad(bytes(50_000), TRUNCATED),
        "zeros_at_the_end.png": Bad(png[:1000].ljust(len(png), b"\0"), TRUNCATED),
        "in_a_chunk.png": Bad(png[: len(png) // 2], TRUNCATED),
        "last_byte_missing.png": Bad(png[:-1], TRUNCATED),
        "longest_chunk.png": Bad(png[:33] + struct.pack(">I4s", 2**31 - 1, b"IDAT") + bytes(99), TRUNCATED),
        "endless_chunk.png": Bad(png[:33] + struct.pack(">I4s", 2**32 - 1, b"IDAT") + b"x" * 99, DAMAGED),
        "crc_of_header.png": Bad(with_wrong_crc(png, b"IHDR"), DAMAGED),
        "crc_of_pixels.png": Bad(with_wrong_crc(png, b"IDAT"), DAMAGED),
        "crc_of_palette.png": Bad(with_wrong_crc(palette_png, b"PLTE"), DAMAGED),
        "crc_of_transparency.png": Bad(
            with_wrong_crc(as_png(picture.quantize(16), transparency=b"\x00\x80"), b"tRNS"), DAMAGED
        ),
        "chunk_named_escape.png": Bad(with_chunks(png, chunk(b"\x1b[1m", b"x")), DAMAGED),
        "escape_and_unknown_chunk.png": Bad(
            with_chunks(png, chunk(b"tEXt", TITLE + b"\0x"), chunk(b"ABCD", TITLE)), DAMAGED
        ),
        "no_palette.png": Bad(without(palette_png, b"PLTE"), DAMAGED),
        "no_pixels.png": Bad(without(png, b"IDAT"), DAMAGED),
        "unknown_chunk.png": Bad(with_chunks(png, chunk(b"ABCD", b"needed")), DAMAGED),
        "60000_x_60000.png": Bad(with_pixel_data(rows, 60_000, 60_000), "TooManyPixelsError"),
        "largest.png": Bad(with_pixel_data(rows, 2**31 - 1, 2**31 - 1), "TooManyPixelsError"),
        "too_large.png": Bad(with_pixel_data(rows, 2**31, 1), DAMAGED),
        "no_width.png": Bad(with_pixel_data(rows, 0, 48), DAMAGED),
        "no_height.png": Bad(with_pixel_data(rows, 64, 0), DAMAGED),
        "no_such_depth.png": Bad(SIGNATURE + header_chunk(64, 48, 7, 2) + png[33:], DAMAGED),
        "no_such_colours.png": Bad(SIGNATURE + header_chunk(64, 48, 8, 5) + png[33:], DAMAGED),
        "no_zlib.png": Bad(with_pixel_data(b"this is no zlib stream at all"), DAMAGED),
        "photo_of_jpeg.png": Bad(encoded(picture, "JPEG"), "NotAPngError"),
        "photo_of_webp.png": Bad(encoded(picture, "WEBP"), "NotAPngError"),
        "photo_of_gif.png": Bad(encoded(picture, "GIF"), "NotAPngError"),
        "photo_of_tiff.png": Bad(encoded(picture, "TIFF"), "NotAPngError"),
        "picture.svg.png": Bad(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "NotAPngError"),
        "page.png": Bad(page, "NotAnImageError"),
        "note.png": Bad(b"Not found\n", "NotAnImageError"),
        "program.png": Bad(b"\x7fELF" + bytes(range(256)) * 20, "NotAnImageError"),
    }


def odd_files() -> dict[str, Odd]:
    picture = photo(64, 48)
    grey = picture.convert("L")
    rgb, levels = picture.tobytes(), grey.tobytes()

    def level(x: int, y: int) -> int:
        return levels[y * 64 + x]

    def colour(x: int, y: int) -> tuple[int, ...]:
        return tuple(rgb[(y * 64 + x) * 3 : (y * 64 + x) * 3 + 3])

    png = whole_png()
    halves = Image.linear_gradient("L").resize((64, 48))
    quantized = picture.quantize(8)
    indices = quantized.tobytes()
    palette = (quantized.getpalette() or [])[:24]
    opaque_index = [index % 2 for index in range(8)]  # every second colour is transparent
    seen = Image.new("RGB", (64, 48))
    seen.putdata([
        tuple(palette[3 * index : 3 * index + 3]) if opaque_index[index] else (255, 255, 255) for index in indices
    ])  # fmt: skip
    stripes = Image.new("L", (64, 48))
    stripes.putdata([255 * (x // 8 % 2) for _ in range(48) for x in range(64)])
    tall = Image.linear_gradient("L").resize((1, 20_000)).convert("RGB")
    bomb = zeros_packed(BOMB_BYTES)
    rows_seen = Image.frombytes("L", (64, 48), bytes(255 * (y % 16 > 7) for y in range(48) for _ in range(64)))
    on_end = tall.transpose(Image.Transpose.ROTATE_90)
    return {
        "one_bit.png": Odd(png_of(64, 48, 1, 0, lambda x, y: (x // 8 % 2,)), stripes.convert("RGB")),
        "grey_16.png": Odd(png_of(64, 48, 16, 0, lambda x, y: (level(x, y) * 257,)), grey.convert("RGB")),
        "colours_16.png": Odd(png_of(64, 48, 16, 2, lambda x, y: [v * 257 for v in colour(x, y)]), picture),
        "grey_16_with_alpha.png": Odd(
            png_of(64, 48, 16, 4, lambda x, y: (level(x, y) * 257, 65535 * (y % 16 > 7))),
            on_white(grey, rows_seen),
        ),
        "alpha.png": Odd(
            as_png(Image.merge("RGBA", (*picture.split(), halves))), on_white(picture, halves)
        ),
        "palette_with_holes.png": Odd(
            png_of(64, 48, 4, 3, lambda x, y: (indices[y * 64 + x],), palette=palette,
                   transparency=bytes(255 * opaque for opaque in opaque_index)), seen,
        ),
        "interlaced.png": Odd(png_of(64, 48, 8, 2, colour, interlaced=True), picture),
        "interlaced_16.png": Odd(
            png_of(64, 48, 16, 2, lambda x, y: [v * 257 for v in colour(x, y)], interlaced=True), picture
        ),
        "animated.png": Odd(
            as_png(picture, save_all=True, append_images=[Image.new("RGB", (64, 48), "red")], duration=100), picture
        ),
        "1_x_20000.png": Odd(as_png(tall), tall),
        "20000_x_1.png": Odd(as_png(on_end), on_end),
        "one_pixel.png": Odd(as_png(Image.new("RGB", (1, 1), (9, 99, 199))), Image.new("RGB", (1, 1), (9, 99, 199))),
        "ztxt_bomb.png": Odd(with_chunks(png, chunk(b"zTXt", b"parameters\0\0" + bomb)), picture),
        "itxt_bomb.png": Odd(with_chunks(png, chunk(b"iTXt", b"parameters\0\1\0\0\0" + bomb)), picture),
        "many_ztxt_bombs.png": Odd(with_chunks(png, *[chunk(b"zTXt", b"p\0\0" + bomb)] * 8), picture),
        "iccp_bomb.png": Odd(with_chunks(png, iccp_chunk(b"", packed=bomb)), picture),
        "iccp_of_noise.png": Odd(with_chunks(png, iccp_chunk(bytes(range(256)) * 8)), picture),
        "iccp_of_no_zlib.png": Odd(with_chunks(png, iccp_chunk(b"", packed=b"no zlib stream")), picture),
        "iccp_cut.png": Odd(with_chunks(png, iccp_chunk(b"", packed=zlib.compress(bytes(4000))[:-6])), picture),
        "pixels_bomb.png": Odd(with_pixel_data(rows_and_a_bomb(picture), 64, 48), picture),
        "crc_of_text.png": Odd(with_wrong_crc(png, b"tEXt"), picture),
        "crc_of_end.png": Odd(with_wrong_crc(png, b"IEND"), picture),
        # With this profile it would be much darker: what is damaged is left out.
        "crc_of_profile.png": Odd(with_wrong_crc(with_chunks(png, iccp_chunk(rgb_profile(4.0))), b"iCCP"), picture),
        "text_named_escape.png": Odd(with_chunks(png, chunk(b"tEXt", TITLE + b"\0" + TITLE)), picture),
        "profile_named_escape.png": Odd(
            with_chunks(png, chunk(b"iCCP", TITLE + b"\0\0" + zlib.compress(b"no profile"))), picture
        ),
        "much_behind_its_end.png": Odd(png + b"\0" * 100_000, picture),
        "unknown_harmless_chunk.png": Odd(with_chunks(png, chunk(b"abCd", b"ignored")), picture),
    }  # fmt: skip


def rows_and_a_bomb(picture: Image.Image) -> bytes:
    """The pixel data of a picture, followed by a bomb in the same stream."""
    packer = zlib.compressobj(9)
    width_bytes = picture.width * 3
    rgb = picture.tobytes()
    packed = [
        packer.compress(b"\0" + rgb[at : at + width_bytes]) for at in range(0, len(rgb), width_bytes)
    ]  # fmt: skip
    block = bytes(2**20)
    packed += [packer.compress(block) for _ in range(BOMB_BYTES // len(block))]
    return b"".join(packed) + packer.flush()


# -- what is looked at


def failures_of(project: Project) -> dict[str, dict[str, Any]]:
    """What ``failures`` reports, by file name."""
    return {key.removeprefix(f"{SESSION}/"): failure for key, failure in failures(project).items()}


def peak_bytes(process: psutil.Process) -> int:
    """Peak memory of the process."""
    line = next(line for line in Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


def assert_shows(thumbnail: Path, picture: Image.Image) -> None:
    """Asserts that a thumbnail has its size and shows the picture, as far as a lossy format can."""
    wanted_px = min(16_383, max(1, round(240 * picture.width / picture.height))), 240
    with Image.open(thumbnail) as found:
        assert (found.format, found.size) == ("WEBP", wanted_px), thumbnail
        shown = found.convert("RGB")
    wanted = picture.resize(wanted_px, Image.Resampling.LANCZOS)
    difference = ImageStat.Stat(ImageChops.difference(shown, wanted)).mean
    assert max(difference) < 4.0, (thumbnail, difference)


@contextlib.contextmanager
def opens_in(folder: Path) -> Iterator[Callable[[], Counter[str]]]:
    """Counts how often any process opens each file in a folder, as the kernel reports it; includes files made later."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    opened, lost, of_a_folder = 0x20, 0x4000, 0x4000_0000  # IN_OPEN, IN_Q_OVERFLOW, IN_ISDIR (inotify(7))
    counted: Counter[str] = Counter()

    def count() -> Counter[str]:
        with contextlib.suppress(BlockingIOError):
            while events := os.read(descriptor, 65_536):
                at = 0
                while at < len(events):
                    _, mask, _, length = struct.unpack_from("iIII", events, at)
                    assert not mask & lost
                    if not mask & of_a_folder:
                        counted[os.fsdecode(events[at + 16 : at + 16 + length].rstrip(b"\0"))] += 1
                    at += 16 + length
        return counted

    try:
        assert libc.inotify_add_watch(descriptor, os.fsencode(folder), opened) >= 0, folder
        yield count
    finally:
        os.close(descriptor)


def draw_good_images(project: Project) -> list[str]:
    """Draws ordinary images of an ordinary size."""
    names = [f"good_{number:02}.png" for number in range(8)]
    for number, name in enumerate(names):
        picture = photo(512 + 16 * number, 640)
        (project.results / SESSION / name).write_bytes(as_png(picture, compress_level=1))
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_hostile_files_harm_neither_their_neighbours_nor_the_watcher(project: Project, tmp_path: Path) -> None:
    bad, odd = bad_files(), odd_files()
    folder = project.results / SESSION
    calm = Project(tmp_path / "calm")
    (calm.results / SESSION).mkdir(parents=True)
    (calm.root / "sdgen_config.json").write_bytes((project.root / "sdgen_config.json").read_bytes())
    with watcher_process(calm) as watcher:
        for name in draw_good_images(calm):
            wait_for(lambda name=name: calm.is_fresh(f"{SESSION}/{name}"), SOON_S)  # type: ignore[misc]
        usual_bytes = peak_bytes(watcher)

    with watcher_process(project) as watcher:
        files: dict[str, bytes] = {name: file.content for name, file in (bad | odd).items()}
        for name in sorted(files):
            (folder / name).write_bytes(files[name])
        good = draw_good_images(project)
        for name in [*good, *odd]:
            wait_for(lambda name=name: project.is_fresh(f"{SESSION}/{name}"), SOON_S)  # type: ignore[misc]
        wait_for(lambda: project.state().get("failures") == len(bad), SOON_S)
        wait_for(lambda: failures_of(project).keys() == bad.keys(), SOON_S)

        told = failures_of(project)
        assert {name: failure["kind"] for name, failure in told.items()} == {
            name: one.kind for name, one in bad.items()
        }
        assert all(failure["message"] and failure["remedy"] for failure in told.values())
        there = {path.name for path in (project.thumbnails / SESSION).iterdir()}
        assert there == {Path(name).with_suffix(".webp").name for name in [*good, *odd]}
        for name, one in odd.items():
            assert_shows(project.thumbnail(f"{SESSION}/{name}"), one.picture)
            thumbnail = project.thumbnail(f"{SESSION}/{name}").read_bytes()
            assert picture_in(thumbnail) == picture_in(make_thumbnail(one.content, Recipe()))
        assert "chunk_named_escape.png" in project.log()
        for told_to_people in (project.log(), output_of(project, "status"), output_of(project, "failures")):
            assert "\x1b" not in told_to_people
        report = status(project)
        # An image that cannot be shown is counted; it is not a problem of the machine.
        assert (report["running"], report["failures"], report["problems"]) == (True, len(bad), [])
        assert peak_bytes(watcher) < usual_bytes + ALLOWED_BYTES, (usual_bytes, peak_bytes(watcher))

        late = project.image(f"{SESSION}/late.png")
        wait_for(lambda: project.is_fresh(f"{SESSION}/{late.name}"), SOON_S)
        for name in bad:
            (folder / name).unlink()
        wait_for(lambda: project.state()["failures"] == 0, SOON_S)
        wait_for(project.is_exact, SOON_S)
        assert output_of(project, "failures").strip() == "✓ No image failed"


def test_a_broken_file_made_whole_is_shown_and_a_whole_one_broken_is_not(project: Project) -> None:
    name = f"{SESSION}/a.png"
    path = project.results / name
    with watcher_process(project):
        for kind, content in (
            ("DamagedImageError", with_wrong_crc(whole_png(), b"IDAT")),
            ("NotAnImageError", b"<html></html>"),
        ):
            path.write_bytes(content)
            wait_for(lambda kind=kind: [f["kind"] for f in failures_of(project).values()] == [kind], SOON_S)  # type: ignore[misc]
            wait_for(lambda: not project.thumbnail(name).exists(), SOON_S)
            path.write_bytes(whole_png())
            wait_for(project.is_exact, SOON_S)
            wait_for(lambda: project.state()["failures"] == 0, SOON_S)


def test_a_png_that_changes_while_it_is_read_ends_with_the_thumbnail_of_its_last_state(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: Counter[str] = Counter()
    reconcile = ImageReconciler.reconcile

    def counting(images: ImageReconciler, key: str, **options: Any) -> Outcome:
        try:
            return reconcile(images, key, **options)
        except SourceChangedError as error:
            met[error.message] += 1
            raise

    monkeypatch.setattr(ImageReconciler, "reconcile", counting)
    names = [f"{SESSION}/changing_{number}.png" for number in range(3)]
    states = [as_png(Image.new("RGB", (700, 900), colour)) for colour in ("red", "lime", "blue")]
    states += [states[0][: len(states[0]) // 2], b"", as_png(photo(800, 1000), compress_level=0)]
    stop = threading.Event()

    def change(path: Path) -> None:
        turn = 0
        while not stop.is_set():
            with path.open("r+b") as file:  # in place: the reader has the same file open
                content = states[turn % len(states)]
                for at in range(0, len(content), 100_000):
                    file.write(content[at : at + 100_000])
                    file.flush()
                    stop.wait(0.002)  # no faster than a slow program writes; otherwise the test is one of floods
                file.truncate()
            stop.wait(0.002)
            turn += 1

    for name in names:
        (project.results / name).touch()
    writers = [threading.Thread(target=change, args=(project.results / name,)) for name in names]
    with watching(project):
        for writer in writers:
            writer.start()
        try:
            for number in range(6):
                beside = project.image(f"{SESSION}/beside_{number}.png")
                wait_for(lambda beside=beside: project.is_fresh(f"{SESSION}/{beside.name}"), SOON_S)  # type: ignore[misc]
            wait_for(
                lambda: met.keys() == {"changed while it was read", "changed while its thumbnail was made"}, SOON_S
            )
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        final = photo(400, 300)
        for name in names:
            (project.results / name).write_bytes(as_png(final))
        wait_for(project.is_exact, SOON_S)
        wait_for(lambda: project.state()["failures"] == 0, SOON_S)
        for name in names:
            wait_for(lambda name=name: is_of(project, name), SOON_S)  # type: ignore[misc]
            assert_shows(project.thumbnail(name), final)
        wait_for(lambda: project.state()["problems"] == [], SOON_S)


def is_of(project: Project, name: str) -> bool:
    """Whether a thumbnail is, byte for byte, that of its image."""
    made = make_thumbnail((project.results / name).read_bytes(), Recipe())
    return picture_in(project.thumbnail(name).read_bytes()) == picture_in(made)


@pytest.mark.parametrize("observer", ["native", "polling"])
@pytest.mark.skipif(sys.platform != "linux", reason="that nobody opens a file is told by inotify")
def test_a_fifo_a_socket_and_a_device_named_like_images_are_never_opened(project: Project, observer: str) -> None:
    folder = project.results / SESSION
    fifo, device, other = folder / "fifo.png", folder / "zero.png", folder / "disk.PNG"
    os.mkfifo(fifo)
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: never ends
        os.mknod(other, stat.S_IFBLK | 0o666, os.makedev(7, 250))
    except PermissionError:
        pytest.skip("making devices takes root")
    listener = socket.socket(socket.AF_UNIX)
    (folder / "link.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    try:
        short = Path(os.path.relpath(folder / "socket.png"))  # a socket's address has at most 107 bytes
        listener.bind(str(short))
        with opens_in(folder) as opened:
            with watcher_process(project, "--observer", observer):
                for number in range(3):
                    good = f"{SESSION}/good_{number}.png"
                    project.image(good)
                    wait_for(lambda good=good: project.is_fresh(good), SOON_S)  # type: ignore[misc]
                    for path in (fifo, device, other):
                        os.utime(path)  # reports "changed" to watchers
                late = folder / "late_fifo.png"
                os.mkfifo(late)
                project.image(f"{SESSION}/folder.png/inside.png")
                wait_for(lambda: project.is_fresh(f"{SESSION}/folder.png/inside.png"), SOON_S)
                os.utime(late)
                project.image(f"{SESSION}/last.png")
                wait_for(lambda: project.is_fresh(f"{SESSION}/last.png"), SOON_S)
                report = status(project)
                assert (report["running"], report["failures"], report["problems"]) == (True, 0, [])
            assert set(opened()) == {f"{name}.png" for name in ("good_0", "good_1", "good_2", "last")}
            for path in (fifo, device, late):  # had anybody opened one, it would have been counted
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                assert opened()[path.name] == 1
        there = {
            path.relative_to(project.thumbnails / SESSION).as_posix() for path in project.thumbnails.rglob("*.webp")
        }
        names = ["good_0", "good_1", "good_2", "last", "folder.png/inside"]
        assert there == {f"{name}.webp" for name in names}
    finally:
        listener.close()
