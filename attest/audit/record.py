"""The audit of one record.

Nothing that the record says about itself is believed: devices are verified again under the auditor's own roots, the decision is
evaluated again at the recorded time, the entry is made again from the contents, and each is compared with what the record holds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from attest.audit import checks, links
from attest.audit.links import Link, RecordedDecision, Replay
from attest.audit.report import AuditLink, AuditReport, LinkStatus
from attest.audit.risks import residual_risks
from attest.checks import Check
from attest.errors import AttestError, Outcome
from attest.jose import IssuerKey
from attest.policy.bundle import Policy
from attest.release.record import Record
from attest.release.token import ReleaseToken, verify_token
from attest.trust import TrustStore
from attest.verifier import Judgement, judge

_HASH: Final = "SHA-256"
_CHAIN: Final[tuple[tuple[Check, str, Link], ...]] = (
    (checks.ROOT, "the pinned roots of your trust store", links.root),
    (checks.CERTIFICATE, "the vendors' signatures on certificates, valid and not revoked at the time of the decision", links.certificate),
    (checks.REPORT, "the devices' signatures, and the vendors' reference values", links.report),
    (checks.BINDING, "SHA-256 and SHA-512 over nonce, recipient and device set, in fields that the devices signed", links.binding),
    (checks.RECIPIENT, _HASH, links.recipient),
    (checks.WRAPPED, "the broker, for what is inside; SHA-256 for whom and what it is for", links.wrapped),
    (checks.TOKEN, "the issuer's signature (ES384)", links.token),
    (checks.ISSUER_KEY, "you: the key that you pinned", links.issuer_key),
    (checks.POLICY, f"{_HASH} over rules, reference data and schema", links.policy),
    (checks.DECISION, "this software and the policy engine, run again at the recorded time", links.decision),
    (checks.RESULT, "the issuer's signature (ES384), and this software, run again", links.result),
    (checks.TIMES, "the clocks of verifier and broker", links.times),
    (checks.ENTRY, f"{_HASH}, canonical JSON", links.entry),
    (checks.INCLUSION, "SHA-256 Merkle tree (RFC 6962)", links.inclusion),
    (checks.CHECKPOINT, "the ledger's signature (Ed25519); witnesses: none", links.checkpoint),
    (checks.LEDGER_KEY, "you: the key that you pinned", links.ledger_key),
)


def audit_record(data: bytes, *, trust: TrustStore, ledger_vkey: str | None, issuer_key: IssuerKey | None) -> AuditReport:
    """Re-derive everything in a record from itself and three things that the auditor brings.

    trust         roots of the hardware vendors
    ledger_vkey   verifier key of the ledger, from its operator; None leaves the link ``audit.ledger-key`` not checked
    issuer_key    key of the token's issuer, from the issuer; None leaves the link ``audit.issuer-key`` not checked

    Raises MalformedError when the bytes are no record. Everything else is a link of the report.
    """
    return audit_parsed(Record.from_bytes(data), trust=trust, ledger_vkey=ledger_vkey, issuer_key=issuer_key)


def audit_parsed(record: Record, *, trust: TrustStore, ledger_vkey: str | None, issuer_key: IssuerKey | None) -> AuditReport:
    """As :func:`audit_record`, for a record that is parsed already."""
    decision = RecordedDecision.read(record.contents.decision)
    token = _token(record, issuer_key)
    policy = _policy(record)
    judgement = _judge(record, decision, trust, token, policy)
    replay = Replay(record, decision, trust, ledger_vkey, issuer_key, token, policy, judgement)
    statement, wrapped = record.contents.statement, record.contents.wrapped
    return AuditReport(
        record=record.digest,
        jti=token.jti if isinstance(token, ReleaseToken) else "",
        key=wrapped.key,
        version=wrapped.version,
        recipient=wrapped.recipient,
        broker=statement.broker,
        released_at=statement.released_at,
        simulated=trust.simulated,
        links=tuple(_link(check, rests_on, work, replay) for check, rests_on, work in _CHAIN),
        risks=residual_risks(record, judgement, token if isinstance(token, ReleaseToken) else None),
    )


def _link(check: Check, rests_on: str, work: Callable[[Replay], str], replay: Replay) -> AuditLink:
    """Proved when ``work`` returns; not checked when something is missing; broken otherwise."""
    try:
        return AuditLink(check, LinkStatus.PROVED, rests_on, work(replay))
    except AttestError as error:
        reason = error.reasons[0]
        status = LinkStatus.NOT_CHECKED if reason.outcome is Outcome.CANNOT_DECIDE else LinkStatus.BROKEN
        return AuditLink(check, status, rests_on, "", reason)


def _token(record: Record, issuer_key: IssuerKey | None) -> ReleaseToken | AttestError:
    contents = record.contents
    try:
        return verify_token(
            contents.token,
            issuer_key=contents.issuer_key if issuer_key is None else issuer_key,
            issuer=contents.issuer,
            audience=contents.statement.broker,
            at=contents.statement.released_at,
        )
    except AttestError as error:
        return error


def _policy(record: Record) -> Policy | AttestError:
    try:
        return Policy.from_files(record.contents.policy)
    except AttestError as error:
        return error


def _judge(
    record: Record, decision: RecordedDecision, trust: TrustStore, token: ReleaseToken | AttestError, policy: Policy | AttestError
) -> Judgement:
    """The bundle judged again. Without a token or a policy only its devices: the decision is then a broken link anyway."""
    bundle = record.contents.bundle
    if isinstance(token, ReleaseToken) and isinstance(policy, Policy):
        return judge(bundle, trust=trust, at=decision.at, policy=policy, key=token.key, use=token.key_use, nonce=token.nonce)
    return judge(bundle, trust=trust, at=decision.at, policy=None, key="", use=links.STRICTEST, nonce=None, max_age=_NO_AGE)


_NO_AGE: Final = timedelta(0)
