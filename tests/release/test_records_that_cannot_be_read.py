"""A release whose record is too long to be read again could never be audited: nothing is released on it."""

from __future__ import annotations

import pytest

from attest import limits
from attest.bundle import Bundle, BundleOrigin
from attest.errors import AttestError, MalformedError


def test_a_note_of_a_bundle_is_bounded(shared) -> None:  # type: ignore[no-untyped-def]
    bundle = shared.judgement.bundle

    def noted(note: str) -> Bundle:
        return Bundle.of(
            nonce=bundle.nonce,
            recipient=bundle.recipient,
            binding=bundle.binding,
            evidence=bundle.evidence,
            collateral=bundle.collateral,
            recorded_at=bundle.recorded_at,
            origin=BundleOrigin.SIMULATED,
            note=note,
        )

    assert noted("x" * limits.MAX_NOTE_BYTES).note
    with pytest.raises(MalformedError) as refused:
        noted("x" * (limits.MAX_NOTE_BYTES + 1))
    assert refused.value.code == "wire.too-long"


def test_a_record_that_nobody_would_read_is_not_released_on(session, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(limits, "MAX_RECORD_BYTES", 2 * limits.MAX_CHECKPOINT_BYTES + len(session.judgement.bundle.to_bytes()))
    with pytest.raises(AttestError) as refused:
        session.release()
    assert refused.value.code == "release.store"
    assert session.broker.ledger.size == 0
