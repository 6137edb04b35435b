"""The optional half of the imaging: a faster decoder and a faster Lanczos, where the extra ``[fast]`` is installed.

libpng over zlib-ng (from imagecodecs) unpacks a picture in less than half of Pillow's time, mostly because it undoes
the row filters with SIMD; cykooz-resizer shrinks it in a sixth. Both let other threads run. They are given only the
plain pictures that nearly all are, and whatever they refuse is Pillow's: what is wrong with a file is always found by
the same code.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

from sdgen_thumbnail_plugin.png import RGB, RGBA, PngHeader

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

__all__ = ["FAST_VARIABLE", "decode", "names", "resize", "takes"]

FAST_VARIABLE = "SDGEN_THUMBNAILS_FAST"
"""Set to 0, the extra is left alone, installed or not."""

_MAX_PIXELS = 1 << 26
"""Larger pictures are Pillow's, which needs 4 bytes a pixel where this needs 9 (14 with alpha)."""

_CHANNELS = {RGB: 3, RGBA: 4}


def names() -> list[str]:
    """What is in use, with versions; empty where nothing is."""
    from importlib.metadata import version

    found = {"imagecodecs": _decoder(), "cykooz-resizer": _resizer()}
    return [f"{name} {version(name)}" for name, one in found.items() if one is not None]


def takes(header: PngHeader) -> bool:
    """Whether the decoder is there, and meant for such a picture."""
    plain = header.colour_type in _CHANNELS and header.bit_depth == 8 and not header.interlaced
    return plain and header.pixels <= _MAX_PIXELS and _decoder() is not None


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
        samples = decoder(png)
    except Exception:  # noqa: BLE001 - whatever it is, Pillow will say it
        return None
    if samples.shape != (header.height_px, header.width_px, _CHANNELS[header.colour_type]) or samples.itemsize != 1:
        return None
    return bytes(samples.data)


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


def _is_wanted() -> bool:
    return os.environ.get(FAST_VARIABLE) != "0"


@functools.cache
def _decoder() -> Callable[[bytes], Any] | None:
    if not _is_wanted():
        return None
    try:
        decoder: Callable[[bytes], Any] = importlib.import_module("imagecodecs").png_decode
    except Exception:  # noqa: BLE001 - absent, half installed, or made for another numpy
        return None
    return decoder


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
