"""The bridge between sdgen and its plugins, and what we do as one of them."""
