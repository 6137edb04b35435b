"""Writes every image: to its final name, not atomically."""

import base64
from pathlib import Path


class ImageWriter:
    def __init__(self, output_dir):
        self.output_dir = Path(output_dir)

    def save_image(self, image_data_b64, filename):
        path = self.output_dir / filename
        with open(path, "wb") as file:
            file.write(base64.b64decode(image_data_b64))
        return path
