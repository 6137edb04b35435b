from __future__ import annotations

import pytest
from PIL import Image

from drawing import as_png
from sdgen_thumbnail_plugin.errors import NotAnImageError, NotAPngError, TruncatedImageError
from sdgen_thumbnail_plugin.imaging.png import HEADER_BYTES, read_header

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
