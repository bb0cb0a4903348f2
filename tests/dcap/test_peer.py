"""The same genuine quotes judged by dcap-qvl: the same status and advisories, or a refusal by its default policy, which is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.trust import TrustStore

pytestmark = pytest.mark.corpus
peer = pytest.importorskip("dcap_qvl")

# What dcap-qvl 0.7 refuses by default and we tell as claims, for a policy to judge (the floor refuses debugging).
BY_POLICY = {
    "Debug mode is enabled": lambda claims: claims.debug == "on",
    "SEPT_VE_DISABLE is not enabled": lambda claims: not claims.sept_ve_disabled,
    "Invalid MR service TD": lambda claims: claims.service_td,
}


def test_genuine_quotes(quotes: Path, judge) -> None:
    agreed = by_policy = 0
    for vector in json.loads((quotes / "vectors.json").read_bytes()):
        if vector["collateral"] is None:
            continue
        quote = (quotes / vector["quote"]).read_bytes()
        text = (quotes / vector["collateral"]).read_text()
        ours = _ours(judge, quote, text, vector["now"])
        theirs = _theirs(quote, text, vector["now"])
        if isinstance(ours, str) or not isinstance(theirs, str):
            assert (ours, theirs) == ("dcap.tcb-level", "No matching TCB level found") or theirs == (
                ours.tcb_status,
                sorted(ours.advisories),
            ), vector["quote"]
            agreed += 1
        else:
            assert [words for words, holds in BY_POLICY.items() if words in theirs and holds(ours)], (vector["quote"], theirs)
            by_policy += 1
    assert (agreed, by_policy) == (15, 6)


def _ours(judge, quote: bytes, text: str, now: int):
    try:
        return judge(quote, json.loads(text), now, TrustStore.production()).claims
    except AttestError as error:
        return error.code


def _theirs(quote: bytes, text: str, now: int) -> str | tuple[str, list[str]]:
    try:
        report = peer.verify(quote, peer.QuoteCollateralV3.from_json(text), now)
    except ValueError as error:
        return str(error).removeprefix("Verification failed: ")
    return report.status, sorted(report.advisory_ids)
