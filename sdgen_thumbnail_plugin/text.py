"""Texts for people: names from outside made safe to show, numbers with their nouns, this program as it was typed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar

PROGRAM = "sdgen-thumbnails"
"""This program in the code, the state file and the log. ``as_typed`` replaces it where a person reads it."""

# Followed by a command, and no part of a path: folders may have this name too.
_CALL = re.compile(rf"(?<![\w./-]){PROGRAM}(?= [a-z])")
_typed: ContextVar[str] = ContextVar("typed", default=PROGRAM)


def printable(text: str) -> str:
    """Escapes every character that is not printable, including the undecodable bytes of file names.

    Emoji, accents and spaces stay; a newline becomes ``\\n``, an escape ``\\x1b``, an undecodable byte ``\\udcff``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Does the same for each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def counted(number: int, noun: str) -> str:
    """A number and its noun, singular or plural: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def as_typed(text: str, program: str | None = None) -> str:
    """A text in which this program has the name under which it was typed: ``sdgen thumbnails start`` to somebody who
    typed ``sdgen thumbnails status``.

    Args:
        text: calls the program ``sdgen-thumbnails``.
        program: its name; else that of ``typed_as``.
    """
    name = program or _typed.get()
    return _CALL.sub(lambda _: name, text)


@contextlib.contextmanager
def typed_as(program: str) -> Iterator[None]:
    """While the context lasts, ``as_typed`` calls this program by this name."""
    token = _typed.set(program)
    try:
        yield
    finally:
        _typed.reset(token)
