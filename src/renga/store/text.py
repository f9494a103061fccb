"""Texts as every database holds them: UTF-8, and without the character that ends a text in C."""

from __future__ import annotations


def storable(text: str) -> str:
    """`text`, with lone surrogates and NUL written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
