"""Fires sdgen's hooks in today's sdgen, which has no plugin loader. Cheap to import: start-up hooks import it."""

import os

HOST_MODULE = "sd_generator_cli.cli"
"""The host's module that holds its command line."""

STARTUP_FILES = ("sdgen_thumbnail_plugin.pth", "sdgen_thumbnail_plugin.start")
"""The files that Python reads when it starts: the first up to 3.14, the second from 3.15 on."""

OFF_VARIABLE = "SDGEN_PLUGINS"
"""The environment variable that switches all plugins off when it is ``0``."""


def are_switched_off() -> bool:
    """Whether the environment switches all plugins off."""
    return os.environ.get(OFF_VARIABLE) == "0"
