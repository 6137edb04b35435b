"""Parsing PNG files: incomplete, damaged and foreign files are refused, ancillary chunks do no harm."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdgen_thumbnail_plugin.errors import (
    DamagedImageError,
    ImageError,
    NotAnImageError,
    NotAPngError,
    TruncatedImageError,
)
from sdgen_thumbnail_plugin.imaging.png import HEADER_BYTES, read_header
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from support.pictures import (
    SIGNATURE,
    as_png,
    chunk,
    chunks_of,
    corner_marked,
    exif_with_orientation,
    header_chunk,
    iccp_chunk,
    joined,
    photo,
    png_of,
    rgb_profile,
    with_chunks,
)

RECIPE = Recipe()
FAST = Recipe(height_px=16, method=0)
PLAIN = as_png(Image.new("RGB", (20, 20), (200, 40, 90)))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\xff\x0a\xfa\x7f", "JXL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg xmlns=''>", "SVG"),
        (b"8BPS\0\1", "PSD"),
    ],
)
def test_other_images_are_named_by_their_first_bytes(head: bytes, kind: str) -> None:
    with pytest.raises(NotAPngError, match=kind):
        read_header(head)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>", "web page"),
        (b"\xef\xbb\xbf\n <HTML>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "text"),
        (b"short", "text"),
        (b"\x00\x01\x02\x03" * 40, "not an image"),
        (b"\x89PNG\n\x1a\n" + PLAIN[8:], "not an image"),
    ],
)
def test_what_is_no_image_is_said_to_be_none(data: bytes, what: str) -> None:
    with pytest.raises(NotAnImageError, match=what):
        read_header(data)


@pytest.mark.parametrize("length", range(1, HEADER_BYTES))
def test_less_than_a_header_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedImageError):
        read_header(PLAIN[:length])


# Ancillary chunks


def test_a_png_with_three_megabytes_of_workflow_text_gets_its_thumbnail() -> None:
    workflow = random.Random(1).randbytes(1_500_000).hex().encode()
    texts = [
        chunk(b"tEXt", b"prompt\0" + workflow),
        chunk(b"iTXt", b"workflow\0\0\0\0\0" + workflow),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(workflow, 1)),
    ]
    assert make_thumbnail(with_chunks(as_png(photo()), *texts), RECIPE) == make_thumbnail(as_png(photo()), RECIPE)


def test_a_text_bomb_is_never_unpacked() -> None:
    bomb = zlib.compress(zlib.compress(bytes(200_000_000), 1), 9)
    png = with_chunks(PLAIN, chunk(b"zTXt", b"bomb\0\0" + bomb), chunk(b"iTXt", b"bomb\0\1\0\0\0" + bomb))
    assert make_thumbnail(png, FAST) == make_thumbnail(PLAIN, FAST)


def test_bytes_after_the_end_are_tolerated() -> None:
    assert make_thumbnail(PLAIN + b"appended by a messenger", FAST) == make_thumbnail(PLAIN, FAST)


@pytest.mark.parametrize(
    "exif",
    [b"", b"II", b"garbage" * 9, exif_with_orientation(6)[:25], b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"],
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    assert make_thumbnail(with_chunks(PLAIN, chunk(b"eXIf", exif)), FAST) == make_thumbnail(PLAIN, FAST)


def test_exif_that_does_not_match_its_checksum_is_ignored() -> None:
    png = as_png(corner_marked(90, 60))
    exif = chunk(b"eXIf", exif_with_orientation(6), crc=1)
    assert make_thumbnail(with_chunks(png, exif), FAST) == make_thumbnail(png, FAST)


# Cut short


def test_a_png_cut_at_any_border_of_its_chunks_is_truncated() -> None:
    png = with_chunks(
        as_png(photo()), chunk(b"tEXt", b"prompt\0" + bytes(500)), chunk(b"eXIf", exif_with_orientation(3))
    )
    at_byte, borders = 8, [0, 8]
    for kind, data in chunks_of(png):
        borders += [at_byte + 4, at_byte + 8, at_byte + 8 + len(data), at_byte + 12 + len(data)]
        at_byte += 12 + len(data)
        assert kind
    assert at_byte == len(png)
    for border in borders[:-1]:
        with pytest.raises(TruncatedImageError):
            make_thumbnail(png[:border], FAST)


def test_a_png_cut_anywhere_is_truncated() -> None:
    png = as_png(photo())
    anywhere = random.Random(3).sample(range(len(png)), 50)
    for end in [*anywhere, len(png) - 1, len(png) - 12, len(png) - 13]:
        with pytest.raises(TruncatedImageError):
            make_thumbnail(png[:end], FAST)


def test_a_png_without_its_end_is_truncated() -> None:
    assert as_png(photo()).endswith(chunk(b"IEND"))
    with pytest.raises(TruncatedImageError):
        make_thumbnail(as_png(photo())[:-12], FAST)


def test_a_png_whose_space_is_reserved_but_not_yet_written_is_truncated() -> None:
    png = as_png(photo())
    for written in [*random.Random(4).sample(range(33, len(png) - 12), 50), 0, 7, 8, 33, 37, 40, 43, len(png) - 7]:
        with pytest.raises(TruncatedImageError):
            make_thumbnail(png[:written].ljust(len(png), b"\0"), FAST)


def test_pixel_data_that_ends_too_early_in_a_whole_file_is_truncated() -> None:
    rows = random.Random(5)
    pixels = zlib.compress(b"".join(b"\0" + rows.randbytes(60) for _ in range(20)))
    png = SIGNATURE + header_chunk(20, 20) + chunk(b"IDAT", pixels[:-100]) + chunk(b"IEND")
    with pytest.raises(TruncatedImageError):
        make_thumbnail(png, FAST)


# Damaged


def changed(png: bytes, kind: bytes, change: Callable[[bytes], bytes | None]) -> bytes:
    """The PNG with the contents of one kind of chunk changed, or without it."""
    chunks = [(k, change(data) if k == kind else data) for k, data in chunks_of(png)]
    return joined([(k, data) for k, data in chunks if data is not None])


PALETTE_PNG = png_of(8, 8, 8, 3, lambda x, y: [0], palette=[1, 2, 3], transparency=b"\x80")
DAMAGED = {
    "no pixels": changed(PLAIN, b"IDAT", lambda _: None),
    "no palette": changed(PALETTE_PNG, b"PLTE", lambda _: None),
    "empty palette": changed(PALETTE_PNG, b"PLTE", lambda _: b""),
    "palette checksum": PALETTE_PNG.replace(b"PLTE\1\2\3", b"PLTE\1\2\4"),
    "transparency checksum": PALETTE_PNG.replace(b"tRNS\x80", b"tRNS\x81"),
    "pixel checksum": SIGNATURE + header_chunk(1, 1) + chunk(b"IDAT", zlib.compress(bytes(4)), crc=5) + chunk(b"IEND"),
    "unknown critical chunk": with_chunks(PLAIN, chunk(b"NEEDED"[:4])),
    "second header": with_chunks(PLAIN, header_chunk(20, 20)),
    "no name of a chunk": with_chunks(PLAIN, chunk(b"\x01\x02\x03\x04")),
    "length beyond the format": with_chunks(PLAIN, b"\x80\0\0\0tEXt"),
    "not zlib": changed(PLAIN, b"IDAT", lambda data: b"nonsense" + data),
    "unknown row filter": changed(PLAIN, b"IDAT", lambda _: zlib.compress(b"\x09" * 61 * 20)),
    "header checksum": PLAIN[:29] + b"\0\0\0\0" + PLAIN[33:],
    "header missing": SIGNATURE + chunk(b"CgBI", bytes(4)) + PLAIN[8:],
    "no width": SIGNATURE + header_chunk(0, 5) + PLAIN[33:],
    "no height": SIGNATURE + header_chunk(5, 0) + PLAIN[33:],
    "too wide": SIGNATURE + header_chunk(2**31, 1) + PLAIN[33:],
    "no such depth": SIGNATURE + header_chunk(5, 5, 4, 2) + PLAIN[33:],
    "no such colour type": SIGNATURE + header_chunk(5, 5, 8, 1) + PLAIN[33:],
    "no such interlacing": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 2)) + PLAIN[33:],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_named(damage: str) -> None:
    with pytest.raises(DamagedImageError) as caught:
        make_thumbnail(DAMAGED[damage], FAST)
    message = caught.value.message
    assert message
    assert message == message.lower() or "chunk" in message
    assert "\n" not in message


@given(st.data())
@settings(max_examples=150)
def test_flipped_bits_end_in_a_thumbnail_or_an_error_of_ours(data: st.DataObject) -> None:
    png = bytearray(VICTIMS[data.draw(st.sampled_from(sorted(VICTIMS)))])
    for _ in range(data.draw(st.integers(1, 4))):
        png[data.draw(st.integers(0, len(png) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    check_shown_or_refused(bytes(png))


@given(st.sampled_from(["rgb", "palette", "wide grey", "dressed"]), st.data())
@settings(max_examples=150)
def test_flipped_bits_under_a_right_checksum_too(victim: str, data: st.DataObject) -> None:
    chunks = chunks_of(VICTIMS[victim])
    index = data.draw(st.integers(0, len(chunks) - 1))
    kind, contents = chunks[index]
    flipped = bytearray(contents)
    for _ in range(data.draw(st.integers(1, 3))):
        if flipped:
            flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    check_shown_or_refused(joined([*chunks[:index], (kind, bytes(flipped)), *chunks[index + 1 :]]))


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_garbage_is_refused_with_an_error_of_ours(garbage: bytes) -> None:
    for data in (garbage, SIGNATURE + garbage, PLAIN[:33] + garbage, PLAIN[:41] + garbage):
        check_shown_or_refused(data)


VICTIMS = {
    "rgb": as_png(photo(24, 20)),
    "palette": png_of(9, 9, 4, 3, lambda x, y: [x], palette=range(30), transparency=b"\0\x80"),
    "wide grey": png_of(9, 9, 16, 0, lambda x, y: [x * y * 700], transparency=b"\0\0", interlaced=True),
    "dressed": with_chunks(
        as_png(photo(12, 10).convert("RGBA")), iccp_chunk(rgb_profile()), chunk(b"eXIf", exif_with_orientation(6))
    ),
}


def check_shown_or_refused(png: bytes) -> None:
    try:
        webp = make_thumbnail(png, FAST, max_pixels=100_000)
    except ImageError as error:
        assert error.message  # noqa: PT017
        assert len(error.message) < 200  # noqa: PT017
    else:
        assert Image.open(io.BytesIO(webp)).height == 16


# Not a PNG


@pytest.mark.parametrize("kind", ["JPEG", "WebP", "GIF", "TIFF", "BMP", "ICO"])
def test_another_kind_of_image_is_named(kind: str) -> None:
    data = io.BytesIO()
    photo(64, 64).save(data, kind.upper())
    with pytest.raises(NotAPngError, match=kind):
        read_header(data.getvalue()[:HEADER_BYTES])
    with pytest.raises(NotAPngError, match=kind):
        make_thumbnail(data.getvalue(), RECIPE)


def test_an_empty_file_is_truncated() -> None:
    with pytest.raises(TruncatedImageError, match="is empty"):
        read_header(b"")
    with pytest.raises(TruncatedImageError, match="is empty"):
        make_thumbnail(b"", RECIPE)
