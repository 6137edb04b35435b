"""``start``, ``stop``, ``restart``: see also ``tests/daemon/test_process.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.project import Project

Run = Callable[..., tuple[int, str]]


def test_a_home_that_cannot_be_made_is_reported_in_words(
    project: Project, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    (project.root / "a-file").touch()
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(project.root / "a-file" / "home"))
    code, output = run("start")
    assert code == 2
    assert "cannot be used: not a directory" in output
    assert "SDGEN_THUMBNAILS_HOME" in output
