"""PNG bytes to WebP bytes. No disk, no threads, and none of Pillow's globals: it runs inside other people's processes.

Pillow never sees the file as it is. We walk its chunks first and hand over only what makes up the picture, because
Pillow 10.0 to 13.0 shows a file that lacks its end without a word, does not check the CRC of pixel data, refuses
megabytes of harmless text, and disagrees with itself about transparency, missing palette entries and 16-bit grey.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

# WebPImagePlugin registers itself; without it Image.save would load every plugin there is to find it.
from PIL import Image, ImageChops, PngImagePlugin, WebPImagePlugin  # noqa: F401

from sdgen_thumbnail_plugin.errors import (
    DamagedImageError,
    EncoderRefusedError,
    ImageError,
    NotAnImageError,
    NotAPngError,
    OutOfMemoryError,
    TooManyPixelsError,
    TruncatedImageError,
)

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

    from sdgen_thumbnail_plugin.model import Recipe

__all__ = [
    "HEADER_BYTES",
    "MAX_PIXELS",
    "MAX_WEBP_SIDE_PX",
    "WEBP_HEADER_BYTES",
    "PngHeader",
    "make_thumbnail",
    "read_header",
    "read_webp_size",
    "thumbnail_size",
]

MAX_PIXELS = 300_000_000
MAX_WEBP_SIDE_PX = 16_383  # 14 bits: the size fields of a VP8 frame (RFC 6386, 9.1)
HEADER_BYTES = 33  # the signature (8) and the chunk IHDR (4 + 4 + 13 + 4)
WEBP_HEADER_BYTES = 30  # as far as the sizes of its three kinds reach

# How far Pillow may shrink by plain averaging before Lanczos takes over. After WebP at quality 85, 3.0 is nowhere more
# than 0.06 dB below Lanczos alone (photographs, noise, thin lines; 512x768 to 2048x2048) and halves the time of large
# images. 2.0 saves 6 ms more at 1024x1024, but costs photographs 0.15 dB and thin lines 2 dB.
_REDUCING_GAP: Final = 3.0
# Real profiles are 0.5 KB to 2 MB; more is a bomb. The cache of transforms keeps a few of them alive.
_MAX_PROFILE_BYTES: Final = 8 * 1024 * 1024

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_DEPTHS: Final = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GREY_ALPHA: (8, 16), _RGBA: (8, 16)}

# What else is found under a .png name, by its first bytes.
_OTHER_IMAGES: Final = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<WebP>RIFF....WEBP)|(?P<GIF>GIF8[79]a)|(?P<AVIF>....ftypavi)|(?P<BMP>BM....\0{4})"
    rb"|(?P<HEIC>....ftyp(?:hei|mif1))|(?P<JXL>\xff\x0a|\0{3}\x0cJXL )|(?P<TIFF>II\*\0|MM\0\*)|(?P<PSD>8BPS)"
    rb"|(?P<ICO>\0\0\x01\0)|(?P<SVG>(?:<\?xml[^>]*>\s*)?<svg)",
    re.DOTALL,
)

# The EXIF orientations (EXIF 2.32, 4.6.4 A), and what undoes each. From 5 on, width and height change places.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Everything that Pillow is known to raise over bad input; IndexError and KeyError are LookupErrors.
_MALFORMED: Final = (ValueError, SyntaxError, EOFError, LookupError, OverflowError, struct.error, zlib.error)
_PILLOW_ERRORS: Final = (OSError, Image.DecompressionBombError, *_MALFORMED)


@dataclass(frozen=True, slots=True)
class PngHeader:
    """What a PNG says of itself in its first 33 bytes.

    Attributes:
        width_px, height_px: its sides as stored, before any EXIF orientation.
        bit_depth: bits per sample: 1, 2, 4, 8 or 16.
        colour_type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        interlaced: whether it is stored in the seven passes of Adam7.
    """

    width_px: int
    height_px: int
    bit_depth: int
    colour_type: int
    interlaced: bool

    @property
    def pixels(self) -> int:
        return self.width_px * self.height_px


@dataclass(frozen=True, slots=True)
class _Chunks:
    """The parts of a PNG that make up its picture: contents, except for `pixels`, which are whole IDAT chunks."""

    pixels: list[memoryview]
    palette: bytes
    transparency: bytes
    exif: bytes
    profile: bytes


def read_header(head: bytes) -> PngHeader:
    """Reads a PNG's header.

    Args:
        head: the file's first `HEADER_BYTES` bytes, or more.

    Raises:
        TruncatedImageError: empty, shorter than a header, or zeros so far (space reserved, contents not yet there).
        NotAPngError: another kind of image.
        NotAnImageError: no image that we know.
        DamagedImageError: the header contradicts its checksum or the format.
    """
    if not head:
        raise TruncatedImageError("is empty")
    if head[:8] != _SIGNATURE[: len(head)]:
        raise _foreign(head)
    if len(head) < HEADER_BYTES:
        raise TruncatedImageError(f"ends within its header, after {len(head)} bytes")
    if not any(head[8:HEADER_BYTES]):
        raise TruncatedImageError("holds only zeros where its header belongs")
    length, kind, width_px, height_px, depth, colour_type, compression, filtering, interlacing, crc = struct.unpack(
        ">I4sIIBBBBBI", head[8:HEADER_BYTES]
    )
    if (length, kind) != (13, b"IHDR") or crc != zlib.crc32(head[12:29]):
        raise DamagedImageError("its header is missing, or does not match its checksum")
    if not (0 < width_px < 2**31 and 0 < height_px < 2**31):
        raise DamagedImageError(f"has an impossible size of {width_px}x{height_px} pixels")
    if depth not in _DEPTHS.get(colour_type, ()):
        raise DamagedImageError(f"has an impossible colour type {colour_type} of {depth} bits")
    if compression or filtering or interlacing > 1:
        raise DamagedImageError("is packed in a way that no png is")
    return PngHeader(width_px, height_px, depth, colour_type, interlacing == 1)


def thumbnail_size(width_px: int, height_px: int, height_wanted_px: int) -> tuple[int, int]:
    """The size of an image's thumbnail: always as high as wanted, as wide as the proportions ask.

    Args:
        width_px, height_px: the upright image's sides, at least 1.
        height_wanted_px: the thumbnail's height.

    Returns:
        Width and height in pixels; the width between 1 and `MAX_WEBP_SIDE_PX`.
    """
    width_wanted_px = max(1, round(height_wanted_px * width_px / height_px))
    return min(width_wanted_px, MAX_WEBP_SIDE_PX), height_wanted_px


def read_webp_size(head: bytes) -> tuple[int, int] | None:
    """Reads a WebP's size (RFC 9649, 2.4 to 2.7).

    Args:
        head: the file's first `WEBP_HEADER_BYTES` bytes, or all of a shorter file.

    Returns:
        Width and height in pixels, or None where it is no WebP, or not a whole header of one.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8 " and len(head) >= 30 and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(head) >= 25 and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) >= 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def make_thumbnail(png: bytes, recipe: Recipe, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Makes a thumbnail: a lossy WebP in sRGB, upright, opaque, `recipe.height_px` high, without any metadata.

    At its peak it takes up to 12 bytes of memory per pixel of the source (16-bit grey with a transparent value; 9 for
    RGB with alpha, 4 for plain RGB), measured with Pillow 13.

    Args:
        png: the whole file.
        recipe: height, quality and effort.
        max_pixels: refuse larger images, before anything is decoded.

    Raises:
        TruncatedImageError, NotAPngError, NotAnImageError, DamagedImageError: see `read_header`; also for the rest.
        TooManyPixelsError: more than `max_pixels`.
        EncoderRefusedError: Pillow would not write the WebP, or cannot write any.
        OutOfMemoryError: there was no room for the decoded image.
    """
    header = read_header(png)
    if header.pixels > max_pixels:
        raise TooManyPixelsError(
            f"has {header.width_px}x{header.height_px} pixels, {header.pixels:,} of at most {max_pixels:,}"
        )
    try:
        chunks = _walk(png, header)
        small = _upright(_decode(png, header, chunks), _orientation(chunks.exif), recipe.height_px)
        return _encode(_to_srgb(small, chunks.profile), recipe)
    except MemoryError:
        raise OutOfMemoryError(f"no memory left to decode {header.pixels:,} pixels") from None


def _foreign(head: bytes) -> ImageError:
    """The error for what is no PNG, by its first bytes."""
    if other := _OTHER_IMAGES.match(head):
        return NotAPngError(f"is an image of another kind: {other.lastgroup}")
    if _SIGNATURE.startswith(head[:HEADER_BYTES].rstrip(b"\0")):
        return TruncatedImageError("holds only zeros where its header belongs")
    start = head[:HEADER_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return NotAnImageError("is a web page, not an image")
    if all(byte in b"\t\n\r" or 0x20 <= byte < 0x7F for byte in start):
        return NotAnImageError("is text, not an image")
    return NotAnImageError("is not an image of any kind we know")


def _walk(png: bytes, header: PngHeader) -> _Chunks:
    """Finds the chunks that make up the picture, and proves the file whole.

    A file that is being written may have reserved its space: what is wrong in the middle counts only once its end is
    there, so truncation goes before damage.
    """
    view = memoryview(png)
    kept: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    damage = None
    at = HEADER_BYTES
    while True:
        if at + 12 > len(png):
            raise TruncatedImageError(f"ends too early, after {len(png)} bytes")
        length, kind = struct.unpack_from(">I4s", png, at)
        if length >= 2**31 or not kind.isalpha():
            if len(png.rstrip(b"\0")) <= at + 8:
                raise TruncatedImageError(f"holds only zeros from byte {at + 8} on")
            raise DamagedImageError(f"is broken at byte {at}")
        end = at + 12 + length
        if end > len(png):
            raise TruncatedImageError(f"ends too early, after {len(png)} bytes")
        if kind == b"IEND":
            break
        if kind in (b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"iCCP"):
            # Pillow checks the pixels by zlib's checksum alone, and not even that where the last rows come before it.
            intact = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
            if kind == b"IDAT":
                pixels.append(view[at:end])
            elif intact:
                kept.setdefault(kind, png[at + 8 : end - 4])
            if not intact and kind not in (b"eXIf", b"iCCP"):
                damage = damage or f"its {kind.decode()} chunk at byte {at} does not match its checksum"
        elif kind[:1].isupper():
            damage = damage or f"has an unknown chunk {kind.decode()} at byte {at}"
        at = end
    if not pixels:
        damage = damage or "has no pixel data"
    if header.colour_type == _PALETTE and not kept.get(b"PLTE"):
        damage = damage or "has no palette"
    if damage:
        raise DamagedImageError(damage)
    return _Chunks(
        pixels=pixels,
        palette=kept.get(b"PLTE", b""),
        transparency=kept.get(b"tRNS", b""),
        exif=kept.get(b"eXIf", b""),
        profile=_unpacked_profile(kept.get(b"iCCP", b"")),
    )


def _unpacked_profile(iccp: bytes) -> bytes:
    """The ICC profile in an iCCP chunk: name, zero, method, zlib stream. Empty where it is broken or a bomb."""
    _, _, packed = iccp.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if unpacker.eof else b""


def _orientation(exif: bytes) -> int:
    """The orientation in an eXIf chunk, 1 to 8; 1 where there is none. Pillow's own reader warns about broken ones."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff[:2] == b"MM" else "<"
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, first)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, first + 2 + 12 * entry)
            if (tag, kind) == (0x0112, 3):
                return value if value in _UPRIGHT else 1
    except struct.error:
        pass
    return 1


def _decode(png: bytes, header: PngHeader, chunks: _Chunks) -> Image.Image:
    """The picture in full size, opaque: mode L for grey, else RGB."""
    parts: list[bytes | memoryview] = [png[:HEADER_BYTES]]
    if header.colour_type == _PALETTE:
        parts.append(_chunk(b"PLTE", _opaque_palette(chunks.palette, chunks.transparency, 1 << header.bit_depth)))
    try:
        # Image.open would apply Pillow's own limit on pixels, which is below ours and a global.
        image = PngImagePlugin.PngImageFile(BytesIO(b"".join([*parts, *chunks.pixels, _chunk(b"IEND", b"")])))
        image.load()
        return _flattened(image, header, chunks.transparency)
    except _PILLOW_ERRORS as error:
        reason = _one_line(error)
        if "out of memory" in reason:
            raise MemoryError from None
        if "truncated" in reason:
            raise TruncatedImageError("its pixel data ends too early") from error
        raise DamagedImageError(f"cannot be decoded: {reason}") from error


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _opaque_palette(palette: bytes, transparency: bytes, size: int) -> bytes:
    """A palette of `size` colours, flattened on white: cheaper than flattening pixels, and the same in every Pillow.

    Missing colours are black, as in browsers; Pillow 10 would make them grey.
    """
    alphas = transparency if len(transparency) <= len(palette) // 3 else b""
    colours = bytearray(palette[: 3 * size].ljust(3 * size, b"\0"))
    for index, alpha in enumerate(alphas[:size]):
        for at in range(3 * index, 3 * index + 3):
            colours[at] = (colours[at] * alpha + 255 * (255 - alpha) + 127) // 255
    return bytes(colours)


def _flattened(image: Image.Image, header: PngHeader, transparency: bytes) -> Image.Image:
    """The image as mode L or RGB, with white where it is transparent. Transparency is ours to apply: what Pillow makes
    of the one transparent colour changed with its versions, and is not scaled as the samples are."""
    depth = header.bit_depth
    hidden: Image.Image | None = None  # 255 where white shines through
    if header.colour_type == _PALETTE:
        return image.convert("RGB")
    if header.colour_type in (_GREY_ALPHA, _RGBA):
        hidden = ImageChops.invert(image.getchannel("A"))
        # 16-bit grey with alpha arrives as RGBA, with three equal channels.
        flat = image.getchannel(0) if header.colour_type == _GREY_ALPHA else image.convert("RGB")
    elif header.colour_type == _RGB:
        flat = image if image.mode == "RGB" else image.convert("RGB")
        if len(transparency) == 6:
            # Of 16-bit colours Pillow keeps the high bytes only.
            key = [value >> 8 if depth == 16 else value & 0xFF for value in struct.unpack(">3H", transparency)]
            equal = [_equal(channel, value) for channel, value in zip(flat.split(), key, strict=True)]
            hidden = functools.reduce(ImageChops.darker, equal)
    else:
        value = int.from_bytes(transparency, "big") & ((1 << depth) - 1) if len(transparency) == 2 else None
        if depth == 16:
            # Mode I in Pillow 10, I;16 later; both would be clipped, not scaled, on their way to L.
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
    """255 where an 8-bit channel has the value, else 0."""
    return channel.point([255 if sample == value else 0 for sample in range(256)])


def _equal_wide(channel: Image.Image, value: int) -> Image.Image:
    """255 where a channel of mode I has the value, else 0. Conversion to L clips, so only equality leaves 0 twice."""
    above = channel.point(lambda sample: sample * 1 - value).convert("L")
    below = channel.point(lambda sample: sample * -1 + value).convert("L")
    return _equal(ImageChops.lighter(above, below), 0)


def _upright(image: Image.Image, orientation: int, height_px: int) -> Image.Image:
    """The image in its final size, right side up. Turned last, because turning millions of pixels is dear."""
    width, height = image.size
    if orientation >= 5:
        size = thumbnail_size(height, width, height_px)[::-1]
    else:
        size = thumbnail_size(width, height, height_px)
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    return small.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else small


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB. A profile that is broken, or made for other colours than the image has, is ignored."""
    transform = _srgb_transform(profile, image.mode) if profile else None
    return image if transform is None else transform.apply(image)


@functools.lru_cache(maxsize=4)
def _srgb_transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """The way from a profile to sRGB; None where there is none. Threads may share it (Little CMS copies its cache)."""
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
        # ImportError comes as late as this where Pillow was built without Little CMS.
        return None


def _encode(image: Image.Image, recipe: Recipe) -> bytes:
    webp = BytesIO()
    try:
        # Explicitly without: the colour transform leaves a profile on the image.
        image.convert("RGB").save(
            webp, "WEBP", quality=recipe.quality, method=recipe.method, lossless=False, exif=b"", icc_profile=b""
        )
    except (ImportError, *_PILLOW_ERRORS) as error:
        raise EncoderRefusedError(f"cannot be encoded as webp: {_one_line(error)}") from error
    return webp.getvalue()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).lower().split())[:120] or type(error).__name__
