"""Finding the plugins that are installed."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from sdgen_thumbnail_plugin.sdgen import plugin
from sdgen_thumbnail_plugin.sdgen.entry_points import EntryPoint, find_entry_points


def install(site: Path, distribution: str, text: str) -> None:
    folder = site / distribution
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_text(text, "utf-8")


def test_ours_is_found_and_loads() -> None:
    found = next(point for point in find_entry_points("sdgen") if point.name == "thumbnails")
    assert found.value == "sdgen_thumbnail_plugin.sdgen.plugin"
    assert found.distribution.startswith("sdgen_thumbnail_plugin-")
    assert found.load() is plugin


@pytest.mark.parametrize("group", ["console_scripts", "pytest11", "sdgen", "distutils.commands", "none of this name"])
def test_it_finds_what_the_standard_library_finds(group: str) -> None:
    theirs = {(point.name, point.value) for point in importlib.metadata.entry_points(group=group)}
    assert {(point.name, point.value) for point in find_entry_points(group)} == theirs


def test_other_sections_comments_and_broken_packages_are_passed_over(tmp_path: Path) -> None:
    install(
        tmp_path,
        "one-1.0.dist-info",
        "[other]\na = other\n\n[ sdgen ]\n# b = no\n; c = no\nd = one.d:e.f [extra]\n\ng=one\n[third]\nh = third\n",
    )
    install(tmp_path, "two-2.0.egg-info", "[sdgen]\ni = two\n")
    install(tmp_path, "three", "[sdgen]\nj = no\n")
    (tmp_path / "four-4.dist-info").mkdir()
    (tmp_path / "five-5.dist-info").mkdir()
    (tmp_path / "five-5.dist-info" / "entry_points.txt").write_bytes(b"[sdgen]\nk = \xff\xfe\n")
    found = find_entry_points("sdgen", [str(tmp_path / "none"), str(tmp_path)])
    assert found == [
        EntryPoint("d", "one.d:e.f [extra]", "one-1.0"),
        EntryPoint("g", "one", "one-1.0"),
        EntryPoint("i", "two", "two-2.0"),
    ]


def test_the_first_on_the_path_counts(tmp_path: Path) -> None:
    install(tmp_path / "a", "x-1.0.dist-info", "[sdgen]\nx = first\n")
    install(tmp_path / "b", "x-2.0.dist-info", "[sdgen]\nx = second\n")
    assert [point.value for point in find_entry_points("sdgen", [str(tmp_path / "a"), str(tmp_path / "b")])] == [
        "first"
    ]


def test_what_it_names_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert EntryPoint("a", "json", "").load() is json
    assert EntryPoint("a", "json:JSONDecoder.decode [extra]", "").load() is json.JSONDecoder.decode
    with pytest.raises(AttributeError):
        EntryPoint("a", "json:nothing", "").load()
    with pytest.raises(ModuleNotFoundError):
        EntryPoint("a", "no_such_module_anywhere", "").load()
    assert "no_such_module_anywhere" not in sys.modules
