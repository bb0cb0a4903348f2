"""What a verified SEV-SNP report says, in the vocabulary that policies use.

Rules about these values (debugging, TCB floors, measurements, providers) are a policy's business; nothing here refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from attest.evidence import ClaimEnum, ClaimInfo, Claims, Debug, Revocation, Tri
from attest.kinds.sev_snp.product import COMPONENTS, AmdProduct, ProductLine, Tcb, TcbLayout
from attest.kinds.sev_snp.report import AmdSigningKey, PlatformBit, PolicyBit, SnpReport, where
from attest.versions import VersionForm


class ChipIdentity(ClaimEnum):
    """Whether the report says on which chip it was made."""

    KNOWN = "known"
    MASKED = "masked"  # CHIP_ID is zero: masked by the host, as every provider with a VLEK does


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpClaims(Claims):
    """Claims of one SEV-SNP guest. Digests and identities are lower-case hex; a TCB is never packed into one number."""

    debug: Annotated[
        Debug, ClaimInfo("Whether the host may debug the guest, and read its memory", where="report 0x008 bit 19", vendor="POLICY.DEBUG")
    ]
    device_id: Annotated[str, ClaimInfo("Identity of the chip; empty when masked", where="report 0x1A0", vendor="CHIP_ID")]
    product: Annotated[
        AmdProduct,
        ClaimInfo(
            "Product line of the processor", where="report 0x188, in version 2 the certificate chain", vendor="CPUID_FAM_ID, CPUID_MOD_ID"
        ),
    ]
    signing_key: Annotated[
        AmdSigningKey, ClaimInfo("Key of the chip or of the cloud provider", where="report 0x048 bits 2-4", vendor="SIGNING_KEY")
    ]
    csp_id: Annotated[
        str,
        ClaimInfo(
            "Cloud provider that a VLEK was issued to; empty for a VCEK",
            where="VLEK certificate, extension 1.3.6.1.4.1.3704.1.5",
            vendor="cspID",
        ),
    ]
    chip_identity: Annotated[ChipIdentity, ClaimInfo("Whether the report names its chip", where="report 0x1A0", vendor="MaskChipId")]
    report_version: Annotated[int, ClaimInfo("Version of the report format", where="report 0x000", vendor="VERSION")]
    vmpl: Annotated[int, ClaimInfo("Privilege level of who asked for the report, 0 is the highest", where="report 0x030", vendor="VMPL")]
    guest_svn: Annotated[int, ClaimInfo("Security version of the guest image, from its ID block", where="report 0x004", vendor="GUEST_SVN")]
    measurement: Annotated[str, ClaimInfo("Launch measurement, 48 bytes", where="report 0x090", vendor="MEASUREMENT")]
    host_data: Annotated[str, ClaimInfo("Data that the host chose at launch, 32 bytes", where="report 0x0C0", vendor="HOST_DATA")]
    family_id: Annotated[str, ClaimInfo("Family of the guest image, from its ID block, 16 bytes", where="report 0x010", vendor="FAMILY_ID")]
    image_id: Annotated[str, ClaimInfo("Identity of the guest image, from its ID block, 16 bytes", where="report 0x020", vendor="IMAGE_ID")]
    id_key_digest: Annotated[
        str,
        ClaimInfo("SHA-384 of the key that signed the ID block; empty without an ID block", where="report 0x0E0", vendor="ID_KEY_DIGEST"),
    ]
    author_key_enabled: Annotated[bool, ClaimInfo("An author key certified the ID key", where="report 0x048 bit 0", vendor="AUTHOR_KEY_EN")]
    author_key_digest: Annotated[
        str, ClaimInfo("SHA-384 of the author key; empty without one", where="report 0x110", vendor="AUTHOR_KEY_DIGEST")
    ]

    policy_abi_major: Annotated[
        int, ClaimInfo("Least firmware ABI that the guest demands, major", where="report 0x009", vendor="POLICY.ABI_MAJOR")
    ]
    policy_abi_minor: Annotated[
        int, ClaimInfo("Least firmware ABI that the guest demands, minor", where="report 0x008", vendor="POLICY.ABI_MINOR")
    ]
    smt_allowed: Annotated[bool, ClaimInfo("The guest may run with hyper-threading", where="report 0x008 bit 16", vendor="POLICY.SMT")]
    migration_agent_allowed: Annotated[
        bool,
        ClaimInfo("A migration agent may move the guest, and sees its memory", where="report 0x008 bit 18", vendor="POLICY.MIGRATE_MA"),
    ]
    single_socket_required: Annotated[
        bool, ClaimInfo("The guest runs on one socket only", where="report 0x008 bit 20", vendor="POLICY.SINGLE_SOCKET")
    ]
    cxl_allowed: Annotated[
        bool, ClaimInfo("The guest may use CXL memory and devices", where="report 0x008 bit 21", vendor="POLICY.CXL_ALLOW")
    ]
    aes256_required: Annotated[
        bool, ClaimInfo("Memory must be encrypted with AES-256-XTS", where="report 0x008 bit 22", vendor="POLICY.MEM_AES_256_XTS")
    ]
    rapl_disabled_required: Annotated[bool, ClaimInfo("Power metering must be off", where="report 0x008 bit 23", vendor="POLICY.RAPL_DIS")]
    ciphertext_hiding_required: Annotated[
        bool,
        ClaimInfo("Ciphertext of memory must be hidden from the host", where="report 0x008 bit 24", vendor="POLICY.CIPHERTEXT_HIDING_DRAM"),
    ]
    page_swap_disabled: Annotated[
        bool, ClaimInfo("The host must not swap or move guest pages", where="report 0x008 bit 25", vendor="POLICY.PAGE_SWAP_DISABLE")
    ]

    smt_enabled: Annotated[bool, ClaimInfo("Hyper-threading is on", where="report 0x040 bit 0", vendor="PLATFORM_INFO.SMT_EN")]
    tsme_enabled: Annotated[
        bool, ClaimInfo("Transparent encryption of all memory is on", where="report 0x040 bit 1", vendor="PLATFORM_INFO.TSME_EN")
    ]
    ecc_enabled: Annotated[Tri, ClaimInfo("Memory has error correction", where="report 0x040 bit 2", vendor="PLATFORM_INFO.ECC_EN")]
    rapl_disabled: Annotated[Tri, ClaimInfo("Power metering is off", where="report 0x040 bit 3", vendor="PLATFORM_INFO.RAPL_DIS")]
    ciphertext_hiding: Annotated[
        Tri,
        ClaimInfo(
            "Ciphertext of memory is hidden from the host", where="report 0x040 bit 4", vendor="PLATFORM_INFO.CIPHERTEXT_HIDING_DRAM_EN"
        ),
    ]
    alias_check: Annotated[
        Tri,
        ClaimInfo(
            "The search for aliased memory has passed since reset (BadRAM, AMD-SB-3015)",
            where="report 0x040 bit 5",
            vendor="PLATFORM_INFO.ALIAS_CHECK_COMPLETE",
        ),
    ]
    iommu_write_safe: Annotated[
        Tri,
        ClaimInfo("Writes through the IOMMU are safe (AMD-SB-3016)", where="report 0x040 bit 6", vendor="PLATFORM_INFO.IOMMU_WRITE_SAFE"),
    ]
    trusted_io: Annotated[Tri, ClaimInfo("SEV-TIO, trusted devices, is on", where="report 0x040 bit 7", vendor="PLATFORM_INFO.TIO_EN")]

    firmware: Annotated[
        int,
        ClaimInfo(
            "Running firmware: major, minor and build",
            where="report 0x1E8",
            vendor="CURRENT_MAJOR, CURRENT_MINOR, CURRENT_BUILD",
            version="firmware_version",
            form=VersionForm.THREE_BYTES,
        ),
    ]
    firmware_version: Annotated[
        str, ClaimInfo("Running firmware as major.minor.build", where="report 0x1E8", vendor="CURRENT_MAJOR, CURRENT_MINOR, CURRENT_BUILD")
    ]
    committed_firmware: Annotated[
        int,
        ClaimInfo(
            "Firmware below which the host cannot roll back",
            where="report 0x1EC",
            vendor="COMMITTED_MAJOR, COMMITTED_MINOR, COMMITTED_BUILD",
            version="committed_firmware_version",
            form=VersionForm.THREE_BYTES,
        ),
    ]
    committed_firmware_version: Annotated[
        str,
        ClaimInfo(
            "Committed firmware as major.minor.build", where="report 0x1EC", vendor="COMMITTED_MAJOR, COMMITTED_MINOR, COMMITTED_BUILD"
        ),
    ]
    provisional_firmware: Annotated[
        bool,
        ClaimInfo(
            "The host can still roll back to an older TCB or firmware", where="report 0x1E0 and 0x038", vendor="COMMITTED_TCB, CURRENT_TCB"
        ),
    ]
    launch_mitigations: Annotated[
        frozenset[str],
        ClaimInfo(
            "Numbers of the mitigation bits that were set at launch; empty before version 5",
            where="report 0x1F8",
            vendor="LAUNCH_MIT_VECTOR",
        ),
    ]
    current_mitigations: Annotated[
        frozenset[str],
        ClaimInfo(
            "Numbers of the mitigation bits that are set now; empty before version 5", where="report 0x200", vendor="CURRENT_MIT_VECTOR"
        ),
    ]

    reported_fmc: Annotated[
        int,
        ClaimInfo(
            "Reported TCB, the one the signing key was derived for: fmc (0 before Turin)", where="report 0x180", vendor="REPORTED_TCB.FMC"
        ),
    ]
    reported_bootloader: Annotated[
        int,
        ClaimInfo(
            "Reported TCB, the one the signing key was derived for: bootloader", where="report 0x180", vendor="REPORTED_TCB.BOOT_LOADER"
        ),
    ]
    reported_tee: Annotated[
        int, ClaimInfo("Reported TCB, the one the signing key was derived for: tee", where="report 0x180", vendor="REPORTED_TCB.TEE")
    ]
    reported_snp: Annotated[
        int, ClaimInfo("Reported TCB, the one the signing key was derived for: snp", where="report 0x180", vendor="REPORTED_TCB.SNP")
    ]
    reported_microcode: Annotated[
        int,
        ClaimInfo("Reported TCB, the one the signing key was derived for: microcode", where="report 0x180", vendor="REPORTED_TCB.UCODE"),
    ]
    committed_fmc: Annotated[
        int,
        ClaimInfo(
            "Committed TCB, below which the host cannot roll back: fmc (0 before Turin)", where="report 0x1E0", vendor="COMMITTED_TCB.FMC"
        ),
    ]
    committed_bootloader: Annotated[
        int,
        ClaimInfo(
            "Committed TCB, below which the host cannot roll back: bootloader", where="report 0x1E0", vendor="COMMITTED_TCB.BOOT_LOADER"
        ),
    ]
    committed_tee: Annotated[
        int, ClaimInfo("Committed TCB, below which the host cannot roll back: tee", where="report 0x1E0", vendor="COMMITTED_TCB.TEE")
    ]
    committed_snp: Annotated[
        int, ClaimInfo("Committed TCB, below which the host cannot roll back: snp", where="report 0x1E0", vendor="COMMITTED_TCB.SNP")
    ]
    committed_microcode: Annotated[
        int,
        ClaimInfo("Committed TCB, below which the host cannot roll back: microcode", where="report 0x1E0", vendor="COMMITTED_TCB.UCODE"),
    ]
    current_fmc: Annotated[int, ClaimInfo("TCB that runs now: fmc (0 before Turin)", where="report 0x038", vendor="CURRENT_TCB.FMC")]
    current_bootloader: Annotated[int, ClaimInfo("TCB that runs now: bootloader", where="report 0x038", vendor="CURRENT_TCB.BOOT_LOADER")]
    current_tee: Annotated[int, ClaimInfo("TCB that runs now: tee", where="report 0x038", vendor="CURRENT_TCB.TEE")]
    current_snp: Annotated[int, ClaimInfo("TCB that runs now: snp", where="report 0x038", vendor="CURRENT_TCB.SNP")]
    current_microcode: Annotated[int, ClaimInfo("TCB that runs now: microcode", where="report 0x038", vendor="CURRENT_TCB.UCODE")]
    launch_fmc: Annotated[
        int, ClaimInfo("TCB at launch or import of the guest: fmc (0 before Turin)", where="report 0x1F0", vendor="LAUNCH_TCB.FMC")
    ]
    launch_bootloader: Annotated[
        int, ClaimInfo("TCB at launch or import of the guest: bootloader", where="report 0x1F0", vendor="LAUNCH_TCB.BOOT_LOADER")
    ]
    launch_tee: Annotated[int, ClaimInfo("TCB at launch or import of the guest: tee", where="report 0x1F0", vendor="LAUNCH_TCB.TEE")]
    launch_snp: Annotated[int, ClaimInfo("TCB at launch or import of the guest: snp", where="report 0x1F0", vendor="LAUNCH_TCB.SNP")]
    launch_microcode: Annotated[
        int, ClaimInfo("TCB at launch or import of the guest: microcode", where="report 0x1F0", vendor="LAUNCH_TCB.UCODE")
    ]


POLICY_CLAIMS: Final = (
    ("smt_allowed", PolicyBit.SMT_ALLOWED.value),
    ("migration_agent_allowed", PolicyBit.MIGRATION_AGENT_ALLOWED.value),
    ("single_socket_required", PolicyBit.SINGLE_SOCKET_REQUIRED.value),
    ("cxl_allowed", PolicyBit.CXL_ALLOWED.value),
    ("aes256_required", PolicyBit.AES256_REQUIRED.value),
    ("rapl_disabled_required", PolicyBit.RAPL_DISABLED_REQUIRED.value),
    ("ciphertext_hiding_required", PolicyBit.CIPHERTEXT_HIDING_REQUIRED.value),
    ("page_swap_disabled", PolicyBit.PAGE_SWAP_DISABLED.value),
)
"""(claim, bit of the guest policy)"""
PLATFORM_CLAIMS: Final = (("smt_enabled", PlatformBit.SMT.value), ("tsme_enabled", PlatformBit.TSME.value))
"""(claim, bit of PLATFORM_INFO) that every report version defines."""
PLATFORM_STATES: Final = (
    ("ecc_enabled", PlatformBit.ECC.value, 3),
    ("rapl_disabled", PlatformBit.RAPL_DISABLED.value, 3),
    ("ciphertext_hiding", PlatformBit.CIPHERTEXT_HIDING.value, 3),
    ("alias_check", PlatformBit.ALIAS_CHECK.value, 3),
    ("iommu_write_safe", PlatformBit.IOMMU_WRITE_SAFE.value, None),
    ("trusted_io", PlatformBit.TIO.value, 5),
)
"""(claim, bit of PLATFORM_INFO, report version from which on a bit that is 0 means no).

Before that version, firmware that knows nothing of the bit writes 0 too (AMD 56860 revisions 1.54 to 1.58). Bit 6 is in no published
revision yet: its 0 says nothing.
"""
_DEBUG: Final = PolicyBit.DEBUG_ALLOWED.value


@dataclass(frozen=True, slots=True)
class TcbSet:
    """The four TCB versions of a report, decoded for its product."""

    reported: Tcb
    committed: Tcb
    current: Tcb
    launch: Tcb

    @classmethod
    def decode(cls, report: SnpReport, layout: TcbLayout) -> TcbSet:
        """Raises MalformedError for reserved bytes and components out of range."""
        return cls(
            layout.decode(report.reported_tcb, where("reported_tcb")),
            layout.decode(report.committed_tcb, where("committed_tcb")),
            layout.decode(report.current_tcb, where("current_tcb")),
            layout.decode(report.launch_tcb, where("launch_tcb")),
        )

    def named(self) -> tuple[tuple[str, Tcb], ...]:
        """(prefix of the claim names, TCB) pairs."""
        return ("reported", self.reported), ("committed", self.committed), ("current", self.current), ("launch", self.launch)

    @property
    def provisional(self) -> bool:
        """Whether the running TCB is not committed yet."""
        return self.committed != self.current


def _state(report: SnpReport, bit: int, since: int | None) -> Tri:
    if report.platform_info & bit:
        return Tri.YES
    return Tri.NO if since is not None and report.version >= since else Tri.UNKNOWN


def version_text(version: tuple[int, int, int]) -> str:
    """ "1.55.29": firmware as AMD writes it."""
    return ".".join(str(part) for part in version)


def claims_of(report: SnpReport, *, line: ProductLine, tcbs: TcbSet, csp_id: str, revocation: Revocation, simulated: bool) -> SnpClaims:
    """Claims of a report whose signature and chain are verified; ``csp_id`` is the provider of its VLEK, empty for a VCEK."""
    flags = {name: bool(report.policy & bit) for name, bit in POLICY_CLAIMS}
    flags |= {name: bool(report.platform_info & bit) for name, bit in PLATFORM_CLAIMS}
    states = {name: _state(report, bit, since) for name, bit, since in PLATFORM_STATES}
    chip_id = significant_chip_id(report, line)
    firmware, committed_firmware = version_text(report.current_firmware), version_text(report.committed_firmware)
    return SnpClaims(
        debug=Debug.ON if report.policy & _DEBUG else Debug.OFF,
        simulated=simulated,
        revocation=revocation,
        device_id=chip_id.hex(),
        product=line.product,
        signing_key=report.signing_key,
        csp_id=csp_id,
        chip_identity=ChipIdentity.KNOWN if chip_id else ChipIdentity.MASKED,
        report_version=report.version,
        vmpl=report.vmpl,
        guest_svn=report.guest_svn,
        measurement=report.measurement.hex(),
        host_data=report.host_data.hex(),
        family_id=report.family_id.hex(),
        image_id=report.image_id.hex(),
        id_key_digest=_digest(report.id_key_digest),
        author_key_enabled=report.author_key_enabled,
        author_key_digest=_digest(report.author_key_digest) if report.author_key_enabled else "",
        policy_abi_major=report.policy >> 8 & 0xFF,
        policy_abi_minor=report.policy & 0xFF,
        smt_allowed=flags["smt_allowed"],
        migration_agent_allowed=flags["migration_agent_allowed"],
        single_socket_required=flags["single_socket_required"],
        cxl_allowed=flags["cxl_allowed"],
        aes256_required=flags["aes256_required"],
        rapl_disabled_required=flags["rapl_disabled_required"],
        ciphertext_hiding_required=flags["ciphertext_hiding_required"],
        page_swap_disabled=flags["page_swap_disabled"],
        smt_enabled=flags["smt_enabled"],
        tsme_enabled=flags["tsme_enabled"],
        ecc_enabled=states["ecc_enabled"],
        rapl_disabled=states["rapl_disabled"],
        ciphertext_hiding=states["ciphertext_hiding"],
        alias_check=states["alias_check"],
        iommu_write_safe=states["iommu_write_safe"],
        trusted_io=states["trusted_io"],
        firmware=_packed(firmware),
        firmware_version=firmware,
        committed_firmware=_packed(committed_firmware),
        committed_firmware_version=committed_firmware,
        provisional_firmware=tcbs.provisional or report.committed_firmware != report.current_firmware,
        launch_mitigations=bits_of(report.launch_mitigations),
        current_mitigations=bits_of(report.current_mitigations),
        **_levels(tcbs),
    )


def _levels(tcbs: TcbSet) -> dict[str, int]:
    return {f"{prefix}_{name}": getattr(tcb, name) for prefix, tcb in tcbs.named() for name in COMPONENTS}


def significant_chip_id(report: SnpReport, line: ProductLine) -> bytes:
    """The bytes of CHIP_ID that identify a chip of this line; empty when it is masked."""
    return report.chip_id[: line.chip_id_size] if any(report.chip_id) else b""


def bits_of(vector: int) -> frozenset[str]:
    """Decimal numbers of the bits that are set."""
    return frozenset(str(bit) for bit in range(vector.bit_length()) if vector >> bit & 1)


def _packed(version: str) -> int:
    number = VersionForm.THREE_BYTES.pack(version)
    if number is None:
        raise AssertionError("three bytes are a version")
    return number


def _digest(digest: bytes) -> str:
    """Hex, or empty for all zero: what is not there must not look like a value that a list could allow."""
    return digest.hex() if any(digest) else ""
