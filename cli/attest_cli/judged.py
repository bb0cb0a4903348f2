"""A judgement as a document: one place from which text, JSON and HTML are made. Says what the library found, and decides nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from attest.appraisal import KeyUse
from attest.bundle import Bundle, BundleOrigin
from attest.checks import Check, CheckResult, Status
from attest.decision import Deny, Permit
from attest.errors import EXIT_CODES, AttestError, Outcome, Reason, worst
from attest.evidence import ClaimValue, Scope
from attest.kinds import kind_named
from attest.trust import TrustStore
from attest.verifier import DeviceResult, Judgement
from attest.wire import format_time

if TYPE_CHECKING:
    from attest.recipient import Recipient
    from attest_cli import documents as doc

UNDECIDED: Final = EXIT_CODES[Outcome.CANNOT_DECIDE]
"""Exit code of "authentic, and no policy was asked": nothing is permitted that nobody asked about."""

_SCOPES: Final[dict[Scope, doc.Scope]] = {Scope.WORKLOAD: "workload", Scope.BOOT: "boot", Scope.DEVICE: "device"}


def judgement_document(judgement: Judgement, *, source: str, use: KeyUse, key: str, again: str) -> doc.VerdictDoc:
    """The document of one judged bundle."""
    appraisal, decision = judgement.appraisal, judgement.decision
    permitted = isinstance(decision, Permit)
    outcome = decision.outcome if isinstance(decision, Deny) else None
    devices = [device_document(device, simulated=judgement.trust.simulated) for device in judgement.devices]
    floor = [_check(result) for result in appraisal.checks] if appraisal else []
    results = [(item["subject"], check) for item in devices for check in item["checks"]] + [("workload", check) for check in floor]
    verdict: doc.Verdict = "permit" if permitted else "authentic" if outcome is None else outcome.value
    return {
        "source": source,
        "verdict": verdict,
        "exit_code": 0 if permitted else UNDECIDED if outcome is None else EXIT_CODES[outcome],
        "permitted": permitted,
        "authentic": all(device.verified is not None for device in judgement.devices),
        "simulated": judgement.trust.simulated or judgement.bundle.origin is BundleOrigin.SIMULATED,
        "at": format_time(judgement.at),
        "use": use.value,
        "trust": trust_document(judgement.trust),
        "bundle": bundle_document(judgement.bundle),
        "devices": devices,
        "workload": claims_document(appraisal.workload.values()) if appraisal else {},
        "floor": floor,
        "policy": _policy(decision, key),
        "decision": decision.digest if isinstance(decision, Permit) else "",
        "reasons": [reason_document(reason) for reason in judgement.reasons],
        "not_checked": [
            _open(subject, check) for subject, check in results if check["status"] == "not-checked" and not check["limitation"]
        ],
        "unprovable": [_open(subject, check) for subject, check in results if check["limitation"] and check["status"] == "not-checked"],
        "again": again,
    }


def unreadable_document(error: AttestError, *, source: str, at: datetime, use: KeyUse, trust: TrustStore, again: str) -> doc.VerdictDoc:
    """The document of a bundle that could not be read: a refusal like any other."""
    return {
        "source": source,
        "verdict": worst([reason.outcome for reason in error.reasons]).value,
        "exit_code": error.exit_code,
        "permitted": False,
        "authentic": False,
        "simulated": trust.simulated,
        "at": format_time(at),
        "use": use.value,
        "trust": trust_document(trust),
        "bundle": None,
        "devices": [],
        "workload": {},
        "floor": [],
        "policy": None,
        "decision": "",
        "reasons": [reason_document(reason) for reason in error.reasons],
        "not_checked": [],
        "unprovable": [],
        "again": again,
    }


def command(words: list[str]) -> str:
    """A command line that can be pasted."""
    return shlex.join(words)


# -- pieces ---------------------------------------------------------------------------------------------------------------


def reason_document(reason: Reason) -> doc.ReasonDoc:
    """One reason."""
    return {
        "code": reason.code,
        "outcome": reason.outcome.value,
        "message": reason.message,
        "subject": reason.subject,
        "where": reason.where,
        "found": reason.found,
        "expected": reason.expected,
        "fix": reason.fix,
        "rule": reason.rule,
    }


def trust_document(trust: TrustStore) -> doc.TrustDoc:
    """Which trust store."""
    return {"name": trust.name, "origin": trust.origin.value, "digest": trust.digest}


def bundle_document(bundle: Bundle) -> doc.BundleDoc:
    """What a bundle says about itself."""
    return {
        "digest": bundle.digest,
        "origin": bundle.origin.value,
        "recorded_at": format_time(bundle.recorded_at) if bundle.recorded_at else "",
        "binding": bundle.binding.value,
        "nonce": bundle.nonce.hex() if bundle.nonce else "",
        "recipient": recipient_document(bundle.recipient) if bundle.recipient else None,
        "note": bundle.note,
    }


def recipient_document(recipient: Recipient) -> doc.RecipientDoc:
    """Which recipient key."""
    return {"kem": recipient.kem.value, "thumbprint": recipient.thumbprint}


def claims_document(values: Mapping[str, ClaimValue]) -> dict[str, doc.ClaimValue]:
    """Claims by name, sets as sorted lists."""
    return {name: sorted(value) if isinstance(value, frozenset) else _plain(value) for name, value in values.items()}


def _plain(value: bool | int | str) -> bool | int | str:
    return str(value) if isinstance(value, str) else value  # an enum's plain text


def device_document(device: DeviceResult, *, simulated: bool) -> doc.DeviceDoc:
    """One device: verified, or why not."""
    kind = kind_named(device.evidence.kind)
    verified, error = device.verified, device.error
    scope: doc.Scope = "unknown" if kind is None else _SCOPES[kind.scope]
    checks = [_check(result) for result in verified.checks] if verified else _checks_until(error, kind.checks if kind else ())
    return {
        "subject": device.evidence.label,
        "kind": device.evidence.kind,
        "title": kind.title if kind else "unknown kind of evidence",
        "scope": scope,
        "authentic": verified is not None,
        "outcome": worst([reason.outcome for reason in error.reasons]).value if error else "authentic",
        "simulated": simulated,
        "evidence": device.evidence.digest,
        "statement": verified.statement.hex() if verified else "",
        "freshness": verified.freshness.hex() if verified else "",
        "chain": list(verified.chain) if verified else [],
        "collateral": list(verified.collateral) if verified else [],
        "valid_until": format_time(verified.valid_until) if verified else "",
        "claims": claims_document(verified.claims.values()) if verified else {},
        "checks": checks,
        "reasons": [reason_document(reason) for reason in _reasons(device)],
    }


def _reasons(device: DeviceResult) -> list[Reason]:
    if device.error:
        return list(device.error.reasons)
    return [result.reason for result in device.verified.checks if result.reason] if device.verified else []


def _check(result: CheckResult) -> doc.CheckDoc:
    detail = result.detail
    if result.status is Status.FAILED and result.reason and not detail:
        detail = ", ".join(
            f"{word} {text}" for word, text in (("found", result.reason.found), ("expected", result.reason.expected)) if text
        )
    return {
        "id": result.check.id,
        "title": result.check.title,
        "status": result.status.value,
        "detail": detail,
        "limitation": result.check.limitation,
    }


def _checks_until(error: AttestError | None, checks: tuple[Check, ...]) -> list[doc.CheckDoc]:
    """What is known about the checks of a device whose verification ended with ``error``: done, failed here, or not reached.

    A reason may come from below a check (a reader's, a certificate's) and then has an id of its own; the check that failed is then
    the first that has no result.
    """
    done = {name: (status, detail) for name, status, detail in error.done} if error else {}
    ids = [check.id for check in checks]
    failed = error.code if error and error.code in ids else next((name for name in ids if name not in done), "")
    found: list[doc.CheckDoc] = []
    for check in checks:
        status: doc.CheckStatus = "not-reached"
        detail = ""
        if check.id == failed and error:
            status, detail = "failed", str(error.reasons[0])
        elif check.id in done:
            status, detail = Status(done[check.id][0]).value, done[check.id][1]
        found.append({"id": check.id, "title": check.title, "status": status, "detail": detail, "limitation": check.limitation})
    return found


def _policy(decision: Permit | Deny | None, key: str) -> doc.PolicyDoc | None:
    if decision is None or decision.policy is None:
        return None
    identity = decision.policy
    answers: list[doc.AnswerDoc] = [
        {"action": answer.action.value, "subject": answer.subject, "allowed": answer.allowed, "rules": list(answer.rules)}
        for answer in decision.answers
    ]
    return {
        "name": identity.name,
        "serial": identity.serial,
        "rules": identity.rules_digest,
        "reference": identity.reference_digest,
        "schema": identity.schema_digest,
        "engine": identity.engine,
        "key": key,
        "answers": answers,
    }


def _open(subject: str, check: doc.CheckDoc) -> doc.NotCheckedDoc:
    return {"subject": subject, "id": check["id"], "title": check["title"], "why": check["detail"]}
