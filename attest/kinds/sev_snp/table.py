"""The certificate table that the host appends to an extended guest report (AMD 56421, GHCB, SNP Extended Guest Request).

Entries of 24 bytes: GUID in RFC 4122 byte order, offset and length as u32 little-endian, offsets from the start of the table; an entry
of zeros ends it. Everything in it is the host's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from attest import limits
from attest.checks import Check
from attest.errors import Outcome
from attest.wire import Reader

VCEK: Final = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK: Final = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")  # the ASVK too
ARK: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL: Final = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")
KNOWN: Final = (VCEK, VLEK, ASK, ARK, CRL)

_SOURCE: Final = "AMD 56421 (GHCB), SNP Extended Guest Request"
_FIX: Final = "ask for the extended report again; the host fills this table"
ENTRY_SIZE: Final = 24
_MOST_ENTRIES: Final = 16  # six are in use

SIZE: Final = Check("sev-snp.table-size", "size of the certificate table", _SOURCE, Outcome.MALFORMED, _FIX)
TERMINATOR: Final = Check("sev-snp.table-terminator", "end of the certificate table's header", _SOURCE, Outcome.MALFORMED, _FIX)
HEADER: Final = Check("sev-snp.table-header", "certificate outside the table's header", _SOURCE, Outcome.MALFORMED, _FIX)
OVERFLOW: Final = Check("sev-snp.table-overflow", "range of a certificate's offset and length", _SOURCE, Outcome.MALFORMED, _FIX)
BOUNDS: Final = Check("sev-snp.table-bounds", "certificate inside the table", _SOURCE, Outcome.MALFORMED, _FIX)
DUPLICATE: Final = Check("sev-snp.table-duplicate", "one certificate of each kind in the table", _SOURCE, Outcome.MALFORMED, _FIX)
TABLE_CHECKS: Final = (SIZE, TERMINATOR, HEADER, OVERFLOW, BOUNDS, DUPLICATE)


def parse_table(data: bytes) -> Mapping[UUID, bytes]:
    """The blobs of a table by GUID, those of unknown GUIDs too. Raises MalformedError with one of :data:`TABLE_CHECKS`."""
    SIZE.require(
        len(data) <= limits.MAX_EVIDENCE_PART_BYTES, found=f"{len(data)} bytes", expected=f"at most {limits.MAX_EVIDENCE_PART_BYTES} bytes"
    )
    entries = _entries(data)
    header = ENTRY_SIZE * (len(entries) + 1)
    blobs: dict[UUID, bytes] = {}
    for index, (guid, offset, length) in enumerate(entries):
        where = f"certificate table offset 0x{ENTRY_SIZE * index:03x} ({guid})"
        span = f"offset {offset}, length {length}"
        DUPLICATE.require(guid not in blobs, where=where, found="the same GUID again", expected="each GUID once")
        # The fields are 32 bits wide: a reader that adds them in 32 bits would wrap round and read elsewhere.
        OVERFLOW.require(offset + length <= 0xFFFFFFFF, where=where, found=span, expected="a sum below 2^32")
        HEADER.require(offset >= header, where=where, found=span, expected=f"an offset from {header} on")
        BOUNDS.require(offset + length <= len(data), where=where, found=span, expected=f"an end within {len(data)} bytes")
        blobs[guid] = data[offset : offset + length]
    return blobs


def _entries(data: bytes) -> list[tuple[UUID, int, int]]:
    reader = Reader(data, "certificate table")
    entries: list[tuple[UUID, int, int]] = []
    while reader.remaining >= ENTRY_SIZE and len(entries) <= _MOST_ENTRIES:
        guid, offset, length = reader.bytes(16, "GUID"), reader.uint(4, "offset"), reader.uint(4, "length")
        if not any(guid):
            TERMINATOR.require(
                offset == length == 0, where=reader.where(), found=f"offset {offset}, length {length}", expected="a terminator of zeros"
            )
            return entries
        entries.append((UUID(bytes=guid), offset, length))
    raise TERMINATOR.failure(where=reader.where(), found=f"{len(entries)} entries and no end", expected="an entry of zeros")
