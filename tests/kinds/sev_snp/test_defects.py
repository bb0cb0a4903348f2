"""Every defect is refused by its own check and by no other, with the bytes around it signed again."""

from __future__ import annotations

from datetime import datetime

import pytest

from attest.checks import Status
from attest.errors import AttestError, Outcome
from attest.evidence import Revocation
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.defects import DEFECTS, Defect, Effect
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.report import AmdSigningKey
from attest.kinds.sev_snp.simulate import default_claims, simulate
from tests.kinds.sev_snp.conftest import Authorities, Verify


def _cases(effect: Effect) -> list[tuple[AmdProduct, Defect]]:
    """Every defect on Milan, and on the other lines what only they have or what depends on the layout."""
    return [
        (product, defect)
        for defect in DEFECTS.values()
        for product in sorted(defect.products)
        if defect.effect is effect and (product is not AmdProduct.GENOA or defect.name.startswith(("tcb", "committed", "other-chip")))
    ]


def _name(value: object) -> str:
    return value.name if isinstance(value, Defect) else str(value)


@pytest.mark.parametrize("product", list(AmdProduct))
@pytest.mark.parametrize("key", list(AmdSigningKey))
def test_without_a_defect_everything_passes(
    product: AmdProduct, key: AmdSigningKey, authorities: Authorities, report_data: bytes, at: datetime, verify: Verify
) -> None:
    pki, claims = authorities(product), default_claims(product, signing_key=key)
    result = verify(pki, *simulate(pki, claims, report_data=report_data, at=at))
    assert result.claims == claims
    assert result.freshness == report_data
    assert {r.check.id for r in result.checks if r.status is not Status.PASSED} == {"sev-snp.leaf-revocation", "sev-snp.id-block"}
    assert len(result.chain) == 3
    assert len(result.collateral) == 1


@pytest.mark.parametrize(("product", "defect"), _cases(Effect.REFUSED), ids=_name)
def test_refused(product: AmdProduct, defect: Defect, authorities: Authorities, report_data: bytes, at: datetime, verify: Verify) -> None:
    pki, claims = authorities(product), default_claims(product, signing_key=defect.key)
    evidence, items = simulate(pki, claims, report_data=report_data, at=at, change=defect.apply)
    with pytest.raises(AttestError) as caught:
        verify(pki, evidence, items)
    assert [(reason.code, reason.subject) for reason in caught.value.reasons] == [(defect.code, "cpu")]
    (reason,) = caught.value.reasons
    assert reason.found or reason.where or reason.expected
    assert reason.fix or defect.code.startswith("wire.")


@pytest.mark.parametrize(("product", "defect"), _cases(Effect.UNDECIDED), ids=_name)
def test_undecided(product: AmdProduct, defect: Defect, authorities: Authorities, report_data: bytes, at: datetime, verify: Verify) -> None:
    pki, claims = authorities(product), default_claims(product, signing_key=defect.key)
    result = verify(pki, *simulate(pki, claims, report_data=report_data, at=at, change=defect.apply))
    (undecided,) = (r for r in result.checks if r.status is not Status.PASSED and not r.check.limitation)
    assert (undecided.check.id, undecided.status) == (defect.code, Status.NOT_CHECKED)
    assert undecided.reason is not None
    assert (undecided.reason.outcome, undecided.reason.subject) == (Outcome.CANNOT_DECIDE, "cpu")
    assert undecided.reason.found
    assert "kdsintf.amd.com" in undecided.reason.fix
    assert result.claims.revocation is Revocation.UNKNOWN
    assert result.collateral == ()


def test_every_check_that_can_fail_has_a_defect() -> None:
    codes = {defect.code for defect in DEFECTS.values()}
    assert {check.id for check in SEV_SNP.checks if not check.limitation} - codes == {"sev-snp.chain"}
    assert {code for code in codes if code.startswith("pki.chain.")} >= {"pki.chain.anchor", "pki.chain.signature", "pki.chain.expired"}


def test_outcomes_say_what_kind_of_no_it_is() -> None:
    """Exit codes follow from them: 3 cannot be read, 4 not authentic, 6 something is missing."""
    outcomes = {check.id.removeprefix("sev-snp."): check.outcome for check in SEV_SNP.checks}
    assert {name for name, outcome in outcomes.items() if outcome is Outcome.CANNOT_DECIDE} == {"leaf", "issuers"}
    assert {name for name, outcome in outcomes.items() if outcome is Outcome.NOT_AUTHENTIC} == {
        "leaf-kind", "product", "struct-version", "chain", "signature", "chip", "tcb", "tcb-order",
        "revocation", "leaf-revocation", "id-block",
    }  # fmt: skip
