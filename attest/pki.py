"""Certificate chains at a given time under a named vendor profile, and revocation (CRL, OCSP).

Verification here reads no clock and no network: time, certificates, revocation answers and anchors are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Anchor:
    """A pinned root: its common name and the hex SHA-256 of its DER SubjectPublicKeyInfo."""

    name: str
    spki_sha256: str
