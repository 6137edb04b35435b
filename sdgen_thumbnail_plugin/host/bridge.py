"""Makes today's sd-generator-cli, which has no plugin loader, fire the hooks of its plugins.

It is built once the host's module ``sd_generator_cli.cli`` is imported, and changes six places, each only where it is
as expected: a place that is not is left alone, and told in the log and by ``doctor``. Everything else of the host stays
as it is. A host that loads plugins itself says so with ``__sdgen_plugins__`` in that module; then nothing is done.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sdgen_thumbnail_plugin.host import HOST_MODULE
from sdgen_thumbnail_plugin.host.hookspecs import Project
from sdgen_thumbnail_plugin.host.plugins import Plugins, load_plugins, write_to_log
from sdgen_thumbnail_plugin.paths import SERVICE, find_home

__all__ = ["NATIVE_MARK", "OUR_NAME", "Bridge", "build_bridge", "project_here", "standing_bridge", "try_out"]

NATIVE_MARK = "__sdgen_plugins__"
"""A host that loads the plugins itself has this attribute, whatever its value, in ``sd_generator_cli.cli``."""

OUR_NAME = "thumbnails"
"""The name of our entry point. Blocked, it leaves the host's own thumbnail watchdog alone."""

CONFIG_NAME = "sdgen_config.json"
_CONFIG_LIMIT_BYTES = 16 * 1024 * 1024

_standing: Bridge | None = None


@dataclass(slots=True)
class _Run:
    """One ``sdgen generate``."""

    project: Project
    session_dir: Path | None = None
    images: dict[Path, None] = field(default_factory=dict)


class Bridge:
    """The changed places, and what they lead to.

    Attributes:
        plugins: who is called.
        findings: the places that are not as expected, and so were left alone; one line each.
        is_native: whether the host does all of it by itself.
    """

    def __init__(self, host: ModuleType) -> None:
        self.is_native = hasattr(host, NATIVE_MARK)
        self.findings: list[str] = []
        self.plugins = Plugins() if self.is_native else load_plugins()
        self._host = host
        self._run: _Run | None = None
        self._generate_is_bridged = False

    # -- building

    def build(self) -> None:
        """Changes the places that cost nothing to change now; those of image writing follow with the first generate."""
        if self.is_native:
            return
        self._bridge_commands()
        self._bridge_daemon()
        self._replace(self._host, "_generate", ("template_path", "global_config"), self._generate)

    def bridge_image_writing(self) -> None:
        """Changes the places that write images; imports them, which any generate does."""
        if self._generate_is_bridged or self.is_native:
            return
        self._generate_is_bridged = True
        for module_name, class_name, method, parameters, after in (
            ("sd_generator_cli.api.image_writer", "ImageWriter", "save_image",
             ("self", "image_data_b64", "filename"), self._image_saved),
            ("sd_generator_cli.api.annotator", "ImageAnnotator", "annotate_image",
             ("self", "image_path"), self._image_saved),
        ):  # fmt: skip
            owner = self._find(module_name, class_name)
            if owner is not None:
                self._replace(owner, method, parameters, functools.partial(_with_sequel, sequel=after))

    def _bridge_commands(self) -> None:
        app: Any = getattr(self._host, "app", None)
        if hasattr(app, "add_typer") and hasattr(app, "command"):
            self.plugins.register_commands(app)
        else:
            self.findings.append("sd_generator_cli.cli.app is not a Typer application: no commands of plugins")

    def _bridge_daemon(self) -> None:
        daemon = self._find("sd_generator_cli", "daemon")
        if daemon is not None:
            self._replace(daemon, "start_thumbnail_watchdog", ("sessions_dir", "target_dir"), self._start)
            self._replace(daemon, "stop_service", ("service",), self._stop)

    def _find(self, module_name: str, attribute: str) -> Any:
        try:
            return getattr(import_module(module_name), attribute)
        except Exception:  # whatever another version of the host does there
            try:
                return import_module(f"{module_name}.{attribute}")
            except Exception:
                self.findings.append(f"{module_name}.{attribute} is not there")
                return None

    def _replace(
        self, owner: Any, name: str, parameters: tuple[str, ...], around: Callable[[Callable[..., Any]], Any]
    ) -> None:
        """Puts a function around the host's own, if that one takes the parameters that are expected of it."""
        place = f"{getattr(owner, '__module__', '') or ''}.{owner.__name__}".lstrip(".") + f".{name}"
        original = getattr(owner, name, None)
        if not inspect.isfunction(original):
            self.findings.append(f"{place} is not there")
            return
        found = tuple(inspect.signature(original).parameters)
        if found[: len(parameters)] != parameters:
            self.findings.append(f"{place} takes ({', '.join(found)}), not ({', '.join(parameters)}, …)")
            return
        setattr(owner, name, functools.wraps(original)(around(original)))

    # -- what the places do now

    def _start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start_thumbnail_watchdog(sessions_dir: Any, target_dir: Any = None) -> int | None:
            self.plugins.webui_start(project_here(sessions_dir, target_dir))
            if OUR_NAME not in self.plugins.names():
                started: int | None = original(sessions_dir, target_dir)
                return started
            return _pid_in_file()

        return start_thumbnail_watchdog

    def _stop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def stop_service(service: str, *arguments: Any, **named: Any) -> Any:
            if service != SERVICE:
                return original(service, *arguments, **named)
            self.plugins.webui_stop(project_here())
            if OUR_NAME not in self.plugins.names():
                return original(service, *arguments, **named)
            return not _is_watched()

        return stop_service

    def _generate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        def _generate(*arguments: Any, **named: Any) -> Any:
            self._run = run = _Run(_project_of(signature, arguments, named))
            self.bridge_image_writing()
            self.tell_findings()
            try:
                return original(*arguments, **named)
            finally:
                self.plugins.generate_finished(run.project, run.session_dir, tuple(run.images))

        return _generate

    def _image_saved(self, image: Any) -> None:
        if self._run is None:  # written by something else than generate
            self._run = _Run(project_here())
        path = _working_directory() / image
        if self._run.session_dir is None:
            self._run.session_dir = path.parent
        self._run.images.setdefault(path)
        self.plugins.image_saved(self._run.project, path.parent, path)

    # -- telling

    def tell_findings(self) -> None:
        """Writes the findings into the log, each of them once and not with every command."""
        if not self.findings:
            return
        told = find_home().told_file
        try:
            known = told.read_text("utf-8").splitlines() if told.exists() else []
            new = [finding for finding in self.findings if finding not in known]
            if new:
                for finding in new:
                    write_to_log(f"sdgen is not as expected, left alone: {finding}")
                told.parent.mkdir(parents=True, exist_ok=True)
                told.write_text("\n".join([*known, *new]) + "\n", "utf-8")
        except (OSError, ValueError):
            pass  # then doctor alone tells


def _with_sequel(original: Callable[..., Any], *, sequel: Callable[[Any], None]) -> Callable[..., Any]:
    """The function, followed by another that gets its result. What goes wrong there is not the function's fault."""

    def followed(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        try:
            sequel(result)
        except Exception as error:
            write_to_log(f"unexpected: {type(error).__name__}: {error}", error)
        return result

    return followed


def build_bridge(host: ModuleType) -> Bridge:
    """Builds the bridge behind the host's imported module, once."""
    global _standing
    if _standing is None:
        _standing = Bridge(host)
        _standing.build()
        _standing.tell_findings()
    return _standing


def standing_bridge() -> Bridge | None:
    """The bridge of this process, if one was built."""
    return _standing


def try_out() -> dict[str, Any]:
    """Builds the bridge in this process, all of it, and tells how that went: for ``doctor``.

    Returns:
        ``native``, ``plugins`` (names), ``findings`` and ``failures``; of a host that cannot be imported, ``broken``.
    """
    if _standing is None:
        try:
            bridge = build_bridge(import_module(HOST_MODULE))
        except Exception as error:
            return {"broken": f"{type(error).__name__}: {error}"}
    else:
        bridge = _standing
    bridge.bridge_image_writing()
    return {
        "native": bridge.is_native,
        "plugins": bridge.plugins.names(),
        "findings": bridge.findings,
        "failures": bridge.plugins.failures,
    }


def project_here(output_dir: Any = None, target_dir: Any = None) -> Project:
    """The project in the working directory, as the host sees it at this moment.

    Args:
        output_dir: what the host says; else what ``sdgen_config.json`` does, else ``results``.
        target_dir: what the host says; else what our section in ``sdgen_config.json`` does, else ``thumbnails``.
    """
    root = _working_directory()
    config = _read_config(root / CONFIG_NAME)
    section = config.get("thumbnails")
    ours = section.get("target_dir") if isinstance(section, Mapping) else None
    output = output_dir or config.get("output_dir") or "results"
    target = target_dir or os.environ.get("SDGEN_THUMBNAILS_TARGET_DIR") or ours or "thumbnails"
    return Project(root, Path(os.path.normpath(root / str(output))), root / str(target), config)


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # deleted under our feet: the shell remembers its name
        return Path(os.environ.get("PWD") or "/")


def _project_of(signature: inspect.Signature, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Project:
    try:
        config = signature.bind(*arguments, **named).arguments.get("global_config")
    except TypeError:
        config = None
    return project_here(getattr(config, "output_dir", None))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _CONFIG_LIMIT_BYTES:
            return {}
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _pid_in_file() -> int | None:
    try:
        return int(find_home().pid_file.read_text("ascii").strip())
    except (OSError, ValueError):
        return None


def _is_watched() -> bool:
    from sdgen_thumbnail_plugin.daemon.process import is_locked

    return is_locked(find_home())
