"""The sessions, as sdgen writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from sdgen_thumbnail_plugin.demo import sessions
from sdgen_thumbnail_plugin.demo.latency import Arrival


def test_a_session_is_written_as_the_host_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SIZES_PX", ((32, 48), (48, 32)))
    session = tmp_path / "20251110_151059-paper-cut"
    sessions.write_session(session, 3)
    names = [f"paper-cut_000{number}_seed-10{number}.png" for number in range(3)]
    assert sorted(path.name for path in session.iterdir()) == ["manifest.json", *names]
    assert json.loads((session / "manifest.json").read_text("utf-8"))["status"] == "completed"


def test_live_images_arrive_in_every_way_and_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SIZES_PX", ((32, 48), (48, 32)))
    session, record = tmp_path / "20251113_120000-aurora", tmp_path / "arrivals.jsonl"
    sessions.write_live(session, 8, record=record, pause_s=0)
    arrivals = [Arrival(**json.loads(line)) for line in record.read_text("utf-8").splitlines()]
    assert {arrival.way for arrival in arrivals} == {"plain", "in pieces", "renamed", "overwritten"}
    last = {arrival.name: arrival for arrival in arrivals}
    assert len(arrivals) == 9
    assert sorted(last) == sorted(path.name for path in session.glob("*.png*"))
    for name, arrival in last.items():
        stat = (session / name).stat()
        assert (arrival.mtime_ns, arrival.bytes) == (stat.st_mtime_ns, stat.st_size)
        with Image.open(session / name) as picture:
            picture.load()
            assert (picture.width, picture.height) == (arrival.width_px, arrival.height_px)
            assert (picture.mode == "RGBA") == (arrival.way == "overwritten")
