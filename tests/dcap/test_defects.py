"""Every defect of a simulated quote is refused by its own check, with everything around it signed again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from attest.checks import Status
from attest.dcap.simulate_pki import SimulatedIntel
from attest.errors import AttestError
from attest.evidence import Collateral
from attest.kinds.sgx import SGX
from attest.kinds.sgx import simulate as sgx
from attest.kinds.sgx.defects import DEFECTS as SGX_DEFECTS
from attest.kinds.tdx import TDX
from attest.kinds.tdx import simulate as tdx
from attest.kinds.tdx.defects import DEFECTS as TDX_DEFECTS
from attest.trust import TrustStore

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
DATA = bytes(range(64))
KINDS = {"tdx": (TDX, tdx.simulate, tdx.default_guest, tdx.trust), "sgx": (SGX, sgx.simulate, sgx.default_enclave, sgx.trust)}
CASES = [("tdx", defect) for defect in TDX_DEFECTS] + [("sgx", defect) for defect in SGX_DEFECTS]


@pytest.fixture(scope="module")
def pki() -> SimulatedIntel:
    return SimulatedIntel.create(at=AT)


def run(pki, name, change=None, trust=None):
    kind, simulate, default, trust_of = KINDS[name]
    evidence, items = simulate(pki, default(), report_data=DATA, at=AT, change=change)
    return kind.verify(evidence, trust=trust or trust_of(pki), collateral=Collateral(items), at=AT)


@pytest.mark.parametrize("name", list(KINDS))
def test_without_a_defect_everything_passes(pki, name):
    verified = run(pki, name)
    kind = KINDS[name][0]
    assert [result.check for result in verified.checks] == list(kind.checks)
    limits = {check.id for check in kind.checks if check.limitation}
    assert {result.check.id for result in verified.checks if result.status is not Status.PASSED} == limits
    assert verified.freshness == DATA
    assert verified.claims.simulated is True
    assert (len(verified.chain), len(verified.collateral)) == (3, 4)


@pytest.mark.parametrize(("name", "defect"), CASES, ids=lambda value: value if isinstance(value, str) else value.name)
def test_refused(pki, name, defect):
    with pytest.raises(AttestError) as caught:
        run(pki, name, defect.apply)
    assert [reason.code for reason in caught.value.reasons] == [defect.code], str(caught.value)
    (reason,) = caught.value.reasons
    assert reason.found or reason.where
    assert reason.expected


def test_defect_names_are_unique():
    for defects in (TDX_DEFECTS, SGX_DEFECTS):
        assert len({defect.name for defect in defects}) == len(defects)


@pytest.mark.parametrize("name", list(KINDS))
def test_every_check_has_a_defect(name):
    """Checks that only other codes can express (a chain's own, a certificate's own) are the ones of attest.pki."""
    defects = {"tdx": TDX_DEFECTS, "sgx": SGX_DEFECTS}[name]
    elsewhere = {"dcap.tee", "dcap.pck-chain", "dcap.signer-chain", "dcap.pck-certified"}
    of_tdx = {"dcap.certification-type", "dcap.quote-body", "dcap.reserved", "dcap.qe-report-signature"}
    expected = {check.id for check in KINDS[name][0].checks if not check.limitation} - elsewhere
    assert expected - {defect.code for defect in defects} <= (of_tdx if name == "sgx" else set())


@pytest.mark.parametrize("name", list(KINDS))
def test_never_under_production_anchors(pki, name):
    with pytest.raises(AttestError) as caught:
        run(pki, name, trust=TrustStore.production())
    assert caught.value.code == "pki.chain.anchor"


def test_a_quote_is_judged_by_its_own_kind_only(pki):
    evidence, items = sgx.simulate(pki, sgx.default_enclave(), report_data=DATA, at=AT)
    with pytest.raises(AttestError) as caught:
        TDX.verify(evidence, trust=tdx.trust(pki), collateral=Collateral(items), at=AT)
    assert caught.value.code == "dcap.tee"
    for kind in (TDX, SGX):
        assert len(kind.recognise(evidence.part("quote"))) == (kind is SGX)
