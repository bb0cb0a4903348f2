"""Which software this is, as results and records state it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Final

NAME: Final = "attest"


@cache
def software_version() -> str:
    """Version of the installed package."""
    return version(NAME)
