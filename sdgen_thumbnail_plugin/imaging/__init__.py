"""Image bytes in, thumbnail bytes out. No disk, no threads."""
