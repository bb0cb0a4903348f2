"""Certificates from the evidence and from the collateral: what is taken, what is preferred, what gets in nobody's way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from attest.crypto import P384_ORDER
from attest.errors import AttestError, CannotDecideError, MalformedError, NotAuthenticError
from attest.evidence import CollateralItem, CollateralType, Evidence, Revocation
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.report import OFFSETS, AmdSigningKey
from attest.kinds.sev_snp.simulate import Recipe, default_claims, recipe, simulate, with_claims
from attest.kinds.sev_snp.simulate_pki import CrlSpec, SimulatedAmd
from tests.kinds.sev_snp.conftest import Authorities, Verify

Made = Callable[..., Recipe]


@pytest.fixture
def made(milan: SimulatedAmd, report_data: bytes, at: datetime) -> Made:
    def make(**claims: object) -> Recipe:
        changed = with_claims(default_claims(AmdProduct.MILAN), claims)  # type: ignore[arg-type]
        return recipe(milan, changed, report_data=report_data, at=at)

    return make


def pem_item(data: bytes, at: datetime, name: str = "certificates") -> CollateralItem:
    return CollateralItem(CollateralType.CERTIFICATES, name, data, at)


def test_issuers_from_the_collateral(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    guest = made()
    guest.sent, guest.stored = (), ("ask", "ark")
    evidence, items = guest.evidence(), guest.collateral()
    result = verify(milan, evidence, items)
    assert set(result.collateral) == {item.digest for item in items}
    with pytest.raises(CannotDecideError) as caught:
        verify(milan, evidence, items[1:])
    assert caught.value.code == "sev-snp.issuers"
    assert "/vcek/v1/Milan/cert_chain" in caught.value.hint


def test_vlek_issuers_from_the_collateral(milan: SimulatedAmd, report_data: bytes, at: datetime, verify: Verify) -> None:
    guest = recipe(milan, default_claims(AmdProduct.MILAN, signing_key=AmdSigningKey.VLEK), report_data=report_data, at=at)
    guest.sent, guest.stored = (), ("ask", "asvk", "ark")
    assert len(verify(milan, guest.evidence(), guest.collateral()).chain) == 3
    guest.stored = ("ask", "ark")
    with pytest.raises(CannotDecideError) as caught:
        verify(milan, guest.evidence(), guest.collateral())
    assert "/vlek/v1/Milan/cert_chain" in caught.value.hint


def test_unrelated_certificates_of_the_same_name_are_passed_over(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    guest = made()
    guest.sent = ()
    decoys = pem_item(milan.chain_pem("foreign-ask", "foreign-ark"), at)
    real = pem_item(milan.chain_pem("ask", "ark"), at)
    result = verify(milan, guest.evidence(), (decoys, real, *guest.collateral()))
    assert decoys.digest not in result.collateral
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, guest.evidence(), (decoys, *guest.collateral()))
    assert caught.value.code == "pki.chain.anchor"


def test_what_came_with_the_report_is_what_counts(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    """A good chain in the collateral does not repair a wrong one in the evidence."""
    guest = made()
    guest.sent, guest.stored = ("foreign-ask", "foreign-ark"), ("ask", "ark")
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, guest.evidence(), guest.collateral())
    assert caught.value.code == "pki.chain.anchor"


def test_endorsement_from_the_collateral(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    """The one for this chip and this TCB, whatever else is there."""
    guest, other_chip, other_tcb = made(), made(device_id="09" * 64), made(reported_snp=26)
    evidence = guest.evidence()
    bare = Evidence.of(evidence.kind, evidence.label, {"report": evidence.part("report")})
    leaf = pem_item(evidence.part("certificates"), at, "own")
    others = [pem_item(item.evidence().part("certificates"), at, "other") for item in (other_chip, other_tcb)]
    result = verify(milan, bare, (*others, leaf, *guest.collateral()))
    assert result.claims == verify(milan, evidence, guest.collateral()).claims
    assert leaf.digest in result.collateral
    assert next(r.detail for r in result.checks if r.check.id == "sev-snp.leaf") == "from the collateral"
    with pytest.raises(CannotDecideError) as caught:
        verify(milan, bare, (*others, *guest.collateral()))
    assert caught.value.code == "sev-snp.leaf"
    chip = guest.claims.device_id
    assert f"/vcek/v1/Milan/{chip}?blSPL=04&teeSPL=00&snpSPL=27&ucodeSPL=222" in caught.value.hint


def test_address_of_a_turin_endorsement(authorities: Authorities, report_data: bytes, at: datetime, verify: Verify) -> None:
    pki = authorities(AmdProduct.TURIN)
    guest = recipe(pki, default_claims(AmdProduct.TURIN), report_data=report_data, at=at)
    guest.sent = None
    with pytest.raises(CannotDecideError) as caught:
        verify(pki, guest.evidence())
    assert f"/vcek/v1/Turin/{guest.claims.device_id}?fmcSPL=01&blSPL=03&teeSPL=02&snpSPL=05&ucodeSPL=97" in caught.value.hint


def test_a_missing_vlek_is_asked_of_the_provider(milan: SimulatedAmd, report_data: bytes, at: datetime, verify: Verify) -> None:
    guest = recipe(milan, default_claims(AmdProduct.MILAN, signing_key=AmdSigningKey.VLEK), report_data=report_data, at=at)
    guest.sent = None
    with pytest.raises(CannotDecideError) as caught:
        verify(milan, guest.evidence())
    assert "cloud provider" in caught.value.hint


def test_collateral_of_other_devices_is_passed_over(made: Made, milan: SimulatedAmd, fixtures: Path, at: datetime, verify: Verify) -> None:
    gpu = pem_item((fixtures / "pki" / "nvidia-h100" / "chain.pem").read_bytes(), at)
    guest = made()
    assert gpu.digest not in verify(milan, guest.evidence(), (gpu, *guest.collateral())).collateral


def test_collateral_that_cannot_be_read_is_refused(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    guest = made()
    guest.sent = ()
    with pytest.raises(MalformedError) as caught:
        verify(milan, guest.evidence(), (pem_item(b"not a certificate", at),))
    assert caught.value.code == "wire.pem"


def test_only_a_leaf_may_have_serial_number_zero(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    """The exception for AMD's leaves must not reach issuers: a leaf in an issuer's place is refused for its serial number."""
    guest = made()
    evidence = guest.evidence()
    leaf = evidence.part("certificates").split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    twice = Evidence.of(evidence.kind, evidence.label, {"report": evidence.part("report"), "certificates": leaf + leaf})
    with pytest.raises(MalformedError) as caught:
        verify(milan, twice)
    assert caught.value.code == "pki.certificate.malformed"


def test_masked_chip_is_accepted_and_said(made: Made, milan: SimulatedAmd, verify: Verify) -> None:
    guest = made(device_id="")
    result = verify(milan, guest.evidence(), guest.collateral())
    assert "masks its chip" in next(r.detail for r in result.checks if r.check.id == "sev-snp.chip")


def test_masked_chip_still_needs_an_identity_of_its_line(made: Made, milan: SimulatedAmd, verify: Verify) -> None:
    guest = made(device_id="")
    short = tuple((arcs, bytes(range(8)) if arcs == "4" else value) for arcs, value in guest.leaf.extensions)
    guest.leaf = dataclasses.replace(guest.leaf, extensions=short)
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, guest.evidence(), guest.collateral())
    assert caught.value.code == "sev-snp.chip"


def test_hwid_in_an_octet_string(made: Made, milan: SimulatedAmd, verify: Verify) -> None:
    """Some certificates wrap it; the length tells, so an identity that begins like a DER header is still read as it is."""
    chip = "0440" + "11" * 62
    guest = made(device_id=chip)
    assert verify(milan, guest.evidence(), guest.collateral()).claims.device_id == chip
    wrapped = tuple((arcs, b"\x04\x40" + value if arcs == "4" else value) for arcs, value in guest.leaf.extensions)
    guest.leaf = dataclasses.replace(guest.leaf, extensions=wrapped)
    assert verify(milan, guest.evidence(), guest.collateral()).claims.device_id == chip


def test_both_signatures_of_a_report_are_one_statement(made: Made, milan: SimulatedAmd, verify: Verify) -> None:
    """ECDSA accepts (r, n-s) too: identity of the statement must not depend on it, identity of the bytes does."""
    guest = made()
    evidence, items = guest.evidence(), guest.collateral()
    data = evidence.part("report")
    start = OFFSETS["s"]
    s = int.from_bytes(data[start : start + 48], "little")
    changed = data[:start] + (P384_ORDER - s).to_bytes(48, "little") + data[start + 48 :]
    other = Evidence.of(evidence.kind, evidence.label, {**evidence.parts, "report": changed})
    first, second = verify(milan, evidence, items), verify(milan, other, items)
    assert first.statement == second.statement == SEV_SNP.statement(evidence) == SEV_SNP.statement(other)
    assert first.evidence_digest != second.evidence_digest


# -- time and revocation --------------------------------------------------------------------------------------------------


def test_result_ends_with_the_first_thing_that_it_rests_on(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    guest = made()
    (crl,) = guest.crls
    assert verify(milan, guest.evidence(), guest.collateral()).valid_until == crl.next_update
    assert verify(milan, guest.evidence()).valid_until == guest.leaf.not_after


def test_times_are_judged_on_every_call(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    """What is remembered of certificates and CRLs must not remember a time."""
    guest = made()
    evidence, items = guest.evidence(), guest.collateral()
    (crl,) = guest.crls
    second = timedelta(seconds=1)
    for moment, revocation in (
        (at, Revocation.GOOD),
        (crl.next_update - second, Revocation.GOOD),
        (crl.next_update, Revocation.UNKNOWN),
        (crl.this_update - second, Revocation.UNKNOWN),
        (crl.this_update, Revocation.GOOD),
        (guest.leaf.not_after, Revocation.UNKNOWN),
    ):
        assert verify(milan, evidence, items, at=moment).claims.revocation is revocation
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, evidence, items, at=guest.leaf.not_after + second)
    assert caught.value.code == "pki.chain.expired"
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, evidence, items, at=guest.leaf.not_before - second)
    assert caught.value.code == "pki.chain.not-yet-valid"


def test_one_fresh_crl_is_enough_and_one_revocation_too(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    day = timedelta(days=1)
    now = at.replace(microsecond=0)
    fresh, stale = CrlSpec(now - day, now + day), CrlSpec(now - 3 * day, now - 2 * day)
    guest = made()
    guest.crls = [stale, fresh]
    assert verify(milan, guest.evidence(), guest.collateral()).claims.revocation is Revocation.GOOD
    guest.crls = [fresh, dataclasses.replace(stale, revoked=("ask",))]
    with pytest.raises(NotAuthenticError) as caught:
        verify(milan, guest.evidence(), guest.collateral())
    assert caught.value.code == "pki.crl.revoked"


def test_crl_of_another_product_is_passed_over(
    made: Made, milan: SimulatedAmd, authorities: Authorities, report_data: bytes, at: datetime, verify: Verify
) -> None:
    _, foreign = simulate(authorities(AmdProduct.TURIN), default_claims(AmdProduct.TURIN), report_data=report_data, at=at)
    result = verify(milan, made().evidence(), foreign)
    assert result.claims.revocation is Revocation.UNKNOWN
    assert result.collateral == ()


def test_revoked_asvk_does_not_touch_a_vcek(made: Made, milan: SimulatedAmd, at: datetime, verify: Verify) -> None:
    guest = made()
    guest.crls = [dataclasses.replace(guest.crls[0], revoked=("asvk",))]
    assert verify(milan, guest.evidence(), guest.collateral()).claims.revocation is Revocation.GOOD


@pytest.mark.parametrize("part", ["report", "certificates"])
def test_errors_name_the_device(part: str, made: Made, milan: SimulatedAmd, verify: Verify) -> None:
    evidence = made().evidence()
    broken = Evidence.of(evidence.kind, "cpu-7", {**evidence.parts, part: b""})
    with pytest.raises(AttestError) as caught:
        verify(milan, broken)
    assert caught.value.reasons[0].subject == "cpu-7"


def test_evidence_without_a_report(milan: SimulatedAmd, verify: Verify) -> None:
    with pytest.raises(MalformedError) as caught:
        verify(milan, Evidence.of("sev-snp", "cpu", {}))
    assert caught.value.code == "evidence.part-missing"
