"""Pictures: bytes of an image in, bytes of its thumbnail out. No disk, no threads."""
