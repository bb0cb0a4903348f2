"""What a keystore says about a key; never the key itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from attest.appraisal import KeyUse
from attest.release.checks import KEYSTORE_NAME

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}\Z", re.ASCII)


class KeyState(StrEnum):
    """Whether a version may be released."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class Custody(StrEnum):
    """Who can see a key when it is wrapped. Stands in every record."""

    BROKER_MEMORY = "broker-memory"  # the broker's process held the key while it wrapped it


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One version of a key.

    ``policy`` is the digest of the one policy identity that may release it (hex SHA-256). ``custody`` is a property of the keystore.
    """

    name: str
    version: int
    state: KeyState
    use: KeyUse
    policy: str
    created_at: datetime
    custody: Custody


def check_name(name: str) -> None:
    """Raise the failure of ``keystore.name`` for what cannot be a key's name."""
    KEYSTORE_NAME.require(_NAME.match(name) is not None, found=repr(name[:64]), expected="a key name such as weights/model-a")
