"""``python -m sdgen_thumbnail_plugin`` is ``sdgen-thumbnails``."""

from sdgen_thumbnail_plugin.cli.app import main

if __name__ == "__main__":
    main()
