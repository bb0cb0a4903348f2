"""The SEV-SNP ATTESTATION_REPORT, 1184 bytes, versions 2, 3 and 5: bytes to typed fields and back (AMD 56860 rev 1.58, table 23).

What is verified are always the received bytes; nothing here is re-encoded on the way to a signature check.

Version 4 is refused: AMD has not published what it changed (virtee/sev pull request 312 calls it embargoed), and firmware that wrote it
has a successor that writes version 5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Final

from attest.checks import Check
from attest.crypto import P384_ORDER
from attest.errors import Outcome
from attest.evidence import ClaimEnum

SIZE: Final = 0x4A0
SIGNED: Final = 0x2A0
"""The signature covers bytes 0..0x29F."""
VERSIONS: Final = (2, 3, 5)

_TABLE: Final = "AMD 56860 rev 1.58 table 23 (ATTESTATION_REPORT)"
_ALTERED: Final = "the report is altered, or comes from firmware that this version does not know: collect it again"

LENGTH: Final = Check(
    "sev-snp.length",
    "length of the report",
    _TABLE,
    Outcome.MALFORMED,
    "send the report alone, exactly 1184 bytes, without header or certificates",
)
VERSION: Final = Check(
    "sev-snp.version",
    "version of the report",
    _TABLE,
    Outcome.MALFORMED,
    "update the host firmware: report versions 2, 3 and 5 are documented, version 4 was never published",
)
RESERVED: Final = Check("sev-snp.reserved", "reserved bytes of the report", _TABLE, Outcome.MALFORMED, _ALTERED)
POLICY: Final = Check(
    "sev-snp.policy", "form of the guest policy", "AMD 56860 rev 1.58 table 9 (Guest Policy)", Outcome.MALFORMED, _ALTERED
)
VMPL: Final = Check(
    "sev-snp.vmpl", "privilege level range", _TABLE, Outcome.MALFORMED, "have the guest ask for the report: only levels 0..3 are a guest's"
)
ALGORITHM: Final = Check("sev-snp.algorithm", "signature algorithm of the report", _TABLE, Outcome.MALFORMED, _ALTERED)
PLATFORM: Final = Check(
    "sev-snp.platform-info",
    "form of the platform information",
    _TABLE,
    Outcome.MALFORMED,
    "the firmware reports a platform state that this version does not know; a newer version may",
)
SIGNING_KEY: Final = Check(
    "sev-snp.signing-key",
    "kind of signing key",
    _TABLE,
    Outcome.MALFORMED,
    "the host must let its firmware sign: VCEK or VLEK, MASK_CHIP_KEY off",
)
SIGNATURE_FORM: Final = Check(
    "sev-snp.signature-form",
    "form of the report signature",
    "AMD 56860 rev 1.58 (ECDSA P-384 with SHA-384 signature format); FIPS 186-5 section 6.4.2",
    Outcome.MALFORMED,
    _ALTERED,
)
REPORT_CHECKS: Final = (LENGTH, VERSION, RESERVED, POLICY, VMPL, ALGORITHM, PLATFORM, SIGNING_KEY, SIGNATURE_FORM)
"""Everything that :func:`parse` refuses."""


class AmdSigningKey(ClaimEnum):
    """What signed the report: a key of the chip, or a key that AMD issued to a cloud provider."""

    VCEK = "vcek"
    VLEK = "vlek"


class PolicyBit(IntFlag):
    """Flags of the guest policy. Those marked + allow something, those marked ! demand something of the platform."""

    SMT_ALLOWED = 1 << 16  # +
    ALWAYS_ONE = 1 << 17
    MIGRATION_AGENT_ALLOWED = 1 << 18  # +
    DEBUG_ALLOWED = 1 << 19  # +
    SINGLE_SOCKET_REQUIRED = 1 << 20  # !
    CXL_ALLOWED = 1 << 21  # +
    AES256_REQUIRED = 1 << 22  # !
    RAPL_DISABLED_REQUIRED = 1 << 23  # !
    CIPHERTEXT_HIDING_REQUIRED = 1 << 24  # !
    PAGE_SWAP_DISABLED = 1 << 25  # !


class PlatformBit(IntFlag):
    """Flags of PLATFORM_INFO: the state of the host when it made the report.

    IOMMU_WRITE_SAFE is still reserved in AMD 56860 rev 1.58. Turin firmware sets it; its name is the one that verifiers in the field use
    for the state that AMD-SB-3016 is about.
    """

    SMT = 1 << 0
    TSME = 1 << 1
    ECC = 1 << 2
    RAPL_DISABLED = 1 << 3
    CIPHERTEXT_HIDING = 1 << 4
    ALIAS_CHECK = 1 << 5
    IOMMU_WRITE_SAFE = 1 << 6
    TIO = 1 << 7


_POLICY_BITS: Final = 0xFFFF | sum(PolicyBit)
_PLATFORM_BITS: Final = sum(PlatformBit)
_AUTHOR_KEY, _MASK_CHIP_KEY, _KEY_SHIFT, _KEY_BITS = 1 << 0, 1 << 1, 2, 0b111
_KEYS: Final = {0: AmdSigningKey.VCEK, 1: AmdSigningKey.VLEK}


@dataclass(frozen=True, slots=True)
class SnpReport:
    """A parsed report, unverified. Members in the order of the bytes; TCB versions as their 8 bytes, whose meaning depends on the product.

    Bytes are as in the report. ``r`` and ``s`` are the 48 significant bytes of each half of the signature, little-endian.
    ``family``, ``model``, ``stepping`` are 0 in version 2, the mitigation vectors are 0 before version 5.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    family: int
    model: int
    stepping: int
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: bytes
    launch_mitigations: int
    current_mitigations: int
    r: bytes
    s: bytes

    @property
    def signing_key(self) -> AmdSigningKey:
        """What signed it."""
        return _KEYS[self.key_info >> _KEY_SHIFT & _KEY_BITS]

    @property
    def author_key_enabled(self) -> bool:
        """Whether an author key certified the ID key."""
        return bool(self.key_info & _AUTHOR_KEY)

    @property
    def signature(self) -> bytes:
        """r then s, each 48 bytes big-endian."""
        return self.r[::-1] + self.s[::-1]

    @property
    def current_firmware(self) -> tuple[int, int, int]:
        """Major, minor, build of the running firmware."""
        return self.current_major, self.current_minor, self.current_build

    @property
    def committed_firmware(self) -> tuple[int, int, int]:
        """Major, minor, build below which the host cannot roll back."""
        return self.committed_major, self.committed_minor, self.committed_build


# (name, struct code) in byte order; names that begin with _ are reserved and must be zero.
_LAYOUT: Final = (
    ("version", "I"), ("guest_svn", "I"), ("policy", "Q"), ("family_id", "16s"), ("image_id", "16s"), ("vmpl", "I"),
    ("signature_algorithm", "I"), ("current_tcb", "8s"), ("platform_info", "Q"), ("key_info", "I"), ("_04c", "4s"), ("report_data", "64s"),
    ("measurement", "48s"), ("host_data", "32s"), ("id_key_digest", "48s"), ("author_key_digest", "48s"), ("report_id", "32s"),
    ("report_id_ma", "32s"), ("reported_tcb", "8s"), ("family", "B"), ("model", "B"), ("stepping", "B"), ("_18b", "21s"),
    ("chip_id", "64s"), ("committed_tcb", "8s"), ("current_build", "B"), ("current_minor", "B"), ("current_major", "B"), ("_1eb", "1s"),
    ("committed_build", "B"), ("committed_minor", "B"), ("committed_major", "B"), ("_1ef", "1s"), ("launch_tcb", "8s"),
    ("launch_mitigations", "Q"), ("current_mitigations", "Q"), ("_208", "152s"), ("r", "48s"), ("_2d0", "24s"), ("s", "48s"),
    ("_318", "24s"), ("_330", "368s"),
)  # fmt: skip
_STRUCT: Final = struct.Struct("<" + "".join(code for _, code in _LAYOUT))
OFFSETS: Final = {name: struct.calcsize("<" + "".join(code for _, code in _LAYOUT[:index])) for index, (name, _) in enumerate(_LAYOUT)}
"""Where each field begins."""
_PLACES: Final = {name: f"report offset 0x{offset:03x}" for name, offset in OFFSETS.items()}
_SIGNATURE_PADDING: Final = ("_2d0", "_318")
_RESERVED: Final = tuple(name for name, _ in _LAYOUT if name.startswith("_") and name not in _SIGNATURE_PADDING)
_SLOTS: Final = {name: index for index, (name, _) in enumerate(_LAYOUT)}
_FIELDS: Final = tuple(_SLOTS[item.name] for item in fields(SnpReport))
_ZEROS: Final = bytes(SIZE)

if _STRUCT.size != SIZE or OFFSETS["r"] != SIGNED:
    raise AssertionError("layout of the report")


def where(name: str) -> str:
    """ "report offset 0x038": the place of a field, for messages."""
    return _PLACES[name]


def parse(data: bytes) -> SnpReport:
    """Read a report. ``encode(parse(data)) == data`` for whatever is accepted. Raises MalformedError with one of :data:`REPORT_CHECKS`."""
    LENGTH.require(len(data) == SIZE, found=f"{len(data)} bytes", expected=f"{SIZE} bytes")
    slots = _STRUCT.unpack(data)
    report = SnpReport(*(slots[index] for index in _FIELDS))
    VERSION.require(
        report.version in VERSIONS,
        where=where("version"),
        found=str(report.version),
        expected=" or ".join(str(known) for known in VERSIONS),
    )
    for name in _RESERVED:
        _require_zero(RESERVED, name, slots[_SLOTS[name]])
    _require_version_fields(report)
    _require_flags(report)
    _require_key(report)
    for name in _SIGNATURE_PADDING:
        _require_zero(SIGNATURE_FORM, name, slots[_SLOTS[name]])
    for name, half in (("r", report.r), ("s", report.s)):
        value = int.from_bytes(half, "little")
        SIGNATURE_FORM.require(0 < value < P384_ORDER, where=where(name), found=f"0x{value:x}", expected="1..n-1 of P-384")
    return report


def encode(report: SnpReport) -> bytes:
    """Write the 1184 bytes, reserved bytes zero. Raises ValueError for a field of the wrong size."""
    values: list[int | bytes] = []
    for name, code in _LAYOUT:
        size = struct.calcsize(code)
        value: int | bytes = bytes(size) if name.startswith("_") else getattr(report, name)
        if isinstance(value, bytes) and len(value) != size:
            raise ValueError(f"{name} has {len(value)} bytes")
        values.append(value)
    return _STRUCT.pack(*values)


def _require_zero(check: Check, name: str, data: bytes) -> None:
    if data != _ZEROS[: len(data)]:
        index = next(index for index, byte in enumerate(data) if byte)
        raise check.failure(where=f"report offset 0x{OFFSETS[name] + index:03x}", found=f"0x{data[index]:02x}", expected="0x00")


def _require_version_fields(report: SnpReport) -> None:
    """Fields that a version does not have are reserved in it."""
    absent: tuple[str, ...] = ()
    if report.version < 3:
        absent += ("family", "model", "stepping")
    if report.version < 5:
        absent += ("launch_mitigations", "current_mitigations")
    for name in absent:
        value = getattr(report, name)
        RESERVED.require(value == 0, where=where(name), found=f"0x{value:x}", expected=f"0 in version {report.version}")


def _require_flags(report: SnpReport) -> None:
    unknown = report.policy & ~_POLICY_BITS
    POLICY.require(not unknown, where=where("policy"), found=f"unknown bits 0x{unknown:x}", expected="bits 26 to 63 zero")
    POLICY.require(bool(report.policy & PolicyBit.ALWAYS_ONE), where=where("policy"), found="bit 17 is 0", expected="bit 17 is 1")
    VMPL.require(report.vmpl <= 3, where=where("vmpl"), found=str(report.vmpl), expected="0..3")
    ALGORITHM.require(
        report.signature_algorithm == 1,
        where=where("signature_algorithm"),
        found=str(report.signature_algorithm),
        expected="1 (ECDSA P-384 with SHA-384)",
    )
    unknown = report.platform_info & ~_PLATFORM_BITS
    PLATFORM.require(not unknown, where=where("platform_info"), found=f"unknown bits 0x{unknown:x}", expected="bits 8 to 63 zero")


def _require_key(report: SnpReport) -> None:
    place = where("key_info")
    reserved = report.key_info >> 5
    RESERVED.require(not reserved, where=place, found=f"0x{report.key_info:x}", expected="bits 5 to 31 zero")
    # With MASK_CHIP_KEY the firmware leaves the signature zero; CHIP_ID masking has no bit of its own.
    SIGNING_KEY.require(
        not report.key_info & _MASK_CHIP_KEY, where=place, found="MASK_CHIP_KEY is 1: the report is not signed", expected="MASK_CHIP_KEY 0"
    )
    kind = report.key_info >> _KEY_SHIFT & _KEY_BITS
    SIGNING_KEY.require(
        kind in _KEYS, where=place, found="none" if kind == 7 else f"reserved value {kind}", expected="0 (VCEK) or 1 (VLEK)"
    )
