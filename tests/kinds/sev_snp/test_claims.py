"""What a report says becomes claims, one by one, and nothing about policy refuses a report."""

from __future__ import annotations

from datetime import datetime

import pytest

from attest.errors import UsageError
from attest.evidence import ClaimValue, Debug, Revocation, Tri, declared
from attest.kinds.sev_snp.claims import ChipIdentity, SnpClaims
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.report import AmdSigningKey
from attest.kinds.sev_snp.simulate import PROVIDER, default_claims, simulate, with_claims
from attest.kinds.sev_snp.simulate_pki import SimulatedAmd
from tests.kinds.sev_snp.conftest import Authorities, Verify

# What a release policy judges. The first value is one that policies refuse.
SETTABLE: tuple[dict[str, ClaimValue], ...] = (
    {"debug": Debug.ON},
    {"migration_agent_allowed": True},
    {"smt_allowed": False},
    {"smt_enabled": False},
    {"cxl_allowed": True},
    {"single_socket_required": True},
    {"aes256_required": True},
    {"rapl_disabled_required": True},
    {"ciphertext_hiding_required": True},
    {"page_swap_disabled": True},
    {"policy_abi_major": 1, "policy_abi_minor": 55},
    *({"vmpl": level} for level in (1, 2, 3)),
    {"tsme_enabled": True},
    {"ecc_enabled": Tri.NO},
    {"rapl_disabled": Tri.YES},
    {"ciphertext_hiding": Tri.YES},
    {"alias_check": Tri.NO},
    {"iommu_write_safe": Tri.YES},
    {"trusted_io": Tri.YES},
    {"measurement": "ab" * 48},
    {"host_data": "cd" * 32},
    {"family_id": "01" * 16},
    {"image_id": "02" * 16},
    {"id_key_digest": ""},
    {"author_key_enabled": True, "author_key_digest": "ef" * 48},
    {"guest_svn": 0},
    {"guest_svn": 2**32 - 1},
    {"firmware_version": "1.55.20", "committed_firmware_version": "1.55.20"},
    {"committed_firmware_version": "1.55.20", "provisional_firmware": True},
    {"committed_snp": 26, "provisional_firmware": True},
    *({f"{prefix}_{name}": 1} for prefix in ("reported", "committed", "launch") for name in ("bootloader", "snp", "microcode")),
    {"launch_tee": 3},
    {"current_mitigations": frozenset()},
    {"launch_mitigations": frozenset({"0", "63"})},
    {"device_id": "", "chip_identity": ChipIdentity.MASKED},
    {"device_id": "07" * 64},
    {"revocation": Revocation.UNKNOWN},
    {"signing_key": AmdSigningKey.VLEK, "csp_id": "CN=another.example", "chip_identity": ChipIdentity.MASKED},
    {"report_version": 3, "launch_mitigations": frozenset(), "current_mitigations": frozenset(), "trusted_io": Tri.UNKNOWN},
    {
        "report_version": 2, "launch_mitigations": frozenset(), "current_mitigations": frozenset(), "alias_check": Tri.UNKNOWN,
        "ecc_enabled": Tri.UNKNOWN, "trusted_io": Tri.UNKNOWN,
    },
)  # fmt: skip


def _text(value: ClaimValue) -> str:
    """The same in every process: sets have no order."""
    return "+".join(sorted(value)) if isinstance(value, frozenset) else str(value)


@pytest.mark.parametrize(
    "changes", SETTABLE, ids=lambda changes: ",".join(f"{name}={_text(value)}" for name, value in changes.items())[:60]
)
def test_claim(changes: dict[str, ClaimValue], milan: SimulatedAmd, report_data: bytes, at: datetime, verify: Verify) -> None:
    base = default_claims(AmdProduct.MILAN)
    wanted = with_claims(base, changes)
    claims = verify(milan, *simulate(milan, wanted, report_data=report_data, at=at)).claims
    assert claims == wanted
    assert {name: claims.values()[name] for name in changes} == changes
    assert claims != base


@pytest.mark.parametrize("product", list(AmdProduct))
def test_every_tcb_component_stands_where_it_belongs(
    product: AmdProduct, authorities: Authorities, report_data: bytes, at: datetime, verify: Verify
) -> None:
    """Different numbers everywhere, so that no two can be exchanged unseen."""
    names = ("bootloader", "tee", "snp", "microcode") + (("fmc",) if product is AmdProduct.TURIN else ())
    levels = {
        f"{prefix}_{name}": 10 * (index + 1) + step
        for step, prefix in enumerate(("launch", "reported", "committed", "current"))
        for index, name in enumerate(names)
    }
    wanted = with_claims(default_claims(product), levels)
    claims = verify(authorities(product), *simulate(authorities(product), wanted, report_data=report_data, at=at)).claims
    assert {name: claims.values()[name] for name in levels} == levels
    assert claims.provisional_firmware is True


def test_every_claim_is_declared_with_its_place() -> None:
    found = declared(SnpClaims)
    assert len(found) == 63
    for name, (_, info) in found.items():
        assert info.meaning, name
        assert info.where, name
        assert name in ("simulated", "revocation") or info.vendor, name
    assert {name for name, (_, info) in found.items() if info.version} == {"firmware", "committed_firmware"}


def test_a_digest_that_is_not_there_is_empty() -> None:
    """An allow-list must not be able to allow "no key" by a string of zeros."""
    claims = with_claims(default_claims(AmdProduct.MILAN), {"id_key_digest": ""})
    assert claims.id_key_digest == ""
    assert claims.author_key_digest == ""


def test_author_key_counts_only_when_enabled() -> None:
    with pytest.raises(UsageError) as caught:
        with_claims(default_claims(AmdProduct.MILAN), {"author_key_digest": "ef" * 48})
    assert "author_key_digest" in caught.value.reasons[0].found


def test_turin_chip_identity_is_its_eight_bytes() -> None:
    assert len(default_claims(AmdProduct.TURIN).device_id) == 16
    assert len(default_claims(AmdProduct.GENOA).device_id) == 128


def test_provider_key_names_no_chip(milan: SimulatedAmd, report_data: bytes, at: datetime, verify: Verify) -> None:
    claims = default_claims(AmdProduct.MILAN, signing_key=AmdSigningKey.VLEK)
    result = verify(milan, *simulate(milan, claims, report_data=report_data, at=at))
    assert (result.claims.csp_id, result.claims.device_id, result.claims.chip_identity) == (PROVIDER, "", ChipIdentity.MASKED)
    (chip,) = (r for r in result.checks if r.check.id == "sev-snp.chip")
    assert PROVIDER in chip.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"vmpll": 1},
        {"vmpl": 4},
        {"vmpl": -1},
        {"guest_svn": 2**32},
        {"measurement": "ab"},
        {"measurement": "ab" * 49},
        {"measurement": "zz" * 48},
        {"provisional_firmware": True},
        {"simulated": False},
        {"chip_identity": ChipIdentity.MASKED},
        {"firmware": 1},
        {"firmware_version": "1.55"},
        {"firmware_version": "1.55.256"},
        {"alias_check": Tri.UNKNOWN},
        {"iommu_write_safe": Tri.NO},
        {"reported_snp": 128},
        {"reported_snp": 256},
        {"reported_fmc": 1},
        {"report_version": 4},
        {"report_version": 2, "launch_mitigations": frozenset(), "current_mitigations": frozenset(), "alias_check": Tri.NO},
        {"report_version": 3},
        {"current_mitigations": frozenset({"64"})},
        {"current_mitigations": frozenset({"x"})},
        {"device_id": "07"},
    ],
    ids=str,
)
def test_what_no_report_can_say_cannot_be_simulated(changes: dict[str, ClaimValue]) -> None:
    with pytest.raises(UsageError):
        with_claims(default_claims(AmdProduct.MILAN), changes)
