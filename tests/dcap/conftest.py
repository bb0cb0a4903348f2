"""Quotes and collateral of the corpus, and one way to judge them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from attest.crypto import spki_sha256
from attest.dcap.collateral import from_quote_collateral
from attest.dcap.quote import Tee, parse
from attest.evidence import Claims, Collateral, Evidence, Verified
from attest.kinds.sgx import SGX
from attest.kinds.tdx import TDX
from attest.pki import Anchor
from attest.trust import Origin, Role, TrustStore

Judge = Callable[..., Verified[Claims]]


@pytest.fixture(scope="session")
def quotes(corpus: Path) -> Path:
    return corpus / "tdx-sgx"


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Judge a quote of whichever TEE it says it is, with a QuoteCollateralV3, at a Unix time."""

    def run(quote: bytes, collateral: object, now: int, trust: TrustStore, **parts: bytes) -> Verified[Claims]:
        at = datetime.fromtimestamp(now, UTC)
        kind = SGX if parse(quote).tee is Tee.SGX else TDX
        evidence = Evidence.of(kind.name, "cpu", {"quote": quote, **parts})
        items = from_quote_collateral(json.dumps(collateral).encode(), at) if collateral is not None else ()
        return kind.verify(evidence, trust=trust, collateral=Collateral(items), at=at)

    return run


@pytest.fixture(scope="session")
def trust_in() -> Callable[[bytes], TrustStore]:
    """A store that pins a test root, DER or PEM; never a production one."""

    def build(root: bytes) -> TrustStore:
        certificate = x509.load_pem_x509_certificate(root) if root.startswith(b"-") else x509.load_der_x509_certificate(root)
        anchor = Anchor("test root", spki_sha256(certificate.public_key()))
        return TrustStore.of("corpus", Origin.SIMULATED, ((Role.INTEL_SGX_ROOT, anchor),))

    return build
