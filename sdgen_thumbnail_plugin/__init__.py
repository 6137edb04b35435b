"""Keeps a WebP thumbnail for every PNG below a folder. Kept free of imports: start-up hooks import it."""
