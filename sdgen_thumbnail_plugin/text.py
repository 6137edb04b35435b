"""Texts for people: names from outside made safe to show, and numbers with their nouns."""

from __future__ import annotations

__all__ = ["counted", "printable", "printable_lines"]


def printable(text: str) -> str:
    """Escapes everything that is not a printable character, undecodable bytes of file names included.

    Emoji, accents and spaces stay; a newline becomes ``\\n``, an escape ``\\x1b``, an undecodable byte ``\\udcff``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def counted(number: int, noun: str) -> str:
    """A number with its noun in the right form: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
