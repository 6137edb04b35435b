"""The thumbnail's file: its size, and the mark that tells what it was made from. No disk, no Pillow.

A time alone cannot tell whose thumbnail one is: archives give many images the same, and a thumbnail that is newer than
its source may be another program's, or ours of an image that is gone. So ours say it themselves, as the thumbnails of
desktops do (freedesktop.org's Thumbnail Managing Standard, ``Thumb::MTime`` and ``Thumb::Size``). The mark is a chunk
of its own behind the header of the extended format; RFC 9649, 2.7.1.6 lets it be there and has readers skip it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from sdgen_thumbnail_plugin.model import Stamp

__all__ = ["HEAD_BYTES", "Mark", "marked", "read_mark", "read_size"]

_KIND: Final = b"SDGT"
_EXTENDED: Final = struct.Struct("<4sIB3x6s")  # VP8X: flags, none of which is ours, and both sides less 1
_MARK: Final = struct.Struct("<4sIqqIBB")

_MARK_AT: Final = 12 + _EXTENDED.size
HEAD_BYTES: Final = _MARK_AT + _MARK.size  # as far as size and mark reach


class Mark(NamedTuple):
    """What a thumbnail was made from, and how.

    Attributes:
        source: the image's stamp.
        checksum: the CRC-32 of its bytes.
        quality, method: as in the recipe; the height shows.
    """

    source: Stamp
    checksum: int
    quality: int
    method: int


def read_size(head: bytes) -> tuple[int, int] | None:
    """Reads a WebP's size (RFC 9649, 2.4 to 2.7).

    Args:
        head: the file's first `HEAD_BYTES` bytes, or all of a shorter file.

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


def marked(webp: bytes, mark: Mark) -> bytes:
    """A thumbnail with its mark.

    Args:
        webp: a whole file of the simple lossy format, as it comes from the encoder.
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
    """A thumbnail's mark; None where it has none, so is not ours (or somebody has edited it).

    Args:
        head: the file's first `HEAD_BYTES` bytes.
    """
    if len(head) < HEAD_BYTES or head[8:16] != b"WEBPVP8X" or head[_MARK_AT : _MARK_AT + 4] != _KIND:
        return None
    _, length, mtime_ns, size, checksum, quality, method = _MARK.unpack_from(head, _MARK_AT)
    if length != _MARK.size - 8:
        return None
    return Mark(Stamp(mtime_ns, size), checksum, quality, method)
