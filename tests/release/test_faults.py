"""The disk fails at every single call of a release: no key without an entry, and never two ciphertexts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from attest.audit import audit_ledger
from attest.errors import AttestError
from attest.ledger.merkle import leaf_hash
from attest.release.broker import Broker

CALLS = ("open", "write", "fsync", "rename", "mkdir")


class Faults:
    """Counts the calls of the operating system that write files, and fails the one whose turn it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}
        self.seen = 0
        self.failing = -1
        self.code = errno.EIO

    def _call(self, name: str, *arguments: Any, **named: Any) -> Any:
        self.seen += 1
        if self.seen - 1 == self.failing:
            raise OSError(self.code, os.strerror(self.code), str(arguments[0]))
        return self._real[name](*arguments, **named)

    def run(self, work: Callable[[], object], *, failing: int, code: int = errno.EIO) -> object:
        self.seen, self.failing, self.code = 0, failing, code
        with self._monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, lambda *a, _name=name, **k: self._call(_name, *a, **k))
            return work()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_one_failing_call(make, broker, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    faults = Faults(monkeypatch)
    for _ in range(2):  # the first one makes folders that the others find
        faults.run(make.session(broker).release, failing=-1)
    calls = faults.seen
    assert calls > 15

    completed = 0
    for number in range(calls):
        session = make.session(broker)
        before = broker.ledger.size
        with pytest.raises(AttestError) as refused:
            faults.run(session.release, failing=number, code=code)
        assert refused.value.code in ("release.ledger", "release.store", "keystore.storage"), number

        opened = Broker.open(make.folder / "broker")
        again = replace(session, broker=opened)
        if opened.ledger.size == before + 1:
            completed += 1
            assert opened.ledger.find(leaf_hash(again.release().record.entry)) == before
        for _ in range(2):
            with pytest.raises(AttestError) as twice:
                again.release()
            assert twice.value.code == "release.token-used", number
        assert opened.ledger.size <= before + 1
    assert 0 < completed < calls

    report = audit_ledger(
        broker.ledger.public,
        make.folder / "broker" / "records",
        trust=make.world.trust,
        vkey=broker.ledger.vkey,
        issuer_key=make.world.issuer.public,
    )
    # What failed before the ledger left a record without entry, and nothing else.
    assert {reason.code for reason in report.reasons} <= {"audit.entry-there"}
    assert len(report.releases) == completed + 2
    assert all(item.report is not None and item.report.proved for item in report.releases)
