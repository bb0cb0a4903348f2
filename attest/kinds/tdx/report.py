"""The TD report body of a quote: TD 1.0 (584 bytes), TD 1.5 (648) and TD 1.5 extended (885); bytes to typed fields and back.

Sources: Intel TDX DCAP Quoting Library API, A.3 (TD quote body); Intel TDX Module 1.5 ABI specification, ATTRIBUTES and XFAM; the
structures of Intel's Quote Verification Library (QuoteStructures.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from attest.checks import Check
from attest.dcap.quote import BODY_SIZES, BodyType
from attest.errors import Outcome
from attest.evidence import ClaimEnum

_BODY: Final = "Intel TDX DCAP Quoting Library API, A.3 (TD quote body)"

TD_ATTRIBUTES: Final = Check(
    "tdx.attributes",
    "form of the TD attributes",
    "Intel TDX Module ABI specification, ATTRIBUTES: TUD bits other than DEBUG are reserved",
    Outcome.MALFORMED,
    "the guest has an attribute that this version does not know; a newer version may",
)
XFAM: Final = Check(
    "tdx.xfam",
    "form of the extended features",
    "Intel TDX Module ABI specification, XFAM: x87 and SSE always, nothing that is reserved",
    Outcome.MALFORMED,
    "the guest has a processor feature that this version does not know; a newer version may",
)


class TdBody(ClaimEnum):
    """Generation of the report body."""

    TD10 = "td-1.0"
    TD15 = "td-1.5"
    TD15_EX = "td-1.5-extended"


BODIES: Final = {BodyType.TD10: TdBody.TD10, BodyType.TD15: TdBody.TD15, BodyType.TD15_EX: TdBody.TD15_EX}


class Attribute(IntFlag):
    """TD ATTRIBUTES. The low byte (TUD) makes a guest untrusted: DEBUG, and bits that are reserved."""

    DEBUG = 1 << 0
    LASS = 1 << 27
    SEPT_VE_DISABLE = 1 << 28
    MIGRATABLE = 1 << 29
    PKS = 1 << 30
    KEY_LOCKER = 1 << 31
    TPA = 1 << 62
    PERFMON = 1 << 63


_ATTRIBUTES: Final = sum(Attribute)

# Bits of XCR0 and IA32_XSS that a guest may be given (Intel SDM volume 1, section 13.1), by the names that claims use.
XFAM_FEATURES: Final = {
    0: "x87", 1: "sse", 2: "avx", 5: "avx512-opmask", 6: "avx512-zmm-hi256", 7: "avx512-hi16-zmm", 8: "pt", 9: "pku", 10: "pasid",
    11: "cet-u", 12: "cet-s", 13: "hdc", 14: "uintr", 15: "lbr", 16: "hwp", 17: "amx-tilecfg", 18: "amx-tiledata", 19: "apx",
}  # fmt: skip
_XFAM_FIXED: Final = 0b11
_XFAM_KNOWN: Final = sum(1 << bit for bit in XFAM_FEATURES)


@dataclass(frozen=True, slots=True)
class TdReport:
    """A TD report body. Sizes in bytes: registers and digests (mr_*, rtmr) 48, tee_tcb_svn and tee_tcb_svn2 16, report_data 64.

    ``attributes`` and ``xfam`` are 64 bits. tee_tcb_svn2 and mr_service_td are empty in TD 1.0; ``extension`` is what TD 1.5 extended adds
    (237 bytes: identity of the guest and its service TD at the start of a migration), empty elsewhere.
    """

    body: TdBody
    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    attributes: int
    xfam: int
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn2: bytes
    mr_service_td: bytes
    extension: bytes


_TD10: Final = struct.Struct("<16s48s48s8sQQ48s48s48s48s48s48s48s48s64s")
_TD15: Final = struct.Struct("<16s48s")


def parse_body(data: bytes, body_type: BodyType) -> TdReport:
    """Read a body whose size fits its type. Raises MalformedError for attributes and features that are reserved."""
    (
        svn, mr_seam, signer, seam_attributes, attributes, xfam, mr_td, config_id, owner, owner_config, rtmr0, rtmr1, rtmr2, rtmr3,
        report_data,
    ) = _TD10.unpack_from(data)  # fmt: skip
    svn2, service = _TD15.unpack_from(data, _TD10.size) if body_type is not BodyType.TD10 else (b"", b"")
    if attributes & ~_ATTRIBUTES:
        raise TD_ATTRIBUTES.failure(
            where="TD report, ATTRIBUTES", found=f"0x{attributes:016x}", expected=f"no bits outside 0x{_ATTRIBUTES:016x}"
        )
    if xfam & ~_XFAM_KNOWN or xfam & _XFAM_FIXED != _XFAM_FIXED:
        raise XFAM.failure(where="TD report, XFAM", found=f"0x{xfam:x}", expected=f"bits 0 and 1, and none outside 0x{_XFAM_KNOWN:x}")
    return TdReport(
        BODIES[body_type], svn, mr_seam, signer, seam_attributes, attributes, xfam, mr_td, config_id, owner, owner_config,
        (rtmr0, rtmr1, rtmr2, rtmr3), report_data, svn2, service, data[BODY_SIZES[BodyType.TD15] :],
    )  # fmt: skip


def encode_body(report: TdReport) -> bytes:
    """The bytes of a body: for simulated guests, never for what is verified."""
    data = _TD10.pack(
        report.tee_tcb_svn, report.mr_seam, report.mr_signer_seam, report.seam_attributes, report.attributes, report.xfam, report.mr_td,
        report.mr_config_id, report.mr_owner, report.mr_owner_config, *report.rtmr, report.report_data,
    )  # fmt: skip
    if report.body is not TdBody.TD10:
        data += _TD15.pack(report.tee_tcb_svn2, report.mr_service_td) + report.extension
    return data
