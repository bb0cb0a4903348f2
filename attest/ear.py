"""A judgement as an EAT attestation result (EAR), for relying parties that know the standard and not this software.

Format: draft-ietf-rats-ear-04, JWT, ES384; the trustworthiness vector is that of draft-ietf-rats-ar4si-10. How claims map to the vector
is a table in docs/ear.md. A status is never better than the worst of its vector, and never better than what the floor and the
policy said: a device that was refused is contraindicated whatever its vector says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from attest import limits
from attest.checks import Check
from attest.crypto import sha256
from attest.decision import Action, Deny, Permit, PolicyIdentity
from attest.errors import MalformedError, Outcome, Reason
from attest.evidence import Claims, ClaimValue, Debug, Measurements, Revocation, Scope, Verified
from attest.jose import IssuerKey, IssuerPrivateKey, form_failure, verify_jws
from attest.kinds import kind_named
from attest.verifier import DeviceResult, Judgement
from attest.version import NAME, software_version
from attest.wire import Fields, Json, base64url, canonical_json, format_time

PROFILE: Final = "tag:ietf.org,2026:rats/ear#04"
TYPE: Final = "eat+jwt"  # RFC 9782 section 4
SESSION: Final = "attest_session"
"""Name of our own extension claim: what holds for the session as a whole."""

_DRAFT: Final = "draft-ietf-rats-ear-04 section 3"

EAR_FORM: Final = Check("ear.form", "form of the attestation result", _DRAFT, Outcome.MALFORMED, "take the result again from its verifier")
EAR_SIGNATURE: Final = Check(
    "ear.signature", "signature of the attestation result", "RFC 7515 section 5.2", fix="check whose key the verifier has"
)
EAR_PROFILE: Final = Check("ear.profile", "profile of the attestation result", _DRAFT, Outcome.MALFORMED, f"ask for profile {PROFILE}")
EAR_DIALECT: Final = Check(
    "ear.dialect", "one dialect of claim names", _DRAFT, Outcome.MALFORMED, "a result has the names of one profile, never two sets of them"
)
EAR_STATUS: Final = Check(
    "ear.status", "status no better than what it sums up", _DRAFT, Outcome.REFUSED, "do not rely on a verifier that inflates its results"
)
EAR_CHECKS: Final = (EAR_FORM, EAR_SIGNATURE, EAR_PROFILE, EAR_DIALECT, EAR_STATUS)


class Tier(StrEnum):
    """Trustworthiness tiers (AR4SI section 3.2), from the most to the least trust."""

    AFFIRMING = "affirming"
    NONE = "none"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


class Trait(StrEnum):
    """Members of the trustworthiness vector (AR4SI section 3.1)."""

    INSTANCE_IDENTITY = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    FILE_SYSTEM = "file-system"
    HARDWARE = "hardware"
    RUNTIME_OPAQUE = "runtime-opaque"
    STORAGE_OPAQUE = "storage-opaque"
    SOURCED_DATA = "sourced-data"


Vector = Mapping[Trait, int]

_LEAST_TRUST: Final = tuple(Tier)


def tier_of(value: int) -> Tier:
    """Tier of a vector's value, -128..127 (AR4SI section 2.3.2)."""
    if -1 <= value <= 1:
        return Tier.NONE
    if -32 <= value < 32:
        return Tier.AFFIRMING
    return Tier.WARNING if -96 <= value < 96 else Tier.CONTRAINDICATED


def worst_tier(tiers: Sequence[Tier]) -> Tier:
    """The one with the least trust; affirming when there is none to speak against it."""
    return max(tiers, key=_LEAST_TRUST.index, default=Tier.AFFIRMING)


def tier_of_vector(vector: Vector) -> Tier:
    """Tier of the worst value; 0 means that there is no claim, and a vector without claims has no tier."""
    return worst_tier([tier_of(value) for value in vector.values() if value] or [Tier.NONE])


# -- mapping (docs/ear.md) ------------------------------------------------------------------------------------------------


def vector_of(device: DeviceResult, *, accepted: bool) -> Vector:
    """Vector of one device; ``accepted`` says that a policy was asked about it and said yes. What nothing shows is left out."""
    if device.verified is None:
        outcomes = {reason.outcome for reason in device.error.reasons} if device.error else set()
        return {Trait.HARDWARE: 99 if Outcome.NOT_AUTHENTIC in outcomes else 1 if Outcome.MALFORMED in outcomes else 0}
    claims, values = device.verified.claims, device.verified.claims.values()
    vector: dict[Trait, int] = {}
    if claims.simulated:
        vector[Trait.HARDWARE] = vector[Trait.INSTANCE_IDENTITY] = 97
    elif claims.revocation is Revocation.GOOD:
        vector[Trait.HARDWARE] = 2
        if claims.device_id:
            vector[Trait.INSTANCE_IDENTITY] = 2
    if claims.debug is Debug.ON:
        vector[Trait.CONFIGURATION] = 96
    elif claims.debug is Debug.OFF and accepted:
        vector[Trait.CONFIGURATION] = 2
    measured = [value for value in values.values() if isinstance(value, Measurements)]
    if Measurements.MISMATCH in measured:
        vector[Trait.EXECUTABLES] = 33
    elif measured and set(measured) == {Measurements.MATCH}:
        vector[Trait.EXECUTABLES] = 2
    elif not measured and accepted:
        vector[Trait.EXECUTABLES] = 3
    if _encrypts_memory(device.verified) and claims.debug is not Debug.UNKNOWN:
        vector[Trait.RUNTIME_OPAQUE] = 2 if claims.debug is Debug.OFF else 96
    return vector or {Trait.HARDWARE: 0}


def _encrypts_memory(device: Verified[Claims]) -> bool:
    kind = kind_named(device.kind)
    return kind is not None and kind.scope is Scope.WORKLOAD


def _refusal(reasons: Sequence[Reason]) -> Tier:
    """What reasons against a device or session make of its status."""
    if not reasons:
        return Tier.AFFIRMING
    return Tier.WARNING if all(reason.outcome is Outcome.CANNOT_DECIDE for reason in reasons) else Tier.CONTRAINDICATED


# -- writing --------------------------------------------------------------------------------------------------------------


def ear_claims(judgement: Judgement, *, issued_at: datetime) -> dict[str, Json]:
    """The claims of the result: one submodule for each device under its label, and the overall status."""
    decision, bundle = judgement.decision, judgement.bundle
    policy = decision.policy if decision is not None else None
    accepted = {a.subject for a in decision.answers if a.action is Action.ACCEPT and a.allowed is True} if decision is not None else set()
    submods: dict[str, Json] = {}
    tiers = [_refusal(judgement.reasons) if decision is not None else Tier.NONE]
    for device in judgement.devices:
        own = tuple(reason for reason in judgement.reasons if reason.subject == device.evidence.label)
        tier, submods[device.evidence.label] = _submod(device, own, accepted=device.evidence.label in accepted, policy=policy)
        tiers.append(tier)
    claims: dict[str, Json] = {
        "eat_profile": PROFILE,
        "iat": int(issued_at.timestamp()),
        "ear_status": worst_tier(tiers).value,
        "ear_verifier_id": {"developer": NAME, "build": f"{NAME} {software_version()}"},
        "submods": submods,
        SESSION: _session(judgement),
    }
    if bundle.nonce is not None:
        claims["eat_nonce"] = base64url(bundle.nonce)
    return claims


def issue_ear(judgement: Judgement, *, signer: IssuerPrivateKey, issued_at: datetime) -> str:
    """The result as a signed JWT."""
    return signer.sign(canonical_json(ear_claims(judgement, issued_at=issued_at)), typ=TYPE)


def policy_uri(policy: PolicyIdentity) -> str:
    """Name of a policy as RFC 6920 URI: SHA-256 over the canonical JSON of its identity."""
    return f"ni:///sha-256;{base64url(sha256(canonical_json(policy.as_dict())))}"


def _submod(device: DeviceResult, reasons: Sequence[Reason], *, accepted: bool, policy: PolicyIdentity | None) -> tuple[Tier, Json]:
    vector = vector_of(device, accepted=accepted)
    decided = Tier.AFFIRMING if accepted else Tier.NONE
    tier = worst_tier([tier_of_vector(vector), decided, _refusal(reasons)])
    submod: dict[str, Json] = {
        "ear_status": tier.value,
        "ear_trustworthiness_vector": {trait.value: value for trait, value in vector.items()},
        "ear_verifier_claims": {
            "kind": device.evidence.kind,
            "evidence": device.evidence.digest,
            "checks": _checks(device),
            "reasons": _codes(reasons),
        },
    }
    if policy is not None:
        submod["ear_appraisal_policy_ids"] = [policy_uri(policy)]
    if device.verified is not None:
        submod["eat_nonce"] = base64url(device.verified.freshness)
        submod["ear_attester_claims"] = {name: _claim(value) for name, value in device.verified.claims.values().items()}
    return tier, submod


def _checks(device: DeviceResult) -> dict[str, Json]:
    if device.verified is not None:
        return {result.check.id: result.status.value for result in device.verified.checks}
    return {name: status for name, status, _ in device.error.done} if device.error else {}


def _codes(reasons: Sequence[Reason]) -> list[Json]:
    return list[Json](sorted({reason.code for reason in reasons}))


def _claim(value: ClaimValue) -> Json:
    if isinstance(value, frozenset):
        return list[Json](sorted(value))
    # Packed versions reach beyond 2**53, which JSON numbers of other readers cannot say (RFC 8785 section 3.2.2.3).
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53 else value


def _session(judgement: Judgement) -> Json:
    decision, appraisal = judgement.decision, judgement.appraisal
    return {
        "judged_at": format_time(judgement.at),
        "bundle": judgement.bundle.digest,
        "trust": judgement.trust.digest,
        "decision": "permit" if isinstance(decision, Permit) else "deny" if isinstance(decision, Deny) else "none",
        "decision_digest": decision.digest if isinstance(decision, Permit) else "",
        "key": decision.key if decision is not None else "",
        "simulated": judgement.trust.simulated,
        "floor": {result.check.id: result.status.value for result in appraisal.checks} if appraisal is not None else {},
        "reasons": _codes(judgement.reasons),
    }


# -- reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ear:
    """An attestation result whose signature and inner consistency were checked; made by :func:`verify_ear`.

    ``submods`` maps each label to its status and vector; ``claims`` is everything that it says.
    """

    status: Tier
    issued_at: datetime
    submods: Mapping[str, tuple[Tier, Vector]]
    claims: Mapping[str, Json]


def verify_ear(text: str, *, key: IssuerKey) -> Ear:
    """Check a result in our profile, signed by ``key``.

    Raises the failure of ``ear.form``, ``-signature``, ``-profile``, ``-dialect`` (names of an older profile) or ``-status`` (better than
    its vector or its submodules).
    """
    payload = verify_jws(text, key=key, typ=TYPE, limit=limits.MAX_EAR_BYTES, form=EAR_FORM, signature=EAR_SIGNATURE)
    try:
        fields = Fields.parse(payload, "attestation result", limit=limits.MAX_EAR_BYTES)
        return _read(fields)
    except MalformedError as error:
        raise (error if error.code.startswith("ear.") else form_failure(EAR_FORM, error)) from None


def _read(fields: Fields) -> Ear:
    profile = fields.text("eat_profile")
    EAR_PROFILE.require(profile == PROFILE, found=profile, expected=PROFILE)
    _one_dialect(fields)
    submods = fields.object("submods")
    EAR_FORM.require(bool(submods.names()), found="no submodule", expected="one for each device", where=submods.path)
    read: dict[str, tuple[Tier, Vector]] = {}
    for label in submods.names():
        submod = submods.object(label)
        _one_dialect(submod)
        status, members = submod.choice("ear_status", Tier), submod.object("ear_trustworthiness_vector")
        vector = {Trait(name): members.integer(name, least=-128, most=127) for name in _traits(members)}
        EAR_FORM.require(bool(vector), found="an empty vector", expected="what the status rests on", where=submod.path)
        _no_better(status, tier_of_vector(vector), submod.path)
        read[label] = status, MappingProxyType(vector)
    overall = fields.choice("ear_status", Tier)
    _no_better(overall, worst_tier([status for status, _ in read.values()]), fields.path)
    issued = datetime.fromtimestamp(fields.integer("iat", most=253_402_300_799), UTC)
    return Ear(overall, issued, MappingProxyType(read), MappingProxyType({name: fields.value(name) for name in fields.names()}))


def _traits(members: Fields) -> tuple[str, ...]:
    unknown = [name for name in members.names() if name not in set(Trait)]
    EAR_FORM.require(not unknown, found=", ".join(unknown[:4]), expected=", ".join(Trait), where=members.path)
    return members.names()


def _one_dialect(fields: Fields) -> None:
    older = [name for name in fields.names() if name.startswith("ear.")]
    EAR_DIALECT.require(not older, found=", ".join(older[:4]), expected="names that begin with ear_", where=fields.path)


def _no_better(status: Tier, worst: Tier, where: str) -> None:
    EAR_STATUS.require(_LEAST_TRUST.index(status) >= _LEAST_TRUST.index(worst), found=status, expected=f"{worst} or worse", where=where)
