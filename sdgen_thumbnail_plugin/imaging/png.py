"""Parses a PNG file and checks that it is complete, without decoding its pixels. No disk, no Pillow.

A decoder gets only the chunks that make up the image, because Pillow 10.0 to 13.0 accepts a file that lacks its end,
does not check the CRC of pixel data, and refuses megabytes of harmless text.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sdgen_thumbnail_plugin.errors import (
    DamagedImageError,
    ImageError,
    NotAnImageError,
    NotAPngError,
    TruncatedImageError,
)

HEADER_BYTES: Final = 33  # the signature (8) and the chunk IHDR (4 + 4 + 13 + 4)

# Real profiles have 0.5 KB to 2 MB; more is a bomb. The cache of transforms keeps a few of them alive.
_MAX_PROFILE_BYTES: Final = 8 * 1024 * 1024

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
GREY: Final = 0
RGB: Final = 2
PALETTE: Final = 3
GREY_ALPHA: Final = 4
RGBA: Final = 6
DEPTHS: Final = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}

# Other formats that are found under a .png name, by their first bytes.
_OTHER_IMAGES: Final = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<WebP>RIFF....WEBP)|(?P<GIF>GIF8[79]a)|(?P<AVIF>....ftypavi)|(?P<BMP>BM....\0{4})"
    rb"|(?P<HEIC>....ftyp(?:hei|mif1))|(?P<JXL>\xff\x0a|\0{3}\x0cJXL )|(?P<TIFF>II\*\0|MM\0\*)|(?P<PSD>8BPS)"
    rb"|(?P<ICO>\0\0\x01\0)|(?P<SVG>(?:<\?xml[^>]*>\s*)?<svg)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The header of a PNG, its first 33 bytes.

    Attributes:
        width_px, height_px: the stored size, before any EXIF orientation.
        bit_depth: bits per sample: 1, 2, 4, 8 or 16.
        colour_type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        interlaced: whether the pixels are stored in the seven passes of Adam7.
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
class PngParts:
    """The parts of a PNG that make up its image.

    Attributes:
        pixels: the whole IDAT chunks.
        palette: the contents of PLTE; empty if there is none.
        transparency: the contents of tRNS; empty if there is none.
        orientation: the EXIF orientation, 1 to 8.
        profile: the ICC profile, decompressed; empty if there is none or it is broken.
    """

    pixels: list[memoryview]
    palette: bytes
    transparency: bytes
    orientation: int
    profile: bytes


def read_header(head: bytes) -> PngHeader:
    """Reads a PNG's header.

    Args:
        head: the file's first `HEADER_BYTES` bytes, or more.

    Raises:
        TruncatedImageError: empty, shorter than a header, or only zeros so far (space reserved, contents missing).
        NotAPngError: another image format.
        NotAnImageError: not an image format that we know.
        DamagedImageError: the header contradicts its checksum or the format.
    """
    if not head:
        raise TruncatedImageError("is empty")
    if head[:8] != _SIGNATURE[: len(head)]:
        raise _not_png_error(head)
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
    if depth not in DEPTHS.get(colour_type, ()):
        raise DamagedImageError(f"has an impossible colour type {colour_type} of {depth} bits")
    if compression or filtering or interlacing > 1:
        raise DamagedImageError("uses a compression, filter or interlacing that png does not have")
    return PngHeader(width_px, height_px, depth, colour_type, interlacing == 1)


def _not_png_error(head: bytes) -> ImageError:
    """The error for a file that is not a PNG, by its first bytes."""
    if other := _OTHER_IMAGES.match(head):
        return NotAPngError(f"is an image of another format: {other.lastgroup}")
    if _SIGNATURE.startswith(head[:HEADER_BYTES].rstrip(b"\0")):
        return TruncatedImageError("holds only zeros where its header belongs")
    start = head[:HEADER_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return NotAnImageError("is a web page, not an image")
    if all(byte in b"\t\n\r" or 0x20 <= byte < 0x7F for byte in start):
        return NotAnImageError("is text, not an image")
    return NotAnImageError("is not an image of a known format")


def read_parts(png: bytes, header: PngHeader, crc32: Callable[[bytes | memoryview], int] = zlib.crc32) -> PngParts:
    """Finds the chunks that make up the image, and checks that the file is complete.

    A file that is being written may have reserved its space, so damage counts only if the end of the file exists:
    truncation takes precedence.

    Args:
        png: the whole file.
        header: the file's header.
        crc32: the function for the checksum of a chunk, equivalent to zlib's.

    Raises:
        TruncatedImageError: the file ends too early.
        DamagedImageError: a chunk is missing, unknown, or contradicts its checksum.
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
            # Pillow relies on zlib's checksum for the pixels, and skips that too if the last rows come before it.
            intact = crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
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
    if header.colour_type == PALETTE and not kept.get(b"PLTE"):
        damage = damage or "has no palette"
    if damage:
        raise DamagedImageError(damage)
    return PngParts(
        pixels=pixels,
        palette=kept.get(b"PLTE", b""),
        transparency=kept.get(b"tRNS", b""),
        orientation=_orientation(kept.get(b"eXIf", b"")),
        profile=_unpacked_profile(kept.get(b"iCCP", b"")),
    )


def _unpacked_profile(iccp: bytes) -> bytes:
    """The ICC profile in an iCCP chunk (name, zero, method, zlib stream); empty if it is broken or a bomb."""
    _, _, packed = iccp.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if unpacker.eof else b""


def _orientation(exif: bytes) -> int:
    """The orientation in an eXIf chunk, 1 to 8; 1 by default. Pillow's own reader warns about broken chunks."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff[:2] == b"MM" else "<"
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, first)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, first + 2 + 12 * entry)
            if (tag, kind) == (0x0112, 3):
                return value if 2 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk: length, kind, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
