"""A whole ledger and one key's history: entries pair with records, and nothing happens twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attest.audit import LedgerReport, audit_key, audit_ledger
from attest.errors import AttestError
from attest.ledger.store import Ledger
from attest.release.record import Record
from attest.wire import canonical_json

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
KEY, OTHER_KEY = "weights/model-a", "weights/model-b"


@pytest.fixture
def audit(make: Any) -> Callable[..., LedgerReport]:
    def run(broker: Any, **changes: Any) -> LedgerReport:
        pins = {"trust": make.world.trust, "vkey": broker.ledger.vkey, "issuer_key": make.world.issuer.public} | changes
        key = pins.pop("key", None)
        records = make.folder / "broker" / "records"
        if key is not None:
            return audit_key(broker.ledger.public, records, key, **pins)
        return audit_ledger(broker.ledger.public, records, **pins)

    return run


@pytest.fixture
def busy(make: Any) -> Any:
    """A broker that released two keys, three times."""
    broker = make.broker(keys=(KEY, OTHER_KEY))
    for number, key in enumerate((KEY, OTHER_KEY, KEY)):
        make.session(broker, key=key, at=AT + timedelta(minutes=number)).release()
    return broker


def codes(report: LedgerReport) -> list[tuple[str, str]]:
    return [(reason.subject, reason.code) for reason in report.findings]


def test_an_empty_ledger_is_proved(audit, broker) -> None:
    report = audit(broker)
    assert report.proved
    assert report.releases == ()
    assert report.exit_code == 0


def test_everything_is_proved(audit, busy) -> None:
    report = audit(busy)
    assert report.proved, report.reasons
    assert report.exit_code == 0
    assert report.checkpoint.size == 3
    assert [(item.index, item.key) for item in report.releases] == [(0, KEY), (1, OTHER_KEY), (2, KEY)]
    assert all(item.report is not None and item.report.proved for item in report.releases)


def test_history_of_one_key(audit, busy) -> None:
    report = audit(busy, key=KEY)
    assert report.proved
    assert [(item.index, item.released_at) for item in report.releases] == [
        (0, AT + timedelta(seconds=1)),
        (2, AT + timedelta(minutes=2, seconds=1)),
    ]
    assert audit(busy, key="weights/none").releases == ()


def test_without_the_issuer_key_nothing_is_proved(audit, busy) -> None:
    report = audit(busy, issuer_key=None)
    assert not report.proved
    assert report.exit_code == 6
    assert {reason.code for reason in report.reasons} == {"audit.issuer-key"}


def test_a_missing_record(audit, make, busy) -> None:
    digest = next(iter(busy.records.digests()))
    index = next(item.index for item in audit(busy).releases if item.digest == digest)
    (make.folder / "broker" / "records" / digest[:2] / f"{digest}.json").unlink()
    report = audit(busy)
    assert codes(report) == [(f"entry {index}", "audit.record-there")]
    assert not report.proved
    assert report.exit_code == 6
    assert [item.report is None for item in report.releases].count(True) == 1


def test_a_record_that_is_none(audit, make, busy) -> None:
    digest = next(iter(busy.records.digests()))
    (make.folder / "broker" / "records" / digest[:2] / f"{digest}.json").write_text("{}")
    report = audit(busy)
    assert [code for _, code in codes(report)] == ["audit.record-there"]
    assert report.exit_code == 3


def test_a_record_in_the_place_of_another(audit, make, busy) -> None:
    one, other = list(busy.records.digests())[:2]
    folder = make.folder / "broker" / "records"
    (folder / one[:2] / f"{one}.json").write_bytes((folder / other[:2] / f"{other}.json").read_bytes())
    assert [code for _, code in codes(audit(busy))] == ["audit.record-there"]


def test_a_record_without_an_entry(audit, make, busy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between record and ledger leaves one; so does a ledger that was rolled back. The audit cannot tell, and says so."""
    session = make.session(busy, at=AT + timedelta(minutes=3))
    monkeypatch.setattr(type(busy), "_log", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.release()
    report = audit(busy)
    assert [code for _, code in codes(report)] == ["audit.entry-there"]
    assert report.exit_code == 6
    assert audit(busy, key=KEY).proved  # the history of a key lists what was released


def test_a_rolled_back_ledger(audit, make, busy, tmp_path: Path) -> None:
    """Another ledger with fewer entries: the records that it lost are left over."""
    shorter = Ledger.create(tmp_path / "shorter", origin=busy.ledger.origin)
    for index in range(2):
        shorter.append(busy.ledger.entry(index))
    report = audit_ledger(
        shorter.public,
        make.folder / "broker" / "records",
        trust=make.world.trust,
        vkey=shorter.vkey,
        issuer_key=make.world.issuer.public,
    )
    assert "audit.entry-there" in [code for _, code in codes(report)]


def test_the_same_entry_twice(audit, busy) -> None:
    busy.ledger.append(busy.ledger.entry(0))
    report = audit(busy)
    assert [code for subject, code in codes(report) if subject == "entry 3" and code == "audit.once"] == ["audit.once"] * 3
    assert report.exit_code == 4


@pytest.mark.parametrize("name", ["jti", "nonce"])
def test_one_token_or_nonce_for_two_entries(audit, make, busy, name: str) -> None:
    first = json.loads(busy.ledger.entry(0))
    second = busy.records.get(min(busy.records.digests()))
    entry = canonical_json(json.loads(second.entry) | {name: first[name], "times": first["times"] | {"released": "2026-11-21T08:05:00Z"}})
    busy.ledger.append(entry)
    busy.records.put(Record(entry, second.contents, second.origin, second.vkey))
    report = audit(busy)
    assert ("entry 3", "audit.once") in codes(report)
    assert report.exit_code == 4


def test_backwards_in_time(audit, busy, make) -> None:
    make.session(busy, at=AT - timedelta(minutes=1)).release()
    report = audit(busy)
    assert codes(report) == [("entry 3", "audit.forward")]
    assert report.exit_code == 4


def test_a_little_backwards_is_how_two_processes_finish(audit, busy, make) -> None:
    make.session(busy, at=AT + timedelta(minutes=1, seconds=30)).release()
    assert audit(busy).proved


@pytest.mark.parametrize("entry", [b"", b"{}", b"not json", b'{"format":"attest-release-entry/2"}', b'{"format":"attest-release-entry/1"}'])
def test_an_entry_of_another_kind(audit, busy, entry: bytes) -> None:
    busy.ledger.append(entry)
    report = audit(busy)
    assert codes(report) == [("entry 3", "audit.entry-known")]
    assert report.exit_code == 3


def test_an_entry_of_a_later_format(audit, busy) -> None:
    """It reads like ours, and may mean something else."""
    busy.ledger.append(canonical_json(json.loads(busy.ledger.entry(0)) | {"format": "attest-release-entry/2"}))
    assert codes(audit(busy)) == [("entry 3", "audit.entry-known")]


def test_a_damaged_log(audit, busy) -> None:
    tile = next((busy.ledger.public / "tile" / "entries").rglob("3"))
    tile.write_bytes(tile.read_bytes().replace(b"weights/model-b", b"weights/model-c"))
    with pytest.raises(AttestError) as refused:
        audit(busy)
    assert refused.value.code == "ledger.tile-hash"


def test_another_ledger_key(audit, busy, tmp_path: Path) -> None:
    with pytest.raises(AttestError) as refused:
        audit(busy, vkey=Ledger.create(tmp_path / "other", origin=busy.ledger.origin).vkey)
    assert refused.value.exit_code == 4


def test_a_forged_record_is_reported_with_its_entry(audit, make, busy) -> None:
    """An entry and a record that fit each other, but not the contents."""
    record = busy.records.get(next(iter(busy.records.digests())))
    entry = canonical_json(json.loads(record.entry) | {"software": "attest 99", "jti": "ff" * 16, "nonce": "ff" * 32})
    busy.ledger.append(entry)
    busy.records.put(replace(record, entry=entry))
    report = audit(busy)
    assert ("entry 3", "audit.entry") in {(reason.subject, reason.code) for reason in report.reasons}
    assert not report.proved
    assert report.exit_code == 4
