"""Sessions: the first-level folders that the host generates into, as their names and manifests describe them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping

from sdgen_thumbnail_plugin.errors import ThumbnailError
from sdgen_thumbnail_plugin.storage.local import LocalImageStorage

_BEGAN = re.compile(r"(\d{8})[_-]?(\d{6})")
_MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024


class LocalSessionStorage:
    """Sessions below a folder on this machine.

    Args:
        images: the storage of the source images; its root holds the sessions.
    """

    def __init__(self, images: LocalImageStorage) -> None:
        self._images = images

    def newest_first(self, sessions: Iterable[str]) -> list[str]:
        named = {name: _BEGAN.match(name) for name in sessions}
        # Only sessions whose names do not say it are asked for their time.
        tokens = self._images.tokens([name for name, match in named.items() if match is None])
        began = {
            name: match[1] + match[2] if match else _as_stamp(tokens[name]) for name, match in named.items()
        }  # fmt: skip
        return sorted(began, key=lambda name: (began[name], name), reverse=True)

    def read_manifest(self, session: str) -> Mapping[str, object] | None:
        try:
            text = self._images.read_image(f"{session}/manifest.json", limit_bytes=_MANIFEST_LIMIT_BYTES).data
            manifest = json.loads(text)
        except (ThumbnailError, ValueError, RecursionError):
            return None
        return manifest if isinstance(manifest, dict) else None


def _as_stamp(token: object) -> str:
    """A folder's modification time as sessions write theirs: ``YYYYMMDDHHMMSS`` in local time."""
    mtime_ns = token if isinstance(token, int) else 0
    return time.strftime("%Y%m%d%H%M%S", time.localtime(mtime_ns / 1e9))
