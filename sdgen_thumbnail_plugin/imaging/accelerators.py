"""Optional libraries that are faster than Pillow: a PNG decoder and a Lanczos resizer.

imagecodecs (the extra ``[fast]``) decodes in less than half of Pillow's time: it undoes PNG's row filters with SIMD and
inflates with zlib-ng. cykooz-resizer resizes in a sixth of it. Both release the GIL. They get plain images only, as
nearly all are; whatever they refuse goes to Pillow, so the same code always finds what is wrong with a file.
"""

from __future__ import annotations

import functools
import importlib
import os
import zlib
from collections.abc import Callable
from typing import Any, Final

from PIL import Image

from sdgen_thumbnail_plugin.imaging.png import GREY, GREY_ALPHA, RGB, RGBA, PngHeader
from sdgen_thumbnail_plugin.paths import FAST_VARIABLE

_MAX_PIXELS: Final = 1 << 26
"""Larger images go to Pillow, which needs 4 bytes a pixel where these need 9 (14 with alpha)."""

_CHANNELS: Final = {RGB: 3, RGBA: 4}


def has_extra() -> bool:
    """Whether the extra ``[fast]`` is installed and in use."""
    return _decoder() is not None


def names() -> list[str]:
    """The libraries in use, each with its version."""
    from importlib.metadata import version

    found = []
    if has_extra():
        found.append(f"imagecodecs {version('imagecodecs')}")
    if _resizer() is not None:
        found.append(f"cykooz-resizer {version('cykooz-resizer')}")
    return found


def can_decode(header: PngHeader) -> bool:
    """Whether ``decode`` takes an image with this header."""
    plain = header.colour_type in _CHANNELS and header.bit_depth == 8 and not header.interlaced
    return plain and header.pixels <= _MAX_PIXELS and _decoder() is not None


def can_resize(header: PngHeader) -> bool:
    """Whether ``resize`` takes an image with this header, decoded by either decoder."""
    coloured = header.colour_type not in (GREY, GREY_ALPHA)
    return coloured and header.pixels <= _MAX_PIXELS and _resizer() is not None


def decode(png: bytes, header: PngHeader) -> bytes | None:
    """Decodes an image of 8-bit RGB or RGBA.

    Args:
        png: a whole file that holds nothing but header, pixel data and end.
        header: the file's header.

    Returns:
        The samples, 3 or 4 bytes a pixel, row by row without gaps; None where Pillow has to decode it.
    """
    decoder = _decoder() if can_decode(header) else None
    if decoder is None:
        return None
    try:
        samples = decoder(png)
        expected = (header.height_px, header.width_px, _CHANNELS[header.colour_type])
        return bytes(samples.data) if samples.shape == expected and samples.itemsize == 1 else None
    except Exception:  # noqa: BLE001 - whatever it is, Pillow reports it
        return None


def resize(image: Image.Image | bytes, size: tuple[int, int], new_size: tuple[int, int]) -> Image.Image | None:
    """Shrinks an image of 8-bit RGB by Lanczos.

    Args:
        image: an image, or its samples, 3 bytes a pixel, row by row without gaps.
        size: its width and height in pixels.
        new_size: the width and height to make.

    Returns:
        The image in mode RGB; None where Pillow has to resize it. Pillow does all enlarging: there the two differ by up
        to 3 of 255 (root mean square).
    """
    if new_size[0] > size[0] or new_size[1] > size[1] or size[0] * size[1] > _MAX_PIXELS:
        return None
    resizer = _resizer()
    if resizer is None or (not isinstance(image, bytes) and image.mode != "RGB"):
        return None
    # Its other interface reads the internals of Pillow's images, which no version of Pillow guarantees.
    library, pixel_type, options = resizer
    rgb = image if isinstance(image, bytes) else image.tobytes()
    source = library.ImageData(*size, pixel_type, rgb)
    target = library.ImageData(*new_size, pixel_type)
    library.Resizer().resize(source, target, options)
    return Image.frombytes("RGB", new_size, target.get_buffer())


@functools.cache
def crc32() -> Callable[[bytes | memoryview], int]:
    """The function for the checksums of PNG chunks: the extra's takes a sixteenth of zlib's time, and every byte of a
    file passes through it."""
    if has_extra():
        try:
            found: Callable[[bytes | memoryview], int] = _library("imagecodecs").zlibng_crc32
            if found(b"123456789") == 0xCBF43926:  # the check value of CRC-32
                return found
        except Exception:  # noqa: BLE001 - built without zlib-ng
            pass
    return zlib.crc32


def _library(name: str) -> Any:
    """Imports a library. Raises whatever it raises, and ``ImportError`` if all are switched off."""
    if os.environ.get(FAST_VARIABLE) == "0":
        raise ImportError(f"switched off by {FAST_VARIABLE}=0")
    return importlib.import_module(name)


@functools.cache
def _decoder() -> Callable[[bytes], Any] | None:
    """The extra's decoder: PNG to numpy array."""
    try:
        decoder: Callable[[bytes], Any] = _library("imagecodecs").png_decode
    except Exception:  # noqa: BLE001 - absent, half installed, or built for another numpy
        return None
    return decoder


@functools.cache
def _resizer() -> tuple[Any, Any, Any] | None:
    """The library that resizes, its pixels of three bytes, and its options for Lanczos."""
    try:
        library = _library("cykooz_resizer")
        lanczos = library.ResizeAlg.convolution(library.FilterType.lanczos3)
        return library, library.PixelType.U8x3, library.ResizeOptions(resize_alg=lanczos, use_alpha=False)
    except Exception:  # noqa: BLE001 - absent, or a version with another interface
        return None
