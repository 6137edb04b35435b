from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdgen_thumbnail_plugin.imaging.thumbnail import MAX_WEBP_SIDE_PX
from sdgen_thumbnail_plugin.imaging.webp import HEAD_BYTES, Mark, marked, read_mark, read_size
from sdgen_thumbnail_plugin.model import Stamp
from support.pictures import photo

INT64 = st.integers(-(2**63), 2**63 - 1)
MARKS = st.builds(
    Mark, st.builds(Stamp, INT64, st.integers(0, 2**63 - 1)), st.integers(0, 2**32 - 1), st.integers(0, 100),
    st.integers(0, 6),
)  # fmt: skip
MARK = Mark(Stamp(1_762_000_000_123_456_789, 1_500_000), 0xFEDCBA98, 85, 6)


def encoded(image: Image.Image, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, "WEBP", method=0, **options)
    return data.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (160, 240), (1234, 77), (MAX_WEBP_SIDE_PX, 1)])
@pytest.mark.parametrize(
    ("mode", "lossless", "kind"), [("RGB", False, b"VP8 "), ("RGB", True, b"VP8L"), ("RGBA", False, b"VP8X")]
)
def test_the_size_of_a_webp_is_read_from_its_first_bytes(
    size: tuple[int, int], mode: str, lossless: bool, kind: bytes
) -> None:
    head = encoded(Image.new(mode, size, (9, 99, 199, 77)[: len(mode)]), lossless=lossless)[:HEAD_BYTES]
    assert head[12:16] == kind
    assert read_size(head) == size
    assert read_size(head[:20]) is None
    assert read_mark(head) is None


@given(st.binary(max_size=80))
def test_what_is_no_webp_has_neither_size_nor_mark(head: bytes) -> None:
    assert read_size(head) is None
    assert read_size(b"RIFF\0\0\0\0WEBP" + head[:10]) is None
    assert read_mark(head) is None
    assert read_mark(b"RIFF\0\0\0\0WEBPVP8X" + head) is None


@given(MARKS)
def test_a_mark_is_read_as_it_was_made(mark: Mark) -> None:
    webp = marked(encoded(Image.new("RGB", (3, 2))), mark)
    assert read_mark(webp[:HEAD_BYTES]) == mark
    assert read_mark(webp[: HEAD_BYTES - 1]) is None


@pytest.mark.parametrize("size", [(1, 1), (160, 240), (231, 77), (MAX_WEBP_SIDE_PX, 1)])
def test_a_marked_thumbnail_shows_what_it_showed(size: tuple[int, int]) -> None:
    plain = encoded(photo(*size) if size[1] > 1 else Image.new("RGB", size, "teal"))
    webp = marked(plain, MARK)
    assert read_size(webp[:HEAD_BYTES]) == size
    assert int.from_bytes(webp[4:8], "little") + 8 == len(webp)
    assert len(webp) == len(plain) + 48
    before, after = Image.open(io.BytesIO(plain)), Image.open(io.BytesIO(webp))
    assert after.tobytes() == before.convert(after.mode).tobytes()
    assert after.mode == "RGB"
    assert not after.getexif()


def test_only_what_the_encoder_makes_is_marked() -> None:
    see_through, plain = Image.new("RGBA", (3, 2), (1, 2, 3, 4)), Image.new("RGB", (3, 2))
    for webp in (encoded(see_through), encoded(plain, lossless=True), b""):
        with pytest.raises(ValueError, match="simple lossy"):
            marked(webp, MARK)
