"""Names and texts that come from outside, made safe to show: no control sequence reaches a terminal or a log line."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Escapes everything that is not a printable character, undecodable bytes of file names included.

    Emoji, accents and spaces stay; a newline becomes ``\\n``, an escape ``\\x1b``, an undecodable byte ``\\udcff``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
