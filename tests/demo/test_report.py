"""The table and the contact sheet."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageFont
from rich.console import Console

from sdgen_thumbnail_plugin.demo.latency import Arrival, Made
from sdgen_thumbnail_plugin.demo.report import contact_sheet, line_of, summary_of, table_of


def quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


@pytest.mark.parametrize("failure", [None, TypeError, ImportError])
def test_the_contact_sheet_shows_every_thumbnail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception] | None
) -> None:
    if failure is not None:  # Pillow 10.0 knows no size; a Pillow without FreeType has no such font
        plain = ImageFont.load_default()

        def old(size: float | None = None) -> object:
            if size is not None:
                raise failure
            return plain

        monkeypatch.setattr(ImageFont, "load_default", old)
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    for session, count in (("20251110_151059-a", 9), ("20251111_151059-b", 1)):
        (tmp_path / session).mkdir()
        for number in range(count):
            picture = Image.new("RGB", (360, 240), colours[number % 3])
            picture.save(tmp_path / session / f"{number}.webp", lossless=True)
    sheet = contact_sheet(tmp_path)
    counted = {colour: count for count, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert [counted[colour] // (360 * 240) for colour in colours] == [4, 3, 3]


def test_a_contact_sheet_of_nothing_is_a_picture_too(tmp_path: Path) -> None:
    assert contact_sheet(tmp_path).width > 0


def test_the_table_fits_into_80_columns() -> None:
    image = Arrival("aurora_0000_seed-100.png", "overwritten", 1.0, 1, 1_450_000, 1024, 1024)
    console = quiet()
    console.print(table_of([Made(image, 12_345, 1.234)]))
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    for word in (image.name, "overwritten", "1024×1024", "1,416 KiB", "12.1 KiB", "1,234 ms"):
        assert word in text
    assert line_of(Made(image, 1, 0.05)) == "   50 ms  aurora_0000_seed-100.png  (overwritten)"
    assert summary_of([Made(image, 1, 0.05)]).startswith("median 50 ms, slowest 50 ms")
    assert summary_of([]) == "none was seen in time"
