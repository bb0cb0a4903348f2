"""One command line per class of refusal: exit code, error and hint."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest_cli import main

if TYPE_CHECKING:
    from conftest import Attest

TRUST = "--trust lab/pki/trust.json"
FULL = f"{TRUST} --policy h100x8-snp --key demo --test-only"

# command line, part of the error, part of a hint ("" when none is wanted)
USAGE = {
    "no such verb": ("vrify x", "no such command 'vrify'", "did you mean 'verify'?"),
    "no such subverb": ("key shw", "no such command 'shw'", "did you mean 'show'?"),
    "verb alone": ("key", "missing command", "see attest key --help"),
    "no argument": ("verify", "missing argument 'BUNDLE'", "see attest verify --help"),
    "no such option": ("verify lab/node --polcy x", "no such option: --polcy", "see attest verify --help"),
    "value of a wrong type": ("simulate node --pki lab/pki --out x --gpus many", "invalid value for '--gpus'", "simulate node --help"),
    "choice that is none": ("recipient create --out x --kem rsa", "invalid value for '--kem'", "recipient create --help"),
    "nothing there": ("verify lab/nothing", "there is no bundle or report at lab/nothing", ""),
    "folder that is no bundle": ("verify lab", "without bundle.json", "give a bundle folder, a bundle file, or a single report"),
    "folder of a release as record": ("audit record lab/release", "lab/release is a folder", "name the record: lab/release/record.json"),
    "public key to open with": (
        "fetch-key demo lab/release --recipient lab/pki/recipient.key.pub",
        "is the public key",
        "use --recipient lab/pki/recipient.key",
    ),
    "one file of a folder": ("verify lab/node/bundle.json", "is one file of a bundle folder", "give the folder: lab/node"),
    "time in words": (f"verify lab/node {TRUST} --at yesterday", "--at is not a time", "write it like 2026-11-21T08:00:00Z"),
    "time with an offset": (f"verify lab/node {TRUST} --at 2026-11-21T08:00:00+01:00", "--at is not a time", "2026-11-21T08:00:00Z"),
    "policy without key": ("verify lab/node --policy h100x8-snp", "--policy and --key go together", "name the key"),
    "key without policy": ("verify lab/node --key demo", "--policy and --key go together", "name the key"),
    "no such policy": ("verify lab/node --policy h100x8 --key k", "no policy called 'h100x8' ships", "h100x8-snp"),
    "no such policy folder": ("verify lab/node --policy ./nowhere --key k", "there is no policy folder ./nowhere", "attest policy list"),
    "folder that is no policy": ("verify lab/node --policy lab/pki --key k", "is not a policy", "name the folder of a policy"),
    "no trust store": ("verify lab/node --trust lab/none.json", "there is no trust store at lab/none.json", ""),
    "nonce of a wrong size": ("verify lab/node --nonce 00ff", "--nonce", "take it from: attest challenge KEY"),
    "companion of a bundle": ("verify lab/node --with lab/pki/trust.json", "--with goes with a bare report", ""),
    "page into nothing": (f"verify lab/node {TRUST} --html lab/none/page.html", "no such file or directory", "check the path"),
    "no broker": ("key list --broker lab/pki", "there is no broker", "attest key create"),
    "broker not named": ("key list", "missing option '--broker'", "see attest key list --help"),
    "release into a full folder": (
        f"release demo lab/node --out lab/pki --broker lab/broker {TRUST}",
        "is not an empty folder",
        "new folder",
    ),
    "simulation over something": ("simulate node --pki lab/pki --out lab/node", "lab/node is there already", "name a new bundle"),
    "claim that is none": ("simulate node --pki lab/pki --out lab/x --set gpu-0.colour=red", "cannot be set", ""),
    "device that is none": ("simulate node --pki lab/pki --out lab/x --set gpu-9.mode=spt", "no such device", ""),
    "setting without value": ("simulate node --pki lab/pki --out lab/x --set gpu-0.mode", "--set is not CLAIM=VALUE", "gpu-3.mode=ppcie"),
    "claim set twice": ("simulate node --pki lab/pki --out lab/x --set cpu.vmpl=1 --set cpu.vmpl=2", "names a claim twice", ""),
    "defect that is none": ("simulate node --pki lab/pki --out lab/x --defect gpu-haunted", "there is no such defect", ""),
    "check that is none": ("checks floor.debg", "there is no check 'floor.debg'", "did you mean floor.debug?"),
    "token of nobody": ("token verify lab/release/token.jwt", "nobody says whose token", "--broker DIR"),
    "copy of a ledger without key": ("ledger fsck lab/broker/ledger/public", "has no key of its own", "--vkey KEY"),
    "proof over a file": ("ledger prove lab/broker/ledger --index 0 --out lab/pki/trust.json", "is there already", "name a new file"),
    "fetching for a simulation": ("collateral fetch lab/node --out lab/x", "simulated evidence has no publisher", "simulator"),
    "mirror without address": ("collateral fetch lab/node --out lab/x --mirror host", "--mirror is not HOST=URL", "write it like"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(lab: Path, attest: Attest, name: str) -> None:
    line, error, hint = USAGE[name]
    result = attest(line, expect=2)
    assert result.out == "", "nothing but results goes to stdout"
    refused(result.err, error, hint)


def refused(text: str, error: str, hint: str) -> None:
    """Errors begin ``attest: error:`` in lower case, hints follow them, and there is no traceback."""
    lines = text.splitlines()
    errors = [line for line in lines if line.startswith("attest: error: ")]
    assert any(error in line for line in errors), text
    assert all(re.match(r"attest: (error|hint|warning): \S", line) or re.match(r"attest: \S", line) for line in lines), text
    for line in errors:
        message = line.removeprefix("attest: error: ")
        assert not message[0].isupper() or not message[1].islower(), f"not lower case: {line}"
        assert not message.endswith("."), f"full stop: {line}"
    if hint:
        assert any(line.startswith("attest: hint: ") and hint in line for line in lines), text
    assert "Traceback" not in text


def bundle_with(change: Callable[[dict[str, object]], object]) -> Callable[[Path], str]:
    def make(lab: Path) -> str:
        shutil.copytree(lab / "lab/node", lab / "lab/changed", dirs_exist_ok=True)
        manifest = json.loads((lab / "lab/changed/bundle.json").read_text())
        change(manifest)
        (lab / "lab/changed/bundle.json").write_text(json.dumps(manifest))
        return "lab/changed"

    return make


def file_with(data: bytes) -> Callable[[Path], str]:
    def make(lab: Path) -> str:
        (lab / "lab/file").write_bytes(data)
        return "lab/file"

    return make


MALFORMED = {
    "empty file": (file_with(b""), "evidence.unrecognised", "copy the file again, whole"),
    "file cut off": (file_with(b'{"format": '), "evidence.unrecognised", "copy the file again, whole"),
    "other json": (file_with(b'{"format": "x"}'), "evidence.unrecognised", "attest verify --help"),
    "certificates alone": (file_with(b"-----BEGIN CERTIFICATE-----\n"), "evidence.unrecognised", "--with CERTIFICATES"),
    "trust store": (file_with(b'{"format": "attest-trust/1"}'), "evidence.unrecognised", "--trust FILE"),
    "record of a release": (
        file_with(b'{"format": "attest-release-record/1"}'),
        "evidence.unrecognised",
        "attest audit record FILE",
    ),
    "half a report": (file_with(bytes.fromhex("11e001ff") + bytes(33) + bytes.fromhex("1160") + bytes(9)), "nvidia-gpu", ""),
    "unknown member": (bundle_with(lambda m: m.update(surprise=1)), "wire.json", ""),
    "unknown format": (bundle_with(lambda m: m.update(format="attest-bundle/9")), "bundle.format", ""),
    "nonce of a wrong size": (bundle_with(lambda m: m.update(nonce="00")), "bundle.nonce", ""),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(lab: Path, attest: Attest, name: str) -> None:
    make, code, hint = MALFORMED[name]
    path = make(lab)
    result = attest(f"verify {path}", "--json", expect=3)
    (verdict,) = result.document["results"]
    assert verdict["verdict"] == "malformed"
    assert verdict["permitted"] is verdict["authentic"] is False
    assert verdict["reasons"][0]["code"].startswith(code)
    refused(result.err, f"{path}: the input cannot be read", hint)
    shutil.rmtree(lab / "lab/changed", ignore_errors=True)


def node(attest: Attest, lab: Path, name: str, *options: str) -> str:
    """A simulated node of one's own; the story's authorities are used again."""
    if not (lab / f"lab/{name}").exists():
        attest(f"simulate node --pki lab/pki --out lab/{name}", *options, expect=0)
    return f"lab/{name}"


# Defect, and the check that must be shown as failed: its own, also where the code of the reason comes from below it.
FAILING = {
    "gpu-report-signed-by-other-gpu": ("gpu-0", "nvidia-gpu.signature", "nvidia-gpu.signature"),
    "gpu-chain-foreign-root": ("gpu-0", "nvidia-gpu.chain", "pki.chain.anchor"),
    "cpu-foreign-root": ("cpu", "sev-snp.chain", "pki.chain.anchor"),
    "cpu-measurement-flipped": ("cpu", "sev-snp.signature", "sev-snp.signature"),
}


@pytest.mark.parametrize("defect", FAILING)
def test_the_failed_check_is_named_and_what_came_before_and_after(lab: Path, attest: Attest, defect: str) -> None:
    subject, check, code = FAILING[defect]
    bad = node(attest, lab, defect, "--defect", defect)
    result = attest(f"verify {bad} {TRUST}", "--json", expect=4)
    (verdict,) = result.document["results"]
    devices = {device["subject"]: device for device in verdict["devices"]}
    assert [name for name, device in devices.items() if not device["authentic"]] == [subject]
    statuses = [(item["id"], item["status"]) for item in devices[subject]["checks"] if not item["limitation"]]
    place = statuses.index((check, "failed"))
    assert {status for _, status in statuses[:place]} == {"passed"}
    assert {status for _, status in statuses[place + 1 :]} == {"not-reached"}
    assert [(reason["subject"], reason["code"]) for reason in verdict["reasons"]] == [(subject, code)]
    refused(result.err, f"{bad}: not authentic (1 reason)", "")


def test_not_authentic_under_another_root(lab: Path, attest: Attest) -> None:
    result = attest("verify lab/node", expect=4)
    refused(result.err, "lab/node: not authentic", "--trust FOLDER/trust.json")
    assert "SIMULATED" in result.out
    assert "NOT AUTHENTIC" in result.out


def test_refused_by_the_floor(lab: Path, attest: Attest) -> None:
    result = attest(f"verify lab/node {TRUST}", expect=5)
    assert "floor.genuine" in result.out
    refused(result.err, "lab/node: authentic, but nothing can be released to it (9 reasons)", "use real hardware")


def test_refused_by_the_policy_says_claim_found_expected_and_place(lab: Path, attest: Attest) -> None:
    old = node(attest, lab, "old", "--set", "gpu-3.driver_version=535.00.01")
    result = attest(f"verify {old} {FULL}", "--json", expect=5)
    (verdict,) = result.document["results"]
    reason = next(reason for reason in verdict["reasons"] if reason["subject"] == "gpu-3")
    assert reason["code"] == "policy.refused"
    assert reason["rule"] == "gpu"
    assert reason["found"] == "535.00.01"
    assert "580" in reason["expected"]
    assert reason["where"] == "report opaque field 3"
    answers = {(answer["action"], answer["subject"]): answer["allowed"] for answer in verdict["policy"]["answers"]}
    assert answers["accept", "gpu-3"] is False
    assert answers["accept", "gpu-4"] is True
    refused(result.err, f"{old}: refused", "update the driver")


def test_cannot_decide_without_manifests(lab: Path, attest: Attest) -> None:
    bare = node(attest, lab, "bare", "--defect", "gpu-rim-driver-missing")
    result = attest(f"verify {bare} {TRUST} --test-only", "--json", expect=6)
    (verdict,) = result.document["results"]
    assert verdict["verdict"] == "cannot-decide"
    assert "nvidia-gpu.driver-rim" in {item["id"] for item in verdict["not_checked"]}
    refused(result.err, f"{bare}: authentic, but nothing can be released to it", "attest collateral fetch")


def test_authentic_without_a_policy_is_no_permission(lab: Path, attest: Attest) -> None:
    result = attest(f"verify lab/node {TRUST} --test-only", expect=6)
    assert result.out.splitlines()[1].startswith("AUTHENTIC")
    assert "this is no permission" in result.out
    refused(result.err, "lab/node: authentic, but no policy was asked", "--policy NAME --key NAME")


def test_permit_only_with_policy_nonce_and_test_only_key(lab: Path, attest: Attest) -> None:
    nonce = json.loads((lab / "lab/node/bundle.json").read_text())["nonce"]
    good = attest(f"verify lab/node {FULL} --nonce {nonce}", expect=0)
    assert good.err == ""
    assert "PERMIT" in good.out
    assert "SIMULATED" in good.out
    attest(f"verify lab/node {FULL}", expect=5)  # nobody issued the nonce
    attest(f"verify lab/node {FULL} --nonce {'00' * 31}01", expect=5)
    attest(f"verify lab/node {FULL.replace('--test-only', '')} --nonce {nonce}", expect=5)


def test_several_bundles_end_with_the_worst(lab: Path, attest: Attest) -> None:
    (lab / "lab/empty").write_bytes(b"")
    two = attest(f"verify lab/node lab/empty {TRUST} --test-only", "--json", expect=3)
    assert [result["exit_code"] for result in two.document["results"]] == [6, 3]
    assert two.document["exit_code"] == 3
    attest(f"verify lab/node lab/node {TRUST} --test-only", expect=6)
    attest("verify lab/node fixtures/sev-snp/azure-milan-v3", expect=4)


def test_a_bug_of_ours_is_never_a_verdict(lab: Path, attest: Attest, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret 0xdeadbeef")

    monkeypatch.setattr("attest.verifier.judge", broken)
    result = attest(f"verify lab/node {TRUST}", expect=1)
    assert result.out == ""
    refused(result.err, "internal error: RuntimeError in test_refusals.py line", "attest --debug")
    assert "deadbeef" not in result.err
    shown = attest(f"--debug verify lab/node {TRUST}", expect=1)
    assert "Traceback" in shown.err
    assert "deadbeef" in shown.err


def test_an_error_of_the_system_is_usage(lab: Path, attest: Attest, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "lab/node")

    monkeypatch.setattr("attest.bundle.Bundle.load", denied)
    refused(attest("verify lab/node", expect=2).err, "permission denied: lab/node", "check the path and its permissions")


def test_every_exit_code_is_one_of_the_contract() -> None:
    assert main.__doc__ is not None
    for code, word in enumerate(("yes or done", "a bug of ours", "usage", "malformed", "not authentic", "refused", "cannot decide")):
        assert f"{code} {word}" in main.__doc__.replace("malformed input", "malformed")
