"""The attestation result: the mapping of docs/ear.md row by row, and a reader that refuses flattery."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attest.ear as ear_module
from attest.appraisal import KeyUse
from attest.crypto import sha256
from attest.ear import (
    PROFILE,
    SESSION,
    TYPE,
    Tier,
    Trait,
    ear_claims,
    issue_ear,
    policy_uri,
    tier_of,
    tier_of_vector,
    vector_of,
    verify_ear,
    worst_tier,
)
from attest.errors import AttestError, MalformedError, NotAuthenticError, Outcome, Reason, error_for
from attest.evidence import Evidence
from attest.jose import IssuerPrivateKey
from attest.verifier import DeviceResult, Judgement, judge
from attest.wire import base64url, base64url_bytes, canonical_json

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


# -- tiers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "tier"),
    [
        ((-1, 0, 1), Tier.NONE),
        ((-2, -32, 2, 3, 31), Tier.AFFIRMING),
        ((-33, -96, 32, 33, 95), Tier.WARNING),
        ((-97, -128, 96, 97, 99, 127), Tier.CONTRAINDICATED),
    ],
)
def test_tiers(values: tuple[int, ...], tier: Tier) -> None:
    assert {tier_of(value) for value in values} == {tier}


def test_worst() -> None:
    assert worst_tier([Tier.AFFIRMING, Tier.CONTRAINDICATED, Tier.WARNING]) is Tier.CONTRAINDICATED
    assert worst_tier([Tier.AFFIRMING, Tier.NONE]) is Tier.NONE
    assert tier_of_vector({Trait.HARDWARE: 2, Trait.CONFIGURATION: 0}) is Tier.AFFIRMING  # 0 means that nothing is claimed
    assert tier_of_vector({Trait.HARDWARE: 0}) is Tier.NONE


# -- mapping --------------------------------------------------------------------------------------------------------------


class FakeVerified:
    """Claims without hardware behind them: the mapping is a function of claims alone."""

    def __init__(self, kind: str, claims: Any) -> None:
        self.kind, self.claims = kind, claims


def device(session: Any, label: str, **changes: object) -> DeviceResult:
    real = next(item for item in session.judgement.devices if item.evidence.label == label)
    claims = replace(real.verified.claims, **changes)
    return DeviceResult(real.evidence, FakeVerified(real.verified.kind, claims), None)  # type: ignore[arg-type]


SNP = {Trait.INSTANCE_IDENTITY: 2, Trait.CONFIGURATION: 2, Trait.EXECUTABLES: 3, Trait.HARDWARE: 2, Trait.RUNTIME_OPAQUE: 2}
GPU = {Trait.INSTANCE_IDENTITY: 2, Trait.CONFIGURATION: 2, Trait.EXECUTABLES: 2, Trait.HARDWARE: 2}


@pytest.mark.parametrize(
    ("label", "changes", "accepted", "expected"),
    [
        ("cpu", {}, True, SNP),
        ("cpu", {}, False, {Trait.INSTANCE_IDENTITY: 2, Trait.HARDWARE: 2, Trait.RUNTIME_OPAQUE: 2}),
        ("cpu", {"debug": "on"}, True, SNP | {Trait.CONFIGURATION: 96, Trait.RUNTIME_OPAQUE: 96}),
        ("cpu", {"revocation": "unknown"}, True, {Trait.CONFIGURATION: 2, Trait.EXECUTABLES: 3, Trait.RUNTIME_OPAQUE: 2}),
        ("cpu", {"device_id": ""}, True, {name: value for name, value in SNP.items() if name is not Trait.INSTANCE_IDENTITY}),
        ("cpu", {"simulated": True}, True, SNP | {Trait.HARDWARE: 97, Trait.INSTANCE_IDENTITY: 97}),
        ("gpu-0", {}, True, GPU),
        ("gpu-0", {}, False, {name: value for name, value in GPU.items() if name is not Trait.CONFIGURATION}),
        ("gpu-0", {"driver_measurements": "mismatch"}, True, GPU | {Trait.EXECUTABLES: 33}),
        ("gpu-0", {"vbios_measurements": "mismatch"}, True, GPU | {Trait.EXECUTABLES: 33}),
        ("gpu-0", {"vbios_measurements": "unknown"}, True, {name: value for name, value in GPU.items() if name is not Trait.EXECUTABLES}),
        ("gpu-0", {"debug": "unknown"}, True, {name: value for name, value in GPU.items() if name is not Trait.CONFIGURATION}),
        ("gpu-0", {"debug": "on"}, True, GPU | {Trait.CONFIGURATION: 96}),
    ],
)
def test_vector(shared, label: str, changes: dict[str, object], accepted: bool, expected: dict[Trait, int]) -> None:
    from attest.evidence import Debug, Measurements, Revocation

    types = {"debug": Debug, "revocation": Revocation, "driver_measurements": Measurements, "vbios_measurements": Measurements}
    typed = {name: types[name](value) if name in types else value for name, value in ({"simulated": False} | changes).items()}
    assert vector_of(device(shared, label, **typed), accepted=accepted) == expected


@pytest.mark.parametrize(
    ("outcome", "value"), [(Outcome.NOT_AUTHENTIC, 99), (Outcome.MALFORMED, 1), (Outcome.CANNOT_DECIDE, 0), (Outcome.REFUSED, 0)]
)
def test_vector_of_a_refused_device(outcome: Outcome, value: int) -> None:
    refused = DeviceResult(Evidence.of("sev-snp", "cpu", {}), None, error_for(Reason("x", outcome, "x")))
    assert vector_of(refused, accepted=False) == {Trait.HARDWARE: value}


# -- what is written --------------------------------------------------------------------------------------------------------


def test_result_of_a_permit(world, shared) -> None:
    claims = ear_claims(shared.judgement, issued_at=AT)
    assert claims["eat_profile"] == PROFILE == "tag:ietf.org,2026:rats/ear#04"
    assert claims["iat"] == int(AT.timestamp())
    assert base64url_bytes(claims["eat_nonce"], "nonce") == shared.nonce
    assert sorted(claims["submods"]) == ["cpu", "gpu-0", "gpu-1"]
    for label, submod in claims["submods"].items():
        verified = next(item.verified for item in shared.judgement.devices if item.evidence.label == label)
        assert submod["ear_status"] == "contraindicated"  # simulated, whatever the policy says
        assert submod["ear_trustworthiness_vector"]["hardware"] == 97
        assert submod["ear_appraisal_policy_ids"] == [policy_uri(shared.permit.policy)]
        assert base64url_bytes(submod["eat_nonce"], "nonce") == verified.freshness
        assert set(submod["ear_attester_claims"]) == set(verified.claims.values())
        assert set(submod["ear_verifier_claims"]["checks"]) == {result.check.id for result in verified.checks}
    assert claims["ear_status"] == "contraindicated"
    assert claims[SESSION]["simulated"] is True
    assert claims[SESSION]["decision_digest"] == shared.permit.digest


def test_policy_id_is_a_named_information_uri(shared) -> None:
    """RFC 6920: anybody can compute it from the canonical JSON of the policy's identity."""
    digest = sha256(canonical_json(shared.permit.policy.as_dict()))
    assert policy_uri(shared.permit.policy) == f"ni:///sha-256;{base64url(digest)}"
    assert digest.hex() == shared.permit.policy.digest


@pytest.mark.parametrize(
    ("value", "shown"), [(2**53 - 1, 2**53 - 1), (2**53, "9007199254740992"), (True, True), (7, 7), (frozenset({"b", "a"}), ["a", "b"])]
)
def test_numbers_that_json_cannot_say_are_text(value: Any, shown: Any) -> None:
    written = ear_module._claim(value)
    assert written == shown
    assert type(written) is type(shown)
    assert canonical_json(written)


def genuine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Map simulated evidence as if it were real, to see the other rows of the mapping end to end."""
    vector = ear_module.vector_of

    def real(device: DeviceResult, *, accepted: bool) -> Any:
        found = dict(vector(device, accepted=accepted))
        return {name: 2 if value == 97 else value for name, value in found.items()}

    monkeypatch.setattr(ear_module, "vector_of", real)


def test_affirming_needs_a_permit(world, shared, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine(monkeypatch)
    permitted = ear_claims(shared.judgement, issued_at=AT)
    assert permitted["ear_status"] == "affirming"
    assert {submod["ear_status"] for submod in permitted["submods"].values()} == {"affirming"}

    asked = {"trust": world.trust, "at": AT, "key": "", "nonce": shared.nonce}
    unasked = judge(shared.judgement.bundle, policy=None, use=KeyUse.TEST_ONLY, max_age=shared.policy.max_evidence_age, **asked)
    assert unasked.decision is None
    assert {submod["ear_status"] for submod in ear_claims(unasked, issued_at=AT)["submods"].values()} == {"none"}
    assert ear_claims(unasked, issued_at=AT)["ear_status"] == "none"

    refused = judge(shared.judgement.bundle, policy=shared.policy, use=KeyUse.PRODUCTION, **asked)
    assert {reason.code for reason in refused.reasons} == {"floor.genuine"}
    assert ear_claims(refused, issued_at=AT)["ear_status"] == "contraindicated"


def test_a_refused_device_spoils_the_whole_and_names_itself(world, make, broker, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine(monkeypatch)
    session = make.session(broker)
    bundle = session.judgement.bundle
    gpu = bundle.evidence[0]
    report = bytearray(gpu.part("report"))
    report[-1] ^= 1
    evidence = (Evidence.of(gpu.kind, gpu.label, {**gpu.parts, "report": bytes(report)}), *bundle.evidence[1:])
    spoiled = type(bundle).of(
        nonce=bundle.nonce,
        recipient=bundle.recipient,
        binding=bundle.binding,
        evidence=evidence,
        collateral=bundle.collateral,
        recorded_at=bundle.recorded_at,
        origin=bundle.origin,
    )
    judgement = judge(
        spoiled, trust=world.trust, at=AT, policy=session.policy, key="weights/model-a", use=KeyUse.TEST_ONLY, nonce=session.nonce
    )
    claims = ear_claims(judgement, issued_at=AT)
    assert claims["ear_status"] == "contraindicated"
    assert claims["submods"]["gpu-0"]["ear_status"] == "contraindicated"
    assert claims["submods"]["gpu-0"]["ear_trustworthiness_vector"] == {"hardware": 99}
    assert claims["submods"]["gpu-0"]["ear_verifier_claims"]["reasons"] == ["nvidia-gpu.signature"]
    assert "ear_attester_claims" not in claims["submods"]["gpu-0"]
    assert claims["submods"]["gpu-1"]["ear_status"] == "none"
    verify_ear(issue_ear(judgement, signer=world.issuer, issued_at=AT), key=world.issuer.public)


def test_missing_reference_values_are_a_warning_at_most(shared, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine(monkeypatch)
    from attest.decision import Deny

    reason = Reason("nvidia-gpu.driver-rim", Outcome.CANNOT_DECIDE, "no manifest", subject="gpu-0")
    judgement: Judgement = replace(
        shared.judgement, decision=Deny((reason,), shared.permit.policy, "weights/model-a", shared.permit.answers)
    )
    claims = ear_claims(judgement, issued_at=AT)
    assert claims["submods"]["gpu-0"]["ear_status"] == "warning"
    assert claims["ear_status"] == "warning"


# -- reading --------------------------------------------------------------------------------------------------------------


def edited(world: Any, session: Any, change: Callable[[dict[str, Any]], object]) -> str:
    payload = session.ear.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    change(claims)
    return str(world.issuer.sign(json.dumps(claims).encode(), typ=TYPE))


def test_round_trip(world, shared) -> None:
    ear = verify_ear(shared.ear, key=world.issuer.public)
    assert ear.status is Tier.CONTRAINDICATED
    assert ear.issued_at == AT
    assert set(ear.submods) == {"cpu", "gpu-0", "gpu-1"}
    assert dict(ear.claims) == ear_claims(shared.judgement, issued_at=AT)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.update(eat_profile="tag:ietf.org,2026:rats/ear#03"), "ear.profile"),
        (lambda c: c.update(eat_profile="tag:github.com,2023:veraison/ear"), "ear.profile"),
        (lambda c: c.pop("eat_profile"), "ear.form"),
        (lambda c: c.update({"ear.status": "affirming"}), "ear.dialect"),
        (lambda c: c["submods"]["cpu"].update({"ear.status": "affirming"}), "ear.dialect"),
        (lambda c: c["submods"]["cpu"].update({"ear.trustworthiness-vector": {}}), "ear.dialect"),
        (lambda c: c["submods"]["cpu"].update(ear_status="affirming"), "ear.status"),
        (lambda c: c["submods"]["cpu"].update(ear_status="warning"), "ear.status"),
        (lambda c: c["submods"]["cpu"].update(ear_status="none"), "ear.status"),
        (lambda c: c.update(ear_status="affirming"), "ear.status"),
        (lambda c: c.update(ear_status="warning"), "ear.status"),
        (lambda c: c.update(submods={}), "ear.form"),
        (lambda c: c.pop("submods"), "ear.form"),
        (lambda c: c["submods"].update(more=["JWT", "a.b.c"]), "ear.form"),
        (lambda c: c["submods"]["cpu"].pop("ear_status"), "ear.form"),
        (lambda c: c["submods"]["cpu"].pop("ear_trustworthiness_vector"), "ear.form"),
        (lambda c: c["submods"]["cpu"].update(ear_trustworthiness_vector={}), "ear.form"),
        (lambda c: c["submods"]["cpu"]["ear_trustworthiness_vector"].update(hardware=128), "ear.form"),
        (lambda c: c["submods"]["cpu"]["ear_trustworthiness_vector"].update(hardware="2"), "ear.form"),
        (lambda c: c["submods"]["cpu"]["ear_trustworthiness_vector"].update(luck=2), "ear.form"),
        (lambda c: c["submods"]["cpu"].update(ear_status="trusted"), "ear.form"),
        (lambda c: c.pop("ear_status"), "ear.form"),
        (lambda c: c.pop("iat"), "ear.form"),
        (lambda c: c.update(iat=1.5), "ear.form"),
        (lambda c: c.clear(), "ear.form"),
    ],
)
def test_what_is_refused(world, shared, change: Callable[[dict[str, Any]], object], code: str) -> None:
    with pytest.raises(AttestError) as refused:
        verify_ear(edited(world, shared, change), key=world.issuer.public)
    assert refused.value.code == code


def test_other_keys_and_tokens(world, shared) -> None:
    with pytest.raises(NotAuthenticError) as wrong:
        verify_ear(shared.ear, key=IssuerPrivateKey.generate().public)
    assert wrong.value.code == "ear.signature"
    with pytest.raises(MalformedError) as other:
        verify_ear(shared.token, key=world.issuer.public)
    assert other.value.code == "ear.form"


@given(st.dictionaries(st.sampled_from(list(Trait)), st.integers(-128, 127), min_size=1), st.sampled_from(list(Tier)))
def test_no_status_is_better_than_its_vector(vector: dict[Trait, int], status: Tier) -> None:
    """For any vector: the reader accepts exactly the statuses that are no better than it."""
    key = IssuerPrivateKey.generate() if not _KEYS else _KEYS[0]
    _KEYS[:] = [key]
    submod = {"ear_status": status.value, "ear_trustworthiness_vector": {name.value: value for name, value in vector.items()}}
    claims = {"eat_profile": PROFILE, "iat": 1, "ear_status": "contraindicated", "submods": {"cpu": submod}}
    text = key.sign(json.dumps(claims).encode(), typ=TYPE)
    order = list(Tier)
    if order.index(status) >= order.index(tier_of_vector(vector)):
        assert verify_ear(text, key=key.public).submods["cpu"][0] is status
    else:
        with pytest.raises(AttestError) as refused:
            verify_ear(text, key=key.public)
        assert refused.value.code == "ear.status"


_KEYS: list[IssuerPrivateKey] = []
