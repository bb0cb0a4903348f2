"""What stands in a public ledger: digests, names, and nothing that says which machine it was."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from attest import limits
from attest.crypto import framed, sha256
from attest.errors import MalformedError
from attest.evidence import CollateralType
from attest.release.record import Record, commitment
from attest.wire import canonical_json


@pytest.fixture(scope="module")
def records(world: Any, tmp_path_factory: pytest.TempPathFactory, maker_type: Any) -> list[Record]:
    """Two releases to one machine."""
    make = maker_type(world, tmp_path_factory.mktemp("records"))
    broker = make.broker()
    broker.keystore.approve("weights/model-a", policy=world.policy(8).identity.digest)
    return [make.session(broker, gpus=8).release().record for _ in range(2)]


def test_an_entry_is_small_canonical_json(records: list[Record]) -> None:
    for record in records:
        assert len(record.entry) < limits.MAX_RELEASE_ENTRY_BYTES // 2
        assert canonical_json(json.loads(record.entry)) == record.entry
        assert record.digest == sha256(record.entry).hex()


def test_an_entry_names_no_machine(world: Any, records: list[Record]) -> None:
    """Neither identities nor the digests of what carries them: whoever has the certificate could compute those."""
    for record in records:
        entry = record.entry.decode()
        decision: Any = record.contents.decision
        private = [fingerprint for item in decision["devices"] for fingerprint in item["chain"][:1]]
        private += [
            piece.digest
            for piece in record.contents.bundle.collateral.items
            if piece.type in (CollateralType.CERTIFICATES, CollateralType.OCSP)
        ]
        private += [item.digest for item in record.contents.bundle.evidence]
        assert len(private) > 20
        assert not [value for value in private if value in entry]
        assert record.contents.salt.hex() not in entry
        for item in record.contents.bundle.evidence:
            for part in item.parts.values():
                assert sha256(part).hex() not in entry


def test_two_entries_of_one_machine_cannot_be_linked(records: list[Record]) -> None:
    """What both have in common is what many machines have in common: policy, roots, lists and manifests of the vendors."""
    one, other = (set(re.findall(rb"[0-9a-f]{32,}", record.entry)) for record in records)
    contents = records[0].contents
    decision: Any = contents.decision
    known = {piece.digest for piece in contents.bundle.collateral.items if piece.type in (CollateralType.CRL, CollateralType.RIM)}
    known |= {decision["trust"], decision["policy"]["rules"], decision["policy"]["reference"], decision["policy"]["schema"]}
    known |= {json.loads(records[0].entry)["digests"]["policy"]}
    assert {text.decode() for text in one & other} <= known


def test_commitments_open_with_the_salt(records: list[Record]) -> None:
    record = records[0]
    decision: Any = record.contents.decision
    entry = json.loads(record.entry)
    for public, item in zip(entry["devices"], decision["devices"], strict=True):
        assert public["certificate"] == commitment(record.contents.salt, item["chain"][0])
        assert public["certificate"] == sha256(framed("attest-commitment/1", [record.contents.salt, item["chain"][0].encode()])).hex()
        assert public["statement"] == item["statement"]
    assert commitment(bytes(32), "a") != commitment(b"\1" + bytes(31), "a") != commitment(b"\1" + bytes(31), "b")


def test_salts_differ(records: list[Record]) -> None:
    assert records[0].contents.salt != records[1].contents.salt
    assert all(any(record.contents.salt) for record in records)


def test_round_trip(records: list[Record]) -> None:
    for record in records:
        assert Record.from_bytes(record.to_bytes()) == record
        stored = replace(record, receipt=None)
        assert Record.from_bytes(stored.to_bytes()) == stored


def test_other_spellings_of_the_contents_are_refused(records: list[Record]) -> None:
    data = records[0].to_bytes()
    salt = records[0].contents.salt.hex()
    with pytest.raises(MalformedError) as refused:
        Record.from_bytes(data.replace(salt.encode(), salt.upper().encode()))
    assert refused.value.code == "record.form"


def test_policy_files_are_text(records: list[Record]) -> None:
    contents = replace(records[0].contents, policy={"rules.cedar": b"\xff"})
    with pytest.raises(MalformedError):
        contents.to_json()


def test_too_large(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    data = records[0].to_bytes()
    monkeypatch.setattr(limits, "MAX_RECORD_BYTES", len(data) - 1)
    with pytest.raises(MalformedError):
        Record.from_bytes(data)
