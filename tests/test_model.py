"""The shared values."""

from __future__ import annotations

import dataclasses

import pytest

from sdgen_thumbnail_plugin.model import Priority, Recipe, Stamp


def test_recipes_that_differ_in_anything_have_different_tags() -> None:
    recipes = [Recipe(), Recipe(height_px=480), Recipe(quality=84), Recipe(method=5), Recipe(24, 8, 5)]
    assert len({recipe.tag for recipe in recipes}) == len(recipes)
    assert Recipe().tag == Recipe(240, 85, 6).tag


def test_a_recipe_is_frozen() -> None:
    recipe = Recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.height_px = 480  # type: ignore[misc]


def test_a_new_image_goes_before_a_catch_up() -> None:
    assert min(Priority) is Priority.URGENT
    assert Priority.URGENT < Priority.CATCH_UP


def test_stamps_are_equal_if_time_and_size_are() -> None:
    assert Stamp(1, 2) == Stamp(1, 2)
    assert Stamp(1, 2) not in (Stamp(2, 2), Stamp(1, 1))
