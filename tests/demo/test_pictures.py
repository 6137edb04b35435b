"""The drawn pictures."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from sdgen_thumbnail_plugin.demo import pictures


@pytest.mark.parametrize("scene", ["harbour", "hills", "paper", "aurora"])
def test_a_scene_is_drawn_the_same_for_the_same_seed(scene: str) -> None:
    for size_px in ((96, 144), (160, 96)):
        picture = pictures.draw(scene, 7, size_px)
        assert (picture.mode, picture.size) == ("RGB", size_px)
        assert picture.tobytes() == pictures.draw(scene, 7, size_px).tobytes()
        assert picture.tobytes() != pictures.draw(scene, 8, size_px).tobytes()


def test_a_png_carries_its_prompt() -> None:
    content = pictures.encode(Image.new("RGB", (64, 96)), prompt="misty hills", seed=42)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        parameters = picture.info["parameters"]
    assert parameters.startswith("misty hills")
    assert "\nNegative prompt: " in parameters
    assert "Seed: 42, Size: 64x96" in parameters
