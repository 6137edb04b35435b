"""Reads ``sdgen_config.json``, the host's file. Cheap to import, because every ``sdgen`` process imports it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Final

from sdgen_thumbnail_plugin.errors import SettingsError

CONFIG_NAME: Final = "sdgen_config.json"

SECTION: Final = "thumbnails"
"""The name of our section in it."""

_MAX_BYTES: Final = 16 * 1024 * 1024


def read_config(path: Path) -> dict[str, Any]:
    """The content of the file; empty if it does not exist.

    Raises:
        SettingsError: it cannot be read, or does not hold a JSON object.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise SettingsError("is not a file", path=str(path))
        if status.st_size > _MAX_BYTES:
            raise SettingsError("is too large to be a configuration", path=str(path))
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            f"cannot be read: {error.strerror}", path=str(path), remedy="check its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"is not valid JSON: {error}", path=str(path), remedy="correct it in an editor") from error
    if not isinstance(content, dict):
        raise SettingsError("must hold a JSON object", path=str(path))
    return content
