"""What the report says and what a policy then sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from cryptography.x509.oid import NameOID

from attest.evidence import CollateralItem, Debug, Evidence, Measurements, Revocation, Verified, declared
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.claims import (
    FirmwareIdentity,
    GpuArchitecture,
    GpuMode,
    NvidiaGpuClaims,
    VideoDecoder,
    driver_number,
    driver_rim_id,
    mode_of,
    vbios_rim_id,
)
from attest.kinds.nvidia_gpu.opaque import OpaqueType, gpu_info
from attest.kinds.nvidia_gpu.report import parse_report
from attest.kinds.nvidia_gpu.simulate import Recipe, SimulatedGpu, recipe, simulate
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia, reissue

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]


def _opaque(**fields: bytes | None) -> Callable[[Recipe], None]:
    def change(made: Recipe) -> None:
        for name, data in fields.items():
            kind = OpaqueType[name.upper()].value
            made.opaque = [(number, old) for number, old in made.opaque if number != kind]
            if data is not None:
                made.opaque.append((kind, data))

    return change


# Which of the fields 36, 21 and 22 are there, and what they say: reports before driver 580 have no flag.
@pytest.mark.parametrize(
    ("flag", "protected", "switches", "mode"),
    [
        (b"\0\0", b"\x55", None, GpuMode.SPT),
        (b"\1\0", b"\x55", None, GpuMode.MPT),
        (b"\2\0", b"\xaa", bytes(144), GpuMode.PPCIE),
        (b"\2\0", None, None, GpuMode.PPCIE),
        (b"\0\0", None, None, GpuMode.SPT),
        (None, b"\x55", None, GpuMode.UNKNOWN),
        (None, None, None, GpuMode.UNKNOWN),
        (None, b"\xaa", None, GpuMode.PPCIE),
        (None, b"\x55", bytes(144), GpuMode.PPCIE),
        (b"\3\0", b"\x55", None, GpuMode.UNKNOWN),
        (b"\0\0", b"\xaa", None, GpuMode.UNKNOWN),
        (b"\1\0", b"\xaa", None, GpuMode.UNKNOWN),
        (b"\2\0", b"\x55", None, GpuMode.UNKNOWN),
        (b"\0\1", b"\x55", None, GpuMode.UNKNOWN),
    ],
)
def test_mode(
    flag: bytes | None, protected: bytes | None, switches: bytes | None, mode: GpuMode, pki: SimulatedNvidia, nonce: bytes, at: datetime
) -> None:
    made = recipe(pki, SimulatedGpu(), nonce=nonce, at=at)
    _opaque(feature_flag=flag, protected_pcie_status=protected, switch_pdis=switches)(made)
    assert mode_of(gpu_info(parse_report(made.report()).opaque)) is mode


@pytest.mark.parametrize(
    ("status", "expected"),
    [(b"\xaa", VideoDecoder.ENABLED), (b"\x55", VideoDecoder.DISABLED), (b"\0", VideoDecoder.UNKNOWN), (None, VideoDecoder.UNKNOWN)],
)
def test_decoder(status: bytes | None, expected: VideoDecoder, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    result = verify(*simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=_opaque(nvdec0_status=status)))
    assert result.claims.nvdec is expected


def test_claims_of_a_healthy_gpu(healthy: Sent, verify: Verify, pki: SimulatedNvidia) -> None:
    claims = verify(*healthy).claims
    identity = pki["gpu-0-identity"].certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value
    assert claims.device_id == identity
    assert claims.simulated is True
    assert claims.architecture is GpuArchitecture.HOPPER
    assert claims.hwmodel == "GH100 A01 GSP BROM"
    assert claims.ueid == str(pki["gpu-0-attestation"].certificate.serial_number)
    assert (claims.driver_version, claims.driver) == ("580.95.05", 580 << 40 | 95 << 20 | 5)
    assert (claims.vbios_version, claims.vbios) == ("96.00.A5.00.01", 0x9600A50001)
    assert (claims.project, claims.project_sku, claims.chip_sku) == ("1010", "0200", "882")
    assert claims.mode is GpuMode.SPT
    assert claims.opaque_version == 1
    assert claims.firmware_identity is FirmwareIdentity.BOUND
    assert claims.driver_rim == "NV_GPU_DRIVER_GH100_580.95.05"
    assert claims.vbios_rim == "NV_GPU_VBIOS_1010_0200_882_9600A50001"
    digests = {item.digest for item in healthy[1]}
    assert {claims.driver_rim_digest, claims.vbios_rim_digest} <= digests
    assert set(declared(NvidiaGpuClaims)) == set(claims.values())


def test_old_driver_reports_neither_mode_nor_firmware(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    gpu = SimulatedGpu(driver_version="545.00", mode=GpuMode.UNKNOWN, fwid=None)
    claims = verify(*simulate(pki, gpu, nonce=nonce, at=at)).claims
    assert claims.firmware_identity is FirmwareIdentity.ABSENT
    assert claims.mode is GpuMode.UNKNOWN
    assert claims.opaque_version == 0
    assert claims.driver == 545 << 40
    assert claims.driver_measurements is Measurements.MATCH


def test_protected_pcie(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    switches = tuple(bytes((number,)) * 8 for number in range(1, 5))
    gpu = SimulatedGpu(driver_version="590.12", mode=GpuMode.PPCIE, switches=switches)
    claims = verify(*simulate(pki, gpu, nonce=nonce, at=at)).claims
    assert claims.mode is GpuMode.PPCIE
    assert claims.nvlink_switches == {switch.hex().upper() for switch in switches}


def test_no_collateral_is_authentic_and_unknown(healthy: Sent, verify: Verify) -> None:
    result = verify(healthy[0])
    claims = result.claims
    assert claims.revocation is claims.rim_revocation is Revocation.UNKNOWN
    assert claims.driver_measurements is claims.vbios_measurements is Measurements.UNKNOWN
    assert claims.debug is Debug.UNKNOWN
    assert claims.driver_rim_digest == claims.vbios_rim_digest == ""
    assert result.collateral == ()


def test_the_chip_is_the_same_under_another_attestation_key(
    healthy: Sent, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify
) -> None:
    """New firmware gets a new attestation key on the same chip: one GPU must not pass as two."""

    def update(made: Recipe) -> None:
        names = ["gpu-0-attestation", "gpu-0-identity", "device-provisioner", "device-product", "device-root"]
        made.certificates = reissue(pki, names, {"attestation": {"serial": 4711}})

    first = verify(*healthy).claims
    second = verify(*simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=update)).claims
    assert first.ueid != second.ueid
    assert first.device_id == second.device_id


def test_gpus_of_a_simulation_are_distinct(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    ids = [verify(*simulate(pki, SimulatedGpu(gpu=number), nonce=nonce, at=at)).claims.device_id for number in range(2)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("parts", "number"), [((550, 90, 7), 550 << 40 | 90 << 20 | 7), ((545, 0, 0), 545 << 40), ((99999, 99999, 99999), None)]
)
def test_driver_number(parts: tuple[int, int, int], number: int | None) -> None:
    packed = driver_number(parts)
    assert packed < 2**63
    assert number is None or packed == number


def test_names_of_manifests(pki: SimulatedNvidia, nonce: bytes, at: datetime) -> None:
    gpu = SimulatedGpu(vbios_version="96.00.AF.00.1A", project="g520", project_sku="0213", chip_sku="885", driver_version="590.12")
    info = gpu_info(parse_report(recipe(pki, gpu, nonce=nonce, at=at).report()).opaque)
    assert driver_rim_id(info) == "NV_GPU_DRIVER_GH100_590.12"
    assert vbios_rim_id(info) == "NV_GPU_VBIOS_G520_0213_885_9600AF001A"


def test_kind_is_registered() -> None:
    from attest.kinds import kind_named

    assert kind_named("nvidia-gpu") is NVIDIA_GPU
