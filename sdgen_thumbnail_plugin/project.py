"""What the commands that work on thumbnails themselves need: settings, storages, the catalog and a reconciler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sdgen_thumbnail_plugin.engine.build_locks import BuildLocks
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.reconcile import Reconciler
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, THUMBNAIL_SUFFIX
from sdgen_thumbnail_plugin.paths import find_home
from sdgen_thumbnail_plugin.settings import Settings, check_roots, load_settings
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage, LocalSessionStorage

__all__ = ["Opened", "opened"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A pair of roots, ready to be worked on."""

    settings: Settings
    source: LocalImageStorage
    target: LocalImageStorage
    sessions: LocalSessionStorage
    catalog: Catalog
    reconciler: Reconciler


@contextlib.contextmanager
def opened(**flags: Any) -> Iterator[Opened]:
    """Opens what the flags, the environment and ``sdgen_config.json`` name.

    Raises:
        SettingsError, RootsError, CatalogError
    """
    settings = load_settings(**flags)
    check_roots(settings)
    source = LocalImageStorage(settings.source_dir, SOURCE_SUFFIX)
    target = LocalImageStorage(settings.target_dir, THUMBNAIL_SUFFIX)
    home = find_home()
    with Catalog(home.catalog_file(source.location, target.location)) as catalog:
        reconciler = Reconciler(
            source, target, catalog, recipe=settings.recipe, max_pixels=settings.max_pixels,
            claims=BuildLocks(home.claims_file),
        )  # fmt: skip
        yield Opened(settings, source, target, LocalSessionStorage(source), catalog, reconciler)
