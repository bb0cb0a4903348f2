"""One simulated AMD per product line for all tests of this kind, and a verification with the right arguments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import pytest

from attest.evidence import Collateral, CollateralItem, Evidence, Verified
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.claims import SnpClaims
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.simulate_pki import SimulatedAmd
from attest.trust import Origin, TrustStore

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
REPORT_DATA = bytes(range(64))

Verify = Callable[..., Verified[SnpClaims]]
Authorities = Callable[[AmdProduct], SimulatedAmd]


@pytest.fixture(scope="session")
def at() -> datetime:
    return AT


@pytest.fixture(scope="session")
def report_data() -> bytes:
    return REPORT_DATA


@pytest.fixture(scope="session")
def authorities() -> Authorities:
    """Made when first asked for: RSA-4096 keys take a second."""
    return cache(lambda product: SimulatedAmd.create(product, at=AT))


@pytest.fixture(scope="session")
def milan(authorities: Authorities) -> SimulatedAmd:
    return authorities(AmdProduct.MILAN)


@pytest.fixture(scope="session")
def trust_of() -> Callable[[SimulatedAmd], TrustStore]:
    return lambda pki: TrustStore.of("simulated", Origin.SIMULATED, pki.anchors)


@pytest.fixture(scope="session")
def verify(trust_of: Callable[[SimulatedAmd], TrustStore]) -> Verify:
    def run(pki: SimulatedAmd, evidence: Evidence, items: tuple[CollateralItem, ...] = (), *, at: datetime = AT) -> Verified[SnpClaims]:
        return SEV_SNP.verify(evidence, trust=trust_of(pki), collateral=Collateral(items), at=at)  # type: ignore[return-value]

    return run
