"""``doctor``: one line for each thing that has to be right, with the remedy where it is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import PIL
import typer
from PIL import features
from rich.console import Console
from rich.text import Text

from sdgen_thumbnail_plugin.cli.app import EXIT_FAILED, print_document
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption
from sdgen_thumbnail_plugin.daemon import observers
from sdgen_thumbnail_plugin.daemon.state import find_watcher
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.catalog_file import catalog_fault
from sdgen_thumbnail_plugin.errors import CatalogError, RootsError, ThumbnailError
from sdgen_thumbnail_plugin.host import HOST_MODULE, OFF_VARIABLE, STARTUP_FILES, are_switched_off
from sdgen_thumbnail_plugin.host.bridge import OUR_NAME, try_out
from sdgen_thumbnail_plugin.host.plugins import BLOCK_VARIABLE
from sdgen_thumbnail_plugin.imaging import accelerators
from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail
from sdgen_thumbnail_plugin.model import Recipe
from sdgen_thumbnail_plugin.paths import FAST_VARIABLE, Home, find_home
from sdgen_thumbnail_plugin.project import catalog_file
from sdgen_thumbnail_plugin.settings import Settings, check_roots, load_settings
from sdgen_thumbnail_plugin.text import as_typed, printable

_SMALLEST_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)  # one white pixel


@dataclass(frozen=True, slots=True)
class Check:
    """One line.

    Attributes:
        name: the thing that was checked.
        finding: its condition.
        remedy: what to do; empty where all is well.
        fatal: whether it makes ``doctor`` fail.
    """

    name: str
    finding: str
    remedy: str = ""
    fatal: bool = True

    @property
    def well(self) -> bool:
        return not self.remedy


def doctor(source_dir: SourceOption = None, target_dir: TargetOption = None, as_json: JsonOption = False) -> None:
    """Example: sdgen-thumbnails doctor"""
    checks = list(examine(load_settings(source_dir=source_dir, target_dir=target_dir), find_home()))
    if as_json:
        print_document(checks=[asdict(check) | {"well": check.well} for check in checks])
    else:
        for check in checks:
            Console().print(_line(check), soft_wrap=True)
    if any(check.fatal and not check.well for check in checks):
        raise typer.Exit(EXIT_FAILED)


def _line(check: Check) -> Text:
    mark, colour = ("✓", "green") if check.well else ("✗", "red") if check.fatal else ("!", "yellow")
    line = Text.assemble((f"{mark} ", colour), (f"{check.name}: ", "bold"), printable(check.finding))
    if not check.well:
        line.append(f"\n    → {printable(as_typed(check.remedy))}")
    return line


def examine(settings: Settings, home: Home) -> Iterator[Check]:
    """All checks, in the order in which they are shown."""
    yield Check("Python", f"{platform.python_version()} at {sys.executable}")
    yield _check_pillow()
    yield _check_accelerators()
    yield from _check_folders(settings)
    yield from _check_observer(settings, home)
    yield _check_writable("home", home.root)
    yield from _check_catalog(settings, home)
    watcher = find_watcher(home)
    yield Check("watcher", f"running (PID {watcher.pid})" if watcher else "not running")
    yield from _check_host(settings)


def _check_pillow() -> Check:
    remedy = "install Pillow's own wheel: pip install --force-reinstall Pillow"
    if not features.check("webp"):
        return Check("Pillow", f"{PIL.__version__} without WebP", remedy)
    try:
        make_thumbnail(_SMALLEST_PNG, Recipe())
    except ThumbnailError as error:
        return Check("Pillow", f"{PIL.__version__} cannot make a thumbnail: {error}", remedy)
    return Check("Pillow", f"{PIL.__version__} with WebP {features.version('webp')}")


def _check_accelerators() -> Check:
    if os.environ.get(FAST_VARIABLE) == "0":
        return Check("fast", f"switched off by {FAST_VARIABLE}=0")
    found = ", ".join(accelerators.names()) or "Pillow alone"
    advice = "" if accelerators.has_extra() else "; faster with the extra [fast]: pip install imagecodecs"
    return Check("fast", found + advice)


def _check_folders(settings: Settings) -> Iterator[Check]:
    try:
        check_roots(settings, must_exist=False)
    except RootsError as error:
        yield Check("folders", str(error), error.remedy)
        return
    if settings.source_dir.is_dir():
        yield Check("source", f"{settings.source_dir} can be read")
    else:
        remedy = "generate some images first, or name the folder with --source-dir"
        yield Check("source", f"{settings.source_dir} does not exist", remedy, fatal=False)
    yield _check_writable("thumbnails", settings.target_dir)


def _check_writable(name: str, folder: Path) -> Check:
    """Whether a folder can be written, or made in the first folder above it that exists."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return Check(name, f"{place} cannot be written", f"make it writable: chmod u+w {place}")
    return Check(name, f"{folder} can be written" if place == folder else f"{folder} will be made")


def _check_observer(settings: Settings, home: Home) -> Iterator[Check]:
    """The observer; and whether every folder can have its watch, where native notifications come from inotify."""
    choice = observers.choose_observer(settings.source_dir, settings.observer)
    finding = f"{choice.kind}: {choice.reason}"
    if settings.observer != "auto":  # else the mount is the reason
        mount = observers.mount_of(settings.source_dir)
        finding += f", {mount.fstype} on {mount.point}"
    yield Check("observer", finding + (", WSL" if observers.is_wsl() else ""))
    limits = observers.inotify_limits()
    if limits and choice.kind == "native":
        needed, allowed = _count_directories(settings, home), limits.get("max_user_watches", 0)
        remedy = "" if allowed > needed * 2 else "raise it: sudo sysctl fs.inotify.max_user_watches=524288"
        yield Check("inotify", f"{needed:,} folders to watch, {allowed:,} watches allowed", remedy, fatal=False)


def _count_directories(settings: Settings, home: Home) -> int:
    """How many directories the source has: by the catalog, else by a look at its first level."""
    path = catalog_file(settings, home)
    if path.exists() and catalog_fault(path) is None:
        with contextlib.suppress(CatalogError), Catalog(path) as catalog:
            return len(catalog.directories()) or 1
    elif settings.source_dir.is_dir():
        return 1 + sum(1 for entry in os.scandir(settings.source_dir) if entry.is_dir(follow_symlinks=False))
    return 1


def _check_catalog(settings: Settings, home: Home) -> Iterator[Check]:
    path = catalog_file(settings, home)
    damage = catalog_fault(path)
    if damage is not None:
        yield Check("catalog", f"{path}: {damage}", "delete it; it is made again from the images", fatal=False)


def _check_host(settings: Settings) -> Iterator[Check]:
    try:
        yield Check("sdgen", f"sd-generator-cli {version('sd-generator-cli')} is installed in this environment")
    except PackageNotFoundError:
        yield Check("sdgen", "not installed in this environment (not needed)")
        return
    yield from _check_hooks()
    yield from _check_web_ui(settings)


def _check_hooks() -> Iterator[Check]:
    """Whether sdgen fires our hooks, and those of other plugins."""
    if are_switched_off():
        yield Check("hooks", f"switched off by {OFF_VARIABLE}=0", f"unset {OFF_VARIABLE}", fatal=False)
        return
    found = _try_the_bridge()
    if "broken" in found:
        remedy = "see whether this works: sdgen --help"
        yield Check("hooks", f"sdgen cannot be looked into: {found['broken']}", remedy, fatal=False)
        return
    yield _check_our_hooks(found)
    if not found["native"] and not _startup_file().exists():
        return  # nothing calls any plugin, so their troubles are none
    for finding in found["findings"]:
        yield Check("hooks", f"left alone: {finding}", "update sdgen-thumbnail-plugin; the rest works", fatal=False)
    for failure in found["failures"]:
        yield Check("plugins", failure, f"update it, or leave it out: {BLOCK_VARIABLE}=NAME", fatal=False)


def _try_the_bridge() -> dict[str, Any]:
    """What the bridge finds in the host: in this process if it is sdgen, else in one started for that."""
    if HOST_MODULE in sys.modules:
        return try_out()
    code = "import json; from sdgen_thumbnail_plugin.host.bridge import try_out; print('\\n' + json.dumps(try_out()))"
    try:
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"broken": type(error).__name__}
    return found


def _check_our_hooks(found: Mapping[str, Any]) -> Check:
    """Whether our plugin is called, by what ``_try_the_bridge`` found."""
    if found["native"]:
        return Check("hooks", "fired by sdgen itself")
    caller = _startup_file()
    if not caller.exists():
        remedy = "install the plugin again: pip install --force-reinstall --no-deps sdgen-thumbnail-plugin"
        return Check("hooks", f"not active: {caller} is missing", remedy, fatal=False)
    if OUR_NAME not in found["plugins"]:
        remedy = f"take it out of {BLOCK_VARIABLE}" if os.environ.get(BLOCK_VARIABLE) else "see: sdgen-thumbnails logs"
        return Check("hooks", "active, but not for thumbnails", remedy, fatal=False)
    return Check("hooks", f"active, by {caller.name}")


def _startup_file() -> Path:
    """The file through which Python calls us when sdgen starts."""
    return Path(sysconfig.get_path("purelib")) / STARTUP_FILES[sys.version_info >= (3, 15)]


def _check_web_ui(settings: Settings) -> Iterator[Check]:
    """The web UI's backend looks for thumbnails beside the folder of the sessions, whatever is configured."""
    expected = settings.source_dir.parent / "thumbnails"
    if os.path.realpath(expected) != os.path.realpath(settings.target_dir):
        remedy = f'let it look there too: set "thumbnails": {{"target_dir": "{expected}"}} in sdgen_config.json'
        yield Check("web UI", f"it looks for thumbnails in {expected}", remedy, fatal=False)
