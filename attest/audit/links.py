"""Each link as one function: returns what was found, or raises why it is not so.

An error whose outcome is "cannot decide" leaves the link not checked; every other one breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attest import limits
from attest.appraisal import KeyUse
from attest.audit.checks import (
    BINDING,
    CERTIFICATE,
    CHECKPOINT,
    DECISION,
    ENTRY,
    INCLUSION,
    ISSUER_KEY,
    LEDGER_KEY,
    POLICY,
    RECIPIENT,
    REPORT,
    RESULT,
    ROOT,
    TIMES,
    TOKEN,
    WRAPPED,
)
from attest.binding import Binding, boot_field, device_field, workload_field
from attest.checks import Check, Status
from attest.crypto import same, sha256
from attest.decision import Permit, PolicyIdentity
from attest.ear import SESSION, ear_claims, verify_ear
from attest.errors import AttestError, CannotDecideError, MalformedError, Outcome, Reason, error_for
from attest.evidence import Claims, Scope, Verified
from attest.jose import IssuerKey
from attest.kinds import kind_named
from attest.ledger.checkpoint import verify_checkpoint
from attest.ledger.note import VerifierKey
from attest.ledger.proof import Receipt, verify_receipt
from attest.policy.bundle import Policy
from attest.release.record import Record, entry_of
from attest.release.suites import Suite
from attest.release.token import ReleaseToken
from attest.trust import TrustStore
from attest.verifier import DeviceResult, Judgement
from attest.wire import Fields, Json, canonical_json, format_time, json_value

STRICTEST: Final = KeyUse.PRODUCTION


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """What the recorded decision says; ``devices`` maps the subject to statement (hex) and chain fingerprints."""

    body: dict[str, Json]
    at: datetime
    trust: str
    bundle: str
    nonce: str
    recipient: str
    key: str
    policy: dict[str, Json]
    devices: dict[str, tuple[str, tuple[str, ...]]]

    @classmethod
    def read(cls, value: Json) -> RecordedDecision:
        """Read the members that links compare. Raises MalformedError."""
        fields = Fields(value, "decision")
        devices = {item.text("subject"): (item.text("statement"), item.texts("chain")) for item in fields.objects("devices")}
        policy = fields.value("policy")
        if not isinstance(value, dict) or not isinstance(policy, dict):
            raise MalformedError.at("record.form", "the recorded decision is not one")
        return cls(
            value,
            fields.time("at"),
            fields.text("trust"),
            fields.text("bundle"),
            fields.text("nonce"),
            fields.text("recipient"),
            fields.text("key"),
            policy,
            devices,
        )

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the canonical JSON."""
        return sha256(canonical_json(self.body)).hex()


@dataclass(frozen=True, slots=True)
class Replay:
    """A record, what the auditor brought, and what came out when everything was done again."""

    record: Record
    decision: RecordedDecision
    trust: TrustStore
    ledger_vkey: str | None
    pinned_issuer: IssuerKey | None
    token: ReleaseToken | AttestError
    policy: Policy | AttestError
    judgement: Judgement

    def good_token(self, check: Check) -> ReleaseToken:
        """The verified token; without one, ``check`` cannot be done."""
        if isinstance(self.token, AttestError):
            raise unknown(check, f"the token is not good: {self.token.reasons[0]}")
        return self.token

    @property
    def vkey(self) -> str:
        """The auditor's key of the ledger, or else the record's own."""
        return self.record.vkey if self.ledger_vkey is None else self.ledger_vkey


Link = Callable[[Replay], str]


def unknown(check: Check, found: str, *, fix: str = "") -> CannotDecideError:
    """``check`` could not be done."""
    reason = Reason(check.id, Outcome.CANNOT_DECIDE, f"not checked: {check.title}", found=found, fix=fix or check.fix)
    return CannotDecideError(reason)


# -- hardware -------------------------------------------------------------------------------------------------------------


def root(replay: Replay) -> str:
    """Every chain ends at a pinned root."""
    found = []
    for device in replay.judgement.devices:
        status = _chain_status(device)
        if status is None and device.error is not None:
            raise device.error
        ROOT.require(
            status is not None, found="no result of a chain check", expected="a chain to a pinned root", where=device.evidence.label
        )
        found.append(status or "")
    recorded, own = replay.decision.trust, replay.trust.digest
    store = (
        "the trust store of the decision"
        if recorded == own
        else f"decided under trust store {recorded[:16]}, checked under yours {own[:16]}"
    )
    return f"{len(found)} devices, {', '.join(sorted(set(found)))}; {store}"


def certificate(replay: Replay) -> str:
    """The certificates of every device are valid at the time of the decision, and are those that the decision names."""
    for device in replay.judgement.devices:
        verified, (_, chain) = _verified(device), _recorded(replay, device, CERTIFICATE)
        CERTIFICATE.require(
            verified.chain == chain, found=", ".join(chain), expected=", ".join(verified.chain), where=device.evidence.label
        )
    return f"{len(replay.judgement.devices)} chains, judged at {format_time(replay.decision.at)}"


def report(replay: Replay) -> str:
    """Every report is verified with all checks of its kind, and is the one that the decision names."""
    passed = 0
    for device in replay.judgement.devices:
        verified, (statement, _) = _verified(device), _recorded(replay, device, REPORT)
        REPORT.require(
            verified.statement.hex() == statement, found=statement, expected=verified.statement.hex(), where=device.evidence.label
        )
        against = [result.reason for result in verified.checks if result.reason is not None]
        if against:
            raise error_for(*against)
        passed += sum(result.status is Status.PASSED for result in verified.checks)
    surplus = sorted(set(replay.decision.devices) - {device.evidence.label for device in replay.judgement.devices})
    REPORT.require(not surplus, found=f"a decision about {', '.join(surplus)}", expected="a decision about the devices of the bundle")
    return f"{len(replay.judgement.devices)} reports, {passed} checks passed"


def binding(replay: Replay) -> str:
    """Every report carries the digest of nonce, recipient key and, for the CPU, of the set of all other devices."""
    bundle = replay.record.contents.bundle
    if bundle.nonce is None or bundle.recipient is None or bundle.binding is not Binding.ATTEST_1:
        raise BINDING.failure(found="a bundle that binds no recipient", expected=f"binding {Binding.ATTEST_1}")
    devices = [_verified(device) for device in replay.judgement.devices]
    for device in devices:
        others = [other.statement for other in devices if other is not device]
        if _scope(device) is Scope.DEVICE:
            expected = device_field(bundle.nonce, bundle.recipient)
        elif _scope(device) is Scope.BOOT:
            accelerators = [other.statement for other in devices if _scope(other) is Scope.DEVICE]
            expected = boot_field(bundle.nonce, bundle.recipient, accelerators)
        else:
            expected = workload_field(bundle.nonce, bundle.recipient, others)
        BINDING.require(same(device.freshness, expected), found=device.freshness.hex(), expected=expected.hex(), where=device.subject)
    return f"{len(devices)} of {len(devices)} reports bind recipient {bundle.recipient.thumbprint[:16]} and nonce {bundle.nonce.hex()[:16]}"


# -- from the recipient to the token --------------------------------------------------------------------------------------


def recipient(replay: Replay) -> str:
    """Bundle, decision and token name one recipient."""
    token_, own = replay.good_token(RECIPIENT), replay.record.contents.bundle.recipient
    RECIPIENT.require(
        own == token_.recipient, found=own.thumbprint if own else "none", expected=token_.recipient.thumbprint, where="bundle"
    )
    RECIPIENT.require(
        replay.decision.recipient == token_.recipient.thumbprint,
        found=replay.decision.recipient,
        expected=token_.recipient.thumbprint,
        where="decision",
    )
    return f"{token_.recipient.kem} {token_.recipient.thumbprint}"


def wrapped(replay: Replay) -> str:
    """The wrapped key names this recipient, token and key."""
    token_, own = replay.good_token(WRAPPED), replay.record.contents.wrapped
    for name, found, expected in (
        ("recipient", own.recipient, token_.recipient.thumbprint),
        ("token", own.token, token_.digest),
        ("key", own.key, token_.key),
        ("version", str(own.version), str(token_.key_version)),
        ("suite", own.suite.value, Suite.of(token_.recipient.kem).value),
    ):
        WRAPPED.require(found == expected, found=found, expected=expected, where=name)
    return f"{own.suite}, key {own.key} version {own.version}"


def token(replay: Replay) -> str:
    """The token is signed, was valid at the release, and names the evidence and the result of this record."""
    if isinstance(replay.token, AttestError):
        raise replay.token
    contents, decided = replay.record.contents, replay.decision
    for name, found, expected in (
        ("bundle", contents.bundle.digest, replay.token.bundle),
        ("bundle of the decision", decided.bundle, replay.token.bundle),
        ("nonce of the bundle", (contents.bundle.nonce or b"").hex(), replay.token.nonce.hex()),
        ("nonce of the decision", decided.nonce, replay.token.nonce.hex()),
        ("key of the decision", decided.key, replay.token.key),
        ("trust store of the decision", decided.trust, replay.token.trust),
        ("decision", decided.digest, replay.token.decision),
    ):
        TOKEN.require(found == expected, found=found, expected=expected, where=name)
    return f"{replay.token.issuer}, for broker {replay.token.audience}, jti {replay.token.jti}"


def issuer_key(replay: Replay) -> str:
    """The issuer's key is the one that the auditor pinned."""
    own = replay.record.contents.issuer_key
    if replay.pinned_issuer is None:
        raise unknown(ISSUER_KEY, f"no pinned key; the record names {own.thumbprint}")
    pinned = replay.pinned_issuer
    ISSUER_KEY.require(own == pinned, found=own.thumbprint, expected=pinned.thumbprint)
    return pinned.thumbprint


# -- decision -------------------------------------------------------------------------------------------------------------


def policy(replay: Replay) -> str:
    """The policy's files give the identity that token and decision name."""
    if isinstance(replay.policy, AttestError):
        raise replay.policy
    own, token_ = replay.policy.identity, replay.good_token(POLICY)
    recorded = replay.decision.policy
    digest = sha256(canonical_json(recorded)).hex()
    POLICY.require(digest == token_.policy, found=digest, expected=token_.policy, where="policy of the decision and of the token")
    current = own.as_dict()
    different = [name for name in current if recorded.get(name) != current[name]]
    if different and set(different) <= {"engine", "schema"}:
        raise unknown(
            POLICY,
            ", ".join(f"{name} {current[name]}, the decision had {recorded.get(name)}" for name in different),
            fix=f"audit with {replay.record.contents.statement.software}: rules and reference data are the same, the evaluator is not",
        )
    POLICY.require(
        own.digest == token_.policy, found=f"other {', '.join(different)}: {own.digest}", expected=token_.policy, where="policy files"
    )
    return f"{own.name} serial {own.serial}, {own.digest}"


def decision(replay: Replay) -> str:
    """Judged again, the bundle is permitted, and the decision is the recorded one to the last byte.

    The auditor's trust store may be another one than the verifier's, and name roots that did not exist then: its digest is not
    compared, for every device was verified under the auditor's own.
    """
    token_, own = replay.good_token(DECISION), replay.judgement.decision
    if isinstance(replay.policy, AttestError):
        raise unknown(DECISION, f"the policy does not load: {replay.policy.reasons[0]}")
    if not isinstance(own, Permit):
        reason = own.reasons[0] if own is not None else None
        raise DECISION.failure(found=f"a refusal: {reason}", expected="a permit")
    body = own.body()
    if not isinstance(body, dict):
        raise AssertionError("a decision is an object")
    again = body | {"trust": replay.decision.trust}
    if again != replay.decision.body and _same_rules(own.policy, replay.decision.policy):
        again |= {"policy": replay.decision.policy}
        DECISION.require(
            again == replay.decision.body, found="another decision", expected="the recorded one", where=_differing(again, replay)
        )
        raise unknown(DECISION, "the same decision, by another policy engine or schema", fix="see the link of the policy")
    DECISION.require(again == replay.decision.body, found="another decision", expected="the recorded one", where=_differing(again, replay))
    DECISION.require(replay.decision.digest == token_.decision, found=replay.decision.digest, expected=token_.decision)
    return f"permit of {len(own.answers)} answers at {format_time(own.appraisal.at)}, {token_.decision}"


def result(replay: Replay) -> str:
    """The attestation result is signed, and says what judging again says; who wrote it may differ."""
    token_, contents = replay.good_token(RESULT), replay.record.contents
    digest = sha256(contents.ear.encode()).hex()
    RESULT.require(digest == token_.ear, found=digest, expected=token_.ear)
    ear = verify_ear(contents.ear, key=contents.issuer_key if replay.pinned_issuer is None else replay.pinned_issuer)
    again = ear_claims(replay.judgement, issued_at=ear.issued_at)
    recorded = dict(ear.claims)
    recorded["ear_verifier_id"] = again["ear_verifier_id"]
    if recorded != again and replay.decision.trust != replay.trust.digest:
        session, own = recorded.get(SESSION), again[SESSION]
        if isinstance(session, dict) and isinstance(own, dict):
            # Another trust store with the same roots: its digest, and the decision's that covers it, are the only differences.
            again[SESSION] = own | {name: session.get(name) for name in ("trust", "decision_digest")}
    different = sorted(name for name in {*recorded, *again} if recorded.get(name) != again.get(name))
    if different and isinstance(replay.policy, Policy) and not _exactly(replay.policy.identity, replay.decision.policy):
        raise unknown(RESULT, "a result by another policy engine or schema", fix="see the link of the policy")
    RESULT.require(not different, found=f"other {', '.join(different)}", expected="what judging again says")
    return f"{ear.status}, {len(ear.submods)} submodules"


def times(replay: Replay) -> str:
    """Challenge, decision, token and release follow each other within their bounds."""
    token_, statement = replay.good_token(TIMES), replay.record.contents.statement
    challenged, decided, issued, released = statement.challenged_at, replay.decision.at, token_.issued_at, statement.released_at
    shown = " <= ".join(format_time(time) for time in (challenged, decided, issued, released))
    # Broker and verifier may be two machines, whose clocks differ.
    skew = limits.MAX_CLOCK_SKEW
    # Differences, not sums: any two times have one, but the first and the last that can be written have no neighbours.
    TIMES.require(
        challenged - decided <= skew and timedelta(0) <= issued - decided <= limits.MAX_TOKEN_LIFE and issued - released <= skew,
        found=shown,
        expected="challenge, decision, token, release, one after the other",
    )
    TIMES.require(
        challenged - released <= skew and released - challenged < limits.CHALLENGE_LIFE,
        found=shown,
        expected="a release while the challenge was valid",
    )
    return shown


# -- ledger ---------------------------------------------------------------------------------------------------------------


def entry(replay: Replay) -> str:
    """The entry follows from the contents, byte for byte."""
    again = entry_of(replay.record.contents, replay.good_token(ENTRY))
    data = canonical_json(again)
    if not same(data, replay.record.entry):
        recorded = json_value(replay.record.entry, "entry")
        own = recorded if isinstance(recorded, dict) else {}
        raise ENTRY.failure(
            found=f"an entry with other {', '.join(sorted(name for name in {*own, *again} if own.get(name) != again.get(name)))}",
            expected="the entry that the contents give",
        )
    return f"{len(data)} bytes, {replay.record.digest}"


def inclusion(replay: Replay) -> str:
    """The proof leads from the entry to the root of the checkpoint."""
    verified = verify_receipt(_receipt(replay, INCLUSION), replay.record.entry, vkey=replay.vkey)
    return f"entry {verified.index} of {verified.size}"


def checkpoint(replay: Replay) -> str:
    """The checkpoint is signed by the ledger's key, and is of the ledger that the record names."""
    verified = verify_checkpoint(_receipt(replay, CHECKPOINT).checkpoint, key=VerifierKey.parse(replay.vkey))
    CHECKPOINT.require(verified.origin == replay.record.origin, found=replay.record.origin, expected=verified.origin)
    return f"{verified.origin}, tree size {verified.size}; witnesses: none"


def ledger_key(replay: Replay) -> str:
    """The ledger's key is the one that the auditor pinned."""
    if replay.ledger_vkey is None:
        raise unknown(LEDGER_KEY, f"no pinned key; the record names {replay.record.vkey}")
    LEDGER_KEY.require(replay.record.vkey == replay.ledger_vkey, found=replay.record.vkey, expected=replay.ledger_vkey)
    return replay.ledger_vkey


# -- parts ----------------------------------------------------------------------------------------------------------------


def _verified(device: DeviceResult) -> Verified[Claims]:
    if device.verified is not None:
        return device.verified
    if device.error is None:
        raise AssertionError("a device is verified or refused")
    raise device.error


def _recorded(replay: Replay, device: DeviceResult, check: Check) -> tuple[str, tuple[str, ...]]:
    found = replay.decision.devices.get(device.evidence.label)
    if found is None:
        raise check.failure(found="a decision without this device", expected=device.evidence.label)
    return found


def _chain_status(device: DeviceResult) -> str | None:
    """What the kind's chain check rests on, None when it did not pass. Every kind names that check ``<kind>.chain``, or ``<kind>.ak-trust``
    where a key can also be vouched for without certificates.
    """
    if device.verified is not None:
        done: Iterator[tuple[str, str, str]] = ((item.check.id, item.status.value, item.detail) for item in device.verified.checks)
    else:
        done = iter(device.error.done if device.error is not None else ())
    return next((detail for name, status, detail in done if name.endswith((".chain", ".ak-trust")) and status == Status.PASSED), None)


def _scope(device: Verified[Claims]) -> Scope:
    kind = kind_named(device.kind)
    if kind is None:
        raise AssertionError(f"verified device of unknown kind {device.kind}")
    return kind.scope


def _same_rules(own: PolicyIdentity, recorded: dict[str, Json]) -> bool:
    return not _exactly(own, recorded) and all(
        recorded.get(name) == own.as_dict()[name] for name in ("name", "serial", "rules", "reference")
    )


def _exactly(own: PolicyIdentity, recorded: dict[str, Json]) -> bool:
    return own.as_dict() == recorded


def _differing(again: dict[str, Json], replay: Replay) -> str:
    recorded = replay.decision.body
    return ", ".join(sorted(name for name in {*again, *recorded} if again.get(name) != recorded.get(name)))


def _receipt(replay: Replay, check: Check) -> Receipt:
    if replay.record.receipt is None:
        raise unknown(check, "a record without receipt")
    return replay.record.receipt
