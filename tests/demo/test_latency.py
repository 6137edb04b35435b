"""The time from an image's last byte to its thumbnail."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from pathlib import Path

from sdgen_thumbnail_plugin.demo.latency import Arrival, ThumbnailTimer, arrivals_in
from support.waiting import wait_for


def seen(timer: ThumbnailTimer, images: list[Arrival], count: int) -> bool:
    return len(list(timer.made_of(images))) == count


def test_a_thumbnail_is_timed_when_it_is_first_seen(tmp_path: Path) -> None:
    first, second = (Arrival("a.png", "plain", 1.0, mtime_ns, 9, 1, 1) for mtime_ns in (10**9, 2 * 10**9))
    never = Arrival("b.png", "plain", 1.0, 10**9, 9, 1, 1)
    timer = ThumbnailTimer(tmp_path / "s")
    timer.start()
    try:
        (tmp_path / "s").mkdir()
        for count, image in enumerate((first, second), 1):
            unfinished = tmp_path / "unfinished"
            unfinished.write_bytes(b"webp")
            os.utime(unfinished, ns=(image.mtime_ns, image.mtime_ns))
            unfinished.replace(tmp_path / "s" / "a.webp")
            wait_for(functools.partial(seen, timer, [first, never, second], count))
        made = list(timer.made_of([first, never, second]))
    finally:
        timer.end()
    assert [(one.image, one.thumbnail_bytes) for one in made] == [(first, 4), (second, 4)]
    assert made[0].waited_s < made[1].waited_s


def test_a_line_that_is_being_written_is_not_read_yet(tmp_path: Path) -> None:
    record = tmp_path / "arrivals.jsonl"
    assert arrivals_in(record) == []
    record.write_text(json.dumps(dataclasses.asdict(Arrival("a.png", "plain", 1.0, 1, 9, 1, 1))) + '\n{"name": "b')
    assert [arrival.name for arrival in arrivals_in(record)] == ["a.png"]
