"""Keeps a WebP thumbnail for every PNG below a folder.

Imports nothing, because start-up hooks import it; the functions are loaded on first access.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sdgen_thumbnail_plugin.api import generate_thumbnail, generate_thumbnail_sync

__all__ = ["generate_thumbnail", "generate_thumbnail_sync"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from sdgen_thumbnail_plugin import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
