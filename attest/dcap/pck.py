"""What a PCK certificate says about its platform: Intel's extension 1.2.840.113741.1.13.1, read strictly.

The extension is a SEQUENCE of SEQUENCE {OID, value}; the OIDs continue that of the extension. It is read here, octet by octet, because no
library knows its types; every length is checked against the octets that are there.

Source: Intel SGX PCK Certificate and CRL Profile Specification, section "SGX extensions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from attest.dcap.checks import PCK_EXTENSION
from attest.evidence import ClaimEnum, Tri

EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
COMPONENTS: Final = 16
_ARCS: Final = bytes.fromhex("2a864886f84d010d01")  # 1.2.840.113741.1.13.1
_SEQUENCE, _OID, _OCTETS, _INTEGER, _ENUMERATED, _BOOLEAN = 0x30, 0x06, 0x04, 0x02, 0x0A, 0x01
_WHERE: Final = "PCK certificate, extension 1.2.840.113741.1.13.1"


class PlatformType(ClaimEnum):
    """SGX type: whether the platform encrypts memory only, or also protects its integrity."""

    STANDARD = "standard"
    SCALABLE = "scalable"
    SCALABLE_WITH_INTEGRITY = "scalable-with-integrity"


_PLATFORM_TYPES: Final = tuple(PlatformType)


@dataclass(frozen=True, slots=True)
class PckPlatform:
    """The platform that Intel certified.

    ppid          identity of the processor package, 16 bytes, stable across TCB updates
    components    SVNs of the 16 SGX TCB components
    pce_svn       SVN of the provisioning certification enclave
    cpu_svn       the same components as raw CPUSVN, 16 bytes
    pce_id        2 bytes, big endian as in the certificate
    fmspc         processor family, 6 bytes
    instance_id   identity of the platform instance, 16 bytes; empty on certificates of the Processor CA, which also say nothing of
                  dynamic platform (packages may be added), cached keys and SMT
    """

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    type: PlatformType
    instance_id: bytes
    dynamic_platform: Tri
    cached_keys: Tri
    smt_enabled: Tri


def read_platform(certificate: x509.Certificate) -> PckPlatform:
    """Read the extension. Raises MalformedError when it is missing, or not exactly of the form that Intel specifies."""
    try:
        value = certificate.extensions.get_extension_for_oid(EXTENSION).value
    except x509.ExtensionNotFound:
        raise PCK_EXTENSION.failure(where="PCK certificate", found="no SGX extension", expected=EXTENSION.dotted_string) from None
    if not isinstance(value, x509.UnrecognizedExtension):
        raise PCK_EXTENSION.failure(where=_WHERE, found=type(value).__name__, expected="the SGX extension")
    return parse_platform(value.value)


def parse_platform(der: bytes) -> PckPlatform:
    """Read the value of the extension. Raises MalformedError."""
    top = _members(_only(der, 0, len(der), _SEQUENCE), _ARCS)
    tcb = _members(_tlv(top, b"\x02", _SEQUENCE), _ARCS + b"\x02")
    components = tuple(_integer(tcb, bytes([arc]), 0xFF) for arc in range(1, COMPONENTS + 1))
    pce_svn = _integer(tcb, b"\x11", 0xFFFF)
    cpu_svn = _octets(tcb, b"\x12", 16)
    _nothing_else(tcb)
    # Intel's library compares the integers; other verifiers compare the octets. A certificate in which they differ has two meanings.
    if bytes(components) != cpu_svn:
        raise PCK_EXTENSION.failure(where=_WHERE, found=f"CPUSVN {cpu_svn.hex()}", expected=f"{bytes(components).hex()}, the components")
    kind = _integer(top, b"\x05", len(_PLATFORM_TYPES) - 1, tag=_ENUMERATED)
    instance = b""
    flags = [Tri.UNKNOWN] * 3
    if b"\x06" in top:
        instance = _octets(top, b"\x06", 16)
        configuration = _members(_tlv(top, b"\x07", _SEQUENCE), _ARCS + b"\x07")
        flags = [_boolean(configuration, bytes([arc])) for arc in (1, 2, 3)]
        _nothing_else(configuration)
    platform = PckPlatform(
        _octets(top, b"\x01", 16), components, pce_svn, cpu_svn, _octets(top, b"\x03", 2), _octets(top, b"\x04", 6),
        _PLATFORM_TYPES[kind], instance, *flags,
    )  # fmt: skip
    _nothing_else(top)
    return platform


# -- DER ------------------------------------------------------------------------------------------------------------------

_Value = tuple[bytes, int, int, int]  # data, tag, first octet of the content, octet behind it
_Members = dict[bytes, _Value]  # last arc of the OID -> value; what was read is removed


def _fail(found: str, expected: str = "the form of Intel's specification") -> Exception:
    return PCK_EXTENSION.failure(where=_WHERE, found=found, expected=expected)


def _header(data: bytes, start: int, end: int) -> _Value:
    """Tag and content of the value at ``start``; lengths in their shortest form, up to 65535."""
    if start + 2 > end:
        raise _fail("a value that is cut off")
    tag, size = data[start], data[start + 1]
    content = start + 2
    if size >= 0x80:
        width = size & 0x7F
        if width not in (1, 2) or content + width > end:
            raise _fail("a length that is cut off or too long")
        size = int.from_bytes(data[content : content + width], "big")
        content += width
        if size < (0x80 if width == 1 else 0x100):
            raise _fail("a length that is not in its shortest form")
    if content + size > end:
        raise _fail("a value that is longer than what holds it")
    return data, tag, content, content + size


def _only(data: bytes, start: int, end: int, tag: int) -> _Value:
    """The one value that fills start..end."""
    value = _header(data, start, end)
    if value[1] != tag or value[3] != end:
        raise _fail("another value than one SEQUENCE")
    return value


def _members(sequence: _Value, arcs: bytes) -> _Members:
    """The (OID, value) pairs of a sequence, by the arc behind ``arcs``."""
    data, _, position, end = sequence
    members: _Members = {}
    size = len(arcs)
    while position < end:
        _, tag, start, stop = _header(data, position, end)
        if tag != _SEQUENCE:
            raise _fail("a member that is no SEQUENCE")
        _, tag, oid, value = _header(data, start, stop)
        if tag != _OID or data[oid : oid + size] != arcs or value - oid != size + 1:
            raise _fail(f"member {data[oid:value].hex()}", "members under the OID of the extension")
        arc = data[value - 1 : value]
        if arc in members:
            raise _fail(f"member {arc[0]} twice")
        members[arc] = _header(data, value, stop)
        if members[arc][3] != stop:
            raise _fail(f"member {arc[0]} with two values")
        position = stop
    return members


def _tlv(members: _Members, arc: bytes, tag: int) -> _Value:
    value = members.pop(arc, None)
    if value is None or value[1] != tag:
        raise _fail(f"no member {arc[0]} of tag 0x{tag:02x}")
    return value


def _octets(members: _Members, arc: bytes, size: int) -> bytes:
    data, _, start, end = _tlv(members, arc, _OCTETS)
    if end - start != size:
        raise _fail(f"member {arc[0]} of {end - start} bytes", f"{size} bytes")
    return data[start:end]


def _integer(members: _Members, arc: bytes, most: int, *, tag: int = _INTEGER) -> int:
    data, _, start, end = _tlv(members, arc, tag)
    content = data[start:end]
    if not content or len(content) > 3 or content[0] & 0x80 or (len(content) > 1 and not content[0] and not content[1] & 0x80):
        raise _fail(f"member {arc[0]} with integer {content.hex()}", "an unsigned integer in its shortest form")
    value = int.from_bytes(content, "big")
    if value > most:
        raise _fail(f"member {arc[0]} with integer {value}", f"at most {most}")
    return value


def _boolean(members: _Members, arc: bytes) -> Tri:
    data, _, start, end = _tlv(members, arc, _BOOLEAN)
    if end - start != 1 or data[start] not in (0x00, 0xFF):
        raise _fail(f"member {arc[0]} with boolean {data[start:end].hex()}", "00 or ff")
    return Tri.YES if data[start] else Tri.NO


def _nothing_else(members: _Members) -> None:
    if members:
        raise _fail(f"member {min(members)[0]}", "no member that Intel's specification does not have")
