"""The simulation itself: it says what it is, keeps its keys, and stays apart from the real thing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from ssl import PEM_cert_to_DER_cert

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from attest.bundle import Bundle
from attest.crypto import spki_sha256
from attest.errors import MalformedError, NotAuthenticError, UsageError
from attest.evidence import Collateral
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.simulate import default_claims, recipe, simulate
from attest.kinds.sev_snp.simulate_pki import SimulatedAmd
from attest.pki import load_amd_leaf
from attest.trust import Origin, TrustStore
from tests.kinds.sev_snp.conftest import Verify


def test_kept_keys_are_the_same_keys(milan: SimulatedAmd, report_data: bytes, at: datetime, verify: Verify) -> None:
    data = milan.to_pem()
    again = SimulatedAmd.from_pem(data)
    assert again.to_pem() == data
    assert (again.product, again.anchors) == (milan.product, milan.anchors)
    claims = default_claims(AmdProduct.MILAN)
    assert verify(milan, *simulate(again, claims, report_data=report_data, at=at)).claims == claims


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"noise"])
def test_spoilt_key_file(spoil: Callable[[bytes], bytes], milan: SimulatedAmd) -> None:
    with pytest.raises(MalformedError) as caught:
        SimulatedAmd.from_pem(spoil(milan.to_pem()))
    assert caught.value.code == "simulate.keys"


def test_everything_says_that_it_is_simulated(milan: SimulatedAmd, report_data: bytes, at: datetime, tmp_path: Path) -> None:
    assert b"SIMULATED" in milan.to_pem().splitlines()[0]
    guest = recipe(milan, default_claims(AmdProduct.MILAN), report_data=report_data, at=at)
    assert guest.report.report_id.startswith(b"SIMULATED")
    assert default_claims(AmdProduct.MILAN).simulated is True
    authorities = [milan.authority(name).public_bytes(Encoding.DER) for name in ("ark", "ask", "asvk")]
    for der in (milan.leaf(guest.leaf), *authorities):
        path = tmp_path / "certificate.der"
        path.write_bytes(der)
        shown = subprocess.run(
            ["openssl", "x509", "-inform", "DER", "-in", path, "-noout", "-text"], capture_output=True, text=True, check=True
        ).stdout
        assert "SIMULATED by attest" in shown


def test_leaf_is_shaped_like_a_real_one(milan: SimulatedAmd, report_data: bytes, at: datetime, fixtures: Path) -> None:
    """Same names, version, serial number 0, algorithms and extensions, the comment apart."""
    guest = recipe(milan, default_claims(AmdProduct.MILAN), report_data=report_data, at=at)
    made = load_amd_leaf(milan.leaf(guest.leaf))
    pem = Bundle.load(fixtures / "sev-snp" / "azure-milan-v3").evidence[0].part("certificates")
    real = load_amd_leaf(PEM_cert_to_DER_cert(pem.decode()))
    assert (made.subject, made.issuer, made.version) == (real.subject, real.issuer, real.version)
    assert made.signature_algorithm_parameters == real.signature_algorithm_parameters
    with pytest.warns(CryptographyDeprecationWarning, match="serial number"):
        assert made.serial_number == real.serial_number == 0
    extensions = [sorted(item.oid.dotted_string for item in leaf.extensions) for leaf in (made, real)]
    assert sorted(set(extensions[0]) ^ set(extensions[1])) == ["2.16.840.1.113730.1.13"]
    assert len(made.signature) == len(real.signature)


def test_simulated_evidence_is_nothing_to_production(milan: SimulatedAmd, report_data: bytes, at: datetime) -> None:
    evidence, items = simulate(milan, default_claims(AmdProduct.MILAN), report_data=report_data, at=at)
    with pytest.raises(NotAuthenticError) as caught:
        SEV_SNP.verify(evidence, trust=TrustStore.production(), collateral=Collateral(items), at=at)
    assert caught.value.code == "pki.chain.anchor"
    with pytest.raises(MalformedError) as refused:
        TrustStore.of("mixed", Origin.PRODUCTION, milan.anchors)
    assert refused.value.code == "trust.mixed"


def test_real_evidence_is_nothing_to_a_simulation(milan: SimulatedAmd, at: datetime, fixtures: Path, verify: Verify) -> None:
    bundle = Bundle.load(fixtures / "sev-snp" / "azure-milan-v3")
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, bundle.evidence[0], bundle.collateral.items)
    assert caught.value.code == "pki.chain.anchor"


def test_a_simulation_of_another_line_has_no_anchor(milan: SimulatedAmd, report_data: bytes, at: datetime) -> None:
    turin = TrustStore.of("turin", Origin.SIMULATED, ())
    evidence, items = simulate(milan, default_claims(AmdProduct.MILAN), report_data=report_data, at=at)
    with pytest.raises(NotAuthenticError) as caught:
        SEV_SNP.verify(evidence, trust=turin, collateral=Collateral(items), at=at)
    assert caught.value.code == "pki.chain.anchor"
    assert "none is pinned" in caught.value.reasons[0].expected


def test_authorities_are_valid_long_before_and_after(milan: SimulatedAmd, at: datetime) -> None:
    for name in ("ark", "ask", "asvk"):
        certificate = milan.authority(name)
        assert certificate.not_valid_before_utc < at - timedelta(days=364)
        assert certificate.not_valid_after_utc > at + timedelta(days=365 * 20)
    assert milan.anchors[0][1].spki_sha256 == spki_sha256(milan.authority("ark").public_key())


@pytest.mark.parametrize("data", [b"", bytes(63), bytes(65)])
def test_report_data_has_64_bytes(data: bytes, milan: SimulatedAmd, at: datetime) -> None:
    with pytest.raises(UsageError):
        simulate(milan, default_claims(AmdProduct.MILAN), report_data=data, at=at)


def test_claims_of_another_line(milan: SimulatedAmd, report_data: bytes, at: datetime) -> None:
    with pytest.raises(UsageError):
        simulate(milan, default_claims(AmdProduct.GENOA), report_data=report_data, at=at)


def test_chips_are_distinct() -> None:
    assert len({default_claims(AmdProduct.TURIN, chip=number).device_id for number in range(8)}) == 8
