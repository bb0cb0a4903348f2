"""The decision: `Permit` or `Deny`, and the one function that makes a `Permit`.

Host rules H5 and H6 live here: exactly one answer per expected subject, and all of them yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.appraisal import Appraisal
from attest.bundle import WORKLOAD
from attest.crypto import sha256
from attest.errors import Outcome, Reason, worst
from attest.wire import Json, canonical_json, format_time


class Action(StrEnum):
    """What a policy is asked."""

    ACCEPT = "accept"  # about each device
    RELEASE = "release"  # about the workload as a whole


@dataclass(frozen=True, slots=True)
class PolicyIdentity:
    """Which policy decided: name, serial, and hex SHA-256 digests of rules (canonical form), reference data and schema."""

    name: str
    serial: int
    rules_digest: str
    reference_digest: str
    schema_digest: str
    engine: str

    def as_dict(self) -> dict[str, Json]:
        """JSON form, part of tokens, records and ``--json`` output."""
        return {
            "name": self.name,
            "serial": self.serial,
            "rules": self.rules_digest,
            "reference": self.reference_digest,
            "schema": self.schema_digest,
            "engine": self.engine,
        }

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the canonical JSON form."""
        return sha256(canonical_json(self.as_dict())).hex()


@dataclass(frozen=True, slots=True)
class Answer:
    """The policy's answer to one request. ``rules`` are the ids that determined it; ``reasons`` say why not (empty on yes)."""

    action: Action
    subject: str
    allowed: bool
    rules: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()


_SEAL: Final = object()


class Permit:
    """Yes: every device and the workload satisfied the floor and the policy. Immutable; made only by :func:`decide`.

    ``key`` is the name of the key that the policy was asked about; the permit is good for no other.
    """

    __slots__ = ("answers", "appraisal", "digest", "key", "policy")

    appraisal: Appraisal
    policy: PolicyIdentity
    key: str
    answers: tuple[Answer, ...]
    digest: str

    def __init__(self, seal: object, appraisal: Appraisal, policy: PolicyIdentity, key: str, answers: tuple[Answer, ...]) -> None:
        if seal is not _SEAL:
            raise TypeError("Permit is made by decide() only")
        body = canonical_json(_body("permit", appraisal, policy, key, answers, ()))
        for name, value in (
            ("appraisal", appraisal),
            ("policy", policy),
            ("key", key),
            ("answers", answers),
            ("digest", sha256(body).hex()),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Permit is immutable")

    def __reduce__(self) -> str:
        raise TypeError("Permit cannot be copied or pickled: decide again")

    def __repr__(self) -> str:
        return f"<Permit {self.key} {self.digest[:12]}>"

    def body(self) -> Json:
        """What the digest covers."""
        return _body("permit", self.appraisal, self.policy, self.key, self.answers, ())


@dataclass(frozen=True, slots=True)
class Deny:
    """No, with every reason that is known. ``answers`` is empty when the policy was not asked."""

    reasons: tuple[Reason, ...]
    policy: PolicyIdentity | None = None
    key: str = ""
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        if not self.reasons:
            raise ValueError("a denial without a reason")

    @property
    def outcome(self) -> Outcome:
        """The worst of the reasons."""
        return worst([reason.outcome for reason in self.reasons])


def decide(appraisal: Appraisal, *, policy: PolicyIdentity, key: str, answers: Sequence[Answer]) -> Permit | Deny:
    """Permit exactly when the floor has no finding and the policy allowed every expected request (H5, H6).

    ``answers`` must hold one answer per device of the appraisal, in order, and then the release answer; anything else is a bug of
    the caller and raises AssertionError.
    """
    if type(appraisal) is not Appraisal:
        raise TypeError("decide() takes an Appraisal")
    expected = [(Action.ACCEPT, device.subject) for device in appraisal.devices] + [(Action.RELEASE, WORKLOAD)]
    if [(answer.action, answer.subject) for answer in answers] != expected:
        raise AssertionError("one answer per expected request")
    reasons = list(appraisal.findings)
    for answer in answers:
        if answer.allowed is not True and not answer.reasons:
            raise AssertionError("a refusal without a reason")
        if answer.allowed is True and answer.reasons:
            raise AssertionError("a yes with reasons against it")
        reasons += answer.reasons
    if not appraisal.devices:
        raise AssertionError("an appraisal without devices")
    if reasons or not all(answer.allowed is True for answer in answers):
        return Deny(tuple(reasons), policy, key, tuple(answers))
    return Permit(_SEAL, appraisal, policy, key, tuple(answers))


def _body(
    decision: str, appraisal: Appraisal, policy: PolicyIdentity, key: str, answers: tuple[Answer, ...], reasons: tuple[Reason, ...]
) -> Json:
    devices: list[Json] = [
        {
            "subject": device.subject,
            "kind": device.kind,
            "statement": device.statement.hex(),
            "evidence": device.evidence_digest,
            "chain": list(device.chain),
            "collateral": list(device.collateral),
        }
        for device in appraisal.devices
    ]
    return {
        "format": "attest-decision/1",
        "decision": decision,
        "key": key,
        "at": format_time(appraisal.at),
        "bundle": appraisal.bundle_digest,
        "trust": appraisal.trust_digest,
        "nonce": appraisal.nonce.hex(),
        "recipient": appraisal.recipient.thumbprint if appraisal.recipient else "",
        "policy": policy.as_dict(),
        "simulated": appraisal.simulated,
        "devices": devices,
        "answers": [{"action": a.action.value, "subject": a.subject, "allowed": a.allowed, "rules": list(a.rules)} for a in answers],
        "reasons": [dict(reason.as_dict()) for reason in reasons],
    }


def summary(answers: Sequence[Answer]) -> Mapping[str, bool]:
    """Subject to yes or no, for display."""
    return {answer.subject: answer.allowed for answer in answers}
