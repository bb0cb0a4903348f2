"""What was recorded on a software TPM, and every change to what is accepted of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attest.appraisal import KeyUse
from attest.bundle import Bundle
from attest.errors import AttestError
from attest.evidence import Collateral, Evidence
from attest.kinds.tpm import TPM
from attest.kinds.tpm.recognise import recognise, to_file
from attest.trust import TrustStore
from attest.verifier import judge

FOLDER = Path(__file__).resolve().parents[3] / "fixtures" / "tpm"
TRUST = TrustStore.from_json((FOLDER / "trust.json").read_bytes())
EXPECTED: dict[str, str] = json.loads((FOLDER / "expected.json").read_text())
GOOD = [name for name, code in EXPECTED.items() if not code]


def code_of(evidence: Evidence, bundle: Bundle) -> str:
    assert bundle.recorded_at is not None
    try:
        TPM.verify(evidence, trust=TRUST, collateral=Collateral(), at=bundle.recorded_at)
    except AttestError as error:
        return error.code
    return ""


def test_every_session_is_named() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == EXPECTED.keys()
    assert len(GOOD) == 4


@pytest.mark.parametrize("name", EXPECTED)
def test_session(name: str) -> None:
    bundle = Bundle.load(FOLDER / name)
    assert code_of(bundle.evidence[0], bundle) == EXPECTED[name]


@pytest.mark.parametrize("name", GOOD)
def test_the_floor_finds_nothing_but_simulation(name: str) -> None:
    bundle = Bundle.load(FOLDER / name)
    assert bundle.recorded_at is not None
    for use, codes in ((KeyUse.TEST_ONLY, []), (KeyUse.PRODUCTION, ["floor.genuine"])):
        from datetime import timedelta

        judged = judge(bundle, trust=TRUST, at=bundle.recorded_at, policy=None, key="", use=use, nonce=None, max_age=timedelta(minutes=5))
        assert judged.appraisal is not None
        assert [reason.code for reason in judged.appraisal.findings] == codes


@pytest.mark.parametrize("name", GOOD)
def test_file_form(name: str) -> None:
    evidence = Bundle.load(FOLDER / name).evidence[0]
    (found,) = recognise(to_file(evidence))
    assert found.digest == evidence.digest
    (bare,) = recognise(evidence.parts["quote"])
    assert set(bare.parts) == {"quote"}
    assert recognise(evidence.parts["pcrs"]) == ()
    assert recognise(b'{"format": "attest-bundle/1"}') == ()
    with pytest.raises(AttestError):
        recognise(to_file(evidence).replace(b'"quote"', b'"quoted"'))


def test_inspect() -> None:
    fields = TPM.inspect(Bundle.load(FOLDER / "rsa-sha256").evidence[0])
    assert fields["attestation key, attributes"] == "fixedtpm+fixedparent+sensitivedataorigin+userwithauth+restricted+sign"
    assert fields["PCR selection"].startswith("sha256:0,1,2")
    assert len(fields["PCR 7 (sha256)"]) == 64
    assert fields["event log"].endswith("sha256, sha384")


@pytest.mark.parametrize("name", GOOD)
def test_truncations_and_extensions(name: str) -> None:
    bundle = Bundle.load(FOLDER / name)
    evidence = bundle.evidence[0]
    for part, data in evidence.parts.items():
        for size in range(0, len(data), max(1, len(data) // 300)):
            changed = Evidence.of("tpm", "tpm-0", {**evidence.parts, part: data[:size]})
            # A log of no bytes is no log: clouds give that, and it makes no claims.
            assert code_of(changed, bundle) or (part, size) == ("event-log", 0), (part, size)
        assert code_of(Evidence.of("tpm", "tpm-0", {**evidence.parts, part: data + b"\0"}), bundle), part


@pytest.mark.parametrize("name", ["rsa-sha256", "ecc-sha256"])
@pytest.mark.parametrize(
    "part", ["quote", "signature", "ak", "certification", "certification-signature", "recipient", "recipient-policy", "pcrs"]
)
def test_every_bit_counts(name: str, part: str) -> None:
    bundle = Bundle.load(FOLDER / name)
    evidence = bundle.evidence[0]
    data = evidence.parts[part]
    for index in range(len(data)):
        for bit in (0, 3, 7):
            changed = data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]
            assert code_of(Evidence.of("tpm", "tpm-0", {**evidence.parts, part: changed}), bundle), (index, bit)
