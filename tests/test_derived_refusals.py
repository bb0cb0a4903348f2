"""Every accepted fixture gives six refusals by itself.

Wrong binding, altered report, altered signature, stripped chain, foreign root, expired. A new fixture in fixtures/ is found and
tested without anybody writing a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attest.appraisal import KeyUse
from attest.bundle import Bundle
from attest.errors import Outcome
from attest.evidence import Collateral, CollateralType, Evidence
from attest.kinds import kind_named
from attest.recipient import Kem, Recipient
from attest.simulator import SimulatedNode, SimulatedVendors, simulate_session
from attest.trust import Origin, TrustStore
from attest.verifier import Judgement, judge, verify_device

ROOT = Path(__file__).resolve().parent.parent
NONCE = bytes(range(32))
SIMULATED_AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
# A time at which the recorded fixtures are authentic.
AT = datetime(2026, 9, 19, 12, 0, tzinfo=UTC)
# Those beside a trust store of their own are no vendor's, have no chain, and are tested with their kind.
FIXTURES = sorted(
    str(path.parent.relative_to(ROOT / "fixtures"))
    for path in (ROOT / "fixtures").rglob("bundle.json")
    if not (path.parent.parent / "trust.json").is_file()
)
# One byte of the report that is signed and has no rule of its own, and one of the signature.
SIGNED = {"nvidia-gpu": 0x300, "sev-snp": 0x90}
SIGNATURE = {"nvidia-gpu": -20, "sev-snp": 0x2A0}
Case = tuple[Bundle, TrustStore, datetime]


@pytest.fixture(scope="module")
def vendors() -> SimulatedVendors:
    return SimulatedVendors.create(at=SIMULATED_AT, gpus=1)


@pytest.fixture(params=[*FIXTURES, "simulated"])
def case(request: pytest.FixtureRequest, vendors: SimulatedVendors) -> Case:
    if request.param == "simulated":
        recipient = Recipient(Kem.X25519, b"\x07" * 32)
        bundle = simulate_session(vendors, SimulatedNode.of(gpus=1), nonce=NONCE, recipient=recipient, at=SIMULATED_AT)
        return bundle, vendors.trust(), SIMULATED_AT
    return Bundle.load(ROOT / "fixtures" / request.param), TrustStore.production(), AT


def judged(bundle: Bundle, trust: TrustStore, at: datetime) -> Judgement:
    return judge(bundle, trust=trust, at=at, policy=None, key="", use=KeyUse.TEST_ONLY, nonce=None, max_age=timedelta(minutes=5))


def changed(bundle: Bundle, change: Callable[[Evidence], Mapping[str, bytes]], collateral: Collateral | None = None) -> Bundle:
    evidence = tuple(Evidence.of(item.kind, item.label, change(item)) for item in bundle.evidence)
    return Bundle.of(
        nonce=bundle.nonce, recipient=bundle.recipient, binding=bundle.binding, evidence=evidence,
        collateral=bundle.collateral if collateral is None else collateral,
        recorded_at=bundle.recorded_at, origin=bundle.origin, note=bundle.note,
    )  # fmt: skip


def flipped(offsets: Mapping[str, int]) -> Callable[[Evidence], Mapping[str, bytes]]:
    def change(item: Evidence) -> Mapping[str, bytes]:
        data = bytearray(item.part("report"))
        data[offsets[item.kind]] ^= 1
        return {**item.parts, "report": bytes(data)}

    return change


def accepted(case: Case) -> bool:
    """Whether every device of the fixture is authentic as it is (a report without its endorsement is not)."""
    bundle, trust, at = case
    return all(verify_device(item, bundle, trust=trust, at=at).verified is not None for item in bundle.evidence)


def test_most_fixtures_are_accepted() -> None:
    """If they were not, the tests below would test nothing."""
    fine = [name for name in FIXTURES if accepted((Bundle.load(ROOT / "fixtures" / name), TrustStore.production(), AT))]
    assert {"nvidia-gpu/h100-550.90.07", "nvidia-gpu/h100-595.71.05", "sev-snp/azure-milan-v3"} <= set(fine)
    rest = set(FIXTURES) - set(fine)
    for name in rest:
        text = (ROOT / "fixtures" / name / "PROVENANCE.md").read_text().lower()
        assert "cannot" in text, f"{name} is not accepted, and its provenance does not say so"


def test_wrong_binding(case: Case) -> None:
    bundle, trust, at = case
    if not accepted(case):
        return assert_refused_anyway(case)
    other = Bundle.of(
        nonce=bytes(31) + b"\x01", recipient=bundle.recipient, binding=bundle.binding, evidence=bundle.evidence,
        collateral=bundle.collateral, recorded_at=bundle.recorded_at, origin=bundle.origin, note=bundle.note,
    )  # fmt: skip
    reasons = [reason for reason in judged(other, trust, at).reasons if reason.code == "floor.bound"]
    assert {reason.subject for reason in reasons if reason.expected and reason.found != "no nonce to compare with"} == {
        item.label for item in bundle.evidence
    }
    return None


def test_altered_report(case: Case) -> None:
    bundle, trust, at = case
    if not accepted(case):
        return assert_refused_anyway(case)
    reasons = judged(changed(bundle, flipped(SIGNED)), trust, at).reasons
    assert [reason.code for reason in reasons] == [f"{item.kind}.signature" for item in bundle.evidence]
    return None


def test_altered_signature(case: Case) -> None:
    bundle, trust, at = case
    if not accepted(case):
        return assert_refused_anyway(case)
    reasons = judged(changed(bundle, flipped(SIGNATURE)), trust, at).reasons
    assert [reason.code for reason in reasons] == [f"{item.kind}.signature" for item in bundle.evidence]
    return None


def test_stripped_chain(case: Case) -> None:
    bundle, trust, at = case
    if not accepted(case):
        return assert_refused_anyway(case)

    def leaf_alone(item: Evidence) -> Mapping[str, bytes]:
        end = b"-----END CERTIFICATE-----\n"
        return {**item.parts, "certificates": item.part("certificates").split(end)[0] + end}

    bare = Collateral(tuple(item for item in bundle.collateral.items if item.type is not CollateralType.CERTIFICATES))
    reasons = judged(changed(bundle, leaf_alone, bare), trust, at).reasons
    codes = {"nvidia-gpu": "pki.chain.length", "sev-snp": "sev-snp.issuers"}
    assert [reason.code for reason in reasons] == [codes[item.kind] for item in bundle.evidence]
    return None


def test_foreign_root(case: Case) -> None:
    bundle, trust, at = case
    if not accepted(case):
        return assert_refused_anyway(case)
    foreign = TrustStore.of(
        "foreign",
        Origin.SIMULATED,
        tuple((role, replace(anchor, spki_sha256=f"{number:064x}")) for number, (role, anchor) in enumerate(trust.anchors, 1)),
    )
    reasons = judged(bundle, foreign, at).reasons
    assert [reason.code for reason in reasons] == ["pki.chain.anchor"] * len(bundle.evidence)
    assert {reason.outcome for reason in reasons} == {Outcome.NOT_AUTHENTIC}
    return None


def test_expired(case: Case) -> None:
    """One second after the first certificate ends. Some of NVIDIA's end with the year 9999: then one second before the last begins."""
    bundle, trust, at = case
    if not accepted(case):
        return assert_refused_anyway(case)
    for item in bundle.evidence:
        kind = kind_named(item.kind)
        assert kind is not None
        if item.kind == "sev-snp":
            late = judged(bundle, trust, at + timedelta(days=365 * 8))
            assert "pki.chain.expired" in {reason.code for reason in late.reasons if reason.subject == item.label}
        early = judged(bundle, trust, datetime(2015, 1, 1, tzinfo=UTC))
        assert "pki.chain.not-yet-valid" in {reason.code for reason in early.reasons if reason.subject == item.label}
    return None


def assert_refused_anyway(case: Case) -> None:
    bundle, trust, at = case
    assert judged(bundle, trust, at).reasons
