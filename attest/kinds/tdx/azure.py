"""Azure confidential VMs: the paravisor asks for the quote, and the guest speaks through the runtime data of its HCL report.

REPORTDATA of the quote is SHA-256 over the runtime data, then 32 zero bytes. The runtime data is JSON that the paravisor writes: its vTPM's
keys, the VM's configuration, and ``user-data``, 64 bytes that the guest chose. So freshness and recipient are bound through it.

Source: Microsoft, "Azure confidential VM guest attestation design", HCL report and runtime data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attest.checks import Check
from attest.crypto import sha256
from attest.wire import Fields, hex_bytes

RUNTIME_DATA: Final = Check(
    "tdx.runtime-data",
    "azure runtime data in the quote",
    "Microsoft, Azure confidential VM guest attestation design: REPORTDATA is SHA-256 of the runtime data, then zeros",
    fix="collect quote and HCL report in one session",
)
_LIMIT: Final = 16 << 10
_REPORT_DATA: Final = 64
_ATTESTATION_KEY: Final = "HCLAkPub"


@dataclass(frozen=True, slots=True)
class RuntimeData:
    """What the paravisor says.

    user_data         64 bytes that the guest chose; zeros when it chose none
    attestation_key   SHA-256 of the vTPM's attestation key, modulus then exponent as they stand (base64url), hex; empty without one
    """

    user_data: bytes
    attestation_key: str


def read_runtime_data(data: bytes, report_data: bytes) -> RuntimeData:
    """Runtime data that ``report_data`` (64 bytes) covers. Raises NotAuthenticError when it does not, MalformedError for other JSON."""
    expected = sha256(data) + bytes(32)
    RUNTIME_DATA.require(report_data == expected, where="TD report, REPORTDATA", found=report_data.hex(), expected=expected.hex())
    fields = Fields.parse(data, "runtime data", limit=_LIMIT)
    text = fields.optional("user-data", fields.text)
    user_data = hex_bytes(text, "runtime data: user-data", size=_REPORT_DATA) if text else bytes(_REPORT_DATA)
    key = ""
    for item in fields.objects("keys"):
        if item.text("kid") == _ATTESTATION_KEY:
            RUNTIME_DATA.require(not key, where="runtime data, keys", found=f"two keys {_ATTESTATION_KEY}", expected="one")
            key = sha256(f"{item.text('n')}.{item.text('e')}".encode()).hex()
    return RuntimeData(user_data, key)
