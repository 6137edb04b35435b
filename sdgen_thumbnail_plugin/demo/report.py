"""The report of the demonstration: the table of live images, and the contact sheet of all thumbnails."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from rich import box
from rich.table import Table

from sdgen_thumbnail_plugin.demo.latency import GLANCE_S, Made
from sdgen_thumbnail_plugin.demo.pictures import font_of

_HEIGHT_PX, _GAP_PX, _MARGIN_PX, _HEADING_PX, _TITLE_PX = 240, 14, 48, 58, 84
_MAX_ROW_PX = 2400
_GROUND, _BRIGHT, _DIM, _ACCENT = (18, 20, 26), (236, 238, 242), (136, 142, 156), (255, 176, 96)


def line_of(made: Made) -> str:
    """One line, for when it is ready."""
    ways = {"in pieces": "written slowly, in pieces", "renamed": "renamed into place", "overwritten": "overwritten"}
    way = ways.get(made.image.way)
    return f"{made.waited_s * 1000:5,.0f} ms  {made.image.name}{f'  ({way})' if way else ''}"


def table_of(made: Sequence[Made]) -> Table:
    """A row for each image, narrow enough for 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("image", no_wrap=True)
    table.add_column("written", no_wrap=True)
    for heading in ("pixels", "PNG", "WebP", "ready"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in made:
        image = one.image
        table.add_row(
            image.name,
            image.way,
            f"{image.width_px}×{image.height_px}",
            f"{image.bytes / 1024:,.0f} KiB",
            f"{one.thumbnail_bytes / 1024:,.1f} KiB",
            f"[green]{one.waited_s * 1000:,.0f} ms[/]",
        )
    return table


def summary_of(made: Sequence[Made]) -> str:
    """The waits of the table in one line."""
    waits_ms = [one.waited_s * 1000 for one in made]
    if not waits_ms:
        return "none was seen in time"
    middle_ms, exact_ms = statistics.median(waits_ms), GLANCE_S * 1000
    return f"median {middle_ms:,.0f} ms, slowest {max(waits_ms):,.0f} ms (looked for every {exact_ms:.0f} ms)"


def contact_sheet(folder: Path) -> Image.Image:
    """All thumbnails at their own size, under the names of their sessions.

    Args:
        folder: holds a folder of thumbnails for each session.
    """
    sessions = {path.name: sorted(path.glob("*.webp")) for path in sorted(folder.iterdir()) if path.is_dir()}
    rows: list[tuple[str, list[Image.Image]]] = []
    for name, paths in sessions.items():
        rows.append((name, []))
        width_px = 0
        for path in paths:
            with Image.open(path) as thumbnail:
                picture = thumbnail.convert("RGB")
            if width_px and width_px + picture.width > _MAX_ROW_PX:
                rows.append(("", []))
                width_px = 0
            rows[-1][1].append(picture)
            width_px += picture.width + _GAP_PX
    row_px = max((sum(picture.width + _GAP_PX for picture in row) for _, row in rows), default=0)
    heights_px = [_HEIGHT_PX + (_HEADING_PX if name else _GAP_PX) for name, _ in rows]
    size_px = (max(row_px - _GAP_PX, 600) + 2 * _MARGIN_PX, _TITLE_PX + sum(heights_px) + _MARGIN_PX)
    sheet = Image.new("RGB", size_px, _GROUND)
    pen = ImageDraw.Draw(sheet)
    sizes = [path.stat().st_size for paths in sessions.values() for path in paths]
    pen.text((_MARGIN_PX, 30), "sdgen-thumbnails", fill=_BRIGHT, font=font_of(40))
    words, font = f"{len(sizes)} thumbnails, {_HEIGHT_PX} px high, {sum(sizes) / 1024:,.0f} KiB in all", font_of(24)
    pen.text((size_px[0] - _MARGIN_PX - pen.textlength(words, font=font), 44), words, fill=_DIM, font=font)
    y = _TITLE_PX
    for (name, row), height_px in zip(rows, heights_px, strict=True):
        y += height_px
        if name:
            stamp, _, title = name.partition("-")
            baseline = y - _HEIGHT_PX - 16
            pen.rectangle((_MARGIN_PX, baseline - 19, _MARGIN_PX + 5, baseline + 2), fill=_ACCENT)
            pen.text((_MARGIN_PX + 18, baseline - 22), title, fill=_BRIGHT, font=font)
            after_title = _MARGIN_PX + 36 + pen.textlength(title, font=font)
            pen.text(
                (after_title, baseline - 16), f"{stamp}   {len(sessions[name])} images", fill=_DIM, font=font_of(18)
            )
        x = _MARGIN_PX
        for picture in row:
            sheet.paste(picture, (x, y - _HEIGHT_PX))
            x += picture.width + _GAP_PX
    return sheet
