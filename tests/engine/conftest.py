"""What the tests of the engine share: an empty project, and an engine on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine, open_engine
from support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose source folder is there, and empty."""
    project = Project(tmp_path)
    project.results.mkdir()
    return project


@pytest.fixture
def engine(project: Project) -> Iterator[Engine]:
    """An engine on the project, open until the test ends."""
    with open_engine(project) as engine:
        yield engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a catalog is to be."""
    return tmp_path / "state" / "catalog.sqlite3"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that does not wait for others."""
    for name in ("BUSY_S", "WRITE_BUSY_S"):
        monkeypatch.setattr(f"sdgen_thumbnail_plugin.engine.catalog_file.{name}", 0.05)
