"""The simulator: whatever it makes says so, is kept apart from real roots, and can be kept in files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.x509.oid import NameOID

from attest.binding import Binding
from attest.bundle import Bundle, BundleOrigin
from attest.errors import AttestError, MalformedError, UsageError
from attest.evidence import Collateral, CollateralItem, Evidence, Verified
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu, simulate, simulate_node
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from attest.trust import Origin, TrustStore

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]


def test_every_certificate_says_simulated(pki: SimulatedNvidia) -> None:
    chains = pki.device_chain(0) + pki.manifest_chain("driver")
    for certificate in chains:
        organisation = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
        assert "SIMULATED" in str(organisation)
    assert all("SIMULATED" in anchor.name for _, anchor in pki.anchors())


def test_production_trust_refuses(healthy: Sent, verify: Verify) -> None:
    with pytest.raises(AttestError) as caught:
        verify(*healthy, trust=TrustStore.production())
    assert caught.value.code == "pki.chain.anchor"


def test_production_store_takes_no_simulated_root(pki: SimulatedNvidia) -> None:
    with pytest.raises(MalformedError) as caught:
        TrustStore.of("mixed", Origin.PRODUCTION, pki.anchors())
    assert caught.value.code == "trust.mixed"


def test_two_simulations_do_not_trust_each_other(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    other = SimulatedNvidia.create(at=at, gpus=1)
    with pytest.raises(AttestError) as caught:
        verify(*simulate(other, SimulatedGpu(), nonce=nonce, at=at))
    assert caught.value.code == "pki.chain.anchor"


def test_files(tmp_path: Path, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    pki.save(tmp_path)
    loaded = SimulatedNvidia.load(tmp_path)
    assert loaded.gpus == pki.gpus == 2
    assert loaded.anchors() == pki.anchors()
    claims = verify(*simulate(loaded, SimulatedGpu(gpu=1), nonce=nonce, at=at)).claims
    assert claims.device_id == verify(*simulate(pki, SimulatedGpu(gpu=1), nonce=nonce, at=at)).claims.device_id
    for path in tmp_path.glob("*.key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("broken", ["rim-l3.key.pem", "device-root.pem"])
def test_missing_files_are_a_usage_error(broken: str, tmp_path: Path, pki: SimulatedNvidia) -> None:
    pki.save(tmp_path)
    (tmp_path / broken).unlink()
    with pytest.raises(UsageError):
        SimulatedNvidia.load(tmp_path)


def test_a_node_shares_its_collateral(nonce: bytes, at: datetime, tmp_path: Path) -> None:
    pki = SimulatedNvidia.create(at=at, gpus=8)
    evidence, items = simulate_node(pki, [SimulatedGpu(gpu=number) for number in range(8)], nonce=nonce, at=at)
    assert [item.label for item in evidence] == [f"gpu-{number}" for number in range(8)]
    assert len(items) == 2 + 8 + 6  # manifests, identity keys, shared certificates
    bundle = Bundle.of(
        nonce=nonce,
        recipient=None,
        binding=Binding.RAW_NONCE,
        evidence=evidence,
        collateral=Collateral(items),
        recorded_at=at,
        origin=BundleOrigin.SIMULATED,
    )
    bundle.save(tmp_path / "node")
    assert Bundle.load(tmp_path / "node").digest == bundle.digest


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_nonce_size(size: int, pki: SimulatedNvidia, at: datetime) -> None:
    with pytest.raises(UsageError):
        simulate(pki, SimulatedGpu(), nonce=bytes(size), at=at)


@pytest.mark.parametrize("gpu", [SimulatedGpu(gpu=2), SimulatedGpu(vbios_version="96.00"), SimulatedGpu(vbios_version="96.00.XX.00.01")])
def test_impossible_gpus(gpu: SimulatedGpu, pki: SimulatedNvidia, nonce: bytes, at: datetime) -> None:
    with pytest.raises(UsageError):
        simulate(pki, gpu, nonce=nonce, at=at)
