"""Every document that --json prints has the form that docs/schemas/ states, and nothing else goes to standard output."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Attest

ROOT = Path(__file__).resolve().parents[2]
_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def faults(value: object, schema: dict[str, Any], definitions: dict[str, Any], place: str = "$") -> list[str]:
    """What of ``value`` does not have the form; members that the schema does not name count too. Knows what our schemas use."""
    if "$ref" in schema:
        return faults(value, definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, place)
    if not schema:
        return []  # anything
    if "anyOf" in schema:
        tried = [faults(value, option, definitions, place) for option in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "enum" in schema:
        return [] if any(value == item and type(value) is type(item) for item in schema["enum"]) else [f"{place}: {value!r} is no choice"]
    if "type" in schema and not _TYPES[schema["type"]](value):
        return [f"{place}: {value!r} is no {schema['type']}"]
    found = []
    if "pattern" in schema and not re.search(schema["pattern"], str(value)):
        found.append(f"{place}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += faults(item, schema["items"], definitions, f"{place}[{index}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{place}: {name} is missing" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            inner = properties.get(name, schema.get("additionalProperties"))
            found += [f"{place}: {name} is unknown"] if inner is None else faults(item, inner, definitions, f"{place}.{name}")
        if [name for name in properties if name in value] != [name for name in value if name in properties]:
            found.append(f"{place}: members in another order")
    return found


def conforming(document: dict[str, Any], document_cli: ModuleType) -> str:
    """Name of the schema that a document has, when it does."""
    name = str(document["schema"])
    schema = json.loads((ROOT / "docs/schemas" / document_cli.file_name(name)).read_text())
    assert faults(document, schema, schema.get("$defs", {})) == []
    return name


LINES = {
    "attest-verify/1": [
        ("verify lab/node --trust lab/pki/trust.json --policy h100x8-snp --key demo --test-only", 5),
        ("verify lab/node lab/pki/trust.json fixtures/sev-snp/azure-milan-v3", 3),
        ("verify fixtures/nvidia-gpu/h100-595.71.05 --explain --at 2026-09-19T12:00:00Z", 5),
    ],
    "attest-inspect/1": [("inspect lab/node", 0), ("inspect fixtures/nvidia-gpu/h100-550.90.07", 0)],
    "attest-simulate/1": [
        ("simulate node --pki lab/pki --out lab/json-node --gpus 1 --set gpu-0.mode=ppcie", 0),
        ("simulate trust --pki lab/pki", 0),
    ],
    "attest-defects/1": [("simulate defects", 0)],
    "attest-collateral/1": [("collateral status lab/node", 0), ("collateral status fixtures/nvidia-gpu/h100-595.71.05", 0)],
    "attest-policy-list/1": [("policy list", 0)],
    "attest-policy-check/1": [("policy check h100-snp", 0)],
    "attest-keys/1": [
        ("key create json --policy h100-snp --broker lab/json-broker", 0),
        ("key list --broker lab/broker", 0),
        ("key show demo --broker lab/broker", 0),
    ],
    "attest-issuer/1": [("key issuer --broker lab/broker", 0), ("key issuer --broker lab/broker --out lab/json-issuer.jwk", 0)],
    "attest-challenge/1": [("challenge demo --broker lab/broker", 0)],
    "attest-release/1": [("release demo lab/none-yet --out lab/json-release --broker lab/broker --trust lab/pki/trust.json", 0)],
    "attest-token/1": [
        ("token inspect lab/release/token.jwt", 0),
    ],
    "attest-recipient/1": [
        ("recipient create --out lab/json.key --kem mlkem768_x25519", 0),
        ("recipient show lab/json.key", 0),
        ("recipient show lab/json.key.pub", 0),
    ],
    "attest-fetch-key/1": [("fetch-key demo lab/release --recipient lab/pki/recipient.key", 0)],
    "attest-audit-record/1": [
        ("audit record lab/release/record.json --broker lab/broker --trust lab/pki/trust.json", 0),
        ("audit record lab/release/record.json", 4),
    ],
    "attest-audit-ledger/1": [
        ("audit ledger --broker lab/broker --trust lab/pki/trust.json", 0),
        ("audit key demo --broker lab/broker --trust lab/pki/trust.json", 0),
    ],
    "attest-ledger/1": [("ledger init lab/json-log --origin example.org/json", 0)],
    "attest-ledger-fsck/1": [("ledger fsck lab/broker/ledger", 0)],
    "attest-ledger-proof/1": [("ledger prove lab/broker/ledger --index 0 --out lab/json-proof", 0)],
    "attest-checks/1": [("checks", 0), ("checks floor.debug", 0), ("checks wire.json", 0), ("checks P102", 0)],
    "attest-trust-list/1": [("trust list", 0), ("trust list --trust lab/pki/trust.json", 0)],
    "attest-doctor/1": [("doctor", 0)],
}


def test_every_schema_is_tried(document_cli: ModuleType) -> None:
    assert set(LINES) == set(document_cli.top_documents())


@pytest.mark.parametrize("name", LINES)
def test_documents_have_their_schema(lab: Path, attest: Attest, document_cli: ModuleType, name: str) -> None:
    for line, code in LINES[name]:
        if name == "attest-release/1":
            nonce = attest("challenge demo --broker lab/broker", expect=0).out.strip()
            attest(f"simulate node --pki lab/pki --out lab/none-yet --nonce {nonce}", expect=0)
        result = attest(line, "--json", expect=code)
        assert conforming(result.document, document_cli) == name
        assert result.out.isascii(), "nothing in a document can steer a terminal"


def test_a_refused_release_is_a_document_too(lab: Path, attest: Attest, document_cli: ModuleType) -> None:
    nonce = attest("challenge demo --broker lab/broker", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --out lab/refused --nonce {nonce} --set cpu.vmpl=3", expect=0)
    result = attest("release demo lab/refused --out lab/no --broker lab/broker --trust lab/pki/trust.json", "--json", expect=5)
    assert conforming(result.document, document_cli) == "attest-release/1"
    assert result.document["released"] is False
    assert result.document["files"] == {}
    assert not (lab / "lab/no").exists()


def test_documents_are_the_same_twice(lab: Path, attest: Attest) -> None:
    line = "verify lab/node --trust lab/pki/trust.json --at 2026-11-21T08:00:00Z"
    assert attest(line, "--json").out == attest(line, "--json").out


BROKEN = [
    ({"schema": "attest-ledger/1"}, "origin is missing"),
    ({"schema": "attest-ledger/2"}, "is no choice"),
    ({"schema": "attest-ledger/1", "size": "3"}, "is no integer"),
    ({"schema": "attest-ledger/1", "size": True}, "is no integer"),
    ({"schema": "attest-ledger/1", "root": "XYZ"}, "does not match"),
    ({"schema": "attest-ledger/1", "more": 1}, "more is unknown"),
    ({"vkey": "", "origin": ""}, "another order"),
]


@pytest.mark.parametrize(("document", "fault"), BROKEN)
def test_the_schema_check_itself_can_fail(document: dict[str, Any], fault: str) -> None:
    schema = json.loads((ROOT / "docs/schemas/attest-ledger-1.json").read_text())
    assert any(fault in item for item in faults(document, schema, {}))
