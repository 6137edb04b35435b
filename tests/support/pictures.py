"""Draws PNGs in memory; nothing here reads a file."""

from __future__ import annotations

import functools
import math
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO

from PIL import Image, ImageDraw

__all__ = [
    "ADAM7",
    "CHANNELS",
    "SIGNATURE",
    "as_png",
    "chunk",
    "chunks_of",
    "corner_marked",
    "exif_with_orientation",
    "grainy_photo",
    "grey_profile",
    "header_chunk",
    "iccp_chunk",
    "joined",
    "photo",
    "picture_in",
    "png",
    "png_of",
    "rgb_profile",
    "s15f16",
    "with_chunks",
]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel, by colour type."""
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The seven passes: first column, first row, step in columns, step in rows."""

Samples = Callable[[int, int], Sequence[int]]
"""From column and row to the samples of one pixel."""


def chunk(kind: bytes, data: bytes = b"", *, crc: int | None = None) -> bytes:
    """One chunk of a PNG, with the right checksum unless another one is given."""
    if crc is None:
        crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def header_chunk(
    width_px: int, height_px: int, depth: int = 8, colour_type: int = 2, interlaced: bool = False
) -> bytes:
    """The chunk IHDR."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, depth, colour_type, 0, 0, interlaced))


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG as kind and contents; ignores the checksums."""
    found = []
    at = len(SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        found.append((kind, png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The reverse of `chunks_of`."""
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in chunks)


def with_chunks(png: bytes, *extra: bytes) -> bytes:
    """Inserts whole chunks behind the header of a PNG."""
    return png[:33] + b"".join(extra) + png[33:]


def png_of(
    width_px: int,
    height_px: int,
    depth: int,
    colour_type: int,
    samples: Samples,
    *,
    palette: Sequence[int] = (),
    transparency: bytes | None = None,
    interlaced: bool = False,
    idat_bytes: int | None = None,
) -> bytes:
    """A PNG of any colour type and bit depth, packed by hand.

    Args:
        samples: from column and row to the pixel's samples, as stored (0 to 2**depth - 1).
        palette: red, green, blue, red, … for colour type 3.
        transparency: the contents of tRNS.
        interlaced: store it in the seven passes of Adam7.
        idat_bytes: the size of the chunks that the pixel data is cut into.
    """
    raw = bytearray()
    for x0, y0, step_x, step_y in ADAM7 if interlaced else ((0, 0, 1, 1),):
        for y in range(y0, height_px, step_y):
            row = [value for x in range(x0, width_px, step_x) for value in samples(x, y)]
            if row:
                raw += b"\0" + _packed(row, depth)
    data = zlib.compress(bytes(raw))
    step = idat_bytes or len(data)
    return b"".join(
        [
            SIGNATURE,
            header_chunk(width_px, height_px, depth, colour_type, interlaced),
            chunk(b"PLTE", bytes(palette)) if palette else b"",
            b"" if transparency is None else chunk(b"tRNS", transparency),
            *(chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step)),
            chunk(b"IEND"),
        ]
    )


def _packed(row: Sequence[int], depth: int) -> bytes:
    if depth == 16:
        return struct.pack(f">{len(row)}H", *row)
    bits = 0
    for value in row:
        bits = bits << depth | value
    length = (len(row) * depth + 7) // 8
    return (bits << (length * 8 - len(row) * depth)).to_bytes(length, "big")


@functools.cache
def png(size: tuple[int, int] = (48, 64)) -> bytes:
    """A small PNG, quickly drawn, whose rows differ from each other."""
    return as_png(Image.linear_gradient("L").resize(size).convert("RGB"))


def as_png(image: Image.Image, **options: object) -> bytes:
    """Encodes an image with Pillow; the options are those of its PNG writer."""
    png = BytesIO()
    image.save(png, "PNG", **options)
    return png.getvalue()


def photo(width_px: int = 320, height_px: int = 256) -> Image.Image:
    """An RGB picture with smooth parts, edges and thin lines, the same every time."""
    across = Image.linear_gradient("L").rotate(90).resize((width_px, height_px))
    down = Image.linear_gradient("L").resize((width_px, height_px))
    round_ = Image.radial_gradient("L").resize((width_px, height_px))
    image = Image.merge("RGB", (across, down, round_))
    draw = ImageDraw.Draw(image)
    w, h = width_px, height_px
    draw.ellipse((w // 8, h // 8, w // 2, h // 2), fill=(250, 220, 40), outline=(20, 20, 20))
    draw.rectangle((w // 2, h // 2, w - w // 8 - 1, h - h // 8 - 1), fill=(30, 60, 200))
    for step in range(12):
        angle = step * math.pi / 12
        end = (w / 2 + w / 3 * math.cos(angle), h / 2 - h / 3 * math.sin(angle))
        draw.line(((w / 2, h / 2), end), fill=(255, 255, 255))
    return image


def grainy_photo(width_px: int, height_px: int, seed: int) -> Image.Image:
    """`photo` with noise at four scales, the finest one pixel: photographs have it, and it costs encoders time."""
    noise = random.Random(seed)
    image = photo(width_px, height_px)
    for scale in (64, 16, 4, 1):
        size = width_px // scale, height_px // scale
        layer = Image.frombytes("L", size, noise.randbytes(size[0] * size[1]))
        layer = layer.resize(image.size, Image.Resampling.BICUBIC)
        image = Image.blend(image, layer.convert("RGB"), 0.04 * math.sqrt(scale))
    return image


def corner_marked(width_px: int, height_px: int) -> Image.Image:
    """Four quarters: red, green above; blue, yellow below."""
    image = Image.new("RGB", (width_px, height_px), (255, 0, 0))
    half_w, half_h = width_px // 2, height_px // 2
    image.paste((0, 255, 0), (half_w, 0, width_px, half_h))
    image.paste((0, 0, 255), (0, half_h, half_w, height_px))
    image.paste((255, 255, 0), (half_w, half_h, width_px, height_px))
    return image


def exif_with_orientation(orientation: int, *, order: str = "<") -> bytes:
    """The contents of eXIf with one other entry and the orientation, in either byte order (`<` or `>`)."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    width = struct.pack(order + "HHII", 0x0100, 4, 1, 5)
    turned = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return magic + struct.pack(order + "IH", 8, 2) + width + turned + bytes(4)


def iccp_chunk(profile: bytes, *, packed: bytes | None = None) -> bytes:
    """The chunk iCCP; `packed` stands in for the compressed profile."""
    return chunk(b"iCCP", b"profile\0\0" + (zlib.compress(profile) if packed is None else packed))


def s15f16(value: float) -> bytes:
    """A number as ICC profiles hold it: signed, 16 bits before and 16 after the point."""
    return struct.pack(">i", round(value * 65536))


def rgb_profile(gamma: float = 2.19921875) -> bytes:
    """An ICC v2 matrix profile; the primaries are those of Adobe RGB (1998), adapted to D50, much wider than sRGB's."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return _profile(
        b"RGB ",
        {
            b"wtpt": _xyz(0.9642, 1.0, 0.8249),
            b"rXYZ": _xyz(0.60974, 0.31111, 0.01947),
            b"gXYZ": _xyz(0.20528, 0.62567, 0.06087),
            b"bXYZ": _xyz(0.14919, 0.06322, 0.74457),
            b"rTRC": curve,
            b"gTRC": curve,
            b"bTRC": curve,
        },
    )


def grey_profile(gamma: float) -> bytes:
    """An ICC v2 profile for grey images with a gamma of its own."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return _profile(b"GRAY", {b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"kTRC": curve})


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + s15f16(x) + s15f16(y) + s15f16(z)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC v2 display profile: a header of 128 bytes, the table of tags, the tags."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0",
        **tags,
    }
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02100000, b"mntr", space, b"XYZ ")
    head += (
        struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + s15f16(0.9642) + s15f16(1.0) + s15f16(0.8249)
    )
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def picture_in(webp: bytes) -> bytes:
    """The picture in a thumbnail's file, without the header and the mark."""
    return webp.partition(b"VP8 ")[2]
