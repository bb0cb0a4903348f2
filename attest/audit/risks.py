"""Residual risks: what a proved audit still does not show."""

from __future__ import annotations

from collections.abc import Iterator

from attest.appraisal import KeyUse
from attest.audit.report import Risk
from attest.checks import Status
from attest.evidence import Scope
from attest.kinds import kind_named
from attest.release.keystore.key import Custody
from attest.release.record import Record
from attest.release.token import ReleaseToken
from attest.verifier import Judgement

_CUSTODY = {
    Custody.BROKER_MEMORY: "the broker's process held the key while it wrapped it: whoever controlled that machine could copy it",
}


def residual_risks(record: Record, judgement: Judgement | None, token: ReleaseToken | None) -> tuple[Risk, ...]:
    """Every risk that applies to this release."""
    return tuple(_risks(record, judgement, token))


def _risks(record: Record, judgement: Judgement | None, token: ReleaseToken | None) -> Iterator[Risk]:
    if judgement is not None and judgement.trust.simulated:
        yield Risk("simulated", "simulated evidence: no hardware vouches for anything in this record")
    if token is not None and token.key_use is KeyUse.TEST_ONLY:
        yield Risk("test-only", "the key is marked test-only: debuggable and simulated TEEs may have it")
    if judgement is not None and any(_accelerator(device.evidence.kind) for device in judgement.devices):
        yield Risk(
            "relay", "a GPU's report does not name its guest: that the GPU sat in this machine, and not behind a relay, cannot be seen"
        )
    yield Risk("vendor-key", "whoever extracted a signing key from a chip, or from its vendor, can make such reports")
    if judgement is not None:
        yield from _unchecked(judgement)
    yield Risk("ciphertext", "only the recipient can open the wrapped key: that it holds the named key is the broker's word")
    yield Risk("custody", _CUSTODY[record.contents.statement.custody])
    yield Risk("other-copies", "a copy of the key that left by another way than this broker has no entry in this ledger")
    yield Risk("clock", "times are the word of verifier and broker")
    yield Risk(
        "nonce", "that the nonce was fresh and used once is the broker's word; an audit of the whole ledger shows a second entry with it"
    )
    yield Risk("witnesses", "no witness cosigned the checkpoint: the ledger's operator could show another ledger to somebody else")


def _accelerator(kind: str) -> bool:
    known = kind_named(kind)
    return known is not None and known.scope is Scope.DEVICE


def _unchecked(judgement: Judgement) -> Iterator[Risk]:
    """Limitations that the kinds themselves declare, one line each however many devices have them."""
    seen: set[str] = set()
    for device in judgement.devices:
        for result in device.verified.checks if device.verified is not None else ():
            if result.status is Status.NOT_CHECKED and result.check.id not in seen:
                seen.add(result.check.id)
                yield Risk(f"not-checked:{result.check.id}", f"{result.check.title}: {result.detail}")
