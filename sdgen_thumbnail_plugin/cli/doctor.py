"""``doctor``: one line for each thing that has to be right, with the remedy where it is not."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sdgen_thumbnail_plugin.cli.edge import EXIT_FAILED
from sdgen_thumbnail_plugin.cli.options import JsonOption, SourceOption, TargetOption

if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.paths import Home
    from sdgen_thumbnail_plugin.settings import Settings

__all__ = ["Check", "examine", "register"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line.

    Attributes:
        name: what was looked at.
        finding: what was found.
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


def register(app: typer.Typer) -> None:
    app.command("doctor", epilog="Example: sdgen-thumbnails doctor")(doctor)


def doctor(source_dir: SourceOption = None, target_dir: TargetOption = None, as_json: JsonOption = False) -> None:
    """Look for what could keep thumbnails from being made. Exit code 1 if something is wrong."""
    from rich.console import Console
    from rich.text import Text

    from sdgen_thumbnail_plugin.paths import find_home
    from sdgen_thumbnail_plugin.settings import load_settings
    from sdgen_thumbnail_plugin.text import printable

    settings = load_settings(source_dir=source_dir, target_dir=target_dir)
    checks = list(examine(settings, find_home()))
    if as_json:
        typer.echo(json.dumps({"schema": 1, "checks": [asdict(check) | {"well": check.well} for check in checks]}))
    else:
        console = Console()
        for check in checks:
            mark, colour = ("✓", "green") if check.well else ("✗", "red") if check.fatal else ("!", "yellow")
            line = Text.assemble((f"{mark} ", colour), (f"{check.name}: ", "bold"), printable(check.finding))
            if not check.well:
                line.append(f"\n    → {printable(check.remedy)}")
            console.print(line, soft_wrap=True)
    if any(check.fatal and not check.well for check in checks):
        raise typer.Exit(EXIT_FAILED)


def examine(settings: Settings, home: Home) -> Iterator[Check]:
    """All checks, in the order they are shown."""
    yield Check("Python", f"{platform.python_version()} at {sys.executable}")
    yield _pillow()
    yield _fast()
    yield from _roots(settings)
    yield from _watching(settings, home)
    yield from _home(settings, home)
    yield from _host(settings)


def _pillow() -> Check:
    import PIL
    from PIL import features

    from sdgen_thumbnail_plugin.model import Recipe

    remedy = "install Pillow's own wheel: pip install --force-reinstall Pillow"
    if not features.check("webp"):
        return Check("Pillow", f"{PIL.__version__} without WebP", remedy)
    from sdgen_thumbnail_plugin.errors import ThumbnailError
    from sdgen_thumbnail_plugin.imaging.thumbnail import make_thumbnail

    try:
        make_thumbnail(_SMALLEST_PNG, Recipe())
    except ThumbnailError as error:
        return Check("Pillow", f"{PIL.__version__} cannot make a thumbnail: {error}", remedy)
    return Check("Pillow", f"{PIL.__version__} with WebP {features.version('webp')}")


def _fast() -> Check:
    from sdgen_thumbnail_plugin.imaging import accelerators
    from sdgen_thumbnail_plugin.paths import FAST_VARIABLE

    if os.environ.get(FAST_VARIABLE) == "0":
        return Check("fast", f"switched off by {FAST_VARIABLE}=0")
    found = ", ".join(accelerators.names()) or "Pillow alone"
    if accelerators.has_extra():
        return Check("fast", found)
    return Check("fast", f"{found}; faster with the extra [fast]: pip install imagecodecs")


_SMALLEST_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)  # one white pixel


def _roots(settings: Settings) -> Iterator[Check]:
    from sdgen_thumbnail_plugin.errors import RootsError
    from sdgen_thumbnail_plugin.settings import check_roots

    try:
        check_roots(settings, must_exist=False)
    except RootsError as error:
        yield Check("folders", str(error), error.remedy)
        return
    if settings.source_dir.is_dir():
        yield Check("source", f"{settings.source_dir} can be read")
    else:
        remedy = "generate some images first, or name the folder with --source-dir"
        yield Check("source", f"{settings.source_dir} is not there", remedy, fatal=False)
    target = settings.target_dir
    place = _nearest(target)
    if os.access(place, os.W_OK | os.X_OK):
        yield Check("thumbnails", f"{target} can be written" if target.exists() else f"{target} will be made")
    else:
        yield Check("thumbnails", f"{place} cannot be written", f"make it writable: chmod u+w {place}")


def _nearest(path: Path) -> Path:
    """The path, or the first folder above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _watching(settings: Settings, home: Home) -> Iterator[Check]:
    from sdgen_thumbnail_plugin.daemon.observers import choose_observer, inotify_limits, is_wsl, mount_of
    from sdgen_thumbnail_plugin.engine.catalog import Catalog, catalog_is_healthy
    from sdgen_thumbnail_plugin.errors import CatalogError

    mount = mount_of(settings.source_dir)
    choice = choose_observer(settings.source_dir, settings.observer)
    where = f"{mount.fstype} on {mount.point}{', WSL' if is_wsl() else ''}"
    yield Check("observer", f"{choice.kind}: {choice.reason} ({where})" if settings.observer != "auto" else
                f"{choice.kind}: {choice.reason}{', WSL' if is_wsl() else ''}")  # fmt: skip
    limits = inotify_limits()
    if choice.kind == "native" and limits:
        source, target = (os.path.realpath(path) for path in (settings.source_dir, settings.target_dir))
        path = home.catalog_file(source, target)
        needed = 1
        if path.exists() and catalog_is_healthy(path) is None:
            try:
                with Catalog(path) as catalog:
                    needed = len(catalog.directories()) or 1
            except CatalogError:
                pass  # told below
        elif settings.source_dir.is_dir():
            needed = 1 + sum(1 for entry in os.scandir(settings.source_dir) if entry.is_dir(follow_symlinks=False))
        watches = limits.get("max_user_watches", 0)
        remedy = "" if watches > needed * 2 else "raise it: sudo sysctl fs.inotify.max_user_watches=524288"
        yield Check("inotify", f"{needed:,} folders to watch, {watches:,} watches allowed", remedy, fatal=False)


def _home(settings: Settings, home: Home) -> Iterator[Check]:
    from sdgen_thumbnail_plugin.daemon.process import find_watcher
    from sdgen_thumbnail_plugin.engine.catalog import catalog_is_healthy

    place = _nearest(home.root)
    if os.access(place, os.W_OK | os.X_OK):
        yield Check("home", f"{home.root} can be written" if home.root.exists() else f"{home.root} will be made")
    else:
        yield Check("home", f"{place} cannot be written", f"make it writable: chmod u+w {place}")
    source, target = (os.path.realpath(path) for path in (settings.source_dir, settings.target_dir))
    catalog = home.catalog_file(source, target)
    trouble = catalog_is_healthy(catalog)
    if trouble is not None:
        yield Check("catalog", f"{catalog}: {trouble}", "delete it; it is made anew from the images", fatal=False)
    watcher = find_watcher(home)
    yield Check("watcher", f"running (PID {watcher.pid})" if watcher else "not running")


def _host(settings: Settings) -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        yield Check("sdgen", f"sd-generator-cli {version('sd-generator-cli')} is installed in this environment")
    except PackageNotFoundError:
        yield Check("sdgen", "not installed in this environment (not needed)")
        return
    yield from _hooks()
    # The web UI's backend looks for thumbnails beside the folder of the sessions, whatever is configured.
    expected = settings.source_dir.parent / "thumbnails"
    if os.path.realpath(expected) != os.path.realpath(settings.target_dir):
        remedy = f'let it look there too: set "thumbnails": {{"target_dir": "{expected}"}} in sdgen_config.json'
        yield Check("web UI", f"it looks for thumbnails in {expected}", remedy, fatal=False)


def _hooks() -> Iterator[Check]:
    """Whether sdgen fires our hooks."""
    import sysconfig

    from sdgen_thumbnail_plugin.host import STARTUP_FILES
    from sdgen_thumbnail_plugin.host.bridge import OUR_NAME
    from sdgen_thumbnail_plugin.host.plugins import BLOCK_VARIABLE, OFF_VARIABLE, are_switched_off

    if are_switched_off():
        yield Check("hooks", f"switched off by {OFF_VARIABLE}=0", f"unset {OFF_VARIABLE}", fatal=False)
        return
    found = _try_the_bridge()
    if found is None or "broken" in found:
        why = f": {found['broken']}" if found else ""
        yield Check("hooks", f"sdgen cannot be looked into{why}", "see whether this works: sdgen --help", fatal=False)
        return
    caller = Path(sysconfig.get_path("purelib")) / STARTUP_FILES[sys.version_info >= (3, 15)]
    if not found["native"] and not caller.exists():
        remedy = "install the plugin again: pip install --force-reinstall --no-deps sdgen-thumbnail-plugin"
        yield Check("hooks", f"not active: {caller} is missing", remedy, fatal=False)
        return
    if OUR_NAME not in found["plugins"] and not found["native"]:
        remedy = f"take it out of {BLOCK_VARIABLE}" if os.environ.get(BLOCK_VARIABLE) else "see: sdgen-thumbnails logs"
        yield Check("hooks", "active, but not for thumbnails", remedy, fatal=False)
    else:
        yield Check("hooks", "fired by sdgen itself" if found["native"] else f"active, by {caller.name}")
    for finding in found["findings"]:
        yield Check("hooks", f"left alone: {finding}", "update sdgen-thumbnail-plugin; the rest works", fatal=False)
    for failure in found["failures"]:
        yield Check("plugins", failure, f"update it, or leave it out: {BLOCK_VARIABLE}=NAME", fatal=False)


def _try_the_bridge() -> dict[str, Any] | None:
    """What the bridge finds in the host: of this process, if it is sdgen, else of one started to look."""
    import subprocess

    from sdgen_thumbnail_plugin.host.bridge import standing_bridge, try_out

    if standing_bridge() is not None:
        return try_out()
    code = "import json; from sdgen_thumbnail_plugin.host.bridge import try_out; print('\\n' + json.dumps(try_out()))"
    try:
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        found = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None
