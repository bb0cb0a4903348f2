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
from typing import Final

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
_REPORT: Final = struct.Struct("<16sI12s16sQQ32s32s32s32s64sHHH42s16s64s")


def parse(data: bytes) -> Quote:
    """Read a quote. Raises MalformedError with the check that failed and the offset."""
    bounded(data, limits.MAX_EVIDENCE_PART_BYTES, "quote")
    _need(data, 0, HEADER_SIZE, "header")
    version, key_type, tee_value, qe_svn, pce_svn, vendor, user_data = _HEADER.unpack_from(data)
    if version not in (3, 4, 5):
        raise QUOTE_VERSION.failure(where="quote offset 0x000", found=f"version {version}", expected="3, 4 or 5")
    if tee_value not in (Tee.SGX, Tee.TDX):
        raise QUOTE_VERSION.failure(where="quote offset 0x004", found=f"TEE type 0x{tee_value:x}", expected="0x0 (SGX) or 0x81 (TDX)")
    tee = Tee(tee_value)
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
    auth = _Auth(data[end + 4 : end + 4 + size], end + 4)
    signature = auth.take(64, "signature")
    key = auth.take(64, "attestation key")
    if version >= 4:
        outer = auth.uint(2, "outer certification type")
        if outer != CertificationType.QE_REPORT:
            raise CERTIFICATION.failure(where=auth.where(-2), found=f"outer type {outer}", expected="6 (QE report)")
        nested = auth.uint(4, "length of the outer certification data")
        if nested != auth.left:
            raise QUOTE_FORM.failure(
                where=auth.where(-4), found=f"{nested} bytes of certification data", expected=f"{auth.left}, all that is left"
            )
    report = auth.take(REPORT_SIZE, "QE report")
    report_offset = auth.offset - REPORT_SIZE
    qe_signature = auth.take(64, "signature of the QE report")
    qe_auth = auth.take(auth.uint(2, "length of the QE authentication data"), "QE authentication data")
    certification = _certification(auth)
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
    for offset, reserved in ((20, reserved1), (96, reserved2), (160, reserved3), (262, reserved4)):
        if reserved.count(0) != len(reserved):
            raise RESERVED.failure(where=f"{name}, offset 0x{offset:03x}", found=reserved.hex(), expected="zeros")
    return EnclaveReport(
        cpu_svn, misc, ext_prod_id, attributes, xfrm, mr_enclave, mr_signer, config_id, prod_id, svn, config_svn, family_id, report_data
    )


class _Auth:
    """The auth data, read in order; ``offset`` is that in the quote."""

    __slots__ = ("_base", "_data", "_position")

    def __init__(self, data: bytes, base: int) -> None:
        self._data: Final = data
        self._base: Final = base
        self._position = 0

    @property
    def offset(self) -> int:
        return self._base + self._position

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def where(self, back: int = 0) -> str:
        return f"quote offset 0x{self.offset + back:03x}"

    def take(self, size: int, field: str) -> bytes:
        if size > self.left:
            raise QUOTE_FORM.failure(where=self.where(), found=f"{self.left} bytes of auth data", expected=f"{size} bytes of {field}")
        self._position += size
        return self._data[self._position - size : self._position]

    def uint(self, size: int, field: str) -> int:
        return int.from_bytes(self.take(size, field), "little")


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


def _certification(auth: _Auth) -> Certification:
    """The (inner) certification data, which must fill the rest of the auth data."""
    value = auth.uint(2, "certification type")
    if not CertificationType.PPID_PLAIN <= value <= CertificationType.PCK_CHAIN:
        raise CERTIFICATION.failure(where=auth.where(-2), found=f"type {value}", expected="1 to 5")
    kind = CertificationType(value)
    size = auth.uint(4, "length of the certification data")
    if size != auth.left:
        raise QUOTE_FORM.failure(
            where=auth.where(-4), found=f"{size} bytes of certification data", expected=f"{auth.left}, all that is left"
        )
    if kind >= CertificationType.PCK_LEAF:
        # Writers end the PEM with NUL bytes, as C strings end (seen on every platform); nothing may follow them.
        return Certification(kind, auth.take(size, "certification data").rstrip(b"\0"), b"", b"")
    expected = _PPID_SIZES[kind] + 20
    # Intel's own sample of type 1 (QVL, sampleData/quote.dat) ends before the PCE id.
    if size != expected and not (kind is CertificationType.PPID_PLAIN and size == expected - 2):
        raise QUOTE_FORM.failure(where=auth.where(-4), found=f"{size} bytes", expected=f"{expected} bytes for type {value}")
    ppid = auth.take(_PPID_SIZES[kind], "PPID")
    auth.take(18, "CPUSVN and PCESVN")
    return Certification(kind, b"", ppid if kind is CertificationType.PPID_PLAIN else b"", auth.take(auth.left, "PCE id"))


def _need(data: bytes, start: int, size: int, what: str) -> None:
    if start + size > len(data):
        raise QUOTE_FORM.failure(
            where=f"quote offset 0x{start:03x}",
            found=f"{max(0, len(data) - start)} bytes",
            expected=f"{size} bytes of {what}",
        )
