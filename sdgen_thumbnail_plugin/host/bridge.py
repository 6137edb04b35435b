"""Makes today's sd-generator-cli, which has no plugin loader, fire the hooks of its plugins.

The bridge is built when the host's module ``sd_generator_cli.cli`` has been imported. It wraps six functions of the
host, each only if its signature is the expected one; the log and ``doctor`` report those that it leaves alone. Nothing
else of the host changes. A host that loads plugins itself sets ``__sdgen_plugins__`` in that module; then the bridge
does nothing.
"""

from __future__ import annotations

import functools
import inspect
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sdgen_thumbnail_plugin.config_file import CONFIG_NAME, SECTION, read_config
from sdgen_thumbnail_plugin.errors import SettingsError
from sdgen_thumbnail_plugin.host import HOST_MODULE
from sdgen_thumbnail_plugin.host.hookspecs import Project
from sdgen_thumbnail_plugin.host.plugins import Plugins, load_plugins, write_to_log
from sdgen_thumbnail_plugin.paths import ENVIRONMENT_PREFIX, SERVICE, find_home

NATIVE_MARK = "__sdgen_plugins__"
"""A host that loads plugins itself sets this attribute in ``sd_generator_cli.cli``, to any value."""

OUR_NAME = "thumbnails"
"""The name of our entry point. If it is blocked, the host's own thumbnail watchdog runs."""

_current: Bridge | None = None


@dataclass(slots=True)
class _Run:
    """One ``sdgen generate``."""

    project: Project
    session_dir: Path | None = None
    images: dict[Path, None] = field(default_factory=dict)


class Bridge:
    """The wrapped functions of the host, and the plugins that they call.

    Attributes:
        plugins: the plugins whose hooks are called.
        findings: the functions that are not as expected and therefore left alone, one line each.
        is_native: whether the host fires the hooks itself.
    """

    def __init__(self, host: ModuleType) -> None:
        self.is_native = hasattr(host, NATIVE_MARK)
        self.findings: list[str] = []
        self.plugins = Plugins() if self.is_native else load_plugins()
        self._host = host
        self._run: _Run | None = None
        self._generate_is_bridged = False

    def build(self) -> None:
        """Wraps what the host has imported already; the functions that write images follow with the first generate."""
        if self.is_native:
            return
        app: Any = getattr(self._host, "app", None)
        if hasattr(app, "add_typer") and hasattr(app, "command"):
            self.plugins.register_commands(app)
        else:
            self.findings.append("sd_generator_cli.cli.app is not a Typer application: plugins add no commands")
        daemon = "sd_generator_cli.daemon"
        self._wrap(f"{daemon}.start_thumbnail_watchdog", ("sessions_dir", "target_dir"), self._start)
        self._wrap(f"{daemon}.stop_service", ("service",), self._stop)
        self._wrap(f"{HOST_MODULE}._generate", ("template_path", "global_config"), self._generate)

    def bridge_image_writing(self) -> None:
        """Wraps the functions that write images, and imports them, as every generate does."""
        if self._generate_is_bridged or self.is_native:
            return
        self._generate_is_bridged = True
        api = "sd_generator_cli.api"
        self._wrap(f"{api}.image_writer.ImageWriter.save_image", ("self", "image_data_b64", "filename"), self._saving)
        self._wrap(f"{api}.annotator.ImageAnnotator.annotate_image", ("self", "image_path"), self._saving)

    def _wrap(self, place: str, parameters: tuple[str, ...], around: Callable[[Callable[..., Any]], Any]) -> None:
        """Wraps a function of the host, if it takes the expected parameters."""
        owner_name, _, name = place.rpartition(".")
        try:
            owner = pkgutil.resolve_name(owner_name)
            original = getattr(owner, name)
        except Exception:  # another version of the host may raise anything
            original = None
        if not inspect.isfunction(original):
            self.findings.append(f"{place} is missing")
            return
        found = tuple(inspect.signature(original).parameters)
        if found[: len(parameters)] != parameters:
            self.findings.append(f"{place} takes ({', '.join(found)}), not ({', '.join(parameters)}, …)")
            return
        setattr(owner, name, functools.wraps(original)(around(original)))

    # -- the wrappers

    def _start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start_thumbnail_watchdog(sessions_dir: Any, target_dir: Any = None) -> Any:
            self.plugins.webui_start(project_here(sessions_dir, target_dir))
            return find_home().read_pid() if self._watches() else original(sessions_dir, target_dir)

        return start_thumbnail_watchdog

    def _stop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def stop_service(service: str, *arguments: Any, **named: Any) -> Any:
            if service == SERVICE:
                self.plugins.webui_stop(project_here())
                if self._watches():
                    from sdgen_thumbnail_plugin.daemon.identity import is_locked

                    return not is_locked(find_home())
            return original(service, *arguments, **named)

        return stop_service

    def _watches(self) -> bool:
        """Whether our watcher takes the place of the host's own thumbnail watchdog."""
        return OUR_NAME in self.plugins.names()

    def _generate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        def _generate(*arguments: Any, **named: Any) -> Any:
            try:
                config = signature.bind(*arguments, **named).arguments.get("global_config")
            except TypeError:  # the host refuses them
                config = None
            self._run = run = _Run(project_here(getattr(config, "output_dir", None)))
            self.bridge_image_writing()
            self.report_findings()
            try:
                return original(*arguments, **named)
            finally:
                self.plugins.generate_finished(run.project, run.session_dir, tuple(run.images))

        return _generate

    def _saving(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def saving(*arguments: Any, **named: Any) -> Any:
            image = original(*arguments, **named)
            try:
                self._image_saved(image)
            except Exception as error:
                write_to_log(f"unexpected: {type(error).__name__}: {error}", error)
            return image

        return saving

    def _image_saved(self, image: Any) -> None:
        if self._run is None:  # something other than generate writes it
            self._run = _Run(project_here())
        path = _working_directory() / image
        if self._run.session_dir is None:
            self._run.session_dir = path.parent
        self._run.images.setdefault(path)
        self.plugins.image_saved(self._run.project, path.parent, path)

    # -- reporting

    def report_findings(self) -> None:
        """Writes each finding to the log once, not with every command."""
        reported = find_home().reported_file
        try:
            known = reported.read_text("utf-8").splitlines() if self.findings and reported.exists() else []
            new = [finding for finding in self.findings if finding not in known]
            for finding in new:
                write_to_log(f"sdgen is not as expected, left alone: {finding}")
            if new:
                reported.parent.mkdir(parents=True, exist_ok=True)
                reported.write_text("\n".join([*known, *new]) + "\n", "utf-8")
        except (OSError, ValueError):
            pass  # doctor still reports them


def build_bridge(host: ModuleType) -> Bridge:
    """Builds the bridge for the host's module, once in a process."""
    global _current
    if _current is None:
        _current = Bridge(host)
        _current.build()
        _current.report_findings()
    return _current


def try_out() -> dict[str, Any]:
    """Builds the whole bridge in this process and describes the result, for ``doctor``.

    Returns:
        ``native``, ``plugins`` (names), ``findings`` and ``failures``; only ``broken`` if the host cannot be imported.
    """
    try:
        bridge = build_bridge(import_module(HOST_MODULE))
    except Exception as error:
        return {"broken": f"{type(error).__name__}: {error}"}
    bridge.bridge_image_writing()
    return {
        "native": bridge.is_native,
        "plugins": bridge.plugins.names(),
        "findings": bridge.findings,
        "failures": bridge.plugins.failures,
    }


def project_here(output_dir: Any = None, target_dir: Any = None) -> Project:
    """The project in the working directory, as the host sees it now.

    Args:
        output_dir: as the host gives it; without it ``output_dir`` of ``sdgen_config.json``, then ``results``.
        target_dir: as the host gives it; without it our environment variable, then our section in
            ``sdgen_config.json``, then ``thumbnails``.
    """
    root = _working_directory()
    try:
        config = read_config(root / CONFIG_NAME)
    except SettingsError:  # the host reports it, or our own commands do
        config = {}
    section = config.get(SECTION)
    ours = section.get("target_dir") if isinstance(section, Mapping) else None
    output = output_dir or config.get("output_dir") or "results"
    target = target_dir or os.environ.get(f"{ENVIRONMENT_PREFIX}TARGET_DIR") or ours or "thumbnails"
    return Project(root, Path(os.path.normpath(root / str(output))), root / str(target), config)


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # deleted while sdgen runs; the shell remembers its name
        return Path(os.environ.get("PWD") or "/")
