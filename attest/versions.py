"""Versions as people write them, packed into numbers that order as the versions do.

Policies compare numbers; people read and write text. One place packs both the claims and the reference values, so that they cannot
be packed differently.
"""

from __future__ import annotations

import re
from enum import Enum


class VersionForm(Enum):
    """How a version is written. ``pattern`` accepts exactly that spelling, ``base`` and ``bits`` say how its parts are packed."""

    # driver: three decimal parts of 20 bits; some branches have two ("545.00"), and those order as if a third were 0
    THREE_PARTS = ("550.90.07", r"\d{1,6}\.\d{1,6}(?:\.\d{1,6})?", 10, 20)
    THREE_BYTES = ("1.55.29", r"\d{1,3}\.\d{1,3}\.\d{1,3}", 10, 8)  # firmware of a secure processor: three decimal bytes
    FIVE_BYTES = ("96.00.9F.00.01", r"[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}", 16, 8)  # VBIOS: five bytes, upper-case hex

    def __init__(self, example: str, pattern: str, base: int, bits: int) -> None:
        self.example = example
        self._pattern = re.compile(pattern + r"\Z", re.ASCII)
        self._base = base
        self._bits = bits

    def pack(self, text: str) -> int | None:
        """The number, most significant part first, or None when ``text`` is not a version of this form."""
        if not self._pattern.match(text):
            return None
        number = 0
        parts = text.split(".")
        for part in parts + ["0"] * (self.example.count(".") + 1 - len(parts)):
            value = int(part, self._base)
            if value >> self._bits:
                return None
            number = number << self._bits | value
        return number
