"""The manifest of a policy: who it is, which issue of it, and who answers for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from attest.errors import MalformedError
from attest.policy.finding import MANIFEST, Finding
from attest.wire import Fields

FORMAT: Final = "attest-policy/1"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_LIMIT: Final = 16 << 10


@dataclass(frozen=True, slots=True)
class Manifest:
    """``serial`` grows with every issue, so that an old issue can be told from a new one."""

    name: str
    serial: int
    description: str
    owner: str


def read_manifest(data: bytes) -> Manifest | Finding:
    """Read ``policy.json``, or say what is wrong with it (P120)."""
    try:
        fields = Fields.parse(data, MANIFEST, limit=_LIMIT)
        fields.choice("format", _is_format)
        manifest = Manifest(
            fields.text("name"), fields.integer("serial", least=1, most=2**53 - 1), fields.text("description"), fields.text("owner")
        )
        fields.done()
    except MalformedError as error:
        reason = error.reasons[0]
        return Finding("P120", reason.message, MANIFEST, found=reason.found, meant=f"expected {reason.expected}" if reason.expected else "")
    if not _NAME.match(manifest.name):
        return Finding("P120", "name is not a policy name", MANIFEST, found=manifest.name, meant="lower-case letters, digits and -")
    if not manifest.description.strip() or not manifest.owner.strip():
        return Finding("P120", "description or owner is empty", MANIFEST, meant="say what the policy is for, and who answers for it")
    return manifest


def _is_format(text: str) -> str:
    if text != FORMAT:
        raise ValueError(text)
    return text
