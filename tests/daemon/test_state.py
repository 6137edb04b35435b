"""The state file, written and read."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.daemon.state import WatcherState, read_state, write_state

STATE = WatcherState(
    2, "boot+1", "results", "thumbnails", 1.0, 2.0, "watching", {"kind": "native", "reason": "-"},
    sessions={"complete": 1, "incomplete": 0},
)  # fmt: skip
AT_WORK = replace(
    STATE,
    progress={"phase": "audit", "done": 1, "total": None, "session": ""},
    last_image={"key": "s/a.png", "at_s": 1.0, "build_s": 0.1, "latency_s": None},
    problems=[{"message": "m", "remedy": "r", "since_s": None}],
    making=["s/b.png"],
)


@pytest.mark.parametrize("state", [STATE, AT_WORK])
def test_all_that_is_written_is_read(tmp_path: Path, state: WatcherState) -> None:
    write_state(tmp_path / "state.json", state)
    assert read_state(tmp_path / "state.json") == asdict(state)
