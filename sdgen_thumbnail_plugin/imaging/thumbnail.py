"""Turns PNG bytes into WebP bytes. No disk, no threads, and none of Pillow's globals: it runs in other processes too.

Pillow gets only the chunks that make up the image (see ``png``), and we apply transparency and palettes ourselves,
because its versions disagree about transparency, missing palette entries and 16-bit grey.
"""

from __future__ import annotations

import functools
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Final

# WebPImagePlugin registers itself; without it Image.save would load every plugin there is to find it.
from PIL import Image, ImageChops, PngImagePlugin, WebPImagePlugin  # noqa: F401

from sdgen_thumbnail_plugin.errors import (
    DamagedImageError,
    EncoderRefusedError,
    OutOfMemoryError,
    TooManyPixelsError,
    TruncatedImageError,
)
from sdgen_thumbnail_plugin.imaging import accelerators
from sdgen_thumbnail_plugin.imaging.png import (
    GREY,
    GREY_ALPHA,
    HEADER_BYTES,
    PALETTE,
    RGB,
    RGBA,
    PngHeader,
    PngParts,
    chunk,
    read_header,
    read_parts,
)
from sdgen_thumbnail_plugin.model import MAX_PIXELS, Recipe

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform


MAX_WEBP_SIDE_PX: Final = 16_383  # 14 bits: the size fields of a VP8 frame (RFC 6386, 9.1)

# Plain averaging does the first part of a large reduction and leaves Lanczos a factor of at least 3. After WebP at
# quality 85, that costs photographs 0.03 dB on average. From 4.2 on, pairs of rows are averaged: that costs 0.05 to
# 0.09 dB and saves a third of the time, because Pillow shrinks all rows before it shrinks the columns. Averaging pairs
# of columns from there on too would save 1 ms more at 1024x1024, for 0.13 dB on photographs and 2 dB on thin lines.
_LANCZOS_FACTOR: Final = 3.0
_PAIRED_ROWS_FACTOR: Final = 4.2

# The EXIF orientations (EXIF 2.32, 4.6.4 A), each with its inverse. From 5 on, width and height are swapped.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The exceptions that Pillow is known to raise for bad input; IndexError and KeyError are LookupErrors.
_MALFORMED: Final = (ValueError, SyntaxError, EOFError, LookupError, OverflowError, struct.error, zlib.error)
_PILLOW_ERRORS: Final = (OSError, Image.DecompressionBombError, *_MALFORMED)


def thumbnail_size(width_px: int, height_px: int, thumbnail_height_px: int) -> tuple[int, int]:
    """The size of an image's thumbnail: exactly the given height, and the width that keeps the proportions.

    Args:
        width_px, height_px: the size of the upright image, at least 1 each.
        thumbnail_height_px: the height of the thumbnail.

    Returns:
        Width and height in pixels; the width between 1 and `MAX_WEBP_SIDE_PX`.
    """
    thumbnail_width_px = max(1, round(thumbnail_height_px * width_px / height_px))
    return min(thumbnail_width_px, MAX_WEBP_SIDE_PX), thumbnail_height_px


def peak_pixels(header: PngHeader) -> int:
    """The peak memory of ``make_thumbnail``, in pixels of four bytes (measured with Pillow 13)."""
    alpha = header.colour_type in (GREY_ALPHA, RGBA)
    if accelerators.can_decode(header):
        peak_bytes = 14 if alpha else 9
    elif header.bit_depth == 16 and header.colour_type == GREY:
        peak_bytes = 12
    else:
        peak_bytes = 9 if alpha else 5 if header.colour_type == PALETTE else 4
        if accelerators.can_resize(header):  # it needs a copy of the decoded image
            peak_bytes = max(peak_bytes, 10)
    return header.pixels * peak_bytes // 4


def make_thumbnail(png: bytes, recipe: Recipe, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Makes a thumbnail: a lossy WebP in sRGB, upright, opaque, `recipe.height_px` high, without metadata.

    ``peak_pixels`` gives the memory that this takes.

    Args:
        png: the whole file.
        recipe: height, quality and effort.
        max_pixels: larger images are refused before anything is decoded.

    Returns:
        The whole WebP file.

    Raises:
        TruncatedImageError, NotAPngError, NotAnImageError, DamagedImageError: see `png.read_header` and
            `png.read_parts`; also if the pixels cannot be decoded.
        TooManyPixelsError: the image has more than `max_pixels`.
        EncoderRefusedError: Pillow refused this WebP, or cannot write WebP at all.
        OutOfMemoryError: the decoded image does not fit into memory.
    """
    header = read_header(png)
    if header.pixels > max_pixels:
        raise TooManyPixelsError(
            f"has {header.width_px}x{header.height_px} pixels, {header.pixels:,} of at most {max_pixels:,}"
        )
    try:
        parts = read_parts(png, header, accelerators.crc32())
        small = _upright(_decoded(png, header, parts), header, parts.orientation, recipe.height_px)
        return _encode(_to_srgb(small, parts.profile), recipe)
    except MemoryError:
        raise OutOfMemoryError(f"no memory left to decode {header.pixels:,} pixels") from None


def _decoded(png: bytes, header: PngHeader, parts: PngParts) -> Image.Image | bytes:
    """The image in full size, opaque: in mode L for grey, else in mode RGB or as bytes of RGB."""
    pieces: list[bytes | memoryview] = [png[:HEADER_BYTES]]
    if header.colour_type == PALETTE:
        pieces.append(chunk(b"PLTE", _opaque_palette(parts.palette, parts.transparency, 1 << header.bit_depth)))
    plain = b"".join([*pieces, *parts.pixels, chunk(b"IEND", b"")])
    samples = accelerators.decode(plain, header)
    if samples is not None and header.colour_type == RGB and not parts.transparency:
        return samples
    try:
        if samples is not None:
            mode = "RGB" if header.colour_type == RGB else "RGBA"
            image = Image.frombuffer(mode, (header.width_px, header.height_px), samples, "raw", mode, 0, 1)
        else:
            # Image.open would apply Pillow's own limit on pixels, which is a global and below ours.
            image = PngImagePlugin.PngImageFile(BytesIO(plain))
            image.load()
        return _flattened(image, header, parts.transparency)
    except _PILLOW_ERRORS as error:
        reason = _one_line(error)
        if "out of memory" in reason:
            raise MemoryError from None
        if "truncated" in reason:
            raise TruncatedImageError("its pixel data ends too early") from error
        raise DamagedImageError(f"cannot be decoded: {reason}") from error


def _opaque_palette(palette: bytes, transparency: bytes, size: int) -> bytes:
    """A palette of `size` colours, flattened on white: cheaper than flattening pixels, and equal in every Pillow.

    Missing colours are black, as in browsers; Pillow 10 would make them grey.
    """
    alphas = transparency if len(transparency) <= len(palette) // 3 else b""
    colours = bytearray(palette[: 3 * size].ljust(3 * size, b"\0"))
    for index, alpha in enumerate(alphas[:size]):
        for at in range(3 * index, 3 * index + 3):
            colours[at] = (colours[at] * alpha + 255 * (255 - alpha) + 127) // 255
    return bytes(colours)


def _flattened(image: Image.Image, header: PngHeader, transparency: bytes) -> Image.Image:
    """The image in mode L or RGB, with white where it is transparent.

    Pillow's handling of the one transparent colour differs between versions, and it does not scale that colour with the
    samples.
    """
    depth = header.bit_depth
    hidden: Image.Image | None = None  # 255 where the image is transparent
    if header.colour_type == PALETTE:
        return image.convert("RGB")
    if header.colour_type in (GREY_ALPHA, RGBA):
        hidden = ImageChops.invert(image.getchannel("A"))
        # 16-bit grey with alpha arrives as RGBA, with three equal channels.
        flat = image.getchannel(0) if header.colour_type == GREY_ALPHA else image.convert("RGB")
    elif header.colour_type == RGB:
        flat = image if image.mode == "RGB" else image.convert("RGB")
        if len(transparency) == 6:
            # Pillow keeps only the high bytes of 16-bit colours.
            key = [value >> 8 if depth == 16 else value & 0xFF for value in struct.unpack(">3H", transparency)]
            equal = [_equal(channel, value) for channel, value in zip(flat.split(), key, strict=True)]
            hidden = functools.reduce(ImageChops.darker, equal)
    else:
        value = int.from_bytes(transparency, "big") & ((1 << depth) - 1) if len(transparency) == 2 else None
        if depth == 16:
            # Mode I in Pillow 10, I;16 later; a conversion to L would clip both, not scale them.
            wide = image if image.mode == "I" else image.convert("I")
            if value is not None:
                hidden = _equal_wide(wide, value)
            flat = wide.point(lambda sample: sample * (1 / 257) + 0.5).convert("L")
        else:
            flat = image if image.mode == "L" else image.convert("L")
            if value is not None:
                hidden = _equal(flat, value * 255 // ((1 << depth) - 1))
    if hidden is not None and hidden.getextrema() != (0, 0):
        flat.paste("white", mask=hidden)
    return flat


def _equal(channel: Image.Image, value: int) -> Image.Image:
    """255 where an 8-bit channel equals the value, else 0."""
    return channel.point([255 if sample == value else 0 for sample in range(256)])


def _equal_wide(channel: Image.Image, value: int) -> Image.Image:
    """255 where a channel of mode I equals the value, else 0. Conversion to L clips, so only equality gives 0 twice."""
    above = channel.point(lambda sample: sample * 1 - value).convert("L")
    below = channel.point(lambda sample: sample * -1 + value).convert("L")
    return _equal(ImageChops.lighter(above, below), 0)


def _upright(image: Image.Image | bytes, header: PngHeader, orientation: int, height_px: int) -> Image.Image:
    """The image in its final size and orientation. It is turned last: turning the full image is expensive."""
    size = header.width_px, header.height_px
    new_size = thumbnail_size(*size, height_px) if orientation < 5 else thumbnail_size(*size[::-1], height_px)[::-1]
    small = _resized(image, size, new_size)
    return small.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else small


def _resized(image: Image.Image | bytes, size: tuple[int, int], new_size: tuple[int, int]) -> Image.Image:
    """The image in another size, by Lanczos."""
    small = accelerators.resize(image, size, new_size)
    if small is not None:
        return small
    if isinstance(image, bytes):
        image = Image.frombuffer("RGB", size, image, "raw", "RGB", 0, 1)
    across, down = (full / less for full, less in zip(size, new_size, strict=True))
    columns, rows = (max(1, int(ratio / _LANCZOS_FACTOR)) for ratio in (across, down))
    if rows == 1 and down >= _PAIRED_ROWS_FACTOR:
        rows = 2
    if columns == rows == 1:
        return image.resize(new_size, Image.Resampling.LANCZOS)
    box = (0, 0, size[0] / columns, size[1] / rows)  # the last averages may cover fewer pixels
    return image.reduce((columns, rows)).resize(new_size, Image.Resampling.LANCZOS, box=box)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB. A profile that is broken, or for another colour space than the image's, is ignored."""
    transform = _srgb_transform(profile, image.mode) if profile else None
    return image if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=4)
def _srgb_transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if the profile is unusable. Threads may share it (Little CMS copies
    its cache)."""
    try:
        from PIL import ImageCms
    except ImportError:
        return None
    try:
        source = ImageCms.getOpenProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != {"L": "GRAY", "RGB": "RGB"}[mode]:
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImportError, TypeError, ImageCms.PyCMSError, *_PILLOW_ERRORS):
        # ImportError comes this late if Pillow was built without Little CMS.
        return None


def _encode(image: Image.Image, recipe: Recipe) -> bytes:
    webp = BytesIO()
    try:
        # Explicitly without metadata: the colour transform leaves a profile on the image.
        image.convert("RGB").save(
            webp, "WEBP", quality=recipe.quality, method=recipe.method, lossless=False, exif=b"", icc_profile=b""
        )
    except (ImportError, *_PILLOW_ERRORS) as error:
        raise EncoderRefusedError(f"cannot be encoded as webp: {_one_line(error)}") from error
    return webp.getvalue()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).lower().split())[:120] or type(error).__name__
