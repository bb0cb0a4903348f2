"""DCAP quotes, versions 3, 4 and 5: bytes to typed fields (little endian throughout).

Version 3 and 4: header 48, body, u32 length, auth data. Version 5 has a body descriptor (u16 type, u32 size) between header and body. The
attestation key signs everything from the first byte to the end of the body. What follows the auth data belongs to no quote: hosts hand out
fixed buffers, padded with whatever was in them, so it is neither read nor refused.

Sources: Intel SGX ECDSA Quote Library Reference for DCAP, appendix A; Intel TDX DCAP Quoting Library API, A.3; the structures of Intel's
Quote Verification Library (QuoteStructures.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from attest import limits
from attest.dcap.checks import CERTIFICATION, KEY_TYPE, QUOTE_BODY, QUOTE_FORM, QUOTE_VERSION, RESERVED, VENDOR
from attest.wire import bounded

HEADER_SIZE: Final = 48
REPORT_SIZE: Final = 384
INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_P256_KEY_TYPE: Final = 2


class Tee(IntEnum):
    """tee_type of the header."""

    SGX = 0x00
    TDX = 0x81


class BodyType(IntEnum):
    """Body type of version 5; the bodies of version 3 and 4 follow from the TEE."""

    SGX = 1
    TD10 = 2
    TD15 = 3
    TD15_EX = 4


BODY_SIZES: Final = {BodyType.SGX: REPORT_SIZE, BodyType.TD10: 584, BodyType.TD15: 648, BodyType.TD15_EX: 885}


class CertificationType(IntEnum):
    """What certifies the attestation key."""

    PPID_PLAIN = 1
    PPID_RSA2048 = 2
    PPID_RSA3072 = 3
    PCK_LEAF = 4
    PCK_CHAIN = 5
    QE_REPORT = 6
    PLATFORM_MANIFEST = 7


_PPID_SIZES: Final = {CertificationType.PPID_PLAIN: 16, CertificationType.PPID_RSA2048: 256, CertificationType.PPID_RSA3072: 384}


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """An SGX report body, 384 bytes. Sizes in bytes: cpu_svn 16, mr_enclave and mr_signer 32, isv_ext_prod_id and isv_family_id 16,
    config_id 64, report_data 64; ``attributes`` are the flags, ``xfrm`` the extended features (64 bits each)."""

    cpu_svn: bytes
    misc_select: int
    isv_ext_prod_id: bytes
    attributes: int
    xfrm: int
    mr_enclave: bytes
    mr_signer: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes


@dataclass(frozen=True, slots=True)
class Certification:
    """Certification data: its type and, by type, the PCK certificates in PEM (4, 5) or what names the PCK certificate (1 to 3).

    ``ppid`` is plain (16 bytes) only for type 1; ``pce_id`` is 2 bytes, little endian, or empty.
    """

    type: CertificationType
    pem: bytes
    ppid: bytes
    pce_id: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """A parsed quote. Untrusted.

    signed          header to end of body: what the attestation key signs
    body            the report body, by ``body_type``
    signature       of the quote, r then s, 64 bytes
    attestation_key x then y, 64 bytes
    qe_report       parsed from ``qe_report_bytes`` (384 bytes), signed by the PCK key with ``qe_signature``
    qe_auth         authentication data that the QE report covers beside the key
    trailing        number of bytes after the quote
    """

    version: int
    tee: Tee
    qe_svn: int
    pce_svn: int
    user_data: bytes
    body_type: BodyType
    body: bytes
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report_bytes: bytes
    qe_report: EnclaveReport
    qe_signature: bytes
    qe_auth: bytes
    certification: Certification
    trailing: int


_HEADER: Final = struct.Struct("<HHIHH16s20s")
_DESCRIPTOR: Final = struct.Struct("<HI")
# Signature, attestation key, from version 4 on type and length of the outer certification data, QE report, its signature, length of the
# QE authentication data; then that data and the (inner) certification data.
_AUTH_3: Final = struct.Struct("<64s64s384s64sH")
_AUTH_4: Final = struct.Struct("<64s64sHI384s64sH")
_CERTIFICATION: Final = struct.Struct("<HI")
_REPORT_BEFORE_END: Final = REPORT_SIZE + 64 + 2
_QE_REPORT_TYPE: Final = int(CertificationType.QE_REPORT)
_CERTIFICATION_TYPES: Final = {int(kind): kind for kind in CertificationType if kind <= CertificationType.PCK_CHAIN}
_ZEROS: Final = bytes(32)
_TEES: Final = {int(tee): tee for tee in Tee}
_REPORT: Final = struct.Struct("<16sI12s16sQQ32s32s32s32s64sHHH42s16s64s")


def parse(data: bytes) -> Quote:
    """Read a quote. Raises MalformedError with the check that failed and the offset."""
    bounded(data, limits.MAX_EVIDENCE_PART_BYTES, "quote")
    _need(data, 0, HEADER_SIZE, "header")
    version, key_type, tee_value, qe_svn, pce_svn, vendor, user_data = _HEADER.unpack_from(data)
    if version not in (3, 4, 5):
        raise QUOTE_VERSION.failure(where="quote offset 0x000", found=f"version {version}", expected="3, 4 or 5")
    tee = _TEES.get(tee_value)
    if tee is None:
        raise QUOTE_VERSION.failure(where="quote offset 0x004", found=f"TEE type 0x{tee_value:x}", expected="0x0 (SGX) or 0x81 (TDX)")
    if version == 3 and tee is not Tee.SGX:
        raise QUOTE_VERSION.failure(where="quote offset 0x004", found="a version 3 quote of a TDX guest", expected="version 4 or 5 for TDX")
    if key_type != _P256_KEY_TYPE:
        raise KEY_TYPE.failure(where="quote offset 0x002", found=str(key_type), expected="2 (ECDSA P-256)")
    if vendor != INTEL_QE_VENDOR:
        raise VENDOR.failure(where="quote offset 0x00c", found=vendor.hex(), expected=INTEL_QE_VENDOR.hex())
    body_type, start = _body(data, version, tee)
    end = start + BODY_SIZES[body_type]
    _need(data, start, end - start, "body")
    _need(data, end, 4, "length of the auth data")
    size = int.from_bytes(data[end : end + 4], "little")
    _need(data, end + 4, size, "auth data")
    auth = data[end + 4 : end + 4 + size]
    base = end + 4
    if version == 3:
        signature, key, report, qe_signature, left = _unpack(_AUTH_3, auth, base)
        position = _AUTH_3.size
    else:
        signature, key, outer, nested, report, qe_signature, left = _unpack(_AUTH_4, auth, base)
        position = _AUTH_4.size
        if outer != _QE_REPORT_TYPE:
            raise CERTIFICATION.failure(where=_at(base + 128), found=f"outer type {outer}", expected="6 (QE report)")
        if nested != size - 134:
            raise QUOTE_FORM.failure(
                where=_at(base + 130), found=f"{nested} bytes of certification data", expected=f"{size - 134}, all that is left"
            )
    report_offset = base + position - _REPORT_BEFORE_END
    qe_auth = auth[position : position + left]
    position += left
    if position + _CERTIFICATION.size > size:
        raise QUOTE_FORM.failure(
            where=_at(base + position - left), found=f"{left} bytes of QE authentication data", expected="room for certification data"
        )
    kind, length = _CERTIFICATION.unpack_from(auth, position)
    certification = _certification(kind, length, auth[position + _CERTIFICATION.size :], base + position)
    return Quote(
        version, tee, qe_svn, pce_svn, user_data, body_type, data[start:end], data[:end], signature, key, report,
        parse_report(report, f"QE report at quote offset 0x{report_offset:03x}"), qe_signature, qe_auth, certification,
        len(data) - end - 4 - size,
    )  # fmt: skip


def parse_report(data: bytes, name: str) -> EnclaveReport:
    """An SGX report body of 384 bytes. Raises MalformedError for reserved bytes that are set."""
    (
        cpu_svn, misc, reserved1, ext_prod_id, attributes, xfrm, mr_enclave, reserved2, mr_signer, reserved3, config_id, prod_id, svn,
        config_svn, reserved4, family_id, report_data,
    ) = _REPORT.unpack(data)  # fmt: skip
    if any(reserved1) or reserved2 != _ZEROS or reserved3 != _ZEROS or any(reserved4):
        for offset, reserved in ((20, reserved1), (96, reserved2), (160, reserved3), (262, reserved4)):
            if any(reserved):
                raise RESERVED.failure(where=f"{name}, offset 0x{offset:03x}", found=reserved.hex(), expected="zeros")
    return EnclaveReport(
        cpu_svn, misc, ext_prod_id, attributes, xfrm, mr_enclave, mr_signer, config_id, prod_id, svn, config_svn, family_id, report_data
    )


def _unpack(form: struct.Struct, auth: bytes, base: int) -> tuple[Any, ...]:
    if len(auth) < form.size:
        raise QUOTE_FORM.failure(where=_at(base), found=f"{len(auth)} bytes of auth data", expected=f"at least {form.size} bytes")
    return form.unpack_from(auth)


def _at(offset: int) -> str:
    return f"quote offset 0x{offset:03x}"


def _body(data: bytes, version: int, tee: Tee) -> tuple[BodyType, int]:
    """Type and offset of the body."""
    if version < 5:
        return (BodyType.SGX if tee is Tee.SGX else BodyType.TD10), HEADER_SIZE
    _need(data, HEADER_SIZE, _DESCRIPTOR.size, "body descriptor")
    value, size = _DESCRIPTOR.unpack_from(data, HEADER_SIZE)
    if value not in BODY_SIZES:
        raise QUOTE_BODY.failure(where="quote offset 0x030", found=f"body type {value}", expected="1 to 4")
    body_type = BodyType(value)
    if (body_type is BodyType.SGX) is not (tee is Tee.SGX):
        raise QUOTE_BODY.failure(
            where="quote offset 0x030", found=f"body type {value} in a quote of {tee.name}", expected="a body of its TEE"
        )
    if size != BODY_SIZES[body_type]:
        raise QUOTE_BODY.failure(
            where="quote offset 0x032", found=f"{size} bytes", expected=f"{BODY_SIZES[body_type]} bytes for type {value}"
        )
    return body_type, HEADER_SIZE + _DESCRIPTOR.size


def _certification(value: int, size: int, content: bytes, offset: int) -> Certification:
    """The (inner) certification data, which must fill the rest of the auth data."""
    kind = _CERTIFICATION_TYPES.get(value)
    if kind is None:
        raise CERTIFICATION.failure(where=_at(offset), found=f"type {value}", expected="1 to 5")
    if size != len(content):
        raise QUOTE_FORM.failure(
            where=_at(offset + 2), found=f"{size} bytes of certification data", expected=f"{len(content)}, all that is left"
        )
    ppid_size = _PPID_SIZES.get(kind)
    if ppid_size is None:
        # Writers end the PEM with NUL bytes, as C strings end (seen on every platform); nothing may follow them.
        return Certification(kind, content.rstrip(b"\0"), b"", b"")
    # PPID, CPUSVN 16, PCESVN 2, PCE id 2. Intel's own sample of type 1 (QVL, sampleData/quote.dat) ends before the PCE id.
    expected = ppid_size + 20
    if size != expected and not (kind is CertificationType.PPID_PLAIN and size == expected - 2):
        raise QUOTE_FORM.failure(where=_at(offset + 2), found=f"{size} bytes", expected=f"{expected} bytes for type {value}")
    ppid = content[:ppid_size] if kind is CertificationType.PPID_PLAIN else b""
    return Certification(kind, b"", ppid, content[ppid_size + 18 :])


def _need(data: bytes, start: int, size: int, what: str) -> None:
    if start + size > len(data):
        raise QUOTE_FORM.failure(
            where=f"quote offset 0x{start:03x}",
            found=f"{max(0, len(data) - start)} bytes",
            expected=f"{size} bytes of {what}",
        )
