"""The real GPUs that ship with the project, at the times that matter for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest.bundle import Bundle
from attest.checks import Status
from attest.errors import AttestError
from attest.evidence import Debug, Measurements, Revocation, Verified
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.claims import FirmwareIdentity, GpuMode, NvidiaGpuClaims
from attest.trust import Origin, TrustStore


def judge(bundle: Bundle, at: datetime) -> Verified[NvidiaGpuClaims]:
    (evidence,) = bundle.evidence
    return NVIDIA_GPU.verify(evidence, trust=TrustStore.production(), collateral=bundle.collateral, at=at)


@pytest.mark.parametrize(
    ("case", "chip", "driver", "vbios", "mode"),
    [
        ("h100-550.90.07", "41431D480FE5E87274", "550.90.07", "96.00.9F.00.01", GpuMode.UNKNOWN),
        ("h100-595.71.05", "411E95D0D29495F46C", "595.71.05", "96.00.88.00.11", GpuMode.SPT),
    ],
)
def test_authentic_and_undecided(case: str, chip: str, driver: str, vbios: str, mode: GpuMode, fixtures: Path) -> None:
    bundle = Bundle.load(fixtures / "nvidia-gpu" / case)
    result = judge(bundle, datetime(2026, 11, 21, tzinfo=UTC))
    assert result.freshness == bundle.nonce
    claims = result.claims
    assert (claims.device_id, claims.driver_version, claims.vbios_version, claims.mode) == (chip, driver, vbios, mode)
    assert claims.simulated is False
    assert claims.firmware_identity is FirmwareIdentity.BOUND
    assert claims.revocation is Revocation.UNKNOWN
    assert claims.driver_measurements is claims.vbios_measurements is Measurements.UNKNOWN
    assert claims.debug is Debug.UNKNOWN
    passed = {r.check.id for r in result.checks if r.status is Status.PASSED}
    assert {"nvidia-gpu.chain", "nvidia-gpu.fwid", "nvidia-gpu.signature"} <= passed


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        ("2026-09-19T08:12:21", set()),
        ("2026-09-19T08:12:22", {"identity-key"}),
        ("2026-09-19T08:12:24", {"identity-key", "provisioner", "product"}),
        ("2026-09-20T08:12:21", {"identity-key", "provisioner", "product"}),
        ("2026-09-20T08:12:22", {"provisioner", "product"}),
        ("2026-09-20T08:12:25", set()),
    ],
)
def test_revocation_window(moment: str, good: set[str], fixtures: Path) -> None:
    bundle = Bundle.load(fixtures / "nvidia-gpu" / "h100-595.71.05")
    result = judge(bundle, datetime.fromisoformat(moment).replace(tzinfo=UTC))
    found = {
        r.check.id.removeprefix("nvidia-gpu.ocsp-")
        for r in result.checks
        if r.status is Status.PASSED and r.check.id.startswith("nvidia-gpu.ocsp-")
    }
    assert found == good
    assert (result.claims.revocation is Revocation.GOOD) is (len(good) == 3)
    leaf = next(r for r in result.checks if r.check.id == "nvidia-gpu.ocsp-attestation-key")
    assert (leaf.status, leaf.reason) == (Status.NOT_CHECKED, None)
    if len(good) == 3:
        assert result.valid_until == datetime(2026, 9, 20, 8, 12, 22, tzinfo=UTC)
        assert len(result.collateral) == 3


def test_simulated_trust_refuses_real_hardware(fixtures: Path, trust: TrustStore) -> None:
    assert trust.origin is Origin.SIMULATED
    bundle = Bundle.load(fixtures / "nvidia-gpu" / "h100-550.90.07")
    with pytest.raises(AttestError) as caught:
        NVIDIA_GPU.verify(bundle.evidence[0], trust=trust, collateral=bundle.collateral, at=datetime(2026, 11, 21, tzinfo=UTC))
    assert caught.value.code == "pki.chain.anchor"
