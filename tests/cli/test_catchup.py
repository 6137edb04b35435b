"""``catchup``: makes what is missing, once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.project import Project

Run = Callable[..., tuple[int, str]]


def test_catchup_makes_what_is_missing(project: Project, run: Run) -> None:
    code, output = run("catchup")
    assert code == 0
    assert "2 thumbnails made" in output
    assert project.is_exact()
    assert "0 thumbnails made, 2 were up to date" in run("catchup")[1]


def test_catchup_for_scripts_prints_json_alone(project: Project, run: Run) -> None:
    assert json.loads(run("catchup", "--json")[1])["created"] == 2


def test_smart_catchup_stops_at_the_first_complete_session_after_an_incomplete_one(project: Project, run: Run) -> None:
    run("catchup")
    project.image("20251112_000000-c/3.png")
    project.thumbnail("20251110_151059-a/1.png").unlink()
    assert run("catchup", "--smart")[0] == 0
    assert project.is_fresh("20251112_000000-c/3.png")
    assert not project.thumbnail("20251110_151059-a/1.png").exists()
    run("catchup")
    assert project.is_exact()


@pytest.mark.parametrize("catalog", ["kept", "lost"])
def test_catchup_deletes_nothing_and_says_so_when_the_source_holds_no_images(
    without_images: Project, catalog: str, run: Run
) -> None:
    if catalog == "lost":
        shutil.rmtree(without_images.home.state_dir)
    assert "holds no images; nothing was deleted" in run("catchup")[1]
    assert len(list(without_images.thumbnails.rglob("*.webp"))) == 2
    shutil.rmtree(without_images.results)
    (without_images.root / "elsewhere").rename(without_images.results)
    assert "holds no images" not in run("catchup")[1]
    assert without_images.is_exact()


@pytest.mark.parametrize("command", ["catchup", "clean"])
def test_thumbnails_of_all_sessions_but_a_renamed_one_go(project: Project, command: str, run: Run) -> None:
    run("catchup")
    shutil.rmtree(project.results / "20251110_151059-a")
    (project.results / "20251111_151059-b").rename(project.results / "elsewhere")
    if command == "clean":
        run("clean")
        assert list(project.thumbnails.rglob("*.webp")) == []
    run("catchup")
    assert project.is_exact()


def test_the_configuration_file_names_the_folders_and_the_settings(project: Project, run: Run) -> None:
    project.results.rename(project.root / "pictures")
    config = {"output_dir": "./pictures", "api_url": "http://127.0.0.1:7860", "thumbnails": {"height_px": 100}}
    (project.root / "sdgen_config.json").write_text(json.dumps(config), "utf-8")
    assert run("catchup")[0] == 0
    assert len(list(project.thumbnails.rglob("*.webp"))) == 2


def test_a_full_target_is_reported_once_and_leaves_nothing_half_written(
    project: Project, small_disk: Path, run: Run
) -> None:
    (small_disk / "filler").write_bytes(bytes(250 * 1024))
    code, output = run("catchup", "--target-dir", str(small_disk / "thumbnails"))
    assert code == 1
    assert output.count("no space left on device") == 1
    assert "free some space" in output
    for path in (path for path in (small_disk / "thumbnails").rglob("*") if path.is_file()):
        content = path.read_bytes()  # a last small one may have fitted; then it is whole
        assert int.from_bytes(content[4:8], "little") + 8 == len(content)


def test_a_read_only_target_is_reported_once(project: Project, read_only_disk: Path, run: Run) -> None:
    code, output = run("catchup", "--target-dir", str(read_only_disk / "thumbnails"))
    assert code == 1
    assert output.count("read-only file system") == 1
