"""The plugins that are installed, found in the metadata of installed packages.

``importlib.metadata`` would do, but its import alone costs 15 ms, and ``sdgen --help`` as a whole takes 160: this reads
the same files (``*.dist-info/entry_points.txt``, the PyPA's "Entry points specification") in 1 ms.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["EntryPoint", "find_entry_points"]


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One line of an ``entry_points.txt``.

    Attributes:
        name: the plugin's name.
        value: what it is: ``package.module`` or ``package.module:attribute``.
        distribution: the folder that names the package it came with, as ``sdgen_thumbnail_plugin-0.1.0``.
    """

    name: str
    value: str
    distribution: str

    def load(self) -> object:
        """Imports what it names; raises whatever the import raises."""
        from importlib import import_module

        module, _, attributes = self.value.partition("[")[0].replace(" ", "").partition(":")
        found: object = import_module(module)
        for attribute in filter(None, attributes.split(".")):
            found = getattr(found, attribute)
        return found


def find_entry_points(group: str, path: Sequence[str] | None = None) -> list[EntryPoint]:
    """The entry points of a group, sorted by name; of two with one name the first on the path counts.

    Args:
        group: the group's name.
        path: the folders searched; ``sys.path`` where None.
    """
    found: dict[str, EntryPoint] = {}
    seen: dict[str, str] = {}  # of a package that is there twice, the first on the path is the one that is imported
    for folder in dict.fromkeys(sys.path if path is None else path):
        for distribution, text in _declarations(folder or "."):
            package = distribution.partition("-")[0].lower().replace(".", "_")
            if seen.setdefault(package, folder) != folder:
                continue
            if f"[{group}]" in text.replace(" ", ""):
                for name, value in _entries(text, group):
                    found.setdefault(name, EntryPoint(name, value, distribution))
    return [found[name] for name in sorted(found)]


def _declarations(folder: str) -> Iterator[tuple[str, str]]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            text = ""
            try:
                with open(f"{folder}/{name}/entry_points.txt", encoding="utf-8") as file:
                    text = file.read()
            except (OSError, ValueError):
                pass  # most packages have none
            yield name.rpartition(".")[0], text


def _entries(text: str, group: str) -> Iterator[tuple[str, str]]:
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()
