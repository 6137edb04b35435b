"""Finding the plugins that are installed."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdgen_thumbnail_plugin import plugin
from sdgen_thumbnail_plugin.host.entry_points import EntryPoint, _entries, find_entry_points


def install(site: Path, distribution: str, text: str) -> None:
    folder = site / distribution
    folder.mkdir(parents=True)
    name, _, version = distribution.rpartition(".")[0].partition("-")
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    (folder / "entry_points.txt").write_text(text, "utf-8")


def test_ours_is_found_and_loads() -> None:
    found = next(point for point in find_entry_points("sdgen") if point.name == "thumbnails")
    assert found.value == "sdgen_thumbnail_plugin.plugin"
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


# No regular expressions: for those Hypothesis first makes tables of all characters, for seconds in a new checkout.
_NAMES = st.sampled_from(["a", "B", "b", "_c", "d.e", "d-e", "long_name.with-all", "x9", "sdgen", "A.b"])
_VALUES = st.sampled_from(["m", "m.n", "m:a", "m.n:a.b", "m:a [x]", "m.n [x,y]", "m:a = b", "m#n", "[m]", "m;n"])
_SPACE = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def _files(draw: st.DrawFn) -> str:
    """A file as build backends write them, with any spacing, blank lines and comments."""
    lines: list[str] = []
    for group in draw(st.lists(st.sampled_from(["sdgen", "sdgen.more", "console_scripts"]), unique=True)):
        lines.append(f"[{group}]{draw(_SPACE)}")
        for name, value in draw(st.dictionaries(_NAMES, _VALUES, max_size=4)).items():
            lines += draw(st.lists(st.sampled_from(["", "  ", "# x = no", "; y = no", "#[sdgen]"]), max_size=2))
            lines.append(f"{name}{draw(_SPACE)}={draw(_SPACE)}{value}{draw(_SPACE)}")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


@given(_files())
@example("[sdgen]\na = b:c [d]\n[sdgen.more]\na = other\n")
def test_a_file_is_read_as_configparser_reads_it(text: str) -> None:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    for group in ("sdgen", "sdgen.more", "console_scripts"):
        expected = dict(parser[group]) if parser.has_section(group) else {}
        assert dict(_entries(text, group)) == expected


def test_nothing_on_the_path_is_nothing_found(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"PK")
    (tmp_path / "x-1.0.dist-info").write_text("a file")
    (tmp_path / "y-1.0.dist-info" / "entry_points.txt").mkdir(parents=True)
    assert find_entry_points("sdgen", [str(tmp_path / "archive.zip"), str(tmp_path)]) == []
    assert find_entry_points("sdgen", []) == []


def test_the_empty_path_is_the_working_directory(tmp_path: Path) -> None:
    install(tmp_path, "x-1.0.dist-info", "[sdgen]\nx = here\n")
    assert [point.value for point in find_entry_points("sdgen", [""])] == ["here"]


def test_a_package_that_is_shadowed_by_another_version_has_no_entry_points(tmp_path: Path) -> None:
    install(tmp_path / "a", "x-2.0.dist-info", "[sdgen]\nnew = x\n")
    install(tmp_path / "b", "x-1.0.dist-info", "[sdgen]\nold = gone\n")
    path = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [point.name for point in find_entry_points("sdgen", path)] == ["new"]


def test_a_newer_version_without_entry_points_shadows_as_well(tmp_path: Path) -> None:
    install(tmp_path / "a", "x-2.0.dist-info", "")
    (tmp_path / "a" / "x-2.0.dist-info" / "entry_points.txt").unlink()
    install(tmp_path / "b", "x-1.0.dist-info", "[sdgen]\nold = gone\n")
    path = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert find_entry_points("sdgen", path) == []
