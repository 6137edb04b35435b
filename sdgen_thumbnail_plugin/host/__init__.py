"""The bridge between sdgen and its plugins, and what we do as one of them. Kept cheap: start-up hooks import it."""

HOST_MODULE = "sd_generator_cli.cli"
"""The host's module that holds its command line."""

STARTUP_FILES = ("sdgen_thumbnail_plugin.pth", "sdgen_thumbnail_plugin.start")
"""What Python reads when it starts: the first up to 3.14, the second from 3.15 on."""
