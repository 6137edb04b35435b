"""The accelerators give the pixels that Pillow gives.

Tests of the extra's decoder are skipped where the extra ``[fast]`` is not installed; ``tox -e py313-fast`` has it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat, PngImagePlugin

from sdgen_thumbnail_plugin.errors import ImageError
from sdgen_thumbnail_plugin.imaging import accelerators, thumbnail
from sdgen_thumbnail_plugin.imaging.png import DEPTHS, GREY, PALETTE, RGB, RGBA, read_header, read_parts
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.paths import FAST_VARIABLE
from support.pictures import CHANNELS, SIGNATURE, as_png, chunk, chunks_of, header_chunk, joined, photo, png_of

RECIPE = Recipe(height_px=16, method=0)
TYPES = [(colour_type, depth) for colour_type, depths in DEPTHS.items() for depth in depths]

needs_the_extra = pytest.mark.skipif(not accelerators.has_extra(), reason="the extra [fast] is not installed")
needs_the_resizer = pytest.mark.skipif(
    accelerators._resizer() is None, reason="cykooz-resizer has no wheel for this machine"
)


def picture(png: bytes) -> tuple[str, bytes]:
    """What is decoded, in full size: mode and samples."""
    header = read_header(png)
    found = thumbnail._decoded(png, header, read_parts(png, header))
    return ("RGB", found) if isinstance(found, bytes) else (found.mode, found.tobytes())


def by_pillow(work: Callable[[bytes], object], png: bytes) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accelerators, "_decoder", lambda: None)
        return work(png)


def outcome(png: bytes) -> object:
    """The picture, or what is said of it."""
    try:
        return picture(png)
    except ImageError as error:
        return type(error), error.message


def takes(png: bytes) -> bool:
    taken = accelerators.decode(png, read_header(png)) is not None
    assert accelerators.can_decode(read_header(png)) or not taken
    return taken


def pixel(colour_type: int, depth: int, x: int, y: int) -> list[int]:
    """The samples at a place of a picture that has every value of them in use."""
    return [(x * 7 + y * 13 + channel * 31) * 2654435761 % (1 << depth) for channel in range(CHANNELS[colour_type])]


def key_of(colour_type: int, depth: int, size: tuple[int, int]) -> list[int]:
    """The one transparent colour: that of the last pixel, so that it occurs, and is not black only."""
    return pixel(colour_type, depth, size[0] - 1, size[1] - 1)


def sample(colour_type: int, depth: int, size: tuple[int, int], *, tinted: bool, interlaced: bool) -> bytes:
    """A picture with every value of its samples in use, and a tRNS where that may be."""
    transparency = None
    if tinted and colour_type == PALETTE:
        transparency = b"\0\x80"
    elif tinted and colour_type in (GREY, RGB):
        transparency = b"".join(value.to_bytes(2, "big") for value in key_of(colour_type, depth, size))
    return png_of(
        *size, depth, colour_type, lambda x, y: pixel(colour_type, depth, x, y),
        palette=[value * 5 % 256 for value in range(3 << depth)] if colour_type == PALETTE else (),
        transparency=transparency, interlaced=interlaced, idat_bytes=50,
    )  # fmt: skip


def alphas(colour_type: int, depth: int, size: tuple[int, int]) -> list[int]:
    """How opaque the tRNS of a sample leaves its pixels, row after row."""
    pixels = [pixel(colour_type, depth, x, y) for y in range(size[1]) for x in range(size[0])]
    if colour_type == PALETTE:
        return [{0: 0, 1: 0x80}.get(index, 255) for (index,) in pixels]
    unseen = 8 if colour_type == RGB and depth == 16 else 0  # low bits that Pillow does not keep
    key = [value >> unseen for value in key_of(colour_type, depth, size)]
    return [0 if [value >> unseen for value in one] == key else 255 for one in pixels]


def on_white(samples: bytes, alphas: list[int]) -> bytes:
    """Samples behind which white shines through as far as they are not opaque."""
    channels = len(samples) // len(alphas)
    return bytes(
        (value * alphas[at // channels] + 255 * (255 - alphas[at // channels]) + 127) // 255
        for at, value in enumerate(samples)
    )


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("tinted", [False, True])
@pytest.mark.parametrize(("colour_type", "depth"), TYPES)
def test_every_kind_of_png_shows_the_same_pixels_as_by_pillow(
    colour_type: int, depth: int, tinted: bool, interlaced: bool
) -> None:
    for size in [(1, 1), (1, 9), (9, 1), (5, 7), (33, 31), (64, 16)]:
        png = sample(colour_type, depth, size, tinted=tinted, interlaced=interlaced)
        if not tinted:  # decode gets no tRNS to see
            plain = depth == 8 and colour_type in (RGB, RGBA) and not interlaced
            assert takes(png) == (plain and accelerators.has_extra())
        assert picture(png) == by_pillow(picture, png)
        if tinted and colour_type in (GREY, RGB, PALETTE):
            opacity = alphas(colour_type, depth, size)
            assert 0 in opacity
            assert any(opacity) or len(opacity) == 1
            mode, opaque = picture(sample(colour_type, depth, size, tinted=False, interlaced=interlaced))
            assert picture(png) == (mode, on_white(opaque, opacity))


@needs_the_extra
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_what_pillow_writes_with_its_mixed_row_filters_shows_the_same_pixels(mode: str) -> None:
    for size in [(320, 256), (101, 77)]:
        png = as_png(photo(*size).convert("I").convert(mode) if mode == "I;16" else photo(*size).convert(mode))
        assert picture(png) == by_pillow(picture, png)


@needs_the_extra
@pytest.mark.parametrize("filter_type", range(5))
@pytest.mark.parametrize("colour_type", [RGB, RGBA])
def test_every_row_filter_is_undone_as_by_pillow(colour_type: int, filter_type: int) -> None:
    row_bytes = 37 * CHANNELS[colour_type]
    rows = b"".join(bytes([filter_type]) + bytes(i * y * 11 % 251 for i in range(row_bytes)) for y in range(1, 24))
    png = SIGNATURE + header_chunk(37, 23, 8, colour_type) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
    assert takes(png)
    assert picture(png) == by_pillow(picture, png)


ROWS = zlib.compress(bytes(14))
BROKEN = {
    name: SIGNATURE + header_chunk(2, 2) + chunk(b"IDAT", pixels) + chunk(b"IEND")
    for name, pixels in {
        "too few rows": zlib.compress(bytes(7)),
        "too many rows": zlib.compress(bytes(1000)),
        "no such filter": zlib.compress(b"\x09" * 14),
        "not zlib": b"nonsense",
        "no sum": ROWS[:-4],
        "wrong sum": ROWS[:-4] + b"sums",
        "more after it": ROWS + b"more",
    }.items()
}


@needs_the_extra
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_ends_as_by_pillow(what: str) -> None:
    assert outcome(BROKEN[what]) == by_pillow(outcome, BROKEN[what])


@needs_the_extra
@given(st.sampled_from(["RGB", "RGBA"]), st.booleans(), st.data())
@settings(max_examples=200)
def test_flipped_bits_end_as_by_pillow(mode: str, sums_mended: bool, data: st.DataObject) -> None:
    png = bytearray(as_png(photo(24, 20).convert(mode)))
    for _ in range(data.draw(st.integers(1, 3))):
        png[data.draw(st.integers(41, len(png) - 17))] ^= 1 << data.draw(st.integers(0, 7))
    changed = joined(chunks_of(bytes(png))) if sums_mended else bytes(png)
    assert outcome(changed) == by_pillow(outcome, changed)


@needs_the_resizer
@pytest.mark.parametrize("size", [(800, 600), (600, 800), (101, 1001), (1, 500), (2000, 61), (240, 240)])
def test_shrinking_by_it_is_lanczos(size: tuple[int, int]) -> None:
    image = photo(*size)
    wanted = thumbnail.thumbnail_size(*size, 60)
    small = accelerators.resize(image.tobytes(), size, wanted)
    assert small is not None
    rms = ImageStat.Stat(ImageChops.difference(small, image.resize(wanted, Image.Resampling.LANCZOS))).rms
    assert max(rms) < 0.75  # of 255: what rounding between the two passes makes


def test_enlarging_is_left_to_pillow() -> None:
    image = photo(30, 20)
    assert accelerators.resize(image.tobytes(), image.size, (60, 20)) is None
    assert accelerators.resize(image.tobytes(), image.size, (30, 40)) is None


@needs_the_resizer
@needs_the_extra
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_thumbnail_is_made_by_it(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    png = as_png(photo(500, 400).convert(mode))
    monkeypatch.delattr(PngImagePlugin, "PngImageFile")
    monkeypatch.delattr(Image.Image, "resize")
    webp = thumbnail.make_thumbnail(png, RECIPE)
    assert Image.open(io.BytesIO(webp)).size == (20, 16)


@needs_the_extra
def test_larger_pictures_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "_MAX_PIXELS", 99)
    assert not takes(as_png(photo(10, 10)))


def test_whatever_the_decoder_raises_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("broken")

    monkeypatch.setattr(accelerators, "_decoder", lambda: fail)
    png = as_png(photo(10, 10))
    assert accelerators.decode(png, read_header(png)) is None
    assert thumbnail.make_thumbnail(png, RECIPE)


@pytest.mark.parametrize(("shape", "itemsize"), [((10, 9, 3), 1), ((10, 10, 4), 1), ((10, 10), 1), ((10, 10, 3), 2)])
def test_samples_of_another_shape_are_left_to_pillow(
    shape: tuple[int, ...], itemsize: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = SimpleNamespace(shape=shape, itemsize=itemsize, data=bytes(10 * 10 * 8))
    monkeypatch.setattr(accelerators, "_decoder", lambda: lambda _: samples)
    png = as_png(photo(10, 10))
    assert accelerators.can_decode(read_header(png))
    assert accelerators.decode(png, read_header(png)) is None


@pytest.mark.parametrize("absent", [["imagecodecs"], ["cykooz_resizer"]])
def test_a_library_that_cannot_be_imported_is_as_good_as_absent(absent: list[str]) -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
from sdgen_thumbnail_plugin.imaging import accelerators, thumbnail
from sdgen_thumbnail_plugin.model import Recipe
print(*accelerators.names())
thumbnail.make_thumbnail(sys.stdin.buffer.read(), Recipe())
"""
    result = subprocess.run([sys.executable, "-c", code], input=as_png(photo(10, 10)), capture_output=True, check=True)
    gone = {"imagecodecs": b"imagecodecs", "cykooz_resizer": b"cykooz"}
    assert not any(gone[name] in result.stdout for name in absent)


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAST_VARIABLE, "0")
    code = "from sdgen_thumbnail_plugin.imaging import accelerators; print(accelerators.names())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_importing_ours_imports_no_library_of_theirs() -> None:
    code = (
        "import sys, sdgen_thumbnail_plugin.imaging.thumbnail\n"
        "print({'imagecodecs', 'numpy', 'cykooz_resizer', 'ctypes'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_without_the_extra_zlib_computes_the_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "has_extra", lambda: False)
    accelerators.crc32.cache_clear()
    try:
        assert accelerators.crc32() is zlib.crc32
    finally:
        accelerators.crc32.cache_clear()


@needs_the_extra
def test_the_extras_checksum_is_used_and_is_zlibs() -> None:
    data = bytes(range(256)) * 4100
    assert accelerators.crc32() is not zlib.crc32
    for length in (0, 1, 15, 16, 17, 64, 255, 8192, len(data)):
        assert accelerators.crc32()(memoryview(data)[:length]) == zlib.crc32(data[:length])
