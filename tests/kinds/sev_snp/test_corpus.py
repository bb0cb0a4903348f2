"""Real evidence of many machines and clouds, each at the expected time with the expected verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from attest.crypto import spki_sha256
from attest.evidence import Evidence
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.product import LINES
from attest.kinds.sev_snp.report import encode, parse
from attest.pki import load_certificates
from tests.kinds.sev_snp.cases import CASES, CHAINS, NEGATED, NOT_OF_THIS_KIND, TRUST, Case, ChainCase, outcome, outcome_of_chain

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, corpus: Path) -> None:
    said = outcome(case, corpus)
    assert {name: said.get(name) for name in case.expected} == case.expected


@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case.name)
def test_chain(case: ChainCase, corpus: Path) -> None:
    said = outcome_of_chain(case, corpus)
    assert {name: said.get(name) for name in case.expected} == case.expected


def test_every_file_of_the_corpus_is_in_a_case(corpus: Path) -> None:
    folder = corpus / "sev-snp"
    used = {case.file for case in CASES} | {case.leaf for case in (*CASES, *CHAINS)} | set(NOT_OF_THIS_KIND)
    used |= {path.name for path in folder.glob("roots-*.pem")} | {"PROVENANCE.md"}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - used == set()


@pytest.mark.parametrize("key", ["vcek", "vlek"])
@pytest.mark.parametrize("line", LINES.values(), ids=lambda line: line.name)
def test_pins_are_those_of_the_real_roots(line: object, key: str, corpus: Path) -> None:
    name = line.name.lower()  # type: ignore[attr-defined]
    _, root = load_certificates((corpus / "sev-snp" / f"roots-{name}.{key}.cert_chain.pem").read_bytes(), "chain", most=2)
    (anchor,) = TRUST.for_role(line.role)  # type: ignore[attr-defined]
    assert spki_sha256(root.public_key()) == anchor.spki_sha256


def test_round_trip_of_every_report(corpus: Path) -> None:
    reports = [path.read_bytes() for path in sorted((corpus / "sev-snp").glob("*.report.bin"))]
    assert len(reports) == 5
    for data in reports:
        assert encode(parse(data)) == data


def test_negated_signature_is_the_same_statement(corpus: Path) -> None:
    folder = corpus / "sev-snp"
    reports = [(folder / name).read_bytes() for name in (NEGATED.file, "milan-v5-gcp-teekit.report.bin")]
    first, second = (Evidence.of("sev-snp", "cpu", {"report": data}) for data in reports)
    assert first.digest != second.digest
    assert SEV_SNP.statement(first) == SEV_SNP.statement(second)
