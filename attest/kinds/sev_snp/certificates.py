"""What AMD says in a VCEK or VLEK certificate: which chip or provider, and for which TCB (AMD 57230, X.509 extensions 1.3.6.1.4.1.3704.1).

Chains are verified in :mod:`attest.pki`; here is only what the extensions mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from attest.checks import Check
from attest.errors import Outcome
from attest.kinds.sev_snp.product import LAYOUT_0, LAYOUT_1, ProductLine, Tcb, TcbLayout, line_named, tcb_of
from attest.kinds.sev_snp.report import AmdSigningKey
from attest.pki.certificate import common_name, short

_SOURCE: Final = "AMD 57230 (Versioned Chip Endorsement Key Certificate and KDS Interface), X.509 extensions"

EXTENSIONS: Final = Check(
    "sev-snp.leaf-extensions",
    "AMD extensions of the endorsement certificate",
    _SOURCE,
    Outcome.MALFORMED,
    "get the VCEK again from AMD's key distribution service; a VLEK comes from the cloud provider",
)
STRUCT_VERSION: Final = Check(
    "sev-snp.struct-version",
    "structure version of the endorsement certificate",
    _SOURCE,
    fix="the certificate has the form of another product line: get the one for this chip",
)

_ROOT: Final = "1.3.6.1.4.1.3704.1."
_STRUCT_VERSION: Final = "1"
_PRODUCT_NAME: Final = "2"
_HWID: Final = "4"
_CSP_ID: Final = "5"
# SPL extension to component, and the reserved ones that must be zero, per structure version.
SPL: Final[Mapping[int, tuple[TcbLayout, Mapping[str, str], tuple[str, ...]]]] = {
    0: (LAYOUT_0, {"3.1": "bootloader", "3.2": "tee", "3.3": "snp", "3.8": "microcode"}, ("3.4", "3.5", "3.6", "3.7")),
    1: (LAYOUT_1, {"3.9": "fmc", "3.1": "bootloader", "3.2": "tee", "3.3": "snp", "3.8": "microcode"}, ("3.5", "3.6", "3.7")),
}
_PRODUCT: Final = re.compile(r"([A-Z][a-z]+)(?:-[A-Z][0-9])?\Z")  # "Milan-B0", "Genoa"
_NAMES: Final = {"SEV-VCEK": AmdSigningKey.VCEK, "SEV-VLEK": AmdSigningKey.VLEK}


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A VCEK or VLEK certificate and what its extensions say; unverified until its chain is.

    kind      VCEK (has ``hwid``) or VLEK (has ``csp_id``)
    layout    TCB layout that the structure version stands for
    line      product line of productName, which may carry a stepping ("Milan-B0")
    tcb       the TCB that the key was derived for
    hwid      chip identity, 64 bytes, 8 on Turin; empty in a VLEK
    csp_id    cloud provider, as AMD writes it ("CN=cc-us-east-2.amazonaws.com"); empty in a VCEK
    """

    certificate: x509.Certificate
    kind: AmdSigningKey
    layout: TcbLayout
    line: ProductLine
    tcb: Tcb
    hwid: bytes
    csp_id: str


def read(certificate: x509.Certificate) -> Endorsement:
    """Read the AMD extensions. Every one must be there once, of the right type, and none that is unknown.

    Raises MalformedError.
    """
    name = common_name(certificate.subject)
    if name not in _NAMES:
        raise EXTENSIONS.failure(where="leaf certificate, subject", found=name or "no common name", expected=" or ".join(_NAMES))
    kind = _NAMES[name]
    values = _values(certificate)
    struct_version = _integer(values, _STRUCT_VERSION)
    if struct_version not in SPL:
        raise EXTENSIONS.failure(where=_place(_STRUCT_VERSION), found=str(struct_version), expected="0 or 1")
    layout, components, reserved = SPL[struct_version]
    expected = {_STRUCT_VERSION, _PRODUCT_NAME, *components, *reserved, _HWID if kind is AmdSigningKey.VCEK else _CSP_ID}
    _require_no_other(values, expected, name)
    for suffix in reserved:
        EXTENSIONS.require(
            _integer(values, suffix) == 0, where=_place(suffix), found=f"{_integer(values, suffix)}", expected="0 (reserved)"
        )
    tcb = tcb_of({component: _integer(values, suffix) for suffix, component in components.items()}, f"{name} certificate")
    hwid = _hwid(values) if kind is AmdSigningKey.VCEK else b""
    csp_id = _text(values, _CSP_ID) if kind is AmdSigningKey.VLEK else ""
    return Endorsement(certificate, kind, layout, _line(_text(values, _PRODUCT_NAME)), tcb, hwid, csp_id)


def _values(certificate: x509.Certificate) -> dict[str, bytes]:
    """AMD's extensions, by the rest of their OID. A duplicate extension is refused when the certificate is loaded."""
    values: dict[str, bytes] = {}
    for item in certificate.extensions:
        oid, value = item.oid.dotted_string, item.value
        if oid.startswith(_ROOT) and isinstance(value, x509.UnrecognizedExtension):
            values[oid[len(_ROOT) :]] = value.value
    return values


def _require_no_other(values: Mapping[str, bytes], expected: set[str], name: str) -> None:
    surplus = sorted(values.keys() - expected)
    if surplus:
        raise EXTENSIONS.failure(where=_place(surplus[0]), found="an extension", expected=f"none: a {name} certificate does not have it")


def _place(suffix: str) -> str:
    return f"leaf certificate, extension {_ROOT}{suffix}"


def _value(values: Mapping[str, bytes], suffix: str) -> bytes:
    if suffix not in values:
        raise EXTENSIONS.failure(where=_place(suffix), found="no such extension", expected="an extension that every such certificate has")
    return values[suffix]


def _integer(values: Mapping[str, bytes], suffix: str) -> int:
    """DER INTEGER 0..255: 02 01 xx, or 02 02 00 xx from 128 on, and no other spelling (X.690 section 8.3)."""
    data = _value(values, suffix)
    if len(data) == 3 and data[:2] == b"\x02\x01" and data[2] < 0x80:
        return data[2]
    if len(data) == 4 and data[:3] == b"\x02\x02\x00" and data[3] >= 0x80:
        return data[3]
    raise EXTENSIONS.failure(where=_place(suffix), found=short(data.hex()), expected="a DER INTEGER 0..255")


def _text(values: Mapping[str, bytes], suffix: str) -> str:
    """DER IA5String of 1..127 printable characters."""
    data = _value(values, suffix)
    text = data[2:]
    if len(data) < 3 or data[0] != 0x16 or data[1] != len(text) or len(text) > 127 or not all(0x20 <= byte < 0x7F for byte in text):
        raise EXTENSIONS.failure(where=_place(suffix), found=short(data.hex()), expected="a DER IA5String of printable characters")
    return text.decode("ascii")


def _hwid(values: Mapping[str, bytes]) -> bytes:
    """64 or 8 bytes, bare as AMD's service issues them, or inside a DER OCTET STRING as some certificates have them.

    The length tells the two apart: the first bytes cannot, a chip identity may begin with anything.
    """
    data = _value(values, _HWID)
    for size in (64, 8):
        if len(data) == size:
            return data
        if len(data) == size + 2 and data[:2] == bytes([0x04, size]):
            return data[2:]
    raise EXTENSIONS.failure(where=_place(_HWID), found=f"{len(data)} bytes", expected="64 bytes, or 8 on Turin")


def _line(product_name: str) -> ProductLine:
    match = _PRODUCT.match(product_name)
    line = line_named(match[1]) if match else None
    if line is None:
        raise EXTENSIONS.failure(where=_place(_PRODUCT_NAME), found=short(product_name), expected="Milan, Genoa or Turin")
    return line
