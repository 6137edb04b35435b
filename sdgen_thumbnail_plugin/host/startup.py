"""Called by ``sdgen_thumbnail_plugin.pth`` (``.start`` from Python 3.15 on) whenever Python starts.

Does nothing unless the process is ``sdgen``. There it builds the bridge as soon as ``sd_generator_cli.cli`` has been
imported. It changes nothing else, prints nothing and never raises.
"""

from __future__ import annotations

import sys

from sdgen_thumbnail_plugin.host import HOST_MODULE, are_switched_off

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def start() -> None:
    """Installs the finder that waits for the host's import, if this process is ``sdgen``.

    Idempotent, because Python reads ``.pth`` files twice in virtual environments.
    """
    if not is_sdgen(getattr(sys, "orig_argv", ())) or are_switched_off():
        return
    if HOST_MODULE not in sys.modules and not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())


def is_sdgen(arguments: Sequence[str]) -> bool:
    """Whether a command line (``sys.orig_argv``) runs ``sdgen``: whether the first argument after the interpreter's
    options is a script of this name."""
    rest = iter(arguments[1:])
    for argument in rest:
        if not argument.startswith("-"):
            return argument.rpartition("/")[2] == "sdgen"
        if argument in ("-c", "-m"):
            return False
        if argument in ("-X", "-W"):
            next(rest, None)
    return False


class _HostFinder:
    """Lets the other finders find the host's module, and builds the bridge after its import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != HOST_MODULE:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                _build_after(spec)
                return spec
        return None


def _build_after(spec: ModuleSpec) -> None:
    loader = spec.loader
    if loader is None:
        return
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        try:
            from sdgen_thumbnail_plugin.host.bridge import build_bridge

            build_bridge(module)
        except Exception:  # sdgen works without us; doctor reports that the hooks are missing
            pass

    try:
        loader.exec_module = exec_module  # type: ignore[method-assign]
    except AttributeError:
        pass  # a loader with read-only attributes
