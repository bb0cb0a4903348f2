"""Every member of a record changed alone, every part swapped with another record's: refused or a broken link, never proved."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attest.audit import AuditReport, audit_record
from attest.errors import MalformedError
from attest.release.record import Record
from attest.wire import Json, json_value

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Sample:
    """Two sound records of one broker, and what their auditor pins."""

    document: Any
    other: Any
    audit: Callable[[bytes], AuditReport]


@pytest.fixture(scope="module")
def sample(world: Any, tmp_path_factory: pytest.TempPathFactory, maker_type: Any) -> Sample:
    make = maker_type(world, tmp_path_factory.mktemp("alterations"))
    broker = make.broker()
    broker.keystore.approve("weights/model-a", policy=world.policy(1).identity.digest)
    one, other = (make.session(broker, gpus=1).release().record.to_bytes() for _ in range(2))

    def audit(data: bytes) -> AuditReport:
        return audit_record(data, trust=world.trust, ledger_vkey=broker.ledger.vkey, issuer_key=world.issuer.public)

    assert audit(one).proved
    assert audit(other).proved
    return Sample(json_value(one, "record"), json_value(other, "record"), audit)


def leaves(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*place, name))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from leaves(member, (*place, index))
    else:
        yield place, value


def containers(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    if isinstance(value, dict | list):
        yield place, value
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from containers(member, (*place, name))


def at(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def put(document: Any, place: Place, value: Any) -> Any:
    changed = copy.deepcopy(document)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def other_than(value: Json) -> Json:
    """A value of the same type that looks as likely as the original."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str) and value:
        middle = len(value) // 2
        swap = {"0": "1", "A": "B", "a": "b"}.get(value[middle], "0" if value[middle].isdigit() else "a")
        return value[:middle] + swap + value[middle + 1 :]
    return "x"


def refused(sample: Sample, document: Any) -> str:
    """Why the record is not proved."""
    try:
        report = sample.audit(json.dumps(document).encode())
    except MalformedError:
        return "malformed"
    assert not report.proved, "an altered record was proved"
    assert report.exit_code in (3, 4, 5, 6)
    return str(report.reasons[0].code)


def test_every_leaf(sample: Sample) -> None:
    """Each text, number and truth value of the document, one at a time."""
    proved: list[Place] = []
    kinds: dict[str, int] = {}
    count = 0
    for place, value in leaves(sample.document):
        count += 1
        try:
            why = refused(sample, put(sample.document, place, other_than(value)))
        except AssertionError:
            proved.append(place)
        else:
            kinds[why] = kinds.get(why, 0) + 1
    assert proved == []
    assert count > 150
    assert len(kinds) > 5  # refusals are of many kinds: not one clumsy check stands for all


def test_every_member_removed(sample: Sample) -> None:
    for place, value in containers(sample.document):
        for step in list(value) if isinstance(value, dict) else range(len(value)):
            changed = copy.deepcopy(sample.document)
            del at(changed, place)[step]
            refused(sample, changed)


def test_every_element_doubled_and_every_object_with_a_stranger(sample: Sample) -> None:
    for place, _ in containers(sample.document):
        changed = copy.deepcopy(sample.document)
        target = at(changed, place)
        if isinstance(target, list):
            target.append(copy.deepcopy(target[-1]) if target else {})
        else:
            target["stranger"] = 1
        refused(sample, changed)


def test_every_type_changed(sample: Sample) -> None:
    """Null, a list, an object or nothing where something else stood: typed errors, never a crash."""
    strangers: tuple[Json, ...] = (None, [], {}, "")
    for number, (place, value) in enumerate(leaves(sample.document)):
        other = strangers[number % 4]
        if other != value:
            refused(sample, put(sample.document, place, other))


@pytest.mark.parametrize(
    "place",
    [("contents", "decision"), ("contents", "decision", "policy"), ("contents", "decision", "devices"), ("contents", "policy"), ("entry",)],
)
def test_whole_parts_that_are_something_else(sample: Sample, place: Place) -> None:
    for other in (None, [], "x", 7, True):
        refused(sample, put(sample.document, place, other))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_every_time_at_the_end_of_time(sample: Sample, time: str) -> None:
    """Times that no sum with a tolerance can be made of."""
    count = 0
    for place, value in leaves(sample.document):
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:]+Z", value):
            refused(sample, put(sample.document, place, time))
            count += 1
    assert count > 8


def test_every_part_of_another_record(sample: Sample) -> None:
    """Both records are sound; any mixture of them is not."""
    swapped = 0
    for place, value in (*containers(sample.document), *leaves(sample.document)):
        if not place or len(place) > 3:
            continue
        try:
            other = at(sample.other, place)
        except (KeyError, IndexError, TypeError):
            continue
        if other != value:
            refused(sample, put(sample.document, place, other))
            swapped += 1
    assert swapped > 20


def test_order_and_white_space_of_the_file_do_not_matter(sample: Sample) -> None:
    """What is proved is the values: another layout of the same JSON is the same record."""
    turned = json.loads(json.dumps(sample.document), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert sample.audit(json.dumps(turned, indent=3).encode()).proved


def test_duplicate_members_are_refused(sample: Sample) -> None:
    text = json.dumps(sample.document)
    with pytest.raises(MalformedError):
        sample.audit(b'{"receipt":null,' + text[1:].encode())


@pytest.mark.parametrize("surrogate", [rb"\ud800", rb"\udfff"])
def test_no_text_crashes_the_audit(sample: Sample, surrogate: bytes) -> None:
    for place in (("receipt",), ("contents", "token"), ("contents", "ear"), ("ledger", "vkey"), ("contents", "policy", "rules.cedar")):
        data = json.dumps(put(sample.document, place, "MARK")).encode().replace(b"MARK", surrogate)
        with pytest.raises(MalformedError):
            sample.audit(data)


def test_truncations(sample: Sample) -> None:
    data = json.dumps(sample.document).encode()
    for size in (*range(200), *range(200, len(data), len(data) // 200)):
        with pytest.raises(MalformedError):
            sample.audit(data[:size])
    for extra in (b"x", b"{}", b"\0"):
        with pytest.raises(MalformedError):
            sample.audit(data + extra)


def test_round_trip(sample: Sample, tmp_path: Path) -> None:
    data = json.dumps(sample.document).encode()
    record = Record.from_bytes(data)
    assert Record.from_bytes(record.to_bytes()) == record
    assert json.loads(record.to_bytes()) == sample.document
