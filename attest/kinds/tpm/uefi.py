"""UEFI structures inside event data: variables, signature lists, tagged events (UEFI 2.10 sections 8.2 and 32.4.1). Little-endian."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

from attest.errors import MalformedError
from attest.wire import Reader

GLOBAL: Final = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
SECURITY_DATABASE: Final = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_MAX_NAME: Final = 256
_MAX_LISTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Variable:
    """UEFI_VARIABLE_DATA: vendor GUID, name, content."""

    guid: uuid.UUID
    name: str
    content: bytes


def parse_variable(data: bytes, where: str, *, exact: bool = True) -> Variable:
    """Read one, with nothing behind it when ``exact``. Raises MalformedError."""
    reader = Reader(data, f"{where}, variable")
    guid = uuid.UUID(bytes_le=reader.bytes(16, "VariableName"))
    characters, size = reader.uint(8, "UnicodeNameLength"), reader.uint(8, "VariableDataLength")
    raw = reader.bytes(2 * min(characters, _MAX_NAME), "UnicodeName")
    content = reader.bytes(size, "VariableData")
    if exact:
        reader.end()
    try:
        return Variable(guid, raw.decode("utf-16-le"), content)
    except UnicodeDecodeError:
        raise MalformedError.at("wire.utf16", f"{where}: name of the variable is not UTF-16", found=raw[:16].hex()) from None


def signature_entries(data: bytes, where: str) -> int:
    """Number of entries in a sequence of EFI_SIGNATURE_LIST (db, dbx). Raises MalformedError."""
    reader = Reader(data, f"{where}, signature lists")
    entries = 0
    for _ in range(_MAX_LISTS):
        if not reader.remaining:
            return entries
        reader.bytes(16, "SignatureType")
        size, header, each = reader.uint(4, "SignatureListSize"), reader.uint(4, "SignatureHeaderSize"), reader.uint(4, "SignatureSize")
        body = size - 28 - header
        if each < 17 or body < 0 or body % each:
            raise MalformedError.at(
                "wire.signature-list", f"{where}: sizes of a signature list", where=reader.where(), found=f"{size}/{each}"
            )
        reader.bytes(header + body, "signatures")
        entries += body // each
    raise MalformedError.at("wire.signature-list", f"{where}: too many signature lists", expected=f"at most {_MAX_LISTS}")
