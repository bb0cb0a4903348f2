"""Find SEV-SNP evidence in a file: a raw report, or a report with the host's certificate table behind it."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attest.errors import AttestError
from attest.evidence import Evidence
from attest.kinds.sev_snp.report import OFFSETS, SIZE
from attest.kinds.sev_snp.table import ARK, ASK, ENTRY_SIZE, KNOWN, VCEK, VLEK, parse_table
from attest.pki import load_amd_leaf, load_certificate

NAME: Final = "sev-snp"
_LABEL: Final = "cpu-0"
_HIGHEST_VERSION: Final = 255
_FIRST: Final = frozenset({*(guid.bytes for guid in KNOWN), bytes(16)})  # zeros: a table without certificates


def recognise(data: bytes) -> tuple[Evidence, ...]:
    """The evidence in ``data``; empty when it is something else. Raises MalformedError for a report with a broken certificate table.

    Only form decides, so a report that is refused later is still recognised. A file of 1184 bytes is taken by its version number; a
    longer one must also have a table behind the report, whose first GUID is known.
    """
    if len(data) < SIZE or not 0 < int.from_bytes(data[:4], "little") <= _HIGHEST_VERSION:
        return ()
    report, table = data[:SIZE], data[SIZE:]
    if not table:
        return (Evidence.of(NAME, _LABEL, {"report": report}),)
    if table[:16] not in _FIRST or len(table) < ENTRY_SIZE:
        return ()
    certificates = _certificates(report, table)
    parts = {"report": report, "certificates": certificates} if certificates else {"report": report}
    return (Evidence.of(NAME, _LABEL, parts),)


def _certificates(report: bytes, table: bytes) -> bytes:
    """PEM of the leaf for the report's signing key, then of what of its issuers is readable; empty without a leaf.

    Issuers in the table are only candidates, and clouds have been seen to put broken ones there: the collateral stands in for them.
    """
    blobs = parse_table(table)
    vlek = report[OFFSETS["key_info"]] >> 2 & 0b111 == 1
    leaf = blobs.get(VLEK if vlek else VCEK, b"")
    if not leaf:
        return b""
    pem = _pem(load_amd_leaf(leaf))
    for guid in (ASK, ARK):
        try:
            pem += _pem(load_certificate(blobs[guid], f"table entry {guid}"))
        except (AttestError, KeyError):
            continue
    return pem


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
