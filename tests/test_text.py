"""Texts that are safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdgen_thumbnail_plugin.text import as_typed, counted, printable, typed_as


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("ü 漢字 🐧", "ü 漢字 🐧"),
        ("new\nline", "new\\nline"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("undecodable\udcff", "undecodable\\udcff"),
        ("right\u202eto left", "right\\u202eto left"),
        ("back\\slash", "back\\slash"),
        ("", ""),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_nothing_that_a_terminal_or_a_log_could_stumble_over_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (68_370, "68,370 images")]
)
def test_numbers_have_their_nouns(number: int, shown: str) -> None:
    assert counted(number, "image") == shown


def test_the_program_is_called_as_it_was_typed() -> None:
    remedy = "look with: sdgen-thumbnails clean --dry-run; then: sdgen-thumbnails clean"
    assert as_typed(remedy) == remedy
    with typed_as("sdgen thumbnails"):
        assert as_typed(remedy) == "look with: sdgen thumbnails clean --dry-run; then: sdgen thumbnails clean"
        assert as_typed(remedy, "other") == "look with: other clean --dry-run; then: other clean"
    assert as_typed(remedy) == remedy


@pytest.mark.parametrize("text", ["/home/ann/sdgen-thumbnails demo/x", "sdgen-thumbnails", "my-sdgen-thumbnails start"])
def test_what_only_looks_like_the_program_keeps_its_name(text: str) -> None:
    assert as_typed(text, "sdgen thumbnails") == text
