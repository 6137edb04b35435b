"""One image's bytes to its thumbnail's: values in, values out."""

from __future__ import annotations

import pickle
import zlib

import pytest

from sdgen_thumbnail_plugin.engine.build import build, needed_pixels
from sdgen_thumbnail_plugin.errors import NotAnImageError, TooManyPixelsError, TruncatedImageError
from sdgen_thumbnail_plugin.imaging.webp import read_head
from sdgen_thumbnail_plugin.model import Recipe, Stamp
from support.pictures import picture_in, png

RECIPE = Recipe(height_px=16, quality=70, method=0)
IMAGE = png()
STAMP = Stamp(1_700_000_000_123_456_789, len(IMAGE))
MANY = 10_000_000


def test_a_thumbnail_says_what_it_was_made_from() -> None:
    built = build(IMAGE, STAMP, RECIPE, max_pixels=MANY)
    assert built.checksum == zlib.crc32(IMAGE)
    head = read_head(built.content)
    assert head is not None
    assert head.mark is not None
    assert head.height_px == RECIPE.height_px
    assert (head.mark.source, head.mark.checksum) == (STAMP, built.checksum)
    assert (head.mark.quality, head.mark.method) == (RECIPE.quality, RECIPE.method)


def test_what_goes_in_and_out_can_be_sent_to_another_process() -> None:
    arguments = pickle.loads(pickle.dumps((IMAGE, STAMP, RECIPE)))
    built = build(*arguments, max_pixels=MANY)
    again = pickle.loads(pickle.dumps(built))
    assert again == build(IMAGE, STAMP, RECIPE, max_pixels=MANY)
    assert picture_in(again.content) == picture_in(built.content)


def test_an_image_that_cannot_be_shown_is_raised() -> None:
    with pytest.raises(NotAnImageError):
        build(b"no image at all", STAMP, RECIPE, max_pixels=MANY)
    with pytest.raises(TruncatedImageError):
        build(IMAGE[: len(IMAGE) // 2], STAMP, RECIPE, max_pixels=MANY)


def test_memory_is_known_from_the_beginning_of_an_image() -> None:
    whole = needed_pixels(IMAGE, STAMP, max_pixels=MANY)
    assert whole > 0
    assert needed_pixels(IMAGE[:64], STAMP, max_pixels=MANY) == whole


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooManyPixelsError, match="more than the limit of 3 pixels"):
        needed_pixels(IMAGE, STAMP, max_pixels=3)


def test_a_file_of_more_bytes_than_its_pixels_can_take_is_refused() -> None:
    with pytest.raises(TooManyPixelsError):
        needed_pixels(IMAGE, Stamp(1, 2**40), max_pixels=MANY)
