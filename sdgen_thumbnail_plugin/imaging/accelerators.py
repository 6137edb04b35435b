"""What is faster than Pillow, where it is there: a decoder and a Lanczos.

libpng unpacks a picture in less time than Pillow, mostly because it undoes the row filters with SIMD: that of the extra
``[fast]`` (imagecodecs, over zlib-ng) in less than half, one that the machine has anyway (see ``libpng``) in five
sixths. cykooz-resizer shrinks it in a sixth. All let other threads run. They are given only the plain pictures that
nearly all are, and whatever they refuse is Pillow's: what is wrong with a file is always found by the same code.
"""

from __future__ import annotations

import functools
import importlib
import os
import zlib
from typing import TYPE_CHECKING, Any

from sdgen_thumbnail_plugin.imaging.png import GREY, GREY_ALPHA, RGB, RGBA
from sdgen_thumbnail_plugin.paths import FAST_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from sdgen_thumbnail_plugin.imaging.png import PngHeader

__all__ = ["crc32", "decode", "has_extra", "names", "resize", "shrinks", "takes"]

_MAX_PIXELS = 1 << 26
"""Larger pictures are Pillow's, which needs 4 bytes a pixel where this needs 9 (14 with alpha)."""

_CHANNELS = {RGB: 3, RGBA: 4}


def has_extra() -> bool:
    """Whether the extra ``[fast]`` is installed, and in use."""
    return _extra() is not None


def names() -> list[str]:
    """What is in use, with versions; empty where nothing is."""
    from importlib.metadata import version

    found = []
    if has_extra():
        found.append(f"imagecodecs {version('imagecodecs')}")
    elif _decoder() is not None:
        from sdgen_thumbnail_plugin.imaging import libpng

        found.append(f"libpng {libpng.version()}")
    if _resizer() is not None:
        found.append(f"cykooz-resizer {version('cykooz-resizer')}")
    return found


def takes(header: PngHeader) -> bool:
    """Whether the decoder is there, and meant for such a picture."""
    plain = header.colour_type in _CHANNELS and header.bit_depth == 8 and not header.interlaced
    return plain and header.pixels <= _MAX_PIXELS and _decoder() is not None


def shrinks(header: PngHeader) -> bool:
    """Whether such a picture is given to the resizer, whoever decoded it."""
    coloured = header.colour_type not in (GREY, GREY_ALPHA)
    return coloured and header.pixels <= _MAX_PIXELS and _resizer() is not None


def decode(png: bytes, header: PngHeader) -> bytes | None:
    """Unpacks a picture of 8-bit RGB or RGBA.

    Args:
        png: a whole file, of header, pixel data and end alone.
        header: what its header says.

    Returns:
        Its samples, 3 or 4 bytes a pixel, row after row without gaps; None where Pillow is to unpack it.
    """
    decoder = _decoder() if takes(header) else None
    if decoder is None:
        return None
    try:
        return decoder(png, header.width_px, header.height_px, _CHANNELS[header.colour_type])
    except Exception:  # noqa: BLE001 - whatever it is, Pillow will say it
        return None


def resize(picture: Image.Image | bytes, size: tuple[int, int], wanted: tuple[int, int]) -> Image.Image | None:
    """Shrinks a picture of 8-bit RGB by Lanczos.

    Args:
        picture: an image, or its samples, 3 bytes a pixel, row after row without gaps.
        size: its width and height in pixels.
        wanted: the new ones.

    Returns:
        The picture in mode RGB; None where Pillow is to resize it. Enlarging is: there the two differ, by up to 3 of
        255 in the root of the mean square.
    """
    if wanted[0] > size[0] or wanted[1] > size[1] or size[0] * size[1] > _MAX_PIXELS:
        return None
    resizer = _resizer()
    if resizer is None:
        return None
    if isinstance(picture, bytes):
        return resizer(picture, size, wanted)
    return resizer(picture.tobytes(), size, wanted) if picture.mode == "RGB" else None


def crc32() -> Callable[[bytes | memoryview], int]:
    """What computes the checksum of PNG's chunks: the extra's takes a sixteenth of zlib's time, and a whole file has to
    be gone over."""
    return _extra_crc32() or zlib.crc32


def _is_wanted() -> bool:
    return os.environ.get(FAST_VARIABLE) != "0"


@functools.cache
def _decoder() -> Callable[[bytes, int, int, int], bytes | None] | None:
    """Takes a PNG, its width and height in pixels, and the bytes of a pixel."""
    if not _is_wanted():
        return None
    try:
        from sdgen_thumbnail_plugin.imaging import libpng

        return _extra() or libpng.decoder()
    except Exception:  # noqa: BLE001 - a Python without ctypes
        return None


@functools.cache
def _extra() -> Callable[[bytes, int, int, int], bytes | None] | None:
    if not _is_wanted():
        return None
    try:
        decoder: Callable[[bytes], Any] = importlib.import_module("imagecodecs").png_decode
    except Exception:  # noqa: BLE001 - absent, half installed, or made for another numpy
        return None

    def decode_by_it(png: bytes, width_px: int, height_px: int, pixel_bytes: int) -> bytes | None:
        samples = decoder(png)
        as_said = samples.shape == (height_px, width_px, pixel_bytes) and samples.itemsize == 1
        return bytes(samples.data) if as_said else None

    return decode_by_it


@functools.cache
def _extra_crc32() -> Callable[[bytes | memoryview], int] | None:
    if not has_extra():
        return None
    try:
        found: Callable[[bytes | memoryview], int] = importlib.import_module("imagecodecs").zlibng_crc32
        return found if found(b"123456789") == 0xCBF43926 else None  # the check value of this checksum
    except Exception:  # noqa: BLE001 - built without it
        return None


@functools.cache
def _resizer() -> Callable[[bytes, tuple[int, int], tuple[int, int]], Image.Image] | None:
    if not _is_wanted():
        return None
    try:
        library: Any = importlib.import_module("cykooz_resizer")
        lanczos = library.ResizeAlg.convolution(library.FilterType.lanczos3)
        options = library.ResizeOptions(resize_alg=lanczos, use_alpha=False)
        three_bytes = library.PixelType.U8x3
    except Exception:  # noqa: BLE001 - absent, or another version than the one we know
        return None

    from PIL import Image

    def resize_by_it(rgb: bytes, size: tuple[int, int], wanted: tuple[int, int]) -> Image.Image:
        # Bytes in, bytes out: its other way in reads Pillow's images from inside, which no version of Pillow promises.
        source = library.ImageData(*size, three_bytes, rgb)
        target = library.ImageData(*wanted, three_bytes)
        library.Resizer().resize(source, target, options)
        return Image.frombytes("RGB", wanted, target.get_buffer())

    return resize_by_it
