"""``clean``: thumbnails whose image is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from support.project import Project

Run = Callable[..., tuple[int, str]]


def test_clean_shows_orphans_before_it_deletes_them(project: Project, run: Run) -> None:
    run("catchup")
    (project.results / "20251110_151059-a" / "1.png").unlink()
    code, output = run("clean", "--dry-run")
    assert (code, "20251110_151059-a/1.webp" in output) == (0, True)
    assert project.thumbnail("20251110_151059-a/1.png").exists()
    assert "1 thumbnail deleted" in run("clean")[1]
    assert project.is_exact()


@pytest.mark.parametrize("catalog", ["kept", "lost"])
def test_clean_refuses_when_the_source_holds_no_images(without_images: Project, catalog: str, run: Run) -> None:
    if catalog == "lost":
        shutil.rmtree(without_images.home.state_dir)
    for arguments in (("clean", "--dry-run"), ("clean",)):
        code, output = run(*arguments)
        assert code == 2
        assert "mount the drive" in output
    assert len(list(without_images.thumbnails.rglob("*.webp"))) == 2
