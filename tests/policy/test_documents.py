"""The documents about policies say what is so."""

from __future__ import annotations

from pathlib import Path

from attest.appraisal import WorkloadClaims
from attest.kinds import KINDS
from attest.policy.finding import CODES
from attest.policy.vocabulary import claims_document

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_claims_is_current() -> None:
    assert (DOCS / "claims.md").read_text() == claims_document(KINDS, WorkloadClaims), (
        "run: python -m attest.policy.vocabulary > docs/claims.md"
    )


def test_every_code_is_documented() -> None:
    lines = (DOCS / "policies.md").read_text().splitlines()
    table = {cells[1].strip(): cells[2].strip() for cells in (line.split("|") for line in lines if line.startswith("| P"))}
    assert table == CODES
