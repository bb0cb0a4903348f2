"""The links of the chain from the hardware root to the ledger's checkpoint, in the order in which a record is re-derived."""

from __future__ import annotations

from typing import Final

from attest.checks import Check
from attest.errors import Outcome

_OURS: Final = "docs/audit.md"
_TAKE_AGAIN: Final = "take the record again from the broker; when it is still so, the record was altered or the broker erred"

ROOT: Final = Check("audit.root", "hardware root", _OURS, fix="see the refusal of the device: attest verify --explain")
CERTIFICATE: Final = Check("audit.certificate", "device certificates", _OURS, fix="see the refusal of the device: attest verify --explain")
REPORT: Final = Check("audit.report", "device reports", _OURS, fix="see the refusal of the device: attest verify --explain")
BINDING: Final = Check("audit.binding", "recipient digest in every report", "docs/binding.md", fix=_TAKE_AGAIN)
RECIPIENT: Final = Check("audit.recipient", "recipient key", "RFC 7800 section 3.2", fix=_TAKE_AGAIN)
WRAPPED: Final = Check("audit.wrapped-key", "recipient and token of the wrapped key", _OURS, fix=_TAKE_AGAIN)
TOKEN: Final = Check("audit.token", "release token", "RFC 7515 section 5.2", fix=_TAKE_AGAIN)
ISSUER_KEY: Final = Check(
    "audit.issuer-key",
    "key of the token's issuer",
    _OURS,
    fix="give the issuer's public key, from the issuer and not from the record",
)
POLICY: Final = Check("audit.policy", "policy", _OURS, fix=_TAKE_AGAIN)
DECISION: Final = Check("audit.decision", "decision, evaluated again", _OURS, fix=_TAKE_AGAIN)
RESULT: Final = Check("audit.result", "attestation result, made again", "draft-ietf-rats-ear-04", fix=_TAKE_AGAIN)
TIMES: Final = Check("audit.times", "order of times", _OURS, fix=_TAKE_AGAIN)
ENTRY: Final = Check("audit.entry", "ledger entry, made again", _OURS, fix=_TAKE_AGAIN)
INCLUSION: Final = Check("audit.inclusion", "entry in the ledger", "RFC 9162 section 2.1.3.2", fix="get a receipt from the ledger")
CHECKPOINT: Final = Check("audit.checkpoint", "signed checkpoint", "C2SP tlog-checkpoint", fix="get a receipt from the ledger")
LEDGER_KEY: Final = Check(
    "audit.ledger-key", "key of the ledger", _OURS, fix="give the ledger's verifier key, from its operator and not from the record"
)

LINKS: Final = (
    ROOT, CERTIFICATE, REPORT, BINDING, RECIPIENT, WRAPPED, TOKEN, ISSUER_KEY, POLICY, DECISION, RESULT, TIMES, ENTRY, INCLUSION,
    CHECKPOINT, LEDGER_KEY,
)  # fmt: skip

# -- a whole ledger -------------------------------------------------------------------------------------------------------
ENTRY_KNOWN: Final = Check("audit.entry-known", "form of a ledger entry", _OURS, Outcome.MALFORMED, "audit with the version that wrote it")
RECORD_THERE: Final = Check(
    "audit.record-there",
    "record of a ledger entry",
    _OURS,
    Outcome.CANNOT_DECIDE,
    "get the record back: without it nothing can be replayed",
)
ENTRY_THERE: Final = Check(
    "audit.entry-there",
    "ledger entry of a record",
    _OURS,
    Outcome.CANNOT_DECIDE,
    "when the ledger lost nothing, a crash cut this release off before the key left: move the record away",
)
ONCE: Final = Check("audit.once", "every token and nonce released once", "design, invariant 3", fix="ask the operator of the broker")
FORWARD: Final = Check("audit.forward", "entries in the order of time", _OURS, fix="ask the operator of the broker about his clock")

AUDIT_CHECKS: Final = (*LINKS, ENTRY_KNOWN, RECORD_THERE, ENTRY_THERE, ONCE, FORWARD)
