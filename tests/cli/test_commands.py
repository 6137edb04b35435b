"""The commands as a person types them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdgen_thumbnail_plugin.cli.app import app
from sdgen_thumbnail_plugin.cli.status import phase_text
from waiting import wait_for
from watching import Project, run_ours, watcher_process

runner = CliRunner()

COMMANDS = (
    "watch", "catchup", "start", "stop", "restart", "status", "logs", "failures", "retry", "clean", "doctor", "demo",
)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(tmp_path / ".sdgen"))
    project = Project(tmp_path)
    project.image("20251110_151059-a/1.png")
    project.image("20251111_151059-b/2.png")
    return project


def run(*arguments: str) -> tuple[int, str]:
    result = runner.invoke(app, list(arguments))
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example(command: str) -> None:
    code, output = run(command, "--help")
    assert code == 0
    assert f"Example: sdgen-thumbnails {command}" in output


def test_catchup_makes_what_is_missing(project: Project) -> None:
    code, output = run("catchup")
    assert code == 0
    assert "2 thumbnails made" in output
    assert project.is_exact()
    assert "0 thumbnails made, 2 were up to date" in run("catchup")[1]


def test_catchup_fails_if_an_image_does_and_says_which(project: Project) -> None:
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


def test_catchup_for_scripts_prints_json_alone(project: Project) -> None:
    assert json.loads(run("catchup", "--json")[1])["created"] == 2


def test_smart_catchup_stops_at_the_first_complete_session_after_an_incomplete_one(project: Project) -> None:
    run("catchup")
    project.image("20251112_000000-c/3.png")
    project.thumbnail("20251110_151059-a/1.png").unlink()
    assert run("catchup", "--smart")[0] == 0
    assert project.is_fresh("20251112_000000-c/3.png")
    assert not project.thumbnail("20251110_151059-a/1.png").exists()
    run("catchup")
    assert project.is_exact()


def test_clean_shows_orphans_before_it_deletes_them(project: Project) -> None:
    run("catchup")
    (project.results / "20251110_151059-a" / "1.png").unlink()
    code, output = run("clean", "--dry-run")
    assert (code, "20251110_151059-a/1.webp" in output) == (0, True)
    assert project.thumbnail("20251110_151059-a/1.png").exists()
    assert "1 thumbnail deleted" in run("clean")[1]
    assert project.is_exact()


@pytest.fixture(params=["", "lost+found", ".Trash-1000", "System Volume Information", "somebody's/papers"])
def without_images(project: Project, request: pytest.FixtureRequest) -> Project:
    """A project whose source is not there, but another folder is, in which there is this folder at most."""
    run("catchup")
    project.results.rename(project.root / "elsewhere")
    (project.results / request.param).mkdir(parents=True)
    return project


@pytest.mark.parametrize("catalog", ["kept", "lost"])
def test_clean_refuses_when_the_source_holds_no_images(without_images: Project, catalog: str) -> None:
    if catalog == "lost":
        shutil.rmtree(without_images.home.state_dir)
    for arguments in (("clean", "--dry-run"), ("clean",)):
        code, output = run(*arguments)
        assert code == 2
        assert "mount the drive" in output
    assert len(list(without_images.thumbnails.rglob("*.webp"))) == 2


@pytest.mark.parametrize("catalog", ["kept", "lost"])
def test_catchup_deletes_nothing_and_says_so_when_the_source_holds_no_images(
    without_images: Project, catalog: str
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
def test_thumbnails_of_all_sessions_but_a_renamed_one_go(project: Project, command: str) -> None:
    run("catchup")
    shutil.rmtree(project.results / "20251110_151059-a")
    (project.results / "20251111_151059-b").rename(project.results / "elsewhere")
    if command == "clean":
        run("clean")
        assert list(project.thumbnails.rglob("*.webp")) == []
    run("catchup")
    assert project.is_exact()


def test_the_configuration_file_names_the_folders_and_the_settings(project: Project) -> None:
    project.results.rename(project.root / "pictures")
    config = {"output_dir": "./pictures", "api_url": "http://127.0.0.1:7860", "thumbnails": {"height_px": 100}}
    (project.root / "sdgen_config.json").write_text(json.dumps(config), "utf-8")
    assert run("catchup")[0] == 0
    assert len(list(project.thumbnails.rglob("*.webp"))) == 2


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ('{"thumbnails": {"hight_px": 100}}', "did you mean 'thumbnails.height_px'?"),
        ('{"thumbnail": {}}', "did you mean 'thumbnails'?"),
        ('{"thumbnails": {"quality": 101}}', "thumbnails.quality"),
        ('{"thumbnails": []}', "must be an object"),
        ("{", "is not valid JSON"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_in_words(project: Project, config: str, told: str) -> None:
    (project.root / "sdgen_config.json").write_text(config, "utf-8")
    code, output = run("catchup")
    assert code == 2
    assert told in output.replace("\n", " ")


def test_a_mistake_in_the_environment_is_told_in_words(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_THUMBNAILS_HIGHT_PX", "3")
    code, output = run("status")
    assert (code, "SDGEN_THUMBNAILS_HEIGHT_PX" in output) == (2, True)


def test_a_mistake_in_a_flag_is_told_in_words(project: Project) -> None:
    code, output = run("catchup", "--workers", "0")
    assert (code, "--workers" in output) == (2, True)


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("results", "results", "both the source and the target"),
        ("results", "results/thumbnails", "thumbnails of thumbnails"),
        ("results/20251110_151059-a", "results", "inside the target"),
        ("nowhere", "thumbnails", "is not there"),
        ("sdgen_config.json", "thumbnails", "is not a folder"),
    ],
)
def test_roots_that_cannot_work_are_refused(project: Project, source: str, target: str, told: str) -> None:
    (project.root / "sdgen_config.json").write_text("{}", "utf-8")
    code, output = run("catchup", "--source-dir", source, "--target-dir", target)
    assert code == 2
    assert told in output.replace("\n", " ")


def test_doctor_has_nothing_to_complain_about(project: Project) -> None:
    code, output = run("doctor")
    assert code == 0
    assert "WebP" in output
    assert "observer" in output


def test_doctor_fails_on_roots_that_overlap(project: Project) -> None:
    assert run("doctor", "--target-dir", "results/thumbnails")[0] == 1


def test_status_without_a_watcher(project: Project) -> None:
    code, output = run("status")
    assert code == 3
    assert "start it with: sdgen-thumbnails start" in output


@pytest.mark.parametrize(
    ("progress", "rate", "text"),
    [
        ({}, 3.0, "smart catch-up"),
        ({"done": 0, "total": None, "session": ""}, 3.0, "smart catch-up"),
        ({"done": 0, "total": 60_000, "session": "s"}, 0.0, "smart catch-up, 0 of 60,000, in s"),
        (
            {"done": 1_200, "total": 60_000, "session": "s"},
            49.0,
            "smart catch-up, 1,200 of 60,000, about 20 min left, in s",
        ),
        ({"done": 60_000, "total": 60_000, "session": ""}, 49.0, "smart catch-up, 60,000 of 60,000"),
    ],
)
def test_status_tells_how_far_the_watcher_has_come(progress: dict[str, object], rate: float, text: str) -> None:
    assert phase_text({"phase": "smart catch-up", "progress": progress, "images_per_s": rate}) == text


def test_status_tells_how_soon_a_new_image_was_shown_and_how_long_one_took_that_was_there(project: Project) -> None:
    def last_image() -> str:
        output = " ".join(run_ours(project, "status").split())
        return output.partition("last image ")[2].partition(" costs")[0]

    with watcher_process(project):
        wait_for(project.is_exact)
        wait_for(lambda: last_image())
        assert re.fullmatch(r"\S+-(a/1|b/2)\.png \d+ s ago, made in \d+ ms", last_image())  # of two workers, either
        project.image("20251111_151059-b/3.png")
        wait_for(lambda: "b/3.png" in last_image())
        assert re.fullmatch(r"20251111_151059-b/3\.png \d+ s ago, \d+ ms after it was seen", last_image())


def test_a_bug_of_ours_is_one_line_unless_the_traceback_is_asked_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("sdgen_thumbnail_plugin.settings.load_settings", broken)
    code, output = run("status")
    assert code == 1
    assert output.startswith("error: unexpected: RuntimeError: a bug")
    monkeypatch.setenv("SDGEN_THUMBNAILS_DEBUG", "1")
    assert isinstance(runner.invoke(app, ["status"]).exception, RuntimeError)


def test_a_home_that_cannot_be_made_is_told_in_words(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "a-file").touch()
    monkeypatch.setenv("SDGEN_THUMBNAILS_HOME", str(project.root / "a-file" / "home"))
    code, output = run("start")
    assert code == 2
    assert "cannot be used: not a directory" in output
    assert "SDGEN_THUMBNAILS_HOME" in output


def test_a_full_target_is_told_once_and_leaves_nothing_half_written(project: Project, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(250 * 1024))
    code, output = run("catchup", "--target-dir", str(small_disk / "thumbnails"))
    assert code == 1
    assert output.count("no space left on device") == 1
    assert "free some space" in output
    for path in (path for path in (small_disk / "thumbnails").rglob("*") if path.is_file()):
        content = path.read_bytes()  # a last small one may have fitted; then it is whole
        assert int.from_bytes(content[4:8], "little") + 8 == len(content)


def test_a_read_only_target_is_told_once(project: Project, read_only_disk: Path) -> None:
    code, output = run("catchup", "--target-dir", str(read_only_disk / "thumbnails"))
    assert code == 1
    assert output.count("read-only file system") == 1
