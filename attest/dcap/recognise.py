"""Quotes in files of other tools: raw, in hex or base64 text, or in JSON that names them."""

from __future__ import annotations

from typing import Final

from attest import limits
from attest.dcap.quote import HEADER_SIZE, INTEL_QE_VENDOR, Tee
from attest.errors import MalformedError
from attest.wire import base64_bytes, hex_bytes, json_value, utf8

_NAMES: Final = ("quote", "tdx_quote", "td_quote", "quote_b64", "quote_hex")  # the member, as other tools name it


def find_quote(data: bytes, tee: Tee) -> bytes | None:
    """The quote of this TEE that a file holds, or None. What is found is not parsed yet."""
    if _is_quote(data, tee):
        return data
    if len(data) > 4 * limits.MAX_EVIDENCE_PART_BYTES:
        return None
    try:
        text = utf8(data, "file").strip()
        if text.startswith("{"):
            value = json_value(data, "file")
            members = [value[name] for name in _NAMES if name in value] if isinstance(value, dict) else []
            text = members[0] if len(members) == 1 and isinstance(members[0], str) else ""
    except MalformedError:
        return None
    for decode in (hex_bytes, base64_bytes):
        try:
            quote = decode(text.removeprefix("0x").replace("\n", ""), "file")
        except MalformedError:
            continue
        if _is_quote(quote, tee):
            return quote
    return None


def _is_quote(data: bytes, tee: Tee) -> bool:
    return (
        len(data) > HEADER_SIZE
        and data[0] in (3, 4, 5)
        and data[1] == 0
        and int.from_bytes(data[4:8], "little") == tee
        and data[12:28] == INTEL_QE_VENDOR
    )
