"""What DCAP says of any platform, whatever runs on it: identity, TCB status and dates, in the vocabulary that policies use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypedDict

from attest.dcap.endorsements import PckCa
from attest.dcap.pck import PlatformType
from attest.dcap.status import TcbStatus
from attest.dcap.verify import VerifiedQuote
from attest.evidence import ClaimInfo, Claims, Debug, Revocation, Tri

_PCK: str = "PCK certificate, extension 1.2.840.113741.1.13.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformClaims(Claims):
    """Claims about an Intel platform. Digests and identities are lower-case hex, dates are numbers YYYYMMDD, which sort."""

    device_id: Annotated[str, ClaimInfo("Identity of the processor package, 16 bytes", where=f"{_PCK}.1", vendor="PPID")]
    platform_instance_id: Annotated[
        str,
        ClaimInfo("Identity of the platform instance, 16 bytes; empty for a Processor CA certificate", where=f"{_PCK}.6", vendor="PIID"),
    ]
    pck_ca: Annotated[PckCa, ClaimInfo("Which of Intel's CAs certified the platform", where="PCK certificate, issuer")]
    platform_type: Annotated[PlatformType, ClaimInfo("How the platform protects memory", where=f"{_PCK}.5", vendor="SGX Type")]
    dynamic_platform: Annotated[
        Tri, ClaimInfo("Processor packages may be added to the platform", where=f"{_PCK}.7.1", vendor="Dynamic Platform")
    ]
    cached_keys: Annotated[
        Tri, ClaimInfo("Intel's registration service keeps the platform's root keys", where=f"{_PCK}.7.2", vendor="Cached Keys")
    ]
    smt_enabled: Annotated[Tri, ClaimInfo("Hyper-threading is on", where=f"{_PCK}.7.3", vendor="SMT Enabled")]
    fmspc: Annotated[str, ClaimInfo("Family, model, stepping, platform type and SKU, 6 bytes", where=f"{_PCK}.4", vendor="FMSPC")]
    pce_id: Annotated[str, ClaimInfo("Provisioning certification enclave, 2 bytes", where=f"{_PCK}.3", vendor="PCE-ID")]
    pce_svn: Annotated[int, ClaimInfo("Security version of that enclave", where=f"{_PCK}.2.17", vendor="PCESVN")]
    cpu_svn: Annotated[str, ClaimInfo("Security versions of the 16 SGX TCB components", where=f"{_PCK}.2.18", vendor="CPUSVN")]
    qe_svn: Annotated[int, ClaimInfo("Security version of the quoting enclave", where="QE report", vendor="ISVSVN")]

    tcb_status: Annotated[
        TcbStatus,
        ClaimInfo("How current the platform is, its TDX module and quoting enclave included", where="TCB Info", vendor="tcbStatus"),
    ]
    launch_tcb_status: Annotated[TcbStatus, ClaimInfo("The same for the TCB at launch alone", where="TCB Info", vendor="tcbStatus")]
    current_tcb_status: Annotated[
        TcbStatus,
        ClaimInfo(
            "The same for the TCB that runs now; NotReported before TD 1.5 and for SGX",
            where="TCB Info and TEE_TCB_SVN2",
            vendor="tcbStatus",
        ),
    ]
    tcb_date: Annotated[
        int,
        ClaimInfo("Oldest date of the matched levels, YYYYMMDD: known issues until then are mended", where="TCB Info", vendor="tcbDate"),
    ]
    advisories: Annotated[
        frozenset[str],
        ClaimInfo("Security advisories that apply to the matched levels", where="TCB Info, QE Identity", vendor="advisoryIDs"),
    ]
    tcb_shortfalls: Annotated[
        frozenset[str], ClaimInfo("What is older than in the best level that Intel lists, in words", where="quote against TCB Info")
    ]
    tcb_evaluation_number: Annotated[
        int,
        ClaimInfo("Lower one of TCB Info and QE Identity: how new the rules are", where="collateral", vendor="tcbEvaluationDataNumber"),
    ]
    collateral_age: Annotated[
        int, ClaimInfo("Hours since the older of TCB Info and QE Identity was issued", where="collateral", vendor="issueDate")
    ]


class PlatformValues(TypedDict):
    """The values of :class:`PlatformClaims`, ready to be joined with those of a kind."""

    debug: Debug
    simulated: bool
    revocation: Revocation
    device_id: str
    platform_instance_id: str
    pck_ca: PckCa
    platform_type: PlatformType
    dynamic_platform: Tri
    cached_keys: Tri
    smt_enabled: Tri
    fmspc: str
    pce_id: str
    pce_svn: int
    cpu_svn: str
    qe_svn: int
    tcb_status: TcbStatus
    launch_tcb_status: TcbStatus
    current_tcb_status: TcbStatus
    tcb_date: int
    advisories: frozenset[str]
    tcb_shortfalls: frozenset[str]
    tcb_evaluation_number: int
    collateral_age: int


def platform_values(verified: VerifiedQuote, *, debug: bool, simulated: bool, at: datetime) -> PlatformValues:
    """The platform's part of the claims. A revoked platform never comes this far, so revocation is always good."""
    platform, tcb = verified.pck.platform, verified.tcb
    return {
        "debug": Debug.ON if debug else Debug.OFF,
        "simulated": simulated,
        "revocation": Revocation.GOOD,
        "device_id": platform.ppid.hex(),
        "platform_instance_id": platform.instance_id.hex(),
        "pck_ca": verified.pck.ca,
        "platform_type": platform.type,
        "dynamic_platform": platform.dynamic_platform,
        "cached_keys": platform.cached_keys,
        "smt_enabled": platform.smt_enabled,
        "fmspc": platform.fmspc.hex(),
        "pce_id": platform.pce_id.hex(),
        "pce_svn": platform.pce_svn,
        "cpu_svn": platform.cpu_svn.hex(),
        "qe_svn": verified.quote.qe_report.isv_svn,
        "tcb_status": tcb.status,
        "launch_tcb_status": tcb.launch.status,
        "current_tcb_status": tcb.current.status if tcb.current else TcbStatus.NOT_REPORTED,
        "tcb_date": int(tcb.launch.date[:10].replace("-", "")),
        "advisories": frozenset(tcb.launch.advisories),
        "tcb_shortfalls": frozenset(tcb.shortfalls),
        "tcb_evaluation_number": verified.evaluation,
        "collateral_age": int((at - verified.issued).total_seconds()) // 3600,
    }
