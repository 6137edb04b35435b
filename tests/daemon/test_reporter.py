"""What the watcher reports."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given

from sdgen_thumbnail_plugin.daemon.reporter import Totals, count
from sdgen_thumbnail_plugin.engine.catalog import DirectoryRecord
from support.project import Project
from support.waiting import wait_for
from support.watcher import watching

keys = st.sampled_from(["", "a", "a/x", "a/x/y", "b", "b/x", "c"])
records = st.builds(DirectoryRecord, images=st.integers(0, 9), thumbnails=st.integers(0, 9), complete=st.booleans())


def test_a_session_is_complete_if_all_its_directories_are() -> None:
    complete, incomplete = DirectoryRecord(images=2, thumbnails=2, complete=True), DirectoryRecord(images=1)
    assert count({"": incomplete, "a": complete, "a/x": incomplete, "b": complete}) == Totals(1, 1, 6, 4)


@given(st.dictionaries(keys, records))
def test_every_directory_counts_once_and_every_session_once(found: dict[str, DirectoryRecord]) -> None:
    totals = count(found)
    assert totals.images == sum(record.images for record in found.values())
    assert totals.thumbnails == sum(record.thumbnails for record in found.values())
    assert totals.complete + totals.incomplete == len({key.split("/")[0] for key in found if key})


def test_what_changed_after_a_count_is_in_the_next(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.image("20251110_151059-first/a.png")
    with watching(project):
        wait_for(lambda: project.state()["images"] == 1)
        project.image("20251110_151100-second/a.png")
        wait_for(lambda: (project.state()["images"], project.state()["sessions"]["complete"]) == (2, 2))
        (project.results / "20251110_151059-first/a.png").unlink()
        wait_for(lambda: (project.state()["images"], project.state()["thumbnails"]) == (1, 1))
