"""The tree of errors."""

from __future__ import annotations

import copy
import inspect

import pytest

from sdgen_thumbnail_plugin import errors
from sdgen_thumbnail_plugin.errors import (
    DamagedImageError,
    ImageError,
    MachineError,
    ProcessError,
    SettingsError,
    ThumbnailError,
    TruncatedImageError,
)

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, ThumbnailError)]


def drawn_tree() -> dict[str, str]:
    """Class to parent, as the module's docstring draws it."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        names = [word for word in line.split() if word.endswith("Error")]
        if not names or line.strip(" │├└─").split()[0] != names[0]:
            continue
        depth = line.index(names[0])
        above = [(column, name) for column, name in above if column < depth]
        parents[names[0]] = above[-1][1] if above else ""
        above.append((depth, names[0]))
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    there = {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES}
    assert drawn_tree() == {**there, "ThumbnailError": ""}


def test_everything_in_the_tree_is_offered() -> None:
    assert sorted(errors.__all__) == sorted([*(cls.__name__ for cls in CLASSES), "image_error"])


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_names_the_path_and_the_remedy(cls: type[ThumbnailError]) -> None:
    error = cls("is wrong", path="/a/b.png", remedy="mend it")
    assert (str(error), error.remedy) == ("/a/b.png: is wrong", "mend it")
    assert str(cls("is wrong")) == "is wrong"


@pytest.mark.parametrize(
    "cls", [cls for cls in CLASSES if not cls.__subclasses__() and issubclass(cls, ImageError | MachineError)]
)
def test_every_error_that_a_person_sees_has_a_remedy(cls: type[ThumbnailError]) -> None:
    assert cls("is wrong").remedy


@pytest.mark.parametrize("cls", CLASSES)
def test_remedies_are_lower_case_and_without_a_full_stop(cls: type[ThumbnailError]) -> None:
    assert not cls.default_remedy[:1].isupper()
    assert not cls.default_remedy.endswith(".")


def test_a_path_is_named_once() -> None:
    error = TruncatedImageError("ends too early").at("first.png")
    assert isinstance(error, TruncatedImageError)
    assert error.at("second.png") is error
    assert error.path == "first.png"


def test_the_images_faults_are_not_the_machines() -> None:
    for kind in (ImageError, MachineError, SettingsError, ProcessError):
        others = {ImageError, MachineError, SettingsError, ProcessError} - {kind}
        assert not any(issubclass(cls, kind) and issubclass(cls, tuple(others)) for cls in CLASSES)


def test_only_one_machine_error_can_be_everywhere() -> None:
    error = errors.DiskFullError("full")
    error.everywhere = True
    assert not errors.DiskFullError("full").everywhere


def test_an_error_survives_copying() -> None:
    error = copy.copy(DamagedImageError("is damaged", path="a.png", remedy="mend it"))
    assert (error.message, error.path, error.remedy) == ("is damaged", "a.png", "mend it")


def test_a_remembered_error_is_the_same_again() -> None:
    error = errors.image_error("DamagedImageError", "is damaged", "mend it")
    assert type(error) is DamagedImageError
    assert (error.message, error.remedy) == ("is damaged", "mend it")


@pytest.mark.parametrize("kind", ["NoSuchError", "DiskFullError", "TypeVar", "image_error", ""])
def test_a_remembered_error_of_no_known_kind_is_an_image_error(kind: str) -> None:
    assert type(errors.image_error(kind, "is damaged", "")) is ImageError
