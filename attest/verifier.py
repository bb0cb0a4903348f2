"""The whole way from a bundle to a decision, in one place: verify every device, appraise the session, ask the policy.

Reads no clock, no network and no environment; everything it needs is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attest.appraisal import Appraisal, Expectation, KeyUse, appraise
from attest.bundle import Bundle
from attest.decision import Answer, Deny, Permit, PolicyIdentity, decide
from attest.errors import AttestError, MalformedError, Reason
from attest.evidence import Claims, Evidence, Verified
from attest.kinds import KINDS, kind_named
from attest.trust import TrustStore

if TYPE_CHECKING:
    from attest.policy.bundle import Policy  # whoever hands a policy in has loaded its engine; nobody else pays for it


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """One device of a bundle: verified, or the error that refused it. Exactly one of the two is set."""

    evidence: Evidence
    verified: Verified[Claims] | None
    error: AttestError | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that judging a bundle showed.

    ``appraisal`` is None when a device is not authentic. ``decision`` is None only when no policy was asked and nothing spoke against
    the evidence: authentic, and no permission.
    """

    bundle: Bundle
    trust: TrustStore
    at: datetime
    devices: tuple[DeviceResult, ...]
    appraisal: Appraisal | None
    decision: Permit | Deny | None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why not; empty on yes."""
        return self.decision.reasons if isinstance(self.decision, Deny) else ()


def verify_device(evidence: Evidence, bundle: Bundle, *, trust: TrustStore, at: datetime) -> DeviceResult:
    """Parse and verify one device; its error, if any, names it."""
    kind = kind_named(evidence.kind)
    if kind is None:
        error = MalformedError.at(
            "evidence.kind", "unknown kind of evidence", found=evidence.kind, expected=", ".join(known.name for known in KINDS)
        )
        return DeviceResult(evidence, None, error.about(evidence.label))
    try:
        surplus = sorted(set(evidence.parts) - set(kind.parts))
        if surplus:
            raise MalformedError.at(
                "evidence.part-surplus",
                "evidence has parts that its kind does not have",
                found=", ".join(surplus),
                expected=", ".join(kind.parts),
            )
        return DeviceResult(evidence, kind.verify(evidence, trust=trust, collateral=bundle.collateral, at=at), None)
    except AttestError as refused:
        return DeviceResult(evidence, None, refused.about(evidence.label))


def judge(
    bundle: Bundle,
    *,
    trust: TrustStore,
    at: datetime,
    policy: Policy | None,
    key: str,
    use: KeyUse,
    nonce: bytes | None,
    max_age: timedelta | None = None,
) -> Judgement:
    """Judge a bundle.

    policy    None asks for authenticity and the floor alone; the answer can then not be a permission
    key       name of the key that is asked for ("" without a policy)
    nonce     the nonce that this verifier issued for the session, None for replays of recordings
    max_age   age bound when there is no policy to state it
    """
    devices = tuple(verify_device(evidence, bundle, trust=trust, at=at) for evidence in bundle.evidence)
    identity: PolicyIdentity | None = policy.identity if policy else None
    refused = tuple(reason for device in devices if device.error for reason in device.error.reasons)
    if refused:
        return Judgement(bundle, trust, at, devices, None, Deny(refused, identity, key))
    bound = policy.max_evidence_age if policy else max_age
    if bound is None:
        raise AssertionError("no age bound")
    expectation = Expectation(policy.topology if policy else None, bound, nonce, use)
    verified = tuple(device.verified for device in devices if device.verified is not None)
    appraisal = appraise(bundle, verified, expectation=expectation, at=at)
    decision: Permit | Deny | None = None
    if policy is not None:
        answers: tuple[Answer, ...] = policy.evaluate(appraisal, key=key)
        decision = decide(appraisal, policy=policy.identity, key=key, answers=answers)
    elif appraisal.findings:
        decision = Deny(appraisal.findings, None, key)
    return Judgement(bundle, trust, at, devices, appraisal, decision)
