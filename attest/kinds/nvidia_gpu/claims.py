"""Claims about one NVIDIA GPU, and how each is derived from the report, its certificates and the reference manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from attest.evidence import ClaimEnum, ClaimInfo, Claims, Debug, Measurements, Revocation
from attest.kinds.nvidia_gpu.opaque import GpuInfo
from attest.versions import VersionForm


class GpuArchitecture(ClaimEnum):
    """Architectures that this kind verifies. Every other one is refused."""

    HOPPER = "hopper"


class GpuMode(ClaimEnum):
    """Confidential-computing mode of the GPU among its neighbours."""

    SPT = "spt"  # single GPU pass-through
    MPT = "mpt"  # several GPUs, NVLink encrypted
    PPCIE = "ppcie"  # protected PCIe: several GPUs and switches, NVLink not encrypted
    UNKNOWN = "unknown"


class FirmwareIdentity(ClaimEnum):
    """Whether the report names the firmware that the attestation key was issued for. A wrong name ends the verification."""

    BOUND = "bound"
    ABSENT = "absent"


class VideoDecoder(ClaimEnum):
    """State of the video decoder NVDEC0, which is off in confidential computing unless it runs measured firmware."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    UNKNOWN = "unknown"


_DEBUG: Final = (
    "Debugging of the GPU. Nothing in the report states it (the vendor's own dbgstat is a copy of its measurement result): devtools mode "
    "shows only as measurements that differ. So it is off exactly when driver and VBIOS measurements match their signed reference "
    "values, and unknown otherwise; it is never on"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpuClaims(Claims):
    """What the hardware vouches for, one GPU."""

    debug: Annotated[Debug, ClaimInfo(_DEBUG, where="measurements and both reference manifests", vendor="dbgstat")]
    revocation: Annotated[
        Revocation,
        ClaimInfo(
            "Revocation of the three certificates between the attestation key and the root; the vendor answers for no attestation key",
            where="OCSP answers",
            vendor="x-nvidia-gpu-attestation-report-cert-chain",
        ),
    ]
    device_id: Annotated[
        str,
        ClaimInfo(
            "Serial number of the chip: 41 and the 8-byte device identity; the same whatever firmware runs",
            where="chain certificate 1, subject serialNumber",
        ),
    ]
    architecture: Annotated[GpuArchitecture, ClaimInfo("Chip architecture", where="chain, common names", vendor="x-nvidia-gpu-arch-check")]
    hwmodel: Annotated[str, ClaimInfo("Chip and stepping", where="chain certificate 1, common name", vendor="hwmodel")]
    ueid: Annotated[
        str,
        ClaimInfo(
            "Serial number of the attestation key's certificate, decimal; changes with the firmware",
            where="chain certificate 0",
            vendor="ueid",
        ),
    ]
    driver_version: Annotated[str, ClaimInfo("Driver version as text", where="report opaque field 3", vendor="x-nvidia-gpu-driver-version")]
    driver: Annotated[
        int,
        ClaimInfo(
            "Driver version, three parts of 20 bits", where="report opaque field 3", version="driver_version", form=VersionForm.THREE_PARTS
        ),
    ]
    vbios_version: Annotated[str, ClaimInfo("VBIOS version as text", where="report opaque field 6", vendor="x-nvidia-gpu-vbios-version")]
    vbios: Annotated[
        int, ClaimInfo("VBIOS version, five bytes", where="report opaque field 6", version="vbios_version", form=VersionForm.FIVE_BYTES)
    ]
    project: Annotated[str, ClaimInfo("Board project", where="report opaque field 17")]
    project_sku: Annotated[str, ClaimInfo("Board project SKU", where="report opaque field 18")]
    chip_sku: Annotated[str, ClaimInfo("Chip SKU", where="report opaque field 15")]
    mode: Annotated[
        GpuMode,
        ClaimInfo(
            "Single GPU, several GPUs, or protected PCIe; unknown when the report does not say or contradicts itself",
            where="report opaque fields 36, 21 and 22",
        ),
    ]
    nvdec: Annotated[VideoDecoder, ClaimInfo("Video decoder", where="report opaque field 11")]
    nvlink_switches: Annotated[
        frozenset[str],
        ClaimInfo(
            "Device identities of the switches that the NVLinks lead to", where="report opaque field 22", vendor="x-nvidia-gpu-switch-pdis"
        ),
    ]
    opaque_version: Annotated[int, ClaimInfo("Version of the opaque data, 0 when it states none", where="report opaque field 34")]
    firmware_identity: Annotated[
        FirmwareIdentity,
        ClaimInfo(
            "Firmware named in the report is that of the attestation key's certificate; absent before driver 550",
            where="report opaque field 20, chain certificate 0 extension 2.23.133.5.4.1",
            vendor="x-nvidia-gpu-attestation-report-cert-chain-fwid-match",
        ),
    ]
    driver_measurements: Annotated[
        Measurements, ClaimInfo("Measurements against the driver's reference values", where="report blocks, driver RIM", vendor="measres")
    ]
    vbios_measurements: Annotated[
        Measurements, ClaimInfo("Measurements against the VBIOS's reference values", where="report blocks, VBIOS RIM", vendor="measres")
    ]
    rim_revocation: Annotated[Revocation, ClaimInfo("Revocation of the signers of both reference manifests", where="OCSP answers")]
    driver_rim: Annotated[str, ClaimInfo("Name of the driver's reference manifest", where="report opaque field 3")]
    driver_rim_digest: Annotated[
        str, ClaimInfo("SHA-256 of the driver's manifest: which issue of it was used; empty when none was", where="collateral")
    ]
    vbios_rim: Annotated[str, ClaimInfo("Name of the VBIOS's reference manifest", where="report opaque fields 6, 15, 17, 18")]
    vbios_rim_digest: Annotated[
        str, ClaimInfo("SHA-256 of the VBIOS's manifest: which issue of it was used; empty when none was", where="collateral")
    ]


_PROTECTED_PCIE_ON: Final = 0xAA
_FLAGS: Final = {0: GpuMode.SPT, 1: GpuMode.MPT, 2: GpuMode.PPCIE}
_DECODER: Final = {0xAA: VideoDecoder.ENABLED, 0x55: VideoDecoder.DISABLED}


def mode_of(info: GpuInfo) -> GpuMode:
    """Mode from the feature flag; before driver 580 there is none, and only protected PCIe can be told, by what it adds to the report.

    A flag that contradicts the protected-PCIe status, or an unknown one, is unknown: never single GPU by default.
    """
    protected = info.protected_pcie == _PROTECTED_PCIE_ON
    if info.feature_flag is None:
        return GpuMode.PPCIE if protected or info.switch_pdis is not None else GpuMode.UNKNOWN
    mode = _FLAGS.get(info.feature_flag, GpuMode.UNKNOWN)
    if info.protected_pcie is not None and protected is not (mode is GpuMode.PPCIE):
        return GpuMode.UNKNOWN
    return mode


def decoder_of(info: GpuInfo) -> VideoDecoder:
    """State of NVDEC0; any other value than the two known ones is unknown."""
    return _DECODER.get(info.nvdec_status, VideoDecoder.UNKNOWN) if info.nvdec_status is not None else VideoDecoder.UNKNOWN


def driver_number(parts: tuple[int, int, int]) -> int:
    """The packed form in which policies compare; a version of two parts is packed with a third of 0."""
    number = VersionForm.THREE_PARTS.pack(".".join(map(str, parts)))
    if number is None:
        raise AssertionError("the parts were checked when the report was read")
    return number


def driver_rim_id(info: GpuInfo) -> str:
    """Name under which NVIDIA's RIM service lists the driver's reference values."""
    return f"NV_GPU_DRIVER_GH100_{info.driver_version}"


def vbios_rim_id(info: GpuInfo) -> str:
    """Name under which NVIDIA's RIM service lists the VBIOS's reference values."""
    version = info.vbios_version.replace(".", "")
    return f"NV_GPU_VBIOS_{info.project}_{info.project_sku}_{info.chip_sku}_{version}".upper()
