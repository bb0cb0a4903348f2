"""One simulation for all tests of this kind, and a verification with the right arguments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from attest.evidence import Collateral, CollateralItem, Evidence, Verified
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu, simulate
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from attest.trust import Origin, TrustStore

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

Verify = Callable[..., Verified[NvidiaGpuClaims]]


@pytest.fixture(scope="session")
def at() -> datetime:
    return AT


@pytest.fixture(scope="session")
def pki() -> SimulatedNvidia:
    return SimulatedNvidia.create(at=AT, gpus=2)


@pytest.fixture(scope="session")
def trust(pki: SimulatedNvidia) -> TrustStore:
    return TrustStore.of("simulated", Origin.SIMULATED, pki.anchors())


@pytest.fixture(scope="session")
def nonce() -> bytes:
    return bytes(range(32))


@pytest.fixture(scope="session")
def healthy(pki: SimulatedNvidia, nonce: bytes) -> tuple[Evidence, tuple[CollateralItem, ...]]:
    """One GPU without any defect."""
    return simulate(pki, SimulatedGpu(), nonce=nonce, at=AT)


@pytest.fixture(scope="session")
def verify(trust: TrustStore) -> Verify:
    def run(
        evidence: Evidence, items: tuple[CollateralItem, ...] = (), *, at: datetime = AT, trust: TrustStore = trust
    ) -> Verified[NvidiaGpuClaims]:
        return NVIDIA_GPU.verify(evidence, trust=trust, collateral=Collateral(items), at=at)

    return run
