"""The real SEV-SNP guests that ship with the project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attest.bundle import Bundle
from attest.checks import Status
from attest.errors import CannotDecideError, NotAuthenticError
from attest.evidence import Collateral, Debug, Revocation, Tri, Verified
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.claims import ChipIdentity, SnpClaims
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.report import AmdSigningKey
from attest.trust import TrustStore

TODAY = datetime(2026, 11, 21, tzinfo=UTC)
ISSUED, ENDS = datetime(2025, 1, 26, 18, 13, 13, tzinfo=UTC), datetime(2032, 1, 26, 18, 13, 13, tzinfo=UTC)


@pytest.fixture(scope="module")
def azure(fixtures: Path) -> Bundle:
    return Bundle.load(fixtures / "sev-snp" / "azure-milan-v3")


@pytest.fixture(scope="module")
def gcp(fixtures: Path) -> Bundle:
    return Bundle.load(fixtures / "sev-snp" / "gcp-milan-v5")


def judge(bundle: Bundle, at: datetime = TODAY) -> Verified[SnpClaims]:
    trust = TrustStore.production()
    return SEV_SNP.verify(bundle.evidence[0], trust=trust, collateral=bundle.collateral, at=at)  # type: ignore[return-value]


def test_azure_is_authentic(azure: Bundle) -> None:
    result = judge(azure)
    claims = result.claims
    assert (claims.product, claims.signing_key, claims.chip_identity) == (AmdProduct.MILAN, AmdSigningKey.VCEK, ChipIdentity.KNOWN)
    assert (claims.debug, claims.vmpl, claims.report_version, claims.simulated) == (Debug.OFF, 0, 3, False)
    assert (claims.reported_bootloader, claims.reported_tee, claims.reported_snp, claims.reported_microcode) == (4, 0, 24, 219)
    assert (claims.policy_abi_major, claims.policy_abi_minor, claims.smt_allowed) == (0, 31, True)
    assert (claims.smt_enabled, claims.ecc_enabled, claims.alias_check, claims.trusted_io) == (True, Tri.YES, Tri.YES, Tri.UNKNOWN)
    assert claims.firmware_version == claims.committed_firmware_version == "1.55.29"
    assert claims.device_id.startswith("6c4808f96ac80bf4")
    assert len(result.freshness) == 64
    assert result.valid_until == ENDS


def test_azure_without_a_crl_is_undecided_about_revocation(azure: Bundle) -> None:
    result = judge(azure)
    assert result.claims.revocation is Revocation.UNKNOWN
    open_ = {r.check.id: r for r in result.checks if r.status is not Status.PASSED}
    assert set(open_) == {"sev-snp.revocation", "sev-snp.leaf-revocation", "sev-snp.id-block"}
    reason = open_["sev-snp.revocation"].reason
    assert reason is not None
    assert (reason.found, "https://kdsintf.amd.com/vcek/v1/Milan/crl" in reason.fix) == ("no CRL of ARK-Milan", True)


def test_azure_holds_as_long_as_its_vcek(azure: Bundle) -> None:
    second = timedelta(seconds=1)
    for moment in (ISSUED, ENDS):
        assert judge(azure, moment).at == moment
    for moment, code in ((ISSUED - second, "pki.chain.not-yet-valid"), (ENDS + second, "pki.chain.expired")):
        with pytest.raises(NotAuthenticError) as caught:
            judge(azure, moment)
        assert caught.value.code == code


def test_azure_without_issuers_cannot_be_decided(azure: Bundle) -> None:
    with pytest.raises(CannotDecideError) as caught:
        SEV_SNP.verify(azure.evidence[0], trust=TrustStore.production(), collateral=Collateral(), at=TODAY)
    assert (caught.value.code, caught.value.exit_code) == ("sev-snp.issuers", 6)


def test_gcp_cannot_be_decided_without_its_vcek(gcp: Bundle) -> None:
    with pytest.raises(CannotDecideError) as caught:
        judge(gcp)
    assert (caught.value.code, caught.value.exit_code) == ("sev-snp.leaf", 6)
    assert "https://kdsintf.amd.com/vcek/v1/Milan/9ca4af443d77fe0f" in caught.value.hint
    assert "blSPL=04&teeSPL=00&snpSPL=29&ucodeSPL=222" in caught.value.hint


def test_gcp_can_be_inspected(gcp: Bundle) -> None:
    fields = SEV_SNP.inspect(gcp.evidence[0])
    assert bytes.fromhex(fields["report data"]).rstrip(b"\0") == b"wcm-platform-info-capture"
    assert fields["reported TCB"] == "0xde1d000000000004: bootloader 4, tee 0, snp 29, microcode 222"
    assert fields["processor"] == "Milan (family 0x19 model 0x01 stepping 0x01)"
    assert fields["platform"] == "0x25: smt, ecc, alias_check"
    assert fields["policy"] == "0x30000: ABI 0.0 or later, smt_allowed"
    assert (fields["mitigations now"], fields["current firmware"]) == ("0, 1, 3", "1.58.1")
    assert (fields["debugging"], fields["migration agent"], fields["certificate"]) == ("off", "none", "none")


def test_azure_can_be_inspected(azure: Bundle) -> None:
    fields = SEV_SNP.inspect(azure.evidence[0])
    assert list(fields)[:4] == ["version", "guest SVN", "policy", "debugging"]
    assert fields["certificate"].startswith("VCEK for Milan, chip 6c4808f96ac80bf4")
    assert fields["certificate"].endswith("bootloader 4, tee 0, snp 24, microcode 219, until 2032-01-26")
    assert fields["mitigations now"] == "not in this version"
