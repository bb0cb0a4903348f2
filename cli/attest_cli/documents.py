"""The documents that ``--json`` prints, as types: docs/json.md and docs/schemas/ are made from this module.

Text and HTML are rendered from the same documents, so no form says more than another. Members are always there: what does not
apply is an empty text, an empty list or null. Binary values are lower-case hex, times are UTC with whole seconds. A later version may add
members under the same schema name; it never removes, renames or re-types one.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

Hex = Annotated[str, "lower-case hex"]
Time = Annotated[str, "YYYY-MM-DDTHH:MM:SSZ"]
Verdict = Literal["permit", "authentic", "malformed", "not-authentic", "refused", "cannot-decide"]
Scope = Literal["workload", "boot", "device", "unknown"]
CheckStatus = Literal["passed", "failed", "not-checked", "not-reached"]
ClaimValue = bool | int | str | list[str]


class ReasonDoc(TypedDict):
    """One thing that was wrong."""

    code: Annotated[str, "stable id of the check or rule; 'attest checks CODE' explains it"]
    outcome: Literal["malformed", "not-authentic", "refused", "cannot-decide"]
    message: str
    subject: Annotated[str, "device or object: gpu-3, cpu, workload"]
    where: Annotated[str, "place in the evidence"]
    found: str
    expected: str
    fix: Annotated[str, "the next step"]
    rule: Annotated[str, "rule of the policy, when a rule refused"]


class CheckDoc(TypedDict):
    """One check and what became of it."""

    id: str
    title: str
    status: Annotated[CheckStatus, "not-reached: an earlier check of the same device failed"]
    detail: Annotated[str, "what the pass rests on, or why it was not checked"]
    limitation: Annotated[bool, "true when no evidence can show it: never checked, blocks nothing"]


class DeviceDoc(TypedDict):
    """One device of the bundle."""

    subject: str
    kind: str
    title: Annotated[str, "the kind in words"]
    scope: Annotated[Scope, "workload: a CPU TEE; boot: a TPM; device: an accelerator"]
    authentic: bool
    outcome: Annotated[
        Literal["authentic", "malformed", "not-authentic", "refused", "cannot-decide"], "why it is not authentic, or 'authentic'"
    ]
    simulated: bool
    evidence: Annotated[Hex, "SHA-256 of the evidence as received"]
    statement: Annotated[Hex, "SHA-384 over the signed bytes; empty when not authentic"]
    freshness: Annotated[Hex, "the signed field that the requester chose; empty when not authentic"]
    chain: Annotated[list[Hex], "SHA-256 of every certificate, leaf first, root last; empty when not authentic"]
    collateral: Annotated[list[Hex], "SHA-256 of every piece of collateral that the result rests on"]
    valid_until: Annotated[Time, "earliest end of validity among certificates and collateral; empty when not authentic"]
    claims: Annotated[dict[str, ClaimValue], "what the hardware vouches for; empty when not authentic"]
    checks: Annotated[list[CheckDoc], "every check of the kind, in the order of its declaration"]
    reasons: list[ReasonDoc]


class RecipientDoc(TypedDict):
    """The public key that a release would be wrapped to."""

    kem: str
    thumbprint: Hex


class BundleDoc(TypedDict):
    """What the bundle says about itself: untrusted."""

    digest: Hex
    origin: Literal["recorded", "simulated"]
    recorded_at: Annotated[Time, "as the collector says; empty when nobody said"]
    binding: str
    nonce: Annotated[Hex, "empty when there is none"]
    recipient: RecipientDoc | None
    note: str


class TrustDoc(TypedDict):
    """The trust store that was used."""

    name: str
    origin: Literal["production", "simulated"]
    digest: Hex


class AnswerDoc(TypedDict):
    """The policy's answer to one request."""

    action: Literal["accept", "release"]
    subject: str
    allowed: bool
    rules: Annotated[list[str], "rules that determined the answer"]


class PolicyDoc(TypedDict):
    """Which policy was asked, for which key, and what it answered."""

    name: str
    serial: int
    rules: Annotated[Hex, "SHA-256 of the canonical rules"]
    reference: Annotated[Hex, "SHA-256 of the reference data"]
    schema: Annotated[Hex, "SHA-256 of the schema"]
    engine: str
    key: str
    answers: Annotated[list[AnswerDoc], "empty when a device was not authentic: the policy was then not asked"]


class NotCheckedDoc(TypedDict):
    """Something that was not checked."""

    subject: str
    id: str
    title: str
    why: str


class VerdictDoc(TypedDict):
    """The judgement of one bundle."""

    source: Annotated[str, "the argument as it was given"]
    verdict: Annotated[Verdict, "'authentic': nothing speaks against the evidence, but no policy was asked, so it is no permission"]
    exit_code: int
    permitted: Annotated[bool, "true only when the floor and a policy said yes to everything"]
    authentic: Annotated[bool, "true when every device of the bundle is authentic"]
    simulated: Annotated[bool, "true when the evidence or the trust store is simulated: it then says nothing about hardware"]
    at: Annotated[Time, "the time for which it was judged"]
    use: Annotated[Literal["production", "test-only"], "what the key may be released to"]
    trust: TrustDoc
    bundle: Annotated[BundleDoc | None, "null when it could not be read"]
    devices: list[DeviceDoc]
    workload: Annotated[dict[str, ClaimValue], "claims about the session as a whole; empty when a device is not authentic"]
    floor: Annotated[list[CheckDoc], "checks that no policy lowers; empty when a device is not authentic"]
    policy: PolicyDoc | None
    decision: Annotated[Hex, "digest of the permit; empty without one"]
    reasons: Annotated[list[ReasonDoc], "everything that speaks against a release; empty on permit"]
    not_checked: Annotated[list[NotCheckedDoc], "what could not be checked for want of material"]
    unprovable: Annotated[list[NotCheckedDoc], "what no evidence can show, for anybody"]
    again: Annotated[str, "command that judges it again"]


class VerifyDoc(TypedDict):
    """attest verify"""

    schema: Literal["attest-verify/1"]
    exit_code: Annotated[int, "of the process: the worst of the results"]
    results: list[VerdictDoc]


class InspectedDoc(TypedDict):
    """One report as it was read, unverified."""

    subject: str
    kind: str
    title: str
    evidence: Annotated[Hex, "SHA-256 of the evidence as received"]
    parts: Annotated[dict[str, int], "size of every part in bytes"]
    fields: Annotated[dict[str, str], "field of the report to readable value; empty when it is malformed"]
    reasons: Annotated[list[ReasonDoc], "why it could not be read"]


class CollateralDoc(TypedDict):
    """One piece of collateral, unverified."""

    type: str
    name: str
    digest: Hex
    size: int
    fetched_at: Time


class InspectDoc(TypedDict):
    """attest inspect"""

    schema: Literal["attest-inspect/1"]
    verified: Annotated[Literal[False], "always false: nothing in this document was checked"]
    source: str
    bundle: Annotated[BundleDoc | None, "null when the file is a bare report"]
    devices: list[InspectedDoc]
    collateral: list[CollateralDoc]


class AnchorDoc(TypedDict):
    """One pinned root."""

    role: str
    name: str
    spki_sha256: Annotated[Hex, "SHA-256 over the SubjectPublicKeyInfo"]


class TrustListDoc(TypedDict):
    """attest trust list"""

    schema: Literal["attest-trust-list/1"]
    name: str
    origin: Literal["production", "simulated"]
    digest: Hex
    anchors: list[AnchorDoc]


class CheckInfoDoc(TypedDict):
    """One check as it is defined."""

    id: str
    title: str
    source: Annotated[str, "specification and section that the rule comes from"]
    outcome: Literal["malformed", "not-authentic", "refused", "cannot-decide"]
    exit_code: int
    fix: str
    limitation: bool
    room: Annotated[str, "who checks it: a kind of evidence, floor, ledger, release, ..."]


class ChecksDoc(TypedDict):
    """attest checks"""

    schema: Literal["attest-checks/1"]
    checks: list[CheckInfoDoc]


class DoctorItemDoc(TypedDict):
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "note", "problem"]
    found: str
    fix: str


class DoctorDoc(TypedDict):
    """attest doctor"""

    schema: Literal["attest-doctor/1"]
    exit_code: Annotated[int, "6 when there is a problem, otherwise 0"]
    items: list[DoctorItemDoc]


class FindingDoc(TypedDict):
    """One thing that is wrong with a policy."""

    code: Annotated[str, "P1xx error, P2xx warning; docs/policies.md"]
    severity: Literal["error", "warning"]
    message: str
    file: str
    line: Annotated[int, "0: the file as a whole"]
    column: int
    rule: str
    found: str
    meant: str


class PolicyCheckDoc(TypedDict):
    """attest policy check"""

    schema: Literal["attest-policy-check/1"]
    exit_code: Annotated[int, "3 when there is an error, otherwise 0"]
    policy: Annotated[str, "name, empty when it does not load"]
    serial: int
    rules: Annotated[Hex, "digests, empty when it does not load"]
    reference: Hex
    findings: list[FindingDoc]


class PolicyInfoDoc(TypedDict):
    """One policy that ships."""

    name: str
    serial: int
    description: str
    owner: str
    topology: Annotated[dict[str, int], "kind of evidence to number of devices"]
    max_evidence_age: Annotated[int, "seconds"]
    digest: Annotated[Hex, "of the policy's identity: what keys are bound to"]
    folder: str


class PolicyListDoc(TypedDict):
    """attest policy list"""

    schema: Literal["attest-policy-list/1"]
    policies: list[PolicyInfoDoc]


class SimulatedDeviceDoc(TypedDict):
    """One simulated device."""

    subject: str
    kind: str


class SimulateDoc(TypedDict):
    """attest simulate node, attest simulate trust"""

    schema: Literal["attest-simulate/1"]
    simulated: Literal[True]
    pki: Annotated[str, "folder of the throw-away authorities"]
    trust: Annotated[str, "trust store to judge with: --trust"]
    bundle: Annotated[str, "where the bundle was written, empty for 'trust'"]
    digest: Hex
    nonce: Hex
    recipient: Annotated[str, "private key of the simulated node, empty when only the public one was given"]
    defect: str
    changes: Annotated[dict[str, str], "claims that were set"]
    devices: list[SimulatedDeviceDoc]


class DefectDoc(TypedDict):
    """One defect that a simulated node can have."""

    name: str
    check: Annotated[str, "code that must refuse it"]


class DefectsDoc(TypedDict):
    """attest simulate defects"""

    schema: Literal["attest-defects/1"]
    defects: list[DefectDoc]


class WantedDoc(TypedDict):
    """A piece of collateral that the evidence needs and that the bundle does not have under the name that a fetch would give it."""

    type: str
    name: str
    host: Annotated[str, "its publisher"]
    why: Annotated[str, "why it could not be had; empty when nobody tried"]


class KeptDoc(TypedDict):
    """A piece of collateral that the bundle has, unverified."""

    type: str
    name: str
    digest: Hex
    size: int
    fetched_at: Time
    until: Annotated[Time, "as the piece itself says; empty when it does not say"]
    added: Annotated[bool, "true when this command fetched it"]


class CollateralStatusDoc(TypedDict):
    """attest collateral status, attest collateral fetch"""

    schema: Literal["attest-collateral/1"]
    exit_code: Annotated[int, "6 when a piece could not be fetched, otherwise 0"]
    source: str
    bundle: Annotated[str, "where the completed bundle was written, empty for status"]
    digest: Hex
    kept: list[KeptDoc]
    fetchable: Annotated[list[WantedDoc], "what a fetch would ask its publisher for; after a fetch, what could not be had"]
