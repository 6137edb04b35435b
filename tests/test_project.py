"""The assembly: settings in; storages, catalog and reconcilers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdgen_thumbnail_plugin.errors import CatalogError
from sdgen_thumbnail_plugin.project import catalog_file, open_project
from sdgen_thumbnail_plugin.settings import Settings
from support.project import Project, draw, session_of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    draw(project, session_of(1), 3)
    return project


def settings_of(project: Project, **values: Any) -> Settings:
    return Settings(source_dir=project.results, target_dir=project.thumbnails, **values)


def test_a_project_makes_its_thumbnails(project: Project) -> None:
    with open_project(settings_of(project, workers=1), project.home) as opened:
        workers = opened.workers(patient=False)
        try:
            assert opened.catch_up(workers).run().created == 3
        finally:
            workers.close()
    assert project.is_exact()


def test_every_part_works_on_the_same_storages_and_catalog(project: Project) -> None:
    with open_project(settings_of(project), project.home) as opened:
        assert opened.images.source is opened.source
        assert opened.images.target is opened.target
        assert opened.images.catalog is opened.directories.catalog is opened.catalog
        assert opened.directories.images is opened.images
        assert (opened.source.location, opened.target.location) == (str(project.results), str(project.thumbnails))


def test_folders_reached_through_a_link_have_the_same_catalog(project: Project) -> None:
    link = project.root / "link"
    link.symlink_to(project.results)
    linked = Settings(source_dir=link, target_dir=project.thumbnails)
    assert catalog_file(linked, project.home) == catalog_file(settings_of(project), project.home)
    with open_project(linked, project.home) as opened:
        assert opened.catalog.path == catalog_file(settings_of(project), project.home)


def test_a_catalog_that_cannot_be_opened_is_an_error_or_costs_the_memory(project: Project) -> None:
    settings = settings_of(project)
    catalog_file(settings, project.home).mkdir(parents=True)
    with pytest.raises(CatalogError), open_project(settings, project.home):
        pass
    with open_project(settings, project.home, without_memory=True) as opened:
        assert isinstance(opened.catalog_fault, CatalogError)
        assert opened.catalog.path is None


def test_deletes_are_held_back_by_the_settings(project: Project) -> None:
    settings = settings_of(project, hold_back_count=1, hold_back_fraction=0.1)
    with open_project(settings, project.home) as opened:
        workers = opened.workers(patient=False)
        try:
            opened.catch_up(workers).run()
            for path in sorted((project.results / session_of(1)).iterdir())[:2]:
                path.unlink()
            assert opened.catch_up(workers).run().held_back == 2
        finally:
            workers.close()
    assert len(list(project.thumbnails.rglob("*.webp"))) == 3
