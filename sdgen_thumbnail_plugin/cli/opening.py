"""What the commands that work on thumbnails themselves need: settings, storages, the catalog and a keeper."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sdgen_thumbnail_plugin.daemon.logs import LOGGER_NAME
from sdgen_thumbnail_plugin.engine.catalog import Catalog
from sdgen_thumbnail_plugin.engine.claims import Claims
from sdgen_thumbnail_plugin.engine.keeper import Keeper
from sdgen_thumbnail_plugin.home import find_home
from sdgen_thumbnail_plugin.model import SOURCE_SUFFIX, THUMBNAIL_SUFFIX
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
    keeper: Keeper


@contextlib.contextmanager
def opened(**flags: Any) -> Iterator[Opened]:
    """Opens what the flags, the environment and ``sdgen_config.json`` name.

    Raises:
        SettingsError, RootsError, CatalogError
    """
    # What is logged here is for the watcher's log; these commands say it in their own way.
    logging.getLogger(LOGGER_NAME).addHandler(logging.NullHandler())
    settings = load_settings(**flags)
    check_roots(settings)
    source = LocalImageStorage(settings.source_dir, SOURCE_SUFFIX)
    target = LocalImageStorage(settings.target_dir, THUMBNAIL_SUFFIX)
    home = find_home()
    with Catalog(home.catalog_file(source.location, target.location)) as catalog:
        keeper = Keeper(
            source, target, catalog, recipe=settings.recipe, max_pixels=settings.max_pixels,
            claims=Claims(home.claims_file),
        )  # fmt: skip
        yield Opened(settings, source, target, LocalSessionStorage(source), catalog, keeper)
