"""What a verified TDX quote says, in the vocabulary that policies use.

Rules about these values (which measurements, which TCB status, whether a service TD is acceptable) are a policy's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated

from attest.dcap.claims import PlatformClaims, platform_values
from attest.dcap.verify import VerifiedQuote
from attest.evidence import ClaimEnum, ClaimInfo, EventLogState, Tri
from attest.kinds.tdx.azure import RuntimeData
from attest.kinds.tdx.event_log import EventLog
from attest.kinds.tdx.report import XFAM_FEATURES, Attribute, TdBody, TdReport


class Paravisor(ClaimEnum):
    """Who stands between host and guest inside the TD."""

    NONE = "none"
    AZURE = "azure"  # the quote binds the paravisor's runtime data


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxClaims(PlatformClaims):
    """Claims of one TDX guest. Registers and digests are lower-case hex of 48 bytes; empty where a body has none or only zeros."""

    quote_version: Annotated[int, ClaimInfo("Version of the quote format", where="quote header 0x00", vendor="version")]
    td_body: Annotated[TdBody, ClaimInfo("Generation of the report body", where="quote, body type")]
    mr_td: Annotated[str, ClaimInfo("Measurement of the guest's initial memory", where="TD report 0x088", vendor="MRTD")]
    mr_config_id: Annotated[str, ClaimInfo("Configuration that the owner gave at launch", where="TD report 0x0B8", vendor="MRCONFIGID")]
    mr_owner: Annotated[str, ClaimInfo("Owner of the guest, as the owner says", where="TD report 0x0E8", vendor="MROWNER")]
    mr_owner_config: Annotated[str, ClaimInfo("Owner's configuration", where="TD report 0x118", vendor="MROWNERCONFIG")]
    rtmr0: Annotated[str, ClaimInfo("Virtual firmware's configuration", where="TD report 0x148", vendor="RTMR0")]
    rtmr1: Annotated[str, ClaimInfo("Boot loader and kernel", where="TD report 0x178", vendor="RTMR1")]
    rtmr2: Annotated[str, ClaimInfo("Kernel command line, initial RAM disk", where="TD report 0x1A8", vendor="RTMR2")]
    rtmr3: Annotated[str, ClaimInfo("What the running guest extended; in no event log", where="TD report 0x1D8", vendor="RTMR3")]
    mr_seam: Annotated[str, ClaimInfo("Measurement of the TDX module", where="TD report 0x010", vendor="MRSEAM")]
    mr_service_td: Annotated[
        str, ClaimInfo("Measurement of the bound service TD; empty without one", where="TD report 0x258", vendor="MRSERVICETD")
    ]
    service_td: Annotated[bool, ClaimInfo("A service TD, as for migration, is bound to the guest", where="TD report 0x258 and after")]
    sept_ve_disabled: Annotated[
        bool,
        ClaimInfo(
            "The host cannot inject faults by taking pages away", where="TD report 0x078 bit 28", vendor="ATTRIBUTES.SEPT_VE_DISABLE"
        ),
    ]
    migratable: Annotated[bool, ClaimInfo("The guest can be migrated", where="TD report 0x078 bit 29", vendor="ATTRIBUTES.MIGRATABLE")]
    protection_keys: Annotated[
        bool, ClaimInfo("Supervisor protection keys may be used", where="TD report 0x078 bit 30", vendor="ATTRIBUTES.PKS")
    ]
    key_locker: Annotated[bool, ClaimInfo("Key Locker may be used", where="TD report 0x078 bit 31", vendor="ATTRIBUTES.KL")]
    linear_address_separation: Annotated[
        bool, ClaimInfo("Linear address space separation may be used", where="TD report 0x078 bit 27", vendor="ATTRIBUTES.LASS")
    ]
    tpa: Annotated[bool, ClaimInfo("The guest is a TD provisioning agent", where="TD report 0x078 bit 62", vendor="ATTRIBUTES.TPA")]
    performance_monitoring: Annotated[
        bool, ClaimInfo("The guest may use performance counters", where="TD report 0x078 bit 63", vendor="ATTRIBUTES.PERFMON")
    ]
    xfam: Annotated[str, ClaimInfo("Extended processor features, 64 bits in hex", where="TD report 0x080", vendor="XFAM")]
    features: Annotated[frozenset[str], ClaimInfo("The same by name", where="TD report 0x080", vendor="XFAM")]
    tdx_module_svn: Annotated[int, ClaimInfo("Security version of the TDX module", where="TD report 0x000", vendor="TEE_TCB_SVN[0]")]
    tdx_module_version: Annotated[
        int, ClaimInfo("Version that the module's identity is listed under", where="TD report 0x001", vendor="TEE_TCB_SVN[1]")
    ]
    tee_tcb_svn: Annotated[str, ClaimInfo("TDX TCB at launch, 16 bytes", where="TD report 0x000", vendor="TEE_TCB_SVN")]
    current_tee_tcb_svn: Annotated[str, ClaimInfo("TDX TCB now, 16 bytes; empty in TD 1.0", where="TD report 0x248", vendor="TEE_TCB_SVN2")]
    event_log: Annotated[EventLogState, ClaimInfo("Whether a log explains RTMR0 to RTMR2", where="event log against quote", vendor="CCEL")]
    secure_boot: Annotated[Tri, ClaimInfo("UEFI Secure Boot as measured", where="event log", vendor="SecureBoot")]
    boot_applications: Annotated[
        frozenset[str],
        ClaimInfo(
            "SHA-384 of the images that UEFI started, empty without a log", where="event log", vendor="EV_EFI_BOOT_SERVICES_APPLICATION"
        ),
    ]
    boot_measurements: Annotated[
        frozenset[str],
        ClaimInfo("SHA-384 of what the boot loader measured, empty without a log", where="event log", vendor="EV_IPL"),
    ]
    paravisor: Annotated[Paravisor, ClaimInfo("Who stands between host and guest", where="runtime data")]
    vtpm_key: Annotated[
        str, ClaimInfo("Digest of the paravisor's vTPM attestation key; empty without one", where="runtime data", vendor="HCLAkPub")
    ]


# Plain numbers: flags of an enum take a microsecond each.
_DEBUG, _LASS, _SEPT_VE_DISABLE, _MIGRATABLE, _PKS, _KEY_LOCKER, _TPA, _PERFMON = (int(bit) for bit in Attribute)


@lru_cache(maxsize=64)
def _features(xfam: int) -> frozenset[str]:
    return frozenset(name for bit, name in XFAM_FEATURES.items() if xfam >> bit & 1)


def claims_of(
    verified: VerifiedQuote, report: TdReport, *, log: EventLog | None, runtime: RuntimeData | None, simulated: bool, at: datetime
) -> TdxClaims:
    """The claims of a verified quote."""
    attributes = report.attributes
    return TdxClaims(
        **platform_values(verified, debug=bool(attributes & _DEBUG), simulated=simulated, at=at),
        quote_version=verified.quote.version,
        td_body=report.body,
        mr_td=report.mr_td.hex(),
        mr_config_id=_digest(report.mr_config_id),
        mr_owner=_digest(report.mr_owner),
        mr_owner_config=_digest(report.mr_owner_config),
        rtmr0=report.rtmr[0].hex(),
        rtmr1=report.rtmr[1].hex(),
        rtmr2=report.rtmr[2].hex(),
        rtmr3=report.rtmr[3].hex(),
        mr_seam=report.mr_seam.hex(),
        mr_service_td=_digest(report.mr_service_td),
        service_td=any(report.mr_service_td) or any(_service_td(report)),
        sept_ve_disabled=bool(attributes & _SEPT_VE_DISABLE),
        migratable=bool(attributes & _MIGRATABLE),
        protection_keys=bool(attributes & _PKS),
        key_locker=bool(attributes & _KEY_LOCKER),
        linear_address_separation=bool(attributes & _LASS),
        tpa=bool(attributes & _TPA),
        performance_monitoring=bool(attributes & _PERFMON),
        xfam=f"{report.xfam:016x}",
        features=_features(report.xfam),
        tdx_module_svn=report.tee_tcb_svn[0],
        tdx_module_version=report.tee_tcb_svn[1],
        tee_tcb_svn=report.tee_tcb_svn.hex(),
        current_tee_tcb_svn=report.tee_tcb_svn2.hex(),
        event_log=EventLogState.REPLAYED if log else EventLogState.ABSENT,
        secure_boot=log.secure_boot if log else Tri.UNKNOWN,
        boot_applications=log.applications if log else frozenset(),
        boot_measurements=log.commands if log else frozenset(),
        paravisor=Paravisor.AZURE if runtime else Paravisor.NONE,
        vtpm_key=runtime.attestation_key if runtime else "",
    )


def _service_td(report: TdReport) -> bytes:
    """What TD 1.5 extended says of service TDs: INIT_SERVTD_HASH and its attributes, CUR_SERVTD_HASH and its attributes."""
    return report.extension[81:137] + report.extension[181:237]


def _digest(digest: bytes) -> str:
    """Hex, or empty for all zero: what is not there must not look like a value that a list could allow."""
    return digest.hex() if any(digest) else ""
