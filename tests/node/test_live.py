"""The whole way on a software TPM that runs: enrol, quote, release, open inside the TPM, audit. Through the command, as people do it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import attest.node.tpm
from attest.bundle import Bundle
from attest.policy.shipped import shipped_policy
from attest.release.suites import oaep_label, seal
from attest.trust import TrustStore
from attest_cli.main import run
from tests.kinds.tpm.software import Ev, boot_events, log_of, pcrs_of
from tests.swtpm import SoftwareTpm

EVENTS = [event for event in boot_events() if event.type != 3]  # it started at locality 0
BANKS = {"sha256": 0xB, "sha384": 0xC}
Say = Callable[[str], str]


def extend(tpm: SoftwareTpm, event: Ev) -> None:
    tpm.extend(event.pcr, {name: event.digest(name) for name in BANKS})


@pytest.fixture(scope="module")
def machine(swtpm: SoftwareTpm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SoftwareTpm]:
    """A machine that booted: PCRs extended, event log written, policy with its reference values."""
    folder = tmp_path_factory.mktemp("machine")
    for event in EVENTS:
        extend(swtpm, event)
    (folder / "log").write_bytes(log_of(EVENTS, tuple(BANKS.values())))
    (folder / "ca.pem").write_bytes(swtpm.authorities)
    shutil.copytree(shipped_policy("tpm-loader"), folder / "policy")
    reference = json.loads((folder / "policy/reference.json").read_text())
    values = pcrs_of(EVENTS)
    for name, item in reference["values"].items():
        item["value"] = [values[int(name.removeprefix("allowed_pcr"))].hex()]
    (folder / "policy/reference.json").write_text(json.dumps(reference))
    return folder, swtpm


@pytest.fixture
def say(machine: tuple[Path, SoftwareTpm], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """``say("verify node # 5")``: run a command in the machine's folder, hold it to its exit code, return what it prints."""
    folder, tpm = machine
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpm.tcti)
    monkeypatch.setattr(attest.node.tpm, "EVENT_LOG", folder / "log")

    def command(line: str) -> str:
        words, _, code = line.partition(" # ")
        found = run(words.split())
        out = capsys.readouterr()
        assert found == int(code or 0), f"attest {words}: exit {found}\n{out.out}\n{out.err}"
        return out.out + out.err if code else out.out

    return command


def test_enrol_quote_release_open_audit(say: Say, machine: tuple[Path, SoftwareTpm]) -> None:
    folder, tpm = machine
    say("tpm prepare --out request.json")
    say("tpm challenge request.json --out credential --secret secret")
    say("tpm activate credential --out answer")
    say("tpm enrol request.json answer --secret secret --label node-1 --ca ca.pem --software --trust trust.json")
    say("tpm recipient --out key")

    say("key create weights --policy policy --use test-only --broker broker")
    nonce = say("challenge weights --broker broker").strip()
    say(f"tpm quote --nonce {nonce} --recipient key --out node")
    text = say("release weights node --broker broker --trust trust.json --out release --explain")
    assert "RELEASED  weights version 1" in text
    assert "SIMULATED" in text
    assert "tpm.memory" in text
    opened = say("fetch-key weights release --recipient key --out weights.key")
    assert "confirmation" in opened
    assert len((folder / "weights.key").read_bytes()) == 32
    audit = say("audit record release/record.json --broker broker --trust trust.json")
    assert "not-checked:tpm.memory" in audit or "Memory hidden" in audit

    # once only; and nobody else's recipient, nonce or machine
    say("release weights node --broker broker --trust trust.json --out again # 5")
    say("verify node --trust trust.json --policy policy --key weights --test-only --nonce " + "11" * 32 + " # 5")
    say("verify node --policy policy --key weights # 4")
    say("recipient create --out other.key")
    assert "wrap.recipient" in say("fetch-key weights release --recipient other.key --json # 5")
    altered = folder / "altered"
    shutil.copytree(folder / "node", altered)
    bundle = Bundle.load(altered)
    assert bundle.recipient is not None

    # PCR 4 moves on, as it does when another program is started: the TPM no longer uses the key, and the quote is refused.
    sealed = seal(b"k" * 32, bundle.recipient, info=b"session")
    device = attest.node.tpm.Tpm()
    assert device.unwrap(folder / "key", sealed, oaep_label(b"session")) == b"k" * 32
    extend(tpm, Ev(4, 0x80000003, b"another program"))
    assert "wrap.open" in say("fetch-key weights release --recipient key # 4")
    nonce = say("challenge weights --broker broker").strip()
    say(f"tpm quote --nonce {nonce} --recipient key --out later")
    assert "tpm.log-replay" in say("release weights later --broker broker --trust trust.json --out refused --json # 4")
    (folder / "log").write_bytes(log_of([*EVENTS, Ev(4, 0x80000003, b"another program")], tuple(BANKS.values())))
    nonce = say("challenge weights --broker broker").strip()
    say(f"tpm quote --nonce {nonce} --recipient key --out honest")
    assert "tpm.recipient-policy" in say("release weights honest --broker broker --trust trust.json --out refused --json # 4")
    say("tpm recipient --out newer")
    nonce = say("challenge weights --broker broker").strip()
    say(f"tpm quote --nonce {nonce} --recipient newer --out frank")
    refused = json.loads(say("release weights frank --broker broker --trust trust.json --out refused --json # 5").split("\nattest:")[0])
    assert [(reason["subject"], reason["code"]) for reason in refused["verdict"]["reasons"]] == [("tpm-0", "policy.refused")]
    assert "pcr4" in refused["verdict"]["reasons"][0]["message"]


def test_refusals_of_enrolment(say: Say, machine: tuple[Path, SoftwareTpm]) -> None:
    folder, tpm = machine
    enrolled = json.loads((folder / "request.json").read_text())
    say("tpm challenge request.json --out credential2 --secret secret2")
    say("tpm activate credential2 --out answer2")
    # the answer to another challenge
    said = say("tpm enrol request.json answer --secret secret2 --label x --trust t2.json --software # 5")
    assert "only this TPM with this key" in said
    assert not (folder / "t2.json").exists()
    # a key that is none for attestation
    other = dict(enrolled, ak=enrolled["ek"])
    (folder / "other.json").write_text(json.dumps(other))
    say("tpm challenge other.json --out credential3 --secret secret3 # 4")
    # a credential for another attestation key: the TPM refuses to open it
    ak = bytearray(base64.b64decode(enrolled["ak"]))
    ak[-1] ^= 2
    (folder / "stranger.json").write_text(json.dumps(dict(enrolled, ak=base64.b64encode(ak).decode())))
    say("tpm challenge stranger.json --out credential4 --secret secret4")
    assert "tpm2_activatecredential" in say("tpm activate credential4 --out answer4 # 6")
    # no chain to the authority that is named
    (folder / "root.pem").write_bytes(b"-----BEGIN" + tpm.authorities.split(b"-----BEGIN")[2])
    say("tpm enrol request.json answer2 --secret secret2 --label x --ca root.pem --software --trust t3.json # 4")
    # without authorities it is the operator's own word, and once only
    assert "your own word" in say("tpm enrol request.json answer2 --secret secret2 --label x --software --trust t3.json # 0")
    say("tpm enrol request.json answer2 --secret secret2 --label y --software --trust t3.json # 3")
    # never beside the vendors' roots
    (folder / "vendors.json").write_bytes(TrustStore.production().to_json())
    say("tpm enrol request.json answer2 --secret secret2 --label x --software --trust vendors.json # 2")


def test_ecc_attestation_key(say: Say) -> None:
    say("tpm prepare --out request-ecc.json --algorithm ecc")
    say("tpm challenge request-ecc.json --out credential-ecc --secret secret-ecc")
    say("tpm activate credential-ecc --out answer-ecc")
    say("tpm enrol request-ecc.json answer-ecc --secret secret-ecc --label node-ecc --ca ca.pem --software --trust trust-ecc.json")
    say("tpm recipient --out key-ecc")
    nonce = "22" * 32
    say(f"tpm quote --nonce {nonce} --recipient key-ecc --out node-ecc --pcrs sha256:0,1,2,4,7,9,12")
    assert "AUTHENTIC" in say("verify node-ecc --trust trust-ecc.json --test-only # 6")
    say(f"tpm quote --nonce {nonce} --recipient key-ecc --out node-two --pcrs sha384:0,7+sha256:0 # 2")
    say(f"tpm quote --nonce {nonce} --recipient key-ecc --out node-ecc # 2")
    say(f"tpm quote --nonce {nonce} --recipient key-ecc --out node-few --pcrs sha256:0,1")
    assert "tpm.recipient-policy" in say("verify node-few --trust trust-ecc.json --test-only --json # 4")
