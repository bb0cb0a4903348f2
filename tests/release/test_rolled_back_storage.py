"""Who can write the broker's disk puts back an older copy of one part of its folder, and leaves the others as they are."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.release.broker import Broker


@pytest.mark.xfail(reason="the broker does not compare its ledger with what its database says was released", raises=pytest.fail.Exception)
def test_a_ledger_older_than_the_database_is_not_written_to(make, broker: Broker) -> None:  # type: ignore[no-untyped-def]
    """Otherwise the ledger's own key signs two histories, and the first release is gone."""
    folder: Path = make.folder / "broker"
    make.session(broker).release()
    shutil.copytree(folder / "ledger", make.folder / "old")
    make.session(broker).release()
    shutil.rmtree(folder / "ledger")
    shutil.move(make.folder / "old", folder / "ledger")
    with pytest.raises(AttestError):
        make.session(Broker.open(folder)).release()


@pytest.mark.xfail(reason="the broker does not compare its database with what its ledger says was released", raises=pytest.fail.Exception)
def test_a_database_older_than_the_ledger_repeats_no_release(make, broker: Broker) -> None:  # type: ignore[no-untyped-def]
    """Otherwise the same token gets the key again, and there are two wraps of it."""
    folder: Path = make.folder / "broker"
    session = make.session(broker)
    with sqlite3.connect(folder / "broker.db") as live, sqlite3.connect(make.folder / "old.db") as copy:
        live.backup(copy)
    session.release()
    for path in folder.glob("broker.db*"):
        path.unlink()
    shutil.move(make.folder / "old.db", folder / "broker.db")
    with pytest.raises(AttestError):
        replace(session, broker=Broker.open(folder)).release()
