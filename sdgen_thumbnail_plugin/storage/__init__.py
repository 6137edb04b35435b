"""Where images and thumbnails are kept. The engine knows the protocols in ``base`` only."""
