"""``failures`` and ``retry``: images that cannot be shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

from support.project import Project

Run = Callable[..., tuple[int, str]]


def test_catchup_fails_if_an_image_does_and_says_which(project: Project, run: Run) -> None:
    (project.results / "20251110_151059-a" / "bad.png").write_bytes(b"no image at all")
    code, output = run("catchup")
    assert code == 1
    assert "1 image failed" in output
    code, output = run("failures")
    assert "20251110_151059-a/bad.png" in output
    assert json.loads(run("failures", "--json")[1])["failures"][0]["kind"] == "NotAnImageError"
    assert run("retry")[0] == 1
    shutil.copy(project.results / "20251110_151059-a" / "1.png", project.results / "20251110_151059-a" / "bad.png")
    code, output = run("retry")
    assert (code, "1 of 1 images have their thumbnail now" in output) == (0, True)
    assert project.is_exact()
