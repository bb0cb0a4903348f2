"""What a verified SGX quote says, in the vocabulary that policies use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag
from typing import Annotated

from attest.dcap.claims import PlatformClaims, platform_values
from attest.dcap.quote import EnclaveReport
from attest.dcap.verify import VerifiedQuote
from attest.evidence import ClaimInfo


class Attribute(IntFlag):
    """SGX ATTRIBUTES, flags (Intel SDM volume 3D, table 35-3). Bits without a name say nothing that is decided here."""

    INIT = 1 << 0
    DEBUG = 1 << 1
    MODE64 = 1 << 2
    PROVISION_KEY = 1 << 4
    EINITTOKEN_KEY = 1 << 5
    CET = 1 << 6
    KSS = 1 << 7
    AEX_NOTIFY = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxClaims(PlatformClaims):
    """Claims of one SGX enclave. Digests are lower-case hex; empty where there are only zeros."""

    quote_version: Annotated[int, ClaimInfo("Version of the quote format", where="quote header 0x00", vendor="version")]
    mr_enclave: Annotated[str, ClaimInfo("Measurement of the enclave, 32 bytes", where="report body 0x040", vendor="MRENCLAVE")]
    mr_signer: Annotated[str, ClaimInfo("SHA-256 of the key that signed the enclave", where="report body 0x080", vendor="MRSIGNER")]
    isv_prod_id: Annotated[int, ClaimInfo("Product of that signer", where="report body 0x100", vendor="ISVPRODID")]
    isv_svn: Annotated[int, ClaimInfo("Security version of the enclave", where="report body 0x102", vendor="ISVSVN")]
    misc_select: Annotated[int, ClaimInfo("Extended features of exception reporting", where="report body 0x010", vendor="MISCSELECT")]
    mode64: Annotated[bool, ClaimInfo("Runs in 64-bit mode", where="report body 0x030 bit 2", vendor="ATTRIBUTES.MODE64BIT")]
    provision_key: Annotated[
        bool, ClaimInfo("May derive the provisioning key", where="report body 0x030 bit 4", vendor="ATTRIBUTES.PROVISIONKEY")
    ]
    launch_key: Annotated[bool, ClaimInfo("May derive the launch key", where="report body 0x030 bit 5", vendor="ATTRIBUTES.EINITTOKEN_KEY")]
    key_separation: Annotated[bool, ClaimInfo("Key separation and sharing is on", where="report body 0x030 bit 7", vendor="ATTRIBUTES.KSS")]
    attributes: Annotated[str, ClaimInfo("All attribute flags, 64 bits in hex", where="report body 0x030", vendor="ATTRIBUTES")]
    xfrm: Annotated[str, ClaimInfo("Extended processor features, 64 bits in hex", where="report body 0x038", vendor="XFRM")]
    config_id: Annotated[str, ClaimInfo("Configuration, 64 bytes", where="report body 0x0C0", vendor="CONFIGID")]
    config_svn: Annotated[int, ClaimInfo("Security version of the configuration", where="report body 0x104", vendor="CONFIGSVN")]
    isv_ext_prod_id: Annotated[str, ClaimInfo("Extended product, 16 bytes", where="report body 0x020", vendor="ISVEXTPRODID")]
    isv_family_id: Annotated[str, ClaimInfo("Product family, 16 bytes", where="report body 0x130", vendor="ISVFAMILYID")]


def claims_of(verified: VerifiedQuote, report: EnclaveReport, *, simulated: bool, at: datetime) -> SgxClaims:
    """The claims of a verified quote."""
    flags = report.attributes
    return SgxClaims(
        **platform_values(verified, debug=bool(flags & Attribute.DEBUG), simulated=simulated, at=at),
        quote_version=verified.quote.version,
        mr_enclave=report.mr_enclave.hex(),
        mr_signer=report.mr_signer.hex(),
        isv_prod_id=report.isv_prod_id,
        isv_svn=report.isv_svn,
        misc_select=report.misc_select,
        mode64=bool(flags & Attribute.MODE64),
        provision_key=bool(flags & Attribute.PROVISION_KEY),
        launch_key=bool(flags & Attribute.EINITTOKEN_KEY),
        key_separation=bool(flags & Attribute.KSS),
        attributes=f"{flags:016x}",
        xfrm=f"{report.xfrm:016x}",
        config_id=_digest(report.config_id),
        config_svn=report.config_svn,
        isv_ext_prod_id=_digest(report.isv_ext_prod_id),
        isv_family_id=_digest(report.isv_family_id),
    )


def _digest(digest: bytes) -> str:
    """Hex, or empty for all zero: what is not there must not look like a value that a list could allow."""
    return digest.hex() if any(digest) else ""
