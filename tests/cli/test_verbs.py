"""What single verbs do beside refusing: keys, releases, audits, simulations, the doctor."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Attest

TRUST = "--trust lab/pki/trust.json"


def release(attest: Attest, lab: Path, name: str, *options: str) -> str:
    """A release of the story's key to a new simulated node."""
    nonce = attest("challenge demo --broker lab/broker", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --out lab/{name}-node --nonce {nonce}", *options, expect=0)
    attest(f"release demo lab/{name}-node --out lab/{name} --broker lab/broker {TRUST}", expect=0)
    return f"lab/{name}"


# -- node -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kem", ["x25519", "p384", "mlkem768_x25519"])
def test_a_key_for_every_kind_of_recipient(lab: Path, attest: Attest, kem: str) -> None:
    made = attest(f"recipient create --out lab/{kem}.key --kem {kem}", "--json", expect=0).document
    assert stat.S_IMODE((lab / f"lab/{kem}.key").stat().st_mode) == 0o600
    released = release(attest, lab, f"to-{kem}", "--recipient", f"lab/{kem}.key.pub")
    opened = attest(f"fetch-key demo {released} --recipient lab/{kem}.key", "--json", expect=0).document
    assert json.loads((lab / released / "wrapped-key.json").read_text())["recipient"] == made["thumbprint"]
    mine = attest("fetch-key demo lab/release --recipient lab/pki/recipient.key", "--json", expect=0).document
    assert opened["confirmation"] == mine["confirmation"] or opened["version"] != mine["version"]


def test_the_key_itself_only_goes_into_a_private_file(lab: Path, attest: Attest) -> None:
    result = attest("fetch-key demo lab/release --recipient lab/pki/recipient.key --out lab/opened.key", expect=0)
    key = (lab / "lab/opened.key").read_bytes()
    assert len(key) == 32
    assert stat.S_IMODE((lab / "lab/opened.key").stat().st_mode) == 0o600
    assert key.hex() not in result.out + result.err
    again = attest("fetch-key demo lab/release --recipient lab/pki/recipient.key --out lab/opened.key", expect=5)
    assert "[keyfile.exists]" in again.err


WRONG_FETCH = {
    "another key name": ("fetch-key weights lab/release --recipient lab/pki/recipient.key", 5, "wrap.key"),
    "another recipient": ("fetch-key demo lab/release --recipient lab/stranger.key", 5, "wrap.recipient"),
    "no private key": ("fetch-key demo lab/release --recipient lab/none.key", 6, "keyfile.missing"),
    "key that others can read": ("fetch-key demo lab/release --recipient lab/open.key", 5, "keyfile.mode"),
}


@pytest.mark.parametrize("name", WRONG_FETCH)
def test_fetching_what_is_not_ours(lab: Path, attest: Attest, name: str) -> None:
    if not (lab / "lab/stranger.key").exists():
        attest("recipient create --out lab/stranger.key", expect=0)
        (lab / "lab/open.key").write_bytes((lab / "lab/stranger.key").read_bytes())
        (lab / "lab/open.key").chmod(0o644)
    line, code, reason = WRONG_FETCH[name]
    result = attest(line, expect=code)
    assert result.out == ""
    assert f"[{reason}]" in result.err
    assert "attest: hint: " in result.err


def test_an_altered_token_or_ciphertext_opens_nothing(lab: Path, attest: Attest) -> None:
    for file, reason in (("token.jwt", "wrap.token"), ("wrapped-key.json", "wrap.open")):
        folder = lab / f"lab/altered-{file}"
        folder.mkdir()
        for name in ("token.jwt", "wrapped-key.json"):
            (folder / name).write_bytes((lab / "lab/release" / name).read_bytes())
        if file == "token.jwt":
            (folder / file).write_text((folder / file).read_text()[:-5] + "AAAA\n")
        else:
            wrapped = json.loads((folder / file).read_text())
            wrapped["ciphertext"] = wrapped["ciphertext"][:-2] + ("00" if wrapped["ciphertext"][-2:] != "00" else "01")
            (folder / file).write_text(json.dumps(wrapped))
        result = attest(f"fetch-key demo lab/altered-{file} --recipient lab/pki/recipient.key")
        assert result.code in (4, 5)
        assert f"[{reason}]" in result.err


def test_a_private_key_is_never_overwritten_nor_shown(lab: Path, attest: Attest) -> None:
    attest("recipient create --out lab/once.key", expect=0)
    before = (lab / "lab/once.key").read_bytes()
    assert "[keyfile.exists]" in attest("recipient create --out lab/once.key", expect=5).err
    assert (lab / "lab/once.key").read_bytes() == before
    shown = attest("recipient show lab/once.key", "--json", expect=0)
    assert shown.document["jwk"].keys() == {"kty", "crv", "x"}
    assert before.decode().splitlines()[1] not in shown.out


# -- broker ---------------------------------------------------------------------------------------------------------------


def test_a_release_writes_what_node_and_auditor_need(lab: Path, attest: Attest) -> None:
    folder = lab / "lab/release"
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "token.jwt", "wrapped-key.json"]
    assert stat.S_IMODE((folder / "record.json").stat().st_mode) == 0o600
    assert attest(f"verify lab/release/record.json {TRUST}", expect=3).out  # a record is no bundle


def test_a_challenge_is_spent_once(lab: Path, attest: Attest) -> None:
    again = attest(f"release demo lab/node --out lab/again --broker lab/broker {TRUST}", expect=5)
    assert "[release.nonce-used]" in again.err
    assert "attest: hint: ask the broker for a new challenge" in again.err
    assert not (lab / "lab/again").exists()


def test_a_nonce_of_nobody_is_refused_before_anything_is_judged(lab: Path, attest: Attest) -> None:
    attest("simulate node --pki lab/pki --out lab/own-nonce", expect=0)
    result = attest(f"release demo lab/own-nonce --out lab/no-release --broker lab/broker {TRUST}", expect=5)
    assert "[release.nonce-unknown]" in result.err
    assert result.out == ""


def test_a_nonce_for_another_key_is_refused(lab: Path, attest: Attest) -> None:
    attest("key create other --policy h100x8-snp --use test-only --broker lab/broker", expect=0)
    nonce = attest("challenge other --broker lab/broker", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --out lab/other-node --nonce {nonce}", expect=0)
    assert "[release.nonce-key]" in attest(f"release demo lab/other-node --out lab/x --broker lab/broker {TRUST}", expect=5).err


def test_a_production_key_never_goes_to_a_simulation(lab: Path, attest: Attest) -> None:
    attest("key create real --policy h100x8-snp --broker lab/broker", expect=0)
    nonce = attest("challenge real --broker lab/broker", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --out lab/real-node --nonce {nonce}", expect=0)
    result = attest(f"release real lab/real-node --out lab/x --broker lab/broker {TRUST}", "--json", expect=5)
    assert {reason["code"] for reason in result.document["verdict"]["reasons"]} == {"floor.genuine"}


def test_life_of_a_key(lab: Path, attest: Attest) -> None:
    attest("key create life --policy h100x8-snp --use test-only --broker lab/broker", expect=0)
    assert attest("key rotate life --broker lab/broker", "--json", expect=0).document["keys"][0]["version"] == 2
    attest("key disable life --version 1 --broker lab/broker", expect=0)
    states = [key["state"] for key in attest("key show life --broker lab/broker", "--json", expect=0).document["keys"]]
    assert states == ["disabled", "enabled"]
    nonce = attest("challenge life --broker lab/broker", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --out lab/life-node --nonce {nonce}", expect=0)
    line = f"release life lab/life-node --out lab/life --broker lab/broker {TRUST}"
    assert "[release.key-disabled]" in attest(f"{line} --version 1", expect=5).err
    attest("key enable life --version 1 --broker lab/broker", expect=0)
    assert "RELEASED  life version 1" in attest(f"{line} --version 1", expect=0).out
    bound = attest("key approve life --policy h100-snp --broker lab/broker", "--json", expect=0).document["keys"]
    assert {key["policy_name"] for key in bound} == {"h100-snp"}
    assert "[release.key-unknown]" in attest("key show nobody --broker lab/broker", expect=5).err
    assert "[release.key-version]" in attest("key disable life --version 9 --broker lab/broker", expect=5).err
    assert "[keystore.name]" in attest("key create ../life --policy h100-snp --broker lab/broker", expect=3).err
    assert "[keystore.exists]" in attest("key create life --policy h100-snp --broker lab/broker", expect=5).err


def test_policy_files_that_are_gone_or_changed_release_nothing(lab: Path, attest: Attest) -> None:
    attest("key create kept --policy h100-snp --use test-only --broker lab/keeper", expect=0)
    (digest,) = (lab / "lab/keeper/policies").iterdir()
    nonce = attest("challenge kept --broker lab/keeper", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --gpus 1 --out lab/kept-node --nonce {nonce}", expect=0)
    line = f"release kept lab/kept-node --out lab/kept --broker lab/keeper {TRUST}"
    reference = (digest / "reference.json").read_text()
    (digest / "reference.json").write_text(reference.replace("580.0.0", "1.0.0").replace("580.00.00", "1.0.0"))
    assert (digest / "reference.json").read_text() != reference
    changed = attest(line, expect=6)
    assert "[broker.policy-files]" in changed.err
    assert "attest key approve kept" in changed.err
    (digest / "reference.json").write_text(reference)
    assert "RELEASED" in attest(line, expect=0).out


# -- token and audit ------------------------------------------------------------------------------------------------------


def test_tokens_are_checked_at_their_time(lab: Path, attest: Attest) -> None:
    claims = attest("token inspect lab/release/token.jwt", "--json", expect=0).document["claims"]
    at = attest("audit record lab/release/record.json", "--json").document["release"]["released_at"]
    good = attest(f"token verify lab/release/token.jwt --broker lab/broker --at {at}", "--json", expect=0).document
    assert good["verified"] is True
    assert good["claims"] == claims
    late = attest("token verify lab/release/token.jwt --broker lab/broker --at 2030-01-01T00:00:00Z", expect=5)
    assert "[release.expired]" in late.err
    jwk = json.loads((lab / "lab/broker/broker.json").read_text())["issuer"]
    (lab / "lab/own-issuer.jwk").write_text(json.dumps(jwk["jwk"]))
    who = f"--issuer-key lab/own-issuer.jwk --issuer '{jwk['name']}' --at {at}"
    attest(f"token verify lab/release/token.jwt {who} --audience {claims['aud']}", expect=0)
    assert "[release.audience]" in attest(f"token verify lab/release/token.jwt {who} --audience another", expect=5).err
    (lab / "lab/forged.jwt").write_text((lab / "lab/release/token.jwt").read_text().strip()[:-6] + "AAAAAA")
    assert "[release.token-signature]" in attest(f"token verify lab/forged.jwt --broker lab/broker --at {at}", expect=4).err
    (lab / "lab/no.jwt").write_text("no token")
    assert attest("token inspect lab/no.jwt", expect=3).out == ""


def test_an_auditor_with_his_own_keys(lab: Path, attest: Attest) -> None:
    vkey = attest("key issuer --broker lab/broker --out lab/pinned.jwk", "--json", expect=0).document["vkey"]
    line = f"audit record lab/release/record.json {TRUST} --vkey {vkey} --issuer-key lab/pinned.jwk"
    own = attest(line, "--json", expect=0)
    assert (own.document["ledger_key"], own.document["issuer_key"]) == ("pinned", "pinned")
    assert own.err == ""
    broker = attest(f"audit record lab/release/record.json {TRUST} --broker lab/broker", "--json", expect=0)
    assert (broker.document["ledger_key"], broker.document["issuer_key"]) == ("broker", "broker")
    links = {link["id"]: link["rests_on"] for link in broker.document["release"]["links"]}
    assert "nobody pinned it" in links["audit.ledger-key"]
    assert "nobody pinned it" in links["audit.issuer-key"]
    assert "keys were taken from the broker itself" in broker.err


def test_an_audit_without_keys_or_under_other_roots_proves_nothing(lab: Path, attest: Attest) -> None:
    without = attest(f"audit record lab/release/record.json {TRUST}", expect=6)
    assert "NOT PROVED" in without.out
    assert "not every link is proved (2 of 16 are not)" in without.err
    foreign = attest("audit record lab/release/record.json --broker lab/broker", expect=4)
    assert "BROKEN" in foreign.out


def test_an_altered_record_is_broken(lab: Path, attest: Attest) -> None:
    record = json.loads((lab / "lab/release/record.json").read_text())
    record["contents"]["statement"]["software"] = "another 1.0"
    (lab / "lab/altered.json").write_text(json.dumps(record))
    result = attest(f"audit record lab/altered.json --broker lab/broker {TRUST}", "--json")
    assert result.code in (4, 5)
    broken = {link["id"] for link in result.document["release"]["links"] if link["status"] == "broken"}
    assert "audit.entry" in broken
    assert attest(f"audit record lab/node/bundle.json {TRUST}", expect=3).out == ""


def test_history_of_a_key_and_of_a_ledger(lab: Path, attest: Attest) -> None:
    whole = attest(f"audit ledger --broker lab/broker {TRUST}", "--json", expect=0).document
    assert whole["size"] == len(whole["releases"]) >= 1
    assert all(item["release"]["proved"] for item in whole["releases"])
    history = attest(f"audit key demo --broker lab/broker {TRUST}", "--json", expect=0).document
    assert {item["key"] for item in history["releases"]} == {"demo"}
    assert attest(f"audit key nobody --broker lab/broker {TRUST}", "--json", expect=0).document["releases"] == []
    assert attest("audit ledger --broker lab/broker", expect=4).code == 4  # under real roots a simulation proves nothing
    assert "Links" in attest(f"audit ledger --broker lab/broker {TRUST} --explain", expect=0).out


def test_a_damaged_ledger_is_found(lab: Path, attest: Attest) -> None:
    attest("key create d --policy h100-snp --use test-only --broker lab/damaged", expect=0)
    nonce = attest("challenge d --broker lab/damaged", expect=0).out.strip()
    attest(f"simulate node --pki lab/pki --gpus 1 --out lab/damaged-node --nonce {nonce}", expect=0)
    attest(f"release d lab/damaged-node --out lab/damaged-release --broker lab/damaged {TRUST}", expect=0)
    key = attest("ledger fsck lab/damaged/ledger", "--json", expect=0).document
    assert key["size"] == 1
    vkey = json.loads((lab / "lab/damaged-release/record.json").read_text())["ledger"]["vkey"]
    (tile,) = (lab / "lab/damaged/ledger/public/tile/0/000.p").iterdir()
    data = bytearray(tile.read_bytes())
    data[0] ^= 1
    tile.write_bytes(bytes(data))
    result = attest("ledger fsck lab/damaged/ledger/public", "--vkey", vkey)
    assert result.code == 4
    assert "[ledger." in result.err
    assert "CONSISTENT" not in result.out


# -- simulate, policy, doctor ---------------------------------------------------------------------------------------------


def test_shapes_of_nodes(lab: Path, attest: Attest) -> None:
    one = attest("simulate node --pki lab/pki --out lab/one.json --gpus 1", "--json", expect=0).document
    assert [device["subject"] for device in one["devices"]] == ["gpu-0", "cpu"]
    assert (lab / "lab/one.json").is_file()
    bare = attest("simulate node --pki lab/pki --out lab/gpus --gpus 2 --no-cpu", "--json", expect=0).document
    assert [device["kind"] for device in bare["devices"]] == ["nvidia-gpu"] * 2
    codes = {reason["code"] for reason in attest(f"verify lab/gpus {TRUST}", "--json", expect=5).document["results"][0]["reasons"]}
    assert "floor.cpu-tee" in codes
    assert attest(f"verify lab/one.json {TRUST} --test-only", expect=6).code == 6


def test_every_defect_is_listed_with_a_code_that_is_explained(lab: Path, attest: Attest) -> None:
    from attest_cli.checks import everything

    known = {item["id"] for item in everything()}
    defects = attest("simulate defects", "--json", expect=0).document["defects"]
    assert len(defects) > 200
    assert {item["check"] for item in defects if item["check"].partition(".")[0] not in ("wire", "evidence")} <= known


def test_a_broken_policy_is_named_place_by_place(lab: Path, attest: Attest) -> None:
    folder = lab / "lab/policy"
    folder.mkdir()
    for name in ("policy.json", "rules.cedar", "reference.json"):
        (folder / name).write_bytes((lab / "policies/h100x8-snp" / name).read_bytes())
    rules = (folder / "rules.cedar").read_text()
    assert "principal.debug" in rules
    (folder / "rules.cedar").write_text(rules.replace("principal.debug", "principal.dbug", 1))
    result = attest("policy check lab/policy", "--json", expect=3)
    found = [item for item in result.document["findings"] if item["code"] == "P102"]
    assert found[0]["file"] == "rules.cedar"
    assert found[0]["line"] > 0
    assert "debug" in found[0]["meant"]
    assert "it does not load" in attest("policy check lab/policy", expect=3).out
    refused = attest(f"verify lab/node {TRUST} --policy lab/policy --key demo", expect=3)
    assert "[P102]" in refused.err
    assert refused.out == ""


def test_formatting_keeps_the_digest_of_the_rules(lab: Path, attest: Attest) -> None:
    folder = lab / "lab/formatted"
    folder.mkdir()
    for name in ("policy.json", "rules.cedar", "reference.json"):
        (folder / name).write_bytes((lab / "policies/h100-snp" / name).read_bytes())
    before = attest("policy check lab/formatted", "--json", expect=0).document["rules"]
    (folder / "rules.cedar").write_text((folder / "rules.cedar").read_text().replace("\n  ", "\n      "))
    printed = attest("policy format lab/formatted", expect=0).out
    attest("policy format lab/formatted --write", expect=0)
    assert (folder / "rules.cedar").read_text() == printed
    assert attest("policy check lab/formatted", "--json", expect=0).document["rules"] == before
    (folder / "rules.cedar").write_text("permit(")
    assert "[P107]" in attest("policy format lab/formatted", expect=3).err


def test_the_doctor_finds_what_is_wrong(lab: Path, attest: Attest, monkeypatch: pytest.MonkeyPatch) -> None:
    well = attest("doctor", "--json", expect=0).document["items"]
    assert {item["status"] for item in well} <= {"ok", "note"}
    assert {"python", "cryptography", "openssl", "clock", "shipped policies", "kinds of evidence"} <= {item["name"] for item in well}
    monkeypatch.setenv("ATTEST_CORPUS", "/nowhere")
    assert problems(attest) == ["corpus"]
    monkeypatch.delenv("ATTEST_CORPUS")
    monkeypatch.setattr("attest_cli.doctor.now", lambda: datetime(2001, 1, 1, tzinfo=UTC))
    assert problems(attest) == ["clock"]


def problems(attest: Attest) -> list[str]:
    result = attest("doctor", "--json", expect=6)
    return [item["name"] for item in result.document["items"] if item["status"] == "problem"]


@pytest.mark.parametrize(
    ("version", "clause", "fits"),
    [
        ("6.2.1", ">=6.2", True),
        ("6.1.9", ">=6.2", False),
        ("6.10", ">=6.2", True),
        ("7.0", "<7", False),
        ("6.99", "<7", True),
        ("50.0.2", "<51", True),
    ],
)
def test_versions_are_compared_as_numbers(version: str, clause: str, *, fits: bool) -> None:
    from attest_cli.doctor import _satisfies

    assert _satisfies(version, clause) is fits


def test_nothing_of_the_story_lies_outside_the_lab(lab: Path) -> None:
    assert sorted(os.listdir(lab)) == ["fixtures", "lab", "policies"]
