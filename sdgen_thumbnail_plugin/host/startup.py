"""What ``sdgen_thumbnail_plugin.pth`` (and, from Python 3.15 on, ``sdgen_thumbnail_plugin.start``) calls when Python
starts.

Does nothing unless the process is ``sdgen``. There it waits for the import of ``sd_generator_cli.cli``, and builds the
bridge when that is done. Nothing else is touched, nothing is printed, nothing is raised.
"""

from __future__ import annotations

import os
import sys

from sdgen_thumbnail_plugin.host import HOST_MODULE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["is_sdgen", "start"]


def start() -> None:
    """Waits for the host's import, if this process is ``sdgen``. Called twice in virtual environments."""
    if not is_sdgen(getattr(sys, "orig_argv", ())) or os.environ.get("SDGEN_PLUGINS") == "0":
        return
    if HOST_MODULE not in sys.modules and not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())


def is_sdgen(arguments: Sequence[str]) -> bool:
    """Whether a command line (``sys.orig_argv``) is that of ``sdgen``: whether the interpreter, behind its options, was
    given a script of this name."""
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
    """Finds the host's module like everybody else would, and has the bridge built behind its import."""

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
                _build_behind(spec)
                return spec
        return None


def _build_behind(spec: ModuleSpec) -> None:
    loader = spec.loader
    if loader is None:
        return
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        try:
            from sdgen_thumbnail_plugin.host.bridge import build_bridge

            build_bridge(module)
        except Exception:  # sdgen works without us; doctor says that we are missing
            pass

    try:
        loader.exec_module = exec_module  # type: ignore[method-assign]
    except AttributeError:
        pass  # a loader that cannot be altered
