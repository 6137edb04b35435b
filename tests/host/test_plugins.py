"""The manager: typed hooks, validation at load, and failures that stay with whoever failed."""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from sdgen_thumbnail_plugin.host import hookspecs
from sdgen_thumbnail_plugin.host.hookspecs import Project, hookimpl
from sdgen_thumbnail_plugin.host.plugins import Plugins, installed_plugins, load_plugins
from sdgen_thumbnail_plugin.paths import find_home

PROJECT = Project(Path("/p"), Path("/p/results"), Path("/p/thumbnails"), {"output_dir": "./results"})
SESSION = Path("/p/results/s")
IMAGES = (SESSION / "a.png", SESSION / "b.png")


def module(**functions: object) -> ModuleType:
    """A plugin that implements the hooks given."""
    made = ModuleType("plugin")
    vars(made).update(functions)
    return made


def log() -> str:
    file = find_home().log_file
    return file.read_text("utf-8") if file.exists() else ""


def _itself(plugin: object) -> object:
    return plugin


def added(**plugins: object) -> Plugins:
    """Plugins by name; all of them can be loaded."""
    manager = Plugins()
    for name, plugin in plugins.items():
        assert manager.add(name, functools.partial(_itself, plugin)), manager.failures
    return manager


def test_sdgen_register_commands_gets_the_application() -> None:
    seen: list[object] = []

    @hookimpl
    def sdgen_register_commands(app: typer.Typer) -> None:
        seen.append(app)

    app = typer.Typer()
    added(one=module(sdgen_register_commands=sdgen_register_commands)).register_commands(app)
    assert seen == [app]


def test_sdgen_webui_start_gets_the_project() -> None:
    seen: list[object] = []

    @hookimpl
    def sdgen_webui_start(project: Project) -> None:
        seen.append(project)

    added(one=module(sdgen_webui_start=sdgen_webui_start)).webui_start(PROJECT)
    assert seen == [PROJECT]


def test_sdgen_webui_stop_gets_the_project_or_nothing() -> None:
    seen: list[object] = []

    @hookimpl
    def with_project(project: Project) -> None:
        seen.append(project)

    @hookimpl
    def without() -> None:
        seen.append("called")

    manager = added(one=module(sdgen_webui_stop=with_project), two=module(sdgen_webui_stop=without))
    manager.webui_stop(PROJECT)
    assert seen == ["called", PROJECT], "the one that was registered last is called first"


def test_sdgen_image_saved_gets_project_session_and_image() -> None:
    seen: list[object] = []

    @hookimpl
    def sdgen_image_saved(project: Project, session_dir: Path, image: Path) -> None:
        seen.append((project, session_dir, image))

    added(one=module(sdgen_image_saved=sdgen_image_saved)).image_saved(PROJECT, SESSION, IMAGES[0])
    assert seen == [(PROJECT, SESSION, IMAGES[0])]


def test_sdgen_generate_finished_gets_all_images() -> None:
    seen: list[object] = []

    @hookimpl
    def sdgen_generate_finished(project: Project, session_dir: Path | None, images: Any) -> None:
        seen.append((project, session_dir, images))

    manager = added(one=module(sdgen_generate_finished=sdgen_generate_finished))
    manager.generate_finished(PROJECT, SESSION, IMAGES)
    manager.generate_finished(PROJECT, None, ())
    assert seen == [(PROJECT, SESSION, IMAGES), (PROJECT, None, ())]


def noting(name: str, seen: list[str], *, tryfirst: bool = False, trylast: bool = False) -> object:
    @hookimpl(tryfirst=tryfirst, trylast=trylast)
    def sdgen_webui_stop() -> None:
        seen.append(name)
        if "bad" in name:
            raise RuntimeError("out of\x1b[31m coffee")

    return module(sdgen_webui_stop=sdgen_webui_stop)


def test_one_plugins_failure_is_logged_with_its_name_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    manager = added(a=noting("a", seen), bad=noting("bad", seen), c=noting("c", seen))
    manager.webui_stop(PROJECT)
    assert seen == ["c", "bad", "a"]
    assert manager.failures == ["plugin bad failed in sdgen_webui_stop: RuntimeError: out of\x1b[31m coffee"]
    assert r"plugin bad failed in sdgen_webui_stop: RuntimeError: out of\x1b[31m coffee" in log()
    assert "Traceback" in log()
    assert capsys.readouterr() == ("", "")


def test_the_order_that_plugins_ask_for_is_kept() -> None:
    seen: list[str] = []
    added(
        first=noting("first", seen, tryfirst=True), a=noting("a", seen), last=noting("last", seen, trylast=True),
        b=noting("b", seen),
    ).webui_stop(PROJECT)  # fmt: skip
    assert seen == ["first", "b", "a", "last"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_interruption_is_nobodys_failure(error: type[BaseException]) -> None:
    @hookimpl
    def sdgen_webui_stop() -> None:
        raise error

    with pytest.raises(error):
        added(one=module(sdgen_webui_stop=sdgen_webui_stop)).webui_stop(PROJECT)


def _misspelt() -> object:
    @hookimpl
    def sdgen_imagesaved(image: Path) -> None: ...

    return module(sdgen_imagesaved=sdgen_imagesaved)


def _other_parameters() -> object:
    @hookimpl
    def sdgen_image_saved(picture: Path) -> None: ...

    return module(sdgen_image_saved=sdgen_image_saved)


def _unhashable() -> object:
    return {}


def _exiting() -> object:
    raise SystemExit(3)


def _unloadable() -> object:
    raise ImportError("no module named coffee")


@pytest.mark.parametrize("load", [_misspelt, _other_parameters, _unhashable, _unloadable, _exiting])
def test_a_plugin_that_cannot_work_is_refused_by_name_and_the_others_stay(load: Callable[[], object]) -> None:
    seen: list[str] = []
    manager = added(a=noting("a", seen))
    assert not manager.add("wrong", load)
    assert manager.add("b", lambda: noting("b", seen))
    manager.webui_stop(PROJECT)
    manager.image_saved(PROJECT, SESSION, IMAGES[0])
    assert seen == ["b", "a"]
    assert manager.names() == ["a", "b"]
    assert [failure.startswith("plugin wrong cannot be loaded: ") for failure in manager.failures] == [True]
    assert "plugin wrong cannot be loaded" in log()


def test_installed_plugins_are_loaded_unless_switched_off_or_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "thumbnails" in load_plugins().names()
    monkeypatch.setenv("SDGEN_PLUGINS_BLOCK", "other, thumbnails")
    assert "thumbnails" not in load_plugins().names()
    monkeypatch.delenv("SDGEN_PLUGINS_BLOCK")
    monkeypatch.setenv("SDGEN_PLUGINS", "0")
    assert load_plugins().names() == []


_CALLS: dict[str, Callable[[Plugins], None]] = {
    "sdgen_register_commands": lambda plugins: plugins.register_commands(typer.Typer()),
    "sdgen_webui_start": lambda plugins: plugins.webui_start(PROJECT),
    "sdgen_webui_stop": lambda plugins: plugins.webui_stop(PROJECT),
    "sdgen_image_saved": lambda plugins: plugins.image_saved(PROJECT, SESSION, IMAGES[0]),
    "sdgen_generate_finished": lambda plugins: plugins.generate_finished(PROJECT, SESSION, IMAGES),
}
_GIVEN = {"project": PROJECT, "session_dir": SESSION, "image": IMAGES[0], "images": IMAGES}


def _taking(hook: str, parameters: Sequence[str], seen: list[object]) -> object:
    """A plugin whose hook takes these parameters, and notes what it gets by their names."""
    namespace: dict[str, Any] = {"seen": seen}
    exec(f"def {hook}({', '.join(parameters)}): seen.append(dict(locals()))", namespace)
    return module(**{hook: hookimpl(namespace[hook])})


@pytest.mark.parametrize(
    ("hook", "parameters"),
    [
        (hook, chosen)
        for hook in _CALLS
        for all_ in [tuple(inspect.signature(getattr(hookspecs, hook)).parameters)]
        for count in range(len(all_) + 1)
        for chosen in itertools.combinations(all_, count)
    ],
)
def test_a_plugin_takes_those_parameters_that_it_wants(hook: str, parameters: tuple[str, ...]) -> None:
    seen: list[Any] = []
    manager = added(one=_taking(hook, parameters, seen))
    _CALLS[hook](manager)
    assert [tuple(got) for got in seen] == [parameters]
    for name, value in seen[0].items():
        assert isinstance(value, typer.Typer) if name == "app" else value is _GIVEN[name]
    assert manager.failures == []


@pytest.mark.parametrize("hook", _CALLS)
def test_a_raise_in_any_hook_stays_with_its_plugin(hook: str, capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> None:
        raise typer.Exit(3)  # to click it is a way out; to us, in a plugin, it is a failure like any other

    seen: list[object] = []
    manager = added(
        before=_taking(hook, (), seen), bad=module(**{hook: hookimpl(failing)}), after=_taking(hook, (), seen)
    )
    _CALLS[hook](manager)
    assert len(seen) == 2
    assert [failure.startswith(f"plugin bad failed in {hook}: Exit: ") for failure in manager.failures] == [True]
    assert f"plugin bad failed in {hook}: Exit" in log()
    assert capsys.readouterr() == ("", "")


def test_a_refused_plugin_leaves_none_of_its_hooks_behind() -> None:
    """pluggy adds hook by hook: those before the wrong one were there already."""
    seen: list[object] = []
    good = _taking("sdgen_generate_finished", (), seen)
    vars(good)["sdgen_image_saved"] = hookimpl(lambda picture: None)
    manager = Plugins()
    assert not manager.add("half", lambda: good)
    manager.generate_finished(PROJECT, None, ())
    assert seen == []


def test_a_second_plugin_of_one_name_is_refused_and_the_first_stays() -> None:
    seen: list[str] = []
    manager = added(a=noting("first", seen))
    assert not manager.add("a", lambda: noting("second", seen))
    manager.webui_stop(PROJECT)
    assert seen == ["first"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three installed packages, of which one cannot be imported; their modules note where they were loaded."""
    site = tmp_path / "site"
    good = "from sdgen_thumbnail_plugin.host.hookspecs import hookimpl\n@hookimpl\ndef sdgen_webui_stop(): pass\n"
    for name, code in (("tst_one", good), ("tst_two", good), ("tst_bad", "import no_such_module_anywhere\n")):
        folder = site / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "entry_points.txt").write_text(f"[sdgen]\n{name} = {name}\n")
        (site / f"{name}.py").write_text(code)
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that it is taken out again afterwards
        del sys.modules[name]
    monkeypatch.syspath_prepend(site)
    return site


@pytest.mark.usefixtures("site")
def test_an_installed_plugin_whose_import_fails_is_named_and_the_others_are_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plugins = load_plugins()
    assert plugins.names() == ["thumbnails", "tst_one", "tst_two"]
    assert plugins.failures == [
        "plugin tst_bad cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    ]
    assert plugins.failures[0] in log()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("site")
def test_blocked_plugins_are_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_PLUGINS_BLOCK", "thumbnails,tst_one,tst_bad")
    plugins = load_plugins()
    assert plugins.names() == ["tst_two"]
    assert plugins.failures == []
    assert "tst_one" not in sys.modules


def install(site: Path, package: str, entry_points: str | None) -> None:
    """Puts a package's metadata into a folder; without entry points if None."""
    folder = site / f"{package}.dist-info"
    folder.mkdir(parents=True)
    name, _, version = package.partition("-")
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    if entry_points is not None:
        (folder / "entry_points.txt").write_text(entry_points, "utf-8")


def installed() -> list[tuple[str, str]]:
    """Name and value of each installed plugin."""
    return [(entry_point.name, entry_point.value) for entry_point in installed_plugins()]


def test_our_own_plugin_is_found_and_loads() -> None:
    (ours,) = (entry_point for entry_point in installed_plugins() if entry_point.name == "thumbnails")
    assert ours.value == "sdgen_thumbnail_plugin.plugin"
    assert ours.load() is sys.modules[ours.value]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders, which are all of ``sys.path``."""
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    # Imports that a load needs must be done before.
    load_plugins()
    monkeypatch.setattr(sys, "path", [str(folder) for folder in folders])
    return folders


def test_of_two_plugins_with_one_name_the_first_on_the_path_counts(path: tuple[Path, Path]) -> None:
    install(path[0], "one-1.0", "[sdgen]\nx = first\n")
    install(path[1], "two-1.0", "[sdgen]\nx = second\ny = second\n")
    assert installed() == [("x", "first"), ("y", "second")]


@pytest.mark.parametrize(("newer", "expected"), [("[sdgen]\nnew = x\n", [("new", "x")]), (None, [])])
def test_a_package_that_another_version_shadows_has_no_plugins(
    path: tuple[Path, Path], newer: str | None, expected: list[tuple[str, str]]
) -> None:
    install(path[0], "tst_x-2.0", newer)
    install(path[1], "Tst.X-1.0", "[sdgen]\nold = gone\n")
    assert installed() == expected


def test_packages_with_broken_metadata_are_left_out(path: tuple[Path, Path]) -> None:
    install(path[0], "garbage-1.0", "")
    (path[0] / "garbage-1.0.dist-info" / "entry_points.txt").write_bytes(b"[sdgen]\nk = \xff\xfe\n")
    install(path[0], "folder-1.0", None)
    (path[0] / "folder-1.0.dist-info" / "entry_points.txt").mkdir()
    (path[0] / "empty-1.0.dist-info").mkdir()
    (path[0] / "file-1.0.dist-info").write_text("a file")
    (path[0] / "archive.zip").write_bytes(b"PK")
    sys.path[:0] = [str(path[0] / "archive.zip"), str(path[0] / "missing")]
    install(path[1], "good-1.0", "[other]\na = other\n\n[sdgen]\n# b = no\nd = one.d:e.f [extra]\n")
    assert installed() == [("d", "one.d:e.f [extra]")]


def test_an_entry_point_that_names_nothing_importable_is_its_plugins_failure(path: tuple[Path, Path]) -> None:
    install(path[0], "broken-1.0", "[sdgen]\nbad = json:nothing\nworse = not a module\nz = json\n")
    plugins = load_plugins()
    assert plugins.names() == ["z"]
    assert [failure.partition(": ")[0] for failure in plugins.failures] == [
        "plugin bad cannot be loaded",
        "plugin worse cannot be loaded",
    ]
