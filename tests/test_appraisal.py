"""The floor: every rule broken alone, over two small made-up kinds that can claim anything."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import attest.kinds
from attest.appraisal import FLOOR, Appraisal, Expectation, KeyUse, RecipientAlgorithm, appraise
from attest.binding import Binding, device_field, workload_field
from attest.bundle import Bundle, BundleOrigin
from attest.checks import Check, Checklist, Status
from attest.crypto import sha384
from attest.decision import Action, Answer, Deny, Permit, PolicyIdentity, decide
from attest.errors import Outcome, Reason
from attest.evidence import Claims, Collateral, Debug, Evidence, Revocation, Scope, Tri, Verified, conclude
from attest.recipient import Kem, Recipient
from attest.trust import PRODUCTION_ANCHORS, Origin, TrustStore

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NONCE = bytes(range(32))
RECIPIENT = Recipient(Kem.X25519, b"\x07" * 32)
SIGNATURE = Check("fake.signature", "signature", "nowhere")
REFERENCE = Check("fake.reference", "reference values", "nowhere", Outcome.REFUSED, "get them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What one made-up device claims."""

    label: str
    kind: str = "fake-gpu"
    report: bytes = b""
    debug: Debug = Debug.OFF
    revocation: Revocation = Revocation.GOOD
    device_id: str | None = None
    freshness: bytes | None = None
    reference: Status = Status.PASSED


class FakeKind:
    """A kind whose scope is chosen; everything else is the protocol's minimum."""

    title = "fake"
    principal = "Fake"
    claims_type = Claims
    parts = ("report",)
    checks = (SIGNATURE, REFERENCE)

    def __init__(self, name: str, scope: Scope) -> None:
        self.name = name
        self.scope = scope

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        return ()

    def statement(self, evidence: Evidence) -> bytes:
        return sha384(evidence.part("report"))

    def inspect(self, evidence: Evidence) -> Mapping[str, str]:
        return {}

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[Claims]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attest.kinds, "KINDS", (FakeKind("fake-gpu", Scope.DEVICE), FakeKind("fake-cpu", Scope.WORKLOAD)))


def trust(*, simulated: bool = False) -> TrustStore:
    if not simulated:
        return TrustStore.production()
    role, anchor = PRODUCTION_ANCHORS[0]
    return TrustStore.of("sim", Origin.SIMULATED, ((role, replace(anchor, spki_sha256="00" * 32)),))


def gpu(number: int, **changes: object) -> Device:
    return replace(Device(label=f"gpu-{number}", report=b"gpu" + bytes([number])), **changes)  # type: ignore[arg-type]


def cpu(**changes: object) -> Device:
    return replace(Device(label="cpu", kind="fake-cpu", report=b"cpu"), **changes)  # type: ignore[arg-type]


def session(
    *devices: Device,
    nonce: bytes | None = NONCE,
    recipient: Recipient | None = RECIPIENT,
    binding: Binding = Binding.ATTEST_1,
    recorded_at: datetime | None = AT,
    simulated: bool = False,
    topology: Mapping[str, int] | None = None,
    expected_nonce: bytes | None = NONCE,
    use: KeyUse = KeyUse.PRODUCTION,
    authenticity_only: bool = False,
) -> Appraisal:
    """Appraise a session of made-up devices that bind correctly unless they say otherwise."""
    evidence = tuple(Evidence.of(device.kind, device.label, {"report": device.report}) for device in devices)
    bundle = Bundle.of(
        nonce=nonce,
        recipient=recipient,
        binding=binding,
        evidence=evidence,
        collateral=Collateral(),
        recorded_at=recorded_at,
        origin=BundleOrigin.SIMULATED if simulated else BundleOrigin.RECORDED,
    )
    store = trust(simulated=simulated)
    verified = []
    for device, item in zip(devices, evidence, strict=True):
        freshness = device.freshness
        if freshness is None and recipient is not None and nonce is not None:
            others = [sha384(other.report) for other in devices if other is not device]
            freshness = device_field(nonce, recipient) if device.kind == "fake-gpu" else workload_field(nonce, recipient, others)
        checklist = Checklist(device.label, FakeKind.checks)
        checklist.passed(SIGNATURE)
        if device.reference is Status.PASSED:
            checklist.passed(REFERENCE)
        elif device.reference is Status.FAILED:
            checklist.failed(REFERENCE, REFERENCE.reason(found="other values"))
        else:
            checklist.not_checked(REFERENCE, "no manifest")
        claims = Claims(
            debug=device.debug,
            simulated=simulated,
            revocation=device.revocation,
            device_id=device.label if device.device_id is None else device.device_id,
        )
        verified.append(
            conclude(
                item,
                claims,
                checklist=checklist,
                statement=sha384(device.report),
                freshness=freshness or b"",
                chain=(),
                trust=store,
                collateral=(),
                at=AT,
                valid_until=AT + timedelta(days=1),
            )
        )
    expected = None if authenticity_only else (topology or {"fake-gpu": sum(d.kind == "fake-gpu" for d in devices), "fake-cpu": 1})
    expectation = Expectation(expected, timedelta(minutes=5), expected_nonce, use)
    return appraise(bundle, tuple(verified), expectation=expectation, at=AT)


POLICY = PolicyIdentity("p", 1, "00" * 32, "00" * 32, "00" * 32, "none")


def answers(appraisal: Appraisal) -> list[Answer]:
    return [Answer(Action.ACCEPT, device.subject, allowed=True) for device in appraisal.devices] + [
        Answer(Action.RELEASE, "workload", allowed=True)
    ]


def test_a_good_session_has_no_findings_and_is_permitted() -> None:
    appraisal = session(gpu(0), gpu(1), cpu())
    assert appraisal.findings == ()
    assert [result.check.id for result in appraisal.checks] == [check.id for check in FLOOR]
    assert [result.check.id for result in appraisal.checks if result.status is not Status.PASSED] == ["floor.attached"]
    assert isinstance(decide(appraisal, policy=POLICY, key="k", answers=answers(appraisal)), Permit)
    claims = appraisal.workload
    assert (claims.device_count, claims.gpu_count, claims.cpu_count, claims.evidence_age) == (3, 2, 1, 0)
    assert claims.recipient_algorithm is RecipientAlgorithm.X25519
    assert claims.recipient_bound is True
    assert claims.same_firmware is Tri.UNKNOWN


OTHER = Recipient(Kem.X25519, b"\x08" * 32)

NO, UNKNOWN = Outcome.REFUSED, Outcome.CANNOT_DECIDE
CASES: dict[str, tuple[dict[str, object], tuple[Device, ...], str, Outcome, str]] = {
    "one GPU missing": ({"topology": {"fake-gpu": 2, "fake-cpu": 1}}, (gpu(0), cpu()), "floor.topology", NO, "fake-gpu"),
    "one GPU too many": ({"topology": {"fake-gpu": 1, "fake-cpu": 1}}, (gpu(0), gpu(1), cpu()), "floor.topology", NO, "fake-gpu"),
    "a kind nobody expects": ({"topology": {"fake-cpu": 1}}, (gpu(0), cpu()), "floor.topology", NO, "fake-gpu"),
    "no CPU TEE": ({"topology": {"fake-gpu": 1}}, (gpu(0),), "floor.cpu-tee", NO, "workload"),
    "same chip under another firmware": ({}, (gpu(0), gpu(1, device_id="gpu-0"), cpu()), "floor.distinct-devices", NO, "gpu-1"),
    "two GPUs of which one hides its identity": ({}, (gpu(0, device_id=""), gpu(1), cpu()), "floor.distinct-devices", NO, "gpu-0"),
    "nonce of another session": ({"expected_nonce": bytes(31) + b"\x01"}, (gpu(0), cpu()), "floor.nonce", NO, "workload"),
    "zero nonce": ({"nonce": bytes(32), "expected_nonce": bytes(32)}, (gpu(0), cpu()), "floor.nonce", NO, "workload"),
    "GPU bound to another recipient": ({}, (gpu(0, freshness=device_field(NONCE, OTHER)), cpu()), "floor.bound", NO, "gpu-0"),
    "GPU bound to another nonce": ({}, (gpu(0, freshness=device_field(bytes(32), RECIPIENT)), cpu()), "floor.bound", NO, "gpu-0"),
    "GPU that carries the bare nonce": ({}, (gpu(0, freshness=NONCE), cpu()), "floor.bound", NO, "gpu-0"),
    "CPU that covers another set of GPUs": (
        {}, (gpu(0), cpu(freshness=workload_field(NONCE, RECIPIENT, [sha384(b"gpu\x09")]))), "floor.bound", NO, "cpu",
    ),
    "CPU that covers no GPU": ({}, (gpu(0), cpu(freshness=workload_field(NONCE, RECIPIENT, []))), "floor.bound", NO, "cpu"),
    "CPU with a prefix of the right field": (
        {}, (gpu(0), cpu(freshness=workload_field(NONCE, RECIPIENT, [sha384(b"gpu\x00")])[:32])), "floor.bound", NO, "cpu",
    ),
    "old evidence": ({"recorded_at": AT - timedelta(minutes=5, seconds=1)}, (gpu(0), cpu()), "floor.fresh", NO, "workload"),
    "evidence from the future": ({"recorded_at": AT + timedelta(seconds=61)}, (gpu(0), cpu()), "floor.fresh", NO, "workload"),
    "evidence without a time": ({"recorded_at": None}, (gpu(0), cpu()), "floor.fresh", NO, "workload"),
    "revocation unknown": ({}, (gpu(0, revocation=Revocation.UNKNOWN), cpu()), "floor.revocation", UNKNOWN, "gpu-0"),
    "debug on": ({}, (gpu(0), cpu(debug=Debug.ON)), "floor.debug", NO, "cpu"),
    "debug unknown": ({}, (gpu(0, debug=Debug.UNKNOWN), cpu()), "floor.debug", UNKNOWN, "gpu-0"),
    "reference values differ": ({}, (gpu(0, reference=Status.FAILED), cpu()), "fake.reference", NO, "gpu-0"),
    "reference values missing": ({}, (gpu(0, reference=Status.NOT_CHECKED), cpu()), "fake.reference", UNKNOWN, "gpu-0"),
    "simulated hardware for a real key": ({"simulated": True}, (cpu(),), "floor.genuine", NO, "cpu"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_floor_rule_refuses_alone(name: str) -> None:
    arguments, devices, code, outcome, subject = CASES[name]
    appraisal = session(*devices, **arguments)  # type: ignore[arg-type]
    assert [(reason.code, reason.outcome, reason.subject) for reason in appraisal.findings] == [(code, outcome, subject)]
    assert all(reason.found for reason in appraisal.findings)
    denied = decide(appraisal, policy=POLICY, key="k", answers=answers(appraisal))
    assert isinstance(denied, Deny), "a policy that says yes to everything must not lower the floor"
    assert denied.reasons == appraisal.findings
    failed = [result.check.id for result in appraisal.checks if result.status is Status.FAILED]
    assert failed == [code if code.startswith("floor.") else "floor.complete"]


def test_the_same_report_twice_is_found_even_under_other_names() -> None:
    appraisal = session(gpu(0), gpu(1, report=gpu(0).report), cpu())
    assert [reason.code for reason in appraisal.findings] == ["floor.distinct-devices"]


def test_bundle_without_nonce_or_recipient_is_never_released_to() -> None:
    for arguments in ({"nonce": None}, {"recipient": None, "binding": Binding.RAW_NONCE}):
        appraisal = session(gpu(0, freshness=NONCE), cpu(freshness=NONCE + bytes(32)), **arguments)  # type: ignore[arg-type]
        assert {"floor.bound"} <= {reason.code for reason in appraisal.findings}
        assert not appraisal.workload.recipient_bound


def test_a_bundle_without_nonce_says_so_by_its_own_rule() -> None:
    appraisal = session(gpu(0, freshness=NONCE), cpu(freshness=NONCE), nonce=None)
    assert {reason.code for reason in appraisal.findings} == {"floor.nonce", "floor.bound"}
    assert appraisal.nonce == b""


def test_right_fields_under_the_raw_binding_bind_nothing() -> None:
    """What the reports carry would be right for attest/1: the bundle says otherwise, and nobody guesses in its favour."""
    appraisal = session(gpu(0), cpu(), binding=Binding.RAW_NONCE)
    assert {reason.code for reason in appraisal.findings} == {"floor.bound"}
    assert appraisal.workload.recipient_bound is False


def test_one_device_of_a_kind_may_hide_its_identity_and_shares_it_with_nobody() -> None:
    assert session(gpu(0, device_id=""), cpu(device_id="")).findings == ()
    hidden = session(gpu(0, device_id=""), gpu(1, device_id=""), cpu())
    assert [(reason.code, reason.subject) for reason in hidden.findings] == [("floor.distinct-devices", f"gpu-{n}") for n in (0, 1)]


@pytest.mark.parametrize("recorded_at", [AT - timedelta(minutes=5), AT + timedelta(seconds=60)])
def test_the_last_moment_at_which_evidence_is_fresh(recorded_at: datetime) -> None:
    assert session(gpu(0), cpu(), recorded_at=recorded_at).findings == ()


def test_raw_nonce_is_compared_and_still_binds_nothing() -> None:
    good = session(gpu(0, freshness=NONCE), cpu(freshness=NONCE), binding=Binding.RAW_NONCE)
    bad = session(gpu(0, freshness=bytes(32)), cpu(freshness=NONCE), binding=Binding.RAW_NONCE)
    assert [reason.code for reason in good.findings] == ["floor.bound"] * 2
    assert [reason.code for reason in bad.findings] == ["floor.bound"] * 3


def test_test_only_keys_may_go_to_simulated_and_debuggable_hardware_and_nothing_else_changes() -> None:
    assert session(gpu(0, debug=Debug.UNKNOWN), cpu(debug=Debug.ON), simulated=True, use=KeyUse.TEST_ONLY).findings == ()
    still = session(gpu(0), cpu(revocation=Revocation.UNKNOWN), use=KeyUse.TEST_ONLY)
    assert [reason.code for reason in still.findings] == ["floor.revocation"]


def test_without_a_policy_the_topology_is_not_checked_and_said_so() -> None:
    appraisal = session(gpu(0), cpu(), authenticity_only=True)
    result = next(result for result in appraisal.checks if result.check.id == "floor.topology")
    assert result.status is Status.NOT_CHECKED
    assert appraisal.findings == ()


def test_a_replayed_nonce_is_named_as_unchecked() -> None:
    appraisal = session(gpu(0), cpu(), expected_nonce=None)
    result = next(result for result in appraisal.checks if result.check.id == "floor.nonce-issued")
    assert result.status is Status.NOT_CHECKED
    assert appraisal.workload.nonce_issued is False


def test_all_findings_are_named_at_once() -> None:
    appraisal = session(gpu(0, debug=Debug.ON, revocation=Revocation.UNKNOWN), cpu(debug=Debug.ON), recorded_at=AT - timedelta(days=2))
    assert [reason.code for reason in appraisal.findings] == ["floor.fresh", "floor.revocation", "floor.debug", "floor.debug"]


# -- decide ---------------------------------------------------------------------------------------------------------------


def test_one_refusing_answer_denies_and_keeps_its_reason() -> None:
    appraisal = session(gpu(0), cpu())
    reason = Reason("policy.refused", Outcome.REFUSED, "no", subject="gpu-0")
    for position in range(3):
        given = answers(appraisal)
        given[position] = replace(given[position], allowed=False, reasons=(reason,))
        denied = decide(appraisal, policy=POLICY, key="k", answers=given)
        assert isinstance(denied, Deny)
        assert denied.reasons == (reason,)


def test_missing_surplus_reordered_or_doubtful_answers_are_a_bug_and_never_a_yes() -> None:
    appraisal = session(gpu(0), cpu())
    good = answers(appraisal)
    for wrong in (good[:-1], good[1:], [*good, good[-1]], [good[0], good[0], *good[1:]], good[::-1], []):
        with pytest.raises(AssertionError):
            decide(appraisal, policy=POLICY, key="k", answers=wrong)
    for doubtful in (1, "yes", None):
        with pytest.raises(AssertionError):
            decide(appraisal, policy=POLICY, key="k", answers=[replace(good[0], allowed=doubtful), *good[1:]])  # type: ignore[arg-type]


def test_a_session_of_other_devices_is_a_bug() -> None:
    appraisal = session(gpu(0), cpu())
    other = session(gpu(1), cpu())
    bundle = Bundle.of(
        nonce=NONCE, recipient=RECIPIENT, binding=Binding.ATTEST_1, collateral=Collateral(), recorded_at=AT, origin=BundleOrigin.RECORDED,
        evidence=tuple(Evidence.of(d.kind, d.subject, {"report": b"x"}) for d in appraisal.devices),
    )  # fmt: skip
    expectation = Expectation(None, timedelta(minutes=5), NONCE, KeyUse.PRODUCTION)
    for devices in (appraisal.devices, other.devices, appraisal.devices[:1]):
        with pytest.raises(AssertionError):
            appraise(bundle, devices, expectation=expectation, at=AT)


def test_devices_of_another_time_or_of_another_type_are_a_bug() -> None:
    good = session(gpu(0), cpu())
    bundle = Bundle.of(
        nonce=NONCE, recipient=RECIPIENT, binding=Binding.ATTEST_1, collateral=Collateral(), recorded_at=AT, origin=BundleOrigin.RECORDED,
        evidence=tuple(Evidence.of(d.kind, d.label, {"report": d.report}) for d in (gpu(0), cpu())),
    )  # fmt: skip
    expectation = Expectation({"fake-gpu": 1, "fake-cpu": 1}, timedelta(minutes=5), NONCE, KeyUse.PRODUCTION)
    assert appraise(bundle, good.devices, expectation=expectation, at=AT).findings == ()
    with pytest.raises(AssertionError, match="different times"):
        appraise(bundle, good.devices, expectation=expectation, at=AT + timedelta(seconds=1))
    mixed = (good.devices[0], session(gpu(0), cpu(), simulated=True).devices[1])
    with pytest.raises(AssertionError, match="trust stores"):
        appraise(bundle, mixed, expectation=expectation, at=AT)

    class Pretender:
        """Has everything that a verified device has, and no seal."""

        def __getattr__(self, name: str) -> object:
            return getattr(good.devices[0], name)

    with pytest.raises(TypeError, match="Verified"):
        appraise(bundle, (Pretender(), good.devices[1]), expectation=expectation, at=AT)  # type: ignore[arg-type]


def test_a_decision_takes_nothing_else_for_an_appraisal_and_no_yes_with_reasons() -> None:
    appraisal = session(gpu(0), cpu())
    good = answers(appraisal)

    class Pretender:
        """Has everything that an appraisal has, and no seal."""

        def __getattr__(self, name: str) -> object:
            return getattr(appraisal, name)

    with pytest.raises(TypeError, match="Appraisal"):
        decide(Pretender(), policy=POLICY, key="k", answers=good)  # type: ignore[arg-type]
    reason = Reason("policy.refused", Outcome.REFUSED, "no")
    with pytest.raises(AssertionError, match="reasons against"):
        decide(appraisal, policy=POLICY, key="k", answers=[replace(good[0], reasons=(reason,)), *good[1:]])
    with pytest.raises(AssertionError, match="without a reason"):
        decide(appraisal, policy=POLICY, key="k", answers=[replace(good[0], allowed=False), *good[1:]])
    with pytest.raises(ValueError, match="without a reason"):
        Deny(())


# -- the types ------------------------------------------------------------------------------------------------------------


def test_verified_appraisal_and_permit_cannot_be_made_changed_or_copied() -> None:
    appraisal = session(gpu(0), cpu())
    permit = decide(appraisal, policy=POLICY, key="k", answers=answers(appraisal))
    for sealed in (appraisal.devices[0], appraisal, permit):
        with pytest.raises((TypeError, AttributeError)):
            copy.copy(sealed)
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
            pickle.dumps(sealed)
        with pytest.raises(AttributeError):
            sealed.claims = None  # type: ignore[union-attr]
        with pytest.raises(TypeError):
            type(sealed)(object(), *([{}] * (type(sealed).__init__.__code__.co_argcount - 2)))  # type: ignore[misc]


def test_the_seals_stand_in_one_module_each() -> None:
    """Only the module that defines a sealed type may name its seal."""
    root = attest.kinds.__path__[0].rsplit("/", 1)[0]
    holders = sorted(str(path.relative_to(root)) for path in Path(root).rglob("*.py") if "_SEAL" in path.read_text())
    assert holders[:3] == ["appraisal.py", "decision.py", "evidence.py"]
    for path in Path(root).rglob("*.py"):
        assert "import _SEAL" not in path.read_text()
        assert not re.search(r"__new__\((?:Verified|Appraisal|Permit|VerifiedChain)\b", path.read_text())


def test_permit_digest_covers_the_session() -> None:
    def digest(appraisal: Appraisal, key: str = "k") -> str:
        permit = decide(appraisal, policy=POLICY, key=key, answers=answers(appraisal))
        assert isinstance(permit, Permit)
        return permit.digest

    base = digest(session(gpu(0), cpu()))
    assert digest(session(gpu(0), cpu())) == base
    assert digest(session(gpu(0), cpu()), key="other") != base
    assert digest(session(gpu(0), cpu(), recipient=OTHER)) != base
    assert digest(session(gpu(1), cpu())) != base
