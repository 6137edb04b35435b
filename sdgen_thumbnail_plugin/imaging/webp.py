"""Reads the size of a WebP file, and reads and writes the mark of a thumbnail. No disk, no Pillow.

A modification time does not identify the source of a thumbnail: archives give many images the same time, and a
thumbnail newer than its source may come from another program or from an image that is gone. Therefore our thumbnails
name their source themselves, as those of desktops do (freedesktop.org's Thumbnail Managing Standard, ``Thumb::MTime``
and ``Thumb::Size``). The mark is a chunk of its own after the header of the extended format; RFC 9649, 2.7.1.6 allows
it, and readers skip it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from sdgen_thumbnail_plugin.model import Stamp

_KIND: Final = b"SDGT"
_EXTENDED: Final = struct.Struct("<4sIB3x6s")  # VP8X: flags, all zero, and both sides minus 1
_MARK: Final = struct.Struct("<4sIqqIBB")

_MARK_AT: Final = 12 + _EXTENDED.size
HEAD_BYTES: Final = _MARK_AT + _MARK.size  # the bytes that hold size and mark


class Mark(NamedTuple):
    """The source of a thumbnail and the settings it was made with.

    Attributes:
        source: the image's stamp.
        checksum: the CRC-32 of the image's bytes.
        quality, method: as in the recipe; the height is that of the WebP.
    """

    source: Stamp
    checksum: int
    quality: int
    method: int


class Head(NamedTuple):
    """What the first bytes of a thumbnail say.

    Attributes:
        height_px: its height.
        file_bytes: the length that the whole file should have.
        mark: what it was made from; None where it is not ours.
    """

    height_px: int
    file_bytes: int
    mark: Mark | None


def read_head(head: bytes) -> Head | None:
    """Reads the beginning of a thumbnail.

    Args:
        head: the file's first `HEAD_BYTES` bytes, or all of a shorter file.

    Returns:
        What it says; None where it is not a WebP, or not a whole header of one.
    """
    size = read_size(head)
    if size is None:
        return None
    file_bytes = int.from_bytes(head[4:8], "little") + 8  # RIFF: the length of all that follows
    return Head(size[1], file_bytes, read_mark(head))


def read_size(head: bytes) -> tuple[int, int] | None:
    """Reads a WebP's size (RFC 9649, 2.4 to 2.7).

    Args:
        head: the file's first `HEAD_BYTES` bytes, or all of a shorter file.

    Returns:
        Width and height in pixels; None if it is not a WebP, or its header is incomplete.
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


def marked(webp: bytes, mark: Mark) -> bytes:
    """Adds the mark to a thumbnail.

    Args:
        webp: a whole file of the simple lossy format, as the encoder makes it.
        mark: the mark to add.

    Raises:
        ValueError: the file has another format.
    """
    size = read_size(webp)
    if size is None or webp[12:16] != b"VP8 ":
        raise ValueError("not a WebP of the simple lossy format")
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    header = _EXTENDED.pack(b"VP8X", _EXTENDED.size - 8, 0, sides)
    ours = _MARK.pack(_KIND, _MARK.size - 8, *mark.source, mark.checksum, mark.quality, mark.method)
    body = b"WEBP" + header + ours + webp[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read_mark(head: bytes) -> Mark | None:
    """Reads a thumbnail's mark.

    Args:
        head: the file's first `HEAD_BYTES` bytes.

    Returns:
        The mark; None if there is none: the thumbnail is not ours, or was edited.
    """
    if len(head) < HEAD_BYTES or head[8:16] != b"WEBPVP8X" or head[_MARK_AT : _MARK_AT + 4] != _KIND:
        return None
    _, length, mtime_ns, size, checksum, quality, method = _MARK.unpack_from(head, _MARK_AT)
    if length != _MARK.size - 8:
        return None
    return Mark(Stamp(mtime_ns, size), checksum, quality, method)
