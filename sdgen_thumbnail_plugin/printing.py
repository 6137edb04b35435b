"""Texts for people: names from outside made safe to show, and numbers with their nouns."""

from __future__ import annotations

__all__ = ["counted", "printable"]


def printable(text: str) -> str:
    """Escapes everything that is not a printable character, undecodable bytes of file names included.

    Emoji, accents and spaces stay; a newline becomes ``\\n``, an escape ``\\x1b``, an undecodable byte ``\\udcff``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def counted(number: int, noun: str) -> str:
    """A number with its noun in the right form: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
