"""The whole way: challenge, evidence, permit, token, release, unwrap, audit."""

from __future__ import annotations

import pytest

from attest.audit import audit_record
from attest.recipient import Kem
from attest.release.wrap import unwrap


@pytest.mark.parametrize("kem", list(Kem))
def test_a_node_gets_its_key_and_the_release_audits(make, kem: Kem) -> None:
    broker = make.broker()
    session = make.session(broker, kem=kem)
    release = session.release()
    key = unwrap(release.wrapped, session.private, token=session.token, key="weights/model-a")
    assert len(key.expose()) == 32
    report = audit_record(
        release.record.to_bytes(), trust=make.world.trust, ledger_vkey=broker.ledger.vkey, issuer_key=make.world.issuer.public
    )
    assert report.proved, report.reasons
    assert report.exit_code == 0
