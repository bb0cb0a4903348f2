"""Real quotes, logs, lists and certificates, each with the expected verdict."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from attest.crypto import spki_sha256
from attest.errors import AttestError
from attest.kinds.tpm.algorithm import BANKS, Algorithm
from attest.kinds.tpm.eventlog import parse_event_log, replay
from attest.kinds.tpm.firmware import SecureBoot, read_boot
from attest.kinds.tpm.ima import parse_ima, replay_ima
from attest.pki import TPM_AK, TPM_EK, Anchor, verify_tpm_chain
from attest.trust import Role, TrustStore
from tests.kinds.tpm.cases import CASES, Case, outcome

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_quote(case: Case, corpus: Path) -> None:
    said = outcome(case, corpus)
    assert {name: said.get(name, said) for name in case.expected} == case.expected


# -- event logs -----------------------------------------------------------------------------------------------------------

ON, OFF, UNKNOWN = SecureBoot.ON, SecureBoot.OFF, SecureBoot.UNKNOWN
LOGS = {
    "rhel8-uefi": (82, ON),
    "ubuntu-2104-no-secure-boot": (105, OFF),
    "ubuntu-2104-no-dbx": (111, OFF),
    "arch-linux-workstation": (24, UNKNOWN),
    "cos-101-amd-sev": (48, ON),
    "ubuntu-2404-amd-sevsnp": (116, OFF),
    "gdc-host": (158, OFF),
    "sp800155": (53, ON),
    "keylime-physical-locality3": (120, OFF),
    "keylime-vm-secureboot": (98, ON),
    "sd-boot-fedora37": (27, UNKNOWN),
    "moklisttrusted": (96, ON),
}
NEGATIVE = {
    "neg-bogus-text": "tpm.log-event",
    "specid-vendordata": "tpm.log-header",
    "neg-truncated": "wire.truncated",
    "neg-digest-count": "tpm.log-event",
    "neg-undeclared-alg": "tpm.log-event",
    "neg-event-size": "wire.truncated",
    "neg-specid-algcount": "tpm.log-header",
    "neg-type-noaction": "tpm.log-replay",
    "neg-type-relabel-pcr7": "",
    "neg-data-flip-secureboot": "tpm.log-data",
    "neg-second-separator": "tpm.log-replay",
    "neg-reordered": "",
    "neg-late-startuplocality": "tpm.log-locality",
    "neg-trailing": "wire.truncated",
}
LEGACY = {"short_no_action": 1, "ebs_event_missing": 38}


def golden(corpus: Path, name: str, bank: int) -> dict[int, bytes]:
    values = json.loads((corpus / "tpm/eventlogs/pcrs.json").read_text()).get(name, {})
    return {int(pcr): bytes.fromhex(value) for pcr, value in values.get(BANKS[Algorithm(bank)].value, {}).items()}


@pytest.mark.parametrize("name", LOGS)
def test_log(name: str, corpus: Path) -> None:
    log = parse_event_log((corpus / f"tpm/eventlogs/{name}.bin").read_bytes())
    count, secure_boot = LOGS[name]
    assert len(log.events) == count
    for bank in (algorithm for algorithm in log.algorithms if algorithm in BANKS):
        values = golden(corpus, name, bank) or dict(replay(log, bank))
        boot = read_boot(log, bank, values)
        assert boot.secure_boot is secure_boot
        assert boot.explained >= {pcr for pcr in values if pcr < 8}


@pytest.mark.parametrize("name", NEGATIVE)
def test_negative_log(name: str, corpus: Path) -> None:
    """All are altered copies of one log, judged against its PCRs."""
    data = (corpus / f"tpm/eventlogs/{name}.bin").read_bytes()
    values = golden(corpus, "rhel8-uefi", Algorithm.SHA256)
    if NEGATIVE[name]:
        with pytest.raises(AttestError) as caught:
            read_boot(parse_event_log(data), Algorithm.SHA256, values)
        assert caught.value.code == NEGATIVE[name]
        return
    boot = read_boot(parse_event_log(data), Algorithm.SHA256, values)
    assert boot.secure_boot is (UNKNOWN if name == "neg-type-relabel-pcr7" else ON)


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_log(name: str, corpus: Path) -> None:
    log = parse_event_log((corpus / f"tpm/eventlogs/{name}.bin").read_bytes())
    assert (log.algorithms, len(log.events)) == ((Algorithm.SHA1,), LEGACY[name])
    assert replay(log, Algorithm.SHA256) == {}  # a SHA-1 log explains no other bank


def test_every_log_is_in_a_case(corpus: Path) -> None:
    names = {path.stem for path in (corpus / "tpm/eventlogs").glob("*.bin")}
    assert names == LOGS.keys() | NEGATIVE.keys() | LEGACY.keys()


def test_locality_decides_pcr_0(corpus: Path) -> None:
    log = parse_event_log((corpus / "tpm/eventlogs/gdc-host.bin").read_bytes())
    without = type(log)(log.algorithms, tuple(event for event in log.events if not event.data.startswith(b"StartupLocality")))
    assert replay(log, Algorithm.SHA256)[0] != replay(without, Algorithm.SHA256)[0]


# -- IMA ------------------------------------------------------------------------------------------------------------------


def test_ima_list(corpus: Path) -> None:
    entries = parse_ima((corpus / "tpm/ima/ascii_runtime_measurements_110.txt").read_bytes())
    quoted = bytes.fromhex("d6a39370fa21bae2a229554734e00ccf35635dac9852a95da8b8051d87a0b2bd")
    result = replay_ima(entries, Algorithm.SHA256, quoted)
    assert (len(entries), len(result.attested), result.behind) == (110, 110, 0)


@pytest.mark.parametrize(
    ("name", "code"),
    [("ima-log-sha1", ""), ("ima-log-sha256", ""), ("ima-log-sha512", ""), ("ima-log-unknown", "tpm.ima-form"),
     ("ima-sig-lines", "tpm.ima-template-hash")],
)  # fmt: skip
def test_ima_lists(name: str, code: str, corpus: Path) -> None:
    data = (corpus / f"tpm/ima/{name}.txt").read_bytes()
    if code:
        with pytest.raises(AttestError) as caught:
            parse_ima(data)
        assert caught.value.code == code
        return
    entries = parse_ima(data)
    assert [entry.violation for entry in entries] == [name != "ima-log-sha256", False]


def test_ima_lines_with_signatures(corpus: Path) -> None:
    lines = (corpus / "tpm/ima/ima-sig-lines.txt").read_bytes().splitlines(keepends=True)
    for index, line in enumerate(lines):
        if index != 5:  # the source made this one wrong
            assert len(parse_ima(line)) == 1
    with pytest.raises(AttestError) as caught:
        parse_ima(lines[5])
    assert caught.value.code == "tpm.ima-template-hash"


# -- certificates ---------------------------------------------------------------------------------------------------------


def certificate(path: Path) -> x509.Certificate:
    data = path.read_bytes()
    return x509.load_pem_x509_certificate(data) if data.startswith(b"-----") else x509.load_der_x509_certificate(data)


NEW = ("gcp_ek_ak_ca_intermediate_v3.crt", "gcp_ek_ak_ca_root.crt")
OLD = ("tpm_ek_intermediate_3.crt", "tpm_ek_root_1.cer")


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize(
    ("name", "chain", "ak", "ek"),
    [
        ("gce_pca_tpm_ecc_sign", NEW, "", "pki.tpm.leaf"),
        ("gce_pca_tpm_rsa_sign", NEW, "", "pki.tpm.leaf"),
        ("gce_pca_tpm_ecc_enc", NEW, "pki.tpm.leaf", "pki.tpm.leaf"),  # has no extendedKeyUsage
        ("gce_uca_tpm_rsa_sign", OLD, "", "pki.tpm.leaf"),
        ("gce_uca_tpm_rsa_enc", OLD, "pki.tpm.leaf", ""),
        ("gce_uca_tpm_ecc_enc", OLD, "pki.tpm.leaf", ""),
    ],
)
def test_google_certificates(name: str, chain: tuple[str, ...], ak: str, ek: str, corpus: Path) -> None:
    folder = corpus / "tpm/certs"
    certificates = [certificate(folder / f"{name}.pem"), *(certificate(folder / other) for other in chain)]
    anchors = TrustStore.production().for_role(Role.TPM_AK)
    for profile, code in ((TPM_AK, ak), (TPM_EK, ek)):
        for year, expected in ((2023, code), (2053, "pki.chain.expired")):
            try:
                verify_tpm_chain(certificates, profile=profile, anchors=anchors, at=datetime(year, 1, 1, tzinfo=UTC), name="chain")
                found = ""
            except AttestError as error:
                found = error.code
            assert found == expected


@pytest.mark.parametrize("name", ["ek_rsa.der", "ek_ecc_p384.der"])
def test_endorsement_certificates_of_swtpm(name: str, corpus: Path) -> None:
    folder = corpus / "tpm/swtpm"
    chain = [certificate(folder / file) for file in (name, "ca_issuer.pem", "ca_root.pem")]
    anchors = [Anchor("swtpm", spki_sha256(chain[-1].public_key()))]
    assert verify_tpm_chain(chain, profile=TPM_EK, anchors=anchors, at=datetime(2026, 11, 22, tzinfo=UTC), name="chain").leaf is chain[0]
    with pytest.raises(AttestError) as caught:
        verify_tpm_chain(chain, profile=TPM_AK, anchors=anchors, at=datetime(2026, 11, 22, tzinfo=UTC), name="chain")
    assert caught.value.code == "pki.tpm.leaf"


def test_pins_are_those_of_the_real_roots(corpus: Path) -> None:
    files = ("quotes/azure-tl-2026/azure_vtpm_root_2023.pem", "certs/gcp_ek_ak_ca_root.crt", "certs/tpm_ek_root_1.cer")
    keys = {spki_sha256(certificate(corpus / "tpm" / file).public_key()) for file in files}
    assert keys == {anchor.spki_sha256 for anchor in TrustStore.production().for_role(Role.TPM_AK)}
