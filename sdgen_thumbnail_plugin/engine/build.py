"""One image's bytes to its thumbnail's bytes: values in, values out, so that it can be done anywhere."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from sdgen_thumbnail_plugin.errors import TooManyPixelsError
from sdgen_thumbnail_plugin.imaging import webp
from sdgen_thumbnail_plugin.model import Recipe, Stamp

_MAX_BYTES_PER_PIXEL = 8  # 16-bit RGBA, not compressed at all
_TEXT_ALLOWANCE_BYTES = 256 * 1024 * 1024


class Built(NamedTuple):
    """A thumbnail.

    Attributes:
        content: the WebP, with its mark.
        checksum: CRC-32 of the image's bytes.
    """

    content: bytes
    checksum: int


def needed_pixels(head: bytes, stamp: Stamp, *, max_pixels: int) -> int:
    """How much memory a build takes at its peak, in pixels of four bytes, known before the image is read whole.

    Args:
        head: the image's first bytes; its header is enough.
        stamp: its stamp.
        max_pixels: the largest image taken.

    Raises:
        ImageError: it is not a PNG, or not one whose header can be read.
        TooManyPixelsError: it has more pixels, or more bytes than so many pixels can take.
    """
    from sdgen_thumbnail_plugin.imaging import png, thumbnail  # Pillow: only in the threads that need it

    header = png.read_header(head)
    if header.pixels > max_pixels or stamp.size > max_pixels * _MAX_BYTES_PER_PIXEL + _TEXT_ALLOWANCE_BYTES:
        raise TooManyPixelsError(
            f"{header.width_px} x {header.height_px} pixels in {stamp.size:,} bytes, "
            f"more than the limit of {max_pixels:,} pixels"
        )
    return thumbnail.peak_pixels(header)


def build(image: bytes, stamp: Stamp, recipe: Recipe, *, max_pixels: int) -> Built:
    """Makes a thumbnail, with a mark that says what it was made from.

    Args:
        image: the whole file.
        stamp: its stamp.
        recipe: height, quality and effort.
        max_pixels: the largest image taken.

    Raises:
        ImageError: it cannot be shown.
        OutOfMemoryError: there is no memory to decode it.
    """
    from sdgen_thumbnail_plugin.imaging import thumbnail

    content = thumbnail.make_thumbnail(image, recipe, max_pixels=max_pixels)
    checksum = zlib.crc32(image)
    mark = webp.Mark(stamp, checksum, recipe.quality, recipe.method)
    return Built(webp.marked(content, mark), checksum)
