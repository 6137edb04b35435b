"""The folder of the demonstration."""

from __future__ import annotations

from pathlib import Path

from sdgen_thumbnail_plugin.demo.workspace import Workspace


def test_making_it_again_removes_only_what_it_made(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    Workspace(folder).prepare()
    (folder / "results" / "old").mkdir()
    (folder / "notes.txt").write_text("mine", "utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.webp").touch()
    (folder / "thumbnails").symlink_to(outside)
    Workspace(folder).prepare()
    assert not (folder / "results" / "old").exists()
    assert not (folder / "thumbnails").exists()
    assert (folder / "notes.txt").exists()
    assert (outside / "1.webp").exists()
