"""Settings: where they come from, which goes first, and what a mistake is told as."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sdgen_thumbnail_plugin.config_file import CONFIG_NAME
from sdgen_thumbnail_plugin.errors import RootsError, SettingsError
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.settings import Settings, check_roots, load_settings


def configure(folder: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / CONFIG_NAME).write_text(text, "utf-8")


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.recipe == Recipe(240, 85, 6)
    assert (settings.source_dir, settings.target_dir) == (tmp_path / "results", tmp_path / "thumbnails")
    assert settings.max_pixels == 300_000_000


def test_flags_go_before_the_environment_before_the_file_before_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, {"thumbnails": {"height_px": 100, "quality": 50, "method": 1}})
    monkeypatch.setenv("SDGEN_THUMBNAILS_QUALITY", "60")
    monkeypatch.setenv("SDGEN_THUMBNAILS_METHOD", "2")
    assert load_settings(tmp_path, method=3).recipe == Recipe(100, 60, 3)
    assert load_settings(tmp_path, method=None).recipe == Recipe(100, 60, 2)


def test_the_hosts_output_folder_is_the_source(tmp_path: Path) -> None:
    configure(tmp_path, {"output_dir": "output", "api_url": "http://localhost"})
    assert load_settings(tmp_path).source_dir == tmp_path / "output"
    configure(tmp_path, {"output_dir": "output", "thumbnails": {"source_dir": "/elsewhere"}})
    assert load_settings(tmp_path).source_dir == Path("/elsewhere")


def test_paths_in_the_file_are_relative_to_the_file_and_those_in_flags_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    configure(tmp_path / "project", {"thumbnails": {"target_dir": "small"}})
    settings = load_settings(tmp_path / "project", source_dir=Path("images"))
    assert settings.source_dir == tmp_path / "images"
    assert settings.target_dir == tmp_path / "project" / "small"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_bytes(b"\xef\xbb\xbf" + b'{"thumbnails": {"height_px": 99}}')
    assert load_settings(tmp_path).height_px == 99


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ({"thumbnails": []}, "must be an object"),
        ({"thumbnail": {}}, "unknown setting 'thumbnail', did you mean 'thumbnails'?"),
        ({"thumbnails": {"heigth_px": 1}}, "did you mean 'thumbnails.height_px'?"),
        (
            {"thumbnails": {"height_px": 15}},
            "thumbnails.height_px: input should be greater than or equal to 16, not 15",
        ),
        ({"thumbnails": {"height_px": "tall"}}, "thumbnails.height_px"),
        ({"thumbnails": {"observer": "fast"}}, "'auto', 'native' or 'polling'"),
        ({"thumbnails": {"workers": 0}}, "thumbnails.workers"),
        ({"thumbnails": {"hold_back_fraction": 1.5}}, "thumbnails.hold_back_fraction"),
        ({"thumbnails": {"source_dir": 5}}, "thumbnails.source_dir"),
        ({"output_dir": 5}, '"output_dir" must be a string'),
    ],
)
def test_a_mistake_in_the_file_is_told_with_the_file(tmp_path: Path, content: Any, told: str) -> None:
    configure(tmp_path, content)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert told in caught.value.message
    assert caught.value.path == str(tmp_path / CONFIG_NAME)
    assert caught.value.remedy


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)
    (tmp_path / CONFIG_NAME).rmdir()
    (tmp_path / CONFIG_NAME).write_bytes(b"\xff\xfe{")
    with pytest.raises(SettingsError, match="not valid JSON"):
        load_settings(tmp_path)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).touch()
    os.truncate(tmp_path / CONFIG_NAME, 10**12)
    with pytest.raises(SettingsError, match="too large"):
        load_settings(tmp_path)


def test_other_keys_of_the_hosts_are_left_alone(tmp_path: Path) -> None:
    configure(tmp_path, {"configs_dir": "./prompts", "default_model": None, "height_px": 1, "thumbs": True})
    assert load_settings(tmp_path).height_px == 240


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SDGEN_THUMBNAILS_HEIGTH_PX", "5", "did you mean 'SDGEN_THUMBNAILS_HEIGHT_PX'?"),
        ("SDGEN_THUMBNAILS_HEIGHT_PX", "5", "SDGEN_THUMBNAILS_HEIGHT_PX: input should be"),
        ("SDGEN_THUMBNAILS_QUALITY", "high", "SDGEN_THUMBNAILS_QUALITY: input should be a valid integer"),
    ],
)
def test_a_mistake_in_the_environment_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert told in caught.value.message
    assert caught.value.path == "environment"


def test_a_mistake_in_a_flag_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path, tick_interval_s=0)
    assert caught.value.path == "command line"
    assert "--tick-interval: " in caught.value.message


def test_variables_that_are_no_settings_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings(tmp_path)
    monkeypatch.setenv("SDGEN_THUMBNAILS_DEBUG", "1")
    monkeypatch.setenv("SDGEN_SOMETHING_ELSE", "1")
    assert load_settings(tmp_path) == before


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        load_settings(tmp_path).height_px = 5


def test_there_is_a_worker_for_every_usable_core_unless_a_number_is_chosen() -> None:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert load_settings().worker_count == usable
    assert load_settings(workers=7).worker_count == 7


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


# -- roots


def roots(tmp_path: Path, source: str, target: str) -> Settings:
    return load_settings(tmp_path, source_dir=tmp_path / source, target_dir=tmp_path / target)


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("a", "a", "both the source and the target"),
        ("a", "a/b", "thumbnails of thumbnails"),
        ("a", "a/b/c", "thumbnails of thumbnails"),
        ("a/b", "a", "lies inside the target folder"),
        ("a", "link/small", "thumbnails of thumbnails"),
        ("file", "b", "is not a folder"),
        ("a", "file", "is not a folder"),
        ("none", "b", "is missing"),
    ],
)
def test_roots_that_cannot_work_are_refused(tmp_path: Path, source: str, target: str, told: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(RootsError) as caught:
        check_roots(roots(tmp_path, source, target))
    assert told in caught.value.message
    assert caught.value.path
    assert caught.value.remedy


@pytest.mark.parametrize("target", ["b", "a2", "not/there"])
def test_roots_side_by_side_work(tmp_path: Path, target: str) -> None:
    (tmp_path / "a").mkdir()
    check_roots(roots(tmp_path, "a", target))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_source_that_will_come_may_be_missing(tmp_path: Path) -> None:
    settings = roots(tmp_path, "none", "b")
    with pytest.raises(RootsError):
        check_roots(settings)
    check_roots(settings, must_exist=False)
    assert list(tmp_path.iterdir()) == []


def test_usual_folders_hold_where_nothing_else_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = (tmp_path / "out", tmp_path / "small")
    settings = load_settings(tmp_path, usual_folders=usual)
    assert (settings.source_dir, settings.target_dir) == usual
    (tmp_path / "sdgen_config.json").write_text('{"output_dir": "made", "thumbnails": {"target_dir": "tiny"}}')
    settings = load_settings(tmp_path, usual_folders=usual)
    assert (settings.source_dir, settings.target_dir) == (tmp_path / "made", tmp_path / "tiny")
    monkeypatch.setenv("SDGEN_THUMBNAILS_TARGET_DIR", "/by/environment")
    assert load_settings(tmp_path, usual_folders=usual).target_dir == Path("/by/environment")
