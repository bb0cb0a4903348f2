"""Find TPM evidence in a file: the JSON form that carries all parts of one quote.

The parts of a quote are files of no form of their own, so they travel together: ``{"format": "attest-tpm/1", "parts": {"quote": base64,
...}}``. A bare quote is recognised too, for inspection; it verifies only together with key, signature and PCR values.
"""

from __future__ import annotations

import base64
from typing import Final

from attest import limits
from attest.errors import MalformedError
from attest.evidence import Evidence
from attest.kinds.tpm.report import GENERATED, AttestType
from attest.wire import Fields, Json, canonical_json, json_value

NAME: Final = "tpm"
FORMAT: Final = "attest-tpm/1"
PARTS: Final = (
    "quote", "signature", "ak", "pcrs", "ak-certificates", "event-log", "ima", "recipient", "certification", "certification-signature",
    "recipient-policy",
)  # fmt: skip
_LABEL: Final = "tpm-0"
_QUOTE: Final = GENERATED.to_bytes(4, "big") + AttestType.QUOTE.to_bytes(2, "big")


def recognise(data: bytes) -> tuple[Evidence, ...]:
    """The evidence in ``data``; empty when it is something else. Raises MalformedError for the JSON form with a fault."""
    if data.startswith(_QUOTE):
        return (Evidence.of(NAME, _LABEL, {"quote": data}),)
    if data.lstrip()[:1] != b"{" or FORMAT.encode() not in data[:4096]:
        return ()
    try:
        value = json_value(data, "TPM evidence", limit=limits.MAX_JSON_BYTES)
    except MalformedError:
        return ()
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return ()
    fields = Fields(value, "TPM evidence")
    fields.text("format")
    parts = fields.object("parts")
    found = {name: parts.base64(name) for name in PARTS if parts.has(name)}
    parts.done()
    fields.done()
    return (Evidence.of(NAME, _LABEL, found),)


def to_file(evidence: Evidence) -> bytes:
    """The JSON form; the inverse of :func:`recognise`."""
    parts: dict[str, Json] = {name: base64.b64encode(data).decode() for name, data in evidence.parts.items()}
    return canonical_json({"format": FORMAT, "parts": parts}) + b"\n"
