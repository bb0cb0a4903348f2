"""Chains and revocation answers of real hardware: those that ship, and those of the corpus."""

from __future__ import annotations

import base64
import json
import re
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attest.errors import AttestError, CannotDecideError, NotAuthenticError
from attest.pki import (
    NVIDIA_DEVICE,
    NVIDIA_RIM,
    check_ocsp,
    load_amd_leaf,
    load_certificate,
    load_certificates,
    verify_amd_chain,
    verify_chain,
)
from attest.trust import Role, TrustStore
from attest.wire import pem_blocks

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
PINS = TrustStore.production()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def code_of(call) -> str:
    """Reason code of the refusal; empty when there is none."""
    try:
        call()
    except AttestError as error:
        return error.code
    return ""


# -- NVIDIA, shipped -------------------------------------------------------------------------------------------------------

CAPTURED = at("2026-09-19T09:00:00")


@pytest.fixture(scope="module")
def h100(fixtures):
    return load_certificates((fixtures / "pki/nvidia-h100/chain.pem").read_bytes(), "GPU chain", most=5)


def verify_device(chain, *, role=Role.NVIDIA_DEVICE, time=CAPTURED):
    return verify_chain(chain, profile=NVIDIA_DEVICE, anchors=PINS.for_role(role), at=time, name="GPU chain")


def test_h100_chain(h100):
    verified = verify_device(h100)
    assert verified.anchor.name == "NVIDIA Device Identity CA"
    assert verified.not_before == at("2022-03-01")
    assert verified.not_after == at("9999-12-31T23:59:59")
    assert verify_device(h100, time=verified.not_after)


def test_h100_chain_is_not_trusted_for_anything_else(h100):
    for role in set(Role) - {Role.NVIDIA_DEVICE}:
        assert code_of(lambda: verify_device(h100, role=role)) == "pki.chain.anchor"  # noqa: B023


ANSWERS = {
    "brom-nonce": (1, "2026-09-19T08:12:22", "NVIDIA OCSP Responder L3 GH100 ICA1 Identity"),
    "brom-nononce": (1, "2026-09-19T08:12:22", "NVIDIA OCSP Responder L3 GH100 ICA1 Identity"),
    "provisioner-ica-nonce": (2, "2026-09-19T08:12:23", "NVIDIA OCSP Responder L2 GH100 Identity"),
    "provisioner-ica-nononce": (2, "2026-09-19T08:12:23", "NVIDIA OCSP Responder L2 GH100 Identity"),
    "identity-ca-nonce": (3, "2026-09-19T08:12:24", "NVIDIA OCSP Responder L1-A 02"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_h100_answers(h100, fixtures, case):
    der = (fixtures / f"pki/nvidia-h100/ocsp-{case}.der").read_bytes()
    index, start, responder = ANSWERS[case]
    begin, end = at(start), at(start) + DAY

    def check(time, *, index=index):
        return check_ocsp(der, subject=h100[index], issuer=h100[index + 1], anchors_chain=h100, at=time, name=case)

    for time in (begin, CAPTURED, end - SECOND):
        answer = check(time)
        assert (answer.this_update, answer.next_update, answer.responder) == (begin, end, responder)
    for time, code in ((begin - SECOND, "pki.ocsp.future"), (end, "pki.ocsp.stale"), (end + SECOND, "pki.ocsp.stale")):
        with pytest.raises(CannotDecideError) as caught:
            check(time)
        assert caught.value.code == code
    for other in {0, 1, 2, 3} - {index}:
        assert code_of(lambda: check(CAPTURED, index=other)) == "pki.ocsp.certificate-id"  # noqa: B023


def test_no_answer_can_be_had_for_the_leaf(h100, fixtures):
    der = (fixtures / "pki/nvidia-h100/ocsp-fmc-leaf-nonce.der").read_bytes()
    with pytest.raises(CannotDecideError) as caught:
        check_ocsp(der, subject=h100[0], issuer=h100[1], anchors_chain=h100, at=CAPTURED, name="leaf")
    assert caught.value.code == "pki.ocsp.response-status"
    assert caught.value.reasons[0].found == "unauthorized"


def test_answers_echo_the_nonce_that_was_sent(h100, fixtures):
    sent = bytes.fromhex("0b746b2b46e2ed3b1b7e9e780f778e96c7cc3d33ef85e6d0e765a7bc63fbd050")

    def check(case, nonce):
        der = (fixtures / f"pki/nvidia-h100/ocsp-{case}.der").read_bytes()
        return check_ocsp(der, subject=h100[1], issuer=h100[2], anchors_chain=h100, at=CAPTURED, name=case, nonce=nonce)

    assert check("brom-nonce", sent)
    for case, nonce in (("brom-nonce", bytes(32)), ("brom-nononce", sent)):
        assert code_of(lambda: check(case, nonce)) == "pki.ocsp.nonce"  # noqa: B023


# -- AMD, shipped --------------------------------------------------------------------------------------------------------------


def load_leaf(data: bytes):
    return load_amd_leaf(pem_blocks(data, "CERTIFICATE", "leaf", most=3)[0] if data.startswith(b"-----") else data)


def verify_snp(leaf, ask, ark, time, role):
    return verify_amd_chain(leaf, ask, ark, anchors=PINS.for_role(role), at=time, name="SNP chain")


def test_milan_chain(fixtures):
    folder = fixtures / "pki/amd-milan"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leaf = load_leaf((folder / "vcek.pem").read_bytes())
        ask, ark = load_certificates((folder / "ask-ark.pem").read_bytes(), "AMD chain", most=2)
        verified = verify_snp(leaf, ask, ark, at("2026-09-19"), Role.AMD_ARK_MILAN)
    assert verified.profile == "amd-vcek"
    assert (verified.not_before, verified.not_after) == (at("2025-01-26T18:13:13"), at("2032-01-26T18:13:13"))
    assert code_of(lambda: verify_snp(leaf, ask, ark, verified.not_before - SECOND, Role.AMD_ARK_MILAN)) == "pki.chain.not-yet-valid"
    assert code_of(lambda: verify_snp(leaf, ask, ark, verified.not_after + SECOND, Role.AMD_ARK_MILAN)) == "pki.chain.expired"
    for role in (Role.AMD_ARK_GENOA, Role.AMD_ARK_TURIN):
        assert code_of(lambda: verify_snp(leaf, ask, ark, at("2026-09-19"), role)) == "pki.chain.anchor"  # noqa: B023


# -- corpus ----------------------------------------------------------------------------------------------------------------------


def rim_chain(path: Path):
    blocks = re.findall(rb"X509Certificate>([^<]+)<", path.read_bytes())
    return [load_certificate(base64.b64decode(block), path.name) for block in blocks]


def verify_rim(path: Path, time: datetime):
    return verify_chain(rim_chain(path), profile=NVIDIA_RIM, anchors=PINS.for_role(Role.NVIDIA_RIM), at=time, name=path.name)


@pytest.mark.corpus
def test_corpus_device_chains(corpus):
    paths = sorted((corpus / "nvidia/chains").glob("*.pem"))
    assert len(paths) == 15
    for path in paths:
        chain = load_certificates(path.read_bytes(), path.name, most=8)
        expected = "pki.chain.length" if path.name.startswith("NEG_") else ""
        assert code_of(lambda: verify_device(chain)) == expected, path.name  # noqa: B023


@pytest.mark.corpus
def test_corpus_chains_inside_evidence(corpus):
    count = 0
    for path in sorted((corpus / "nvidia/evidence").glob("*.json")):
        value = json.loads(path.read_bytes())
        if isinstance(value, list):
            files = [base64.b64decode(item["certificate"]) for item in value]
        else:
            chains = [gpu["CertificateChains"]["GpuAttestationCertificateChain"] for gpu in value["gpus"]]
            files = [b"".join(base64.b64decode(item["pem"]) for item in chain) for chain in chains]
        for pem in files:
            verify_device(load_certificates(pem, path.name, most=8))
            count += 1
    assert count == 32


RIMS = {
    "NV_GPU_DRIVER_GH100_550.90.07.xml": ("2024-06-01T02:08:29", "2026-06-01T02:08:29"),
    "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml": ("2024-02-23T23:17:58", "2026-02-22T23:17:58"),
    "NV_GPU_DRIVER_GH100_550.144.03.xml": (None, "2026-12-30T16:56:50"),
    "switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml": (None, "2027-11-02T23:59:59"),
    "NV_GPU_VBIOS_1010_0200_882_96005E0001.issue-2023-06.xml": (None, "2025-06-22T09:30:33"),
    "NV_GPU_VBIOS_1010_0200_882_96005E0001.reissue-2023-12.xml": (None, "2025-12-12T23:58:03"),
    "NV_GPU_VBIOS_1010_0200_882_96005E0001.test-issue.xml": (None, "2025-06-22T09:38:54"),
    "NV_GPU_DRIVER_GH100_545.00.xml": (None, "2025-06-26T06:10:12"),
    "1010_0205_862_96005E0004_PROD.swidtag": (None, "2025-09-05T08:39:09"),
    "1010_0200_882_960074001A_PROD.swidtag": (None, "2025-09-05T08:35:22"),
    "1010_0205_862_9600740020_PROD.swidtag": (None, "2025-09-05T08:46:45"),
}


@pytest.mark.corpus
@pytest.mark.parametrize("name", RIMS)
def test_corpus_rim_chains(corpus, name):
    path = corpus / "nvidia/rim" / name
    start, end = RIMS[name]
    assert verify_rim(path, at(end)).not_after == at(end)
    assert code_of(lambda: verify_rim(path, at(end) + SECOND)) == "pki.chain.expired"
    if start is not None:
        assert verify_rim(path, at(start)).not_before == at(start)
        assert code_of(lambda: verify_rim(path, at(start) - SECOND)) == "pki.chain.not-yet-valid"
    chain = rim_chain(path)
    assert code_of(lambda: verify_device(chain)) == "pki.chain.length"


@pytest.mark.corpus
def test_corpus_rim_chain_to_another_root(corpus):
    path = corpus / "nvidia/rim/NEG_incorrect_cert_chain_driver_rim.xml"
    assert code_of(lambda: verify_rim(path, at("2025-03-01"))) == "pki.chain.length"


@pytest.mark.corpus
def test_corpus_incorrect_root_under_a_real_chain(corpus):
    chain = rim_chain(corpus / "nvidia/rim/NV_GPU_DRIVER_GH100_550.90.07.xml")
    wrong = (corpus / "nvidia/certs/NEG_incorrect_rim_root.crt").read_bytes()
    chain[-1] = load_certificates(wrong, "root", most=1)[0]
    anchors = PINS.for_role(Role.NVIDIA_RIM)
    code = code_of(lambda: verify_chain(chain, profile=NVIDIA_RIM, anchors=anchors, at=at("2025-03-01"), name="RIM chain"))
    assert code in ("pki.chain.link", "pki.chain.anchor")


CORPUS_ANSWERS = {
    "gpu_certificate_l2": ("chains/h100_550.90.07.pem", 3, "2025-08-21T06:47:08"),
    "gpu_certificate_l3": ("chains/h100_550.90.07.pem", 2, "2025-08-21T06:47:08"),
    "gpu_certificate_l4": ("chains/h100_550.90.07.pem", 1, "2025-08-21T06:47:08"),
    "gpu_driver_rim_l3": ("rim/NV_GPU_DRIVER_GH100_550.90.07.xml", 1, "2025-10-24T11:32:22"),
    "gpu_driver_rim_l4": ("rim/NV_GPU_DRIVER_GH100_550.90.07.xml", 0, "2025-10-24T11:32:22"),
    "gpu_rim_l2": ("rim/NV_GPU_DRIVER_GH100_550.90.07.xml", 2, "2025-10-24T11:32:22"),
    "gpu_vbios_l4": ("rim/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml", 0, "2025-10-24T11:32:22"),
}


@pytest.mark.corpus
@pytest.mark.parametrize("case", CORPUS_ANSWERS)
def test_corpus_answers(corpus, case):
    source, index, start = CORPUS_ANSWERS[case]
    path = corpus / "nvidia" / source
    chain = rim_chain(path) if path.suffix == ".xml" else load_certificates(path.read_bytes(), source, most=5)
    der = base64.b64decode((corpus / f"nvidia/ocsp/test_{case}_base64encoded_ocsp_response.b64").read_bytes())

    def check(time):
        return check_ocsp(der, subject=chain[index], issuer=chain[index + 1], anchors_chain=chain, at=time, name=case)

    begin = at(start)
    for time in (begin, begin + DAY - 2 * SECOND):
        assert check(time)
    for time, code in (
        (begin - 2 * SECOND, "pki.ocsp.future"),
        (begin + DAY, "pki.ocsp.stale"),
        # The responder of the first has expired by then; that the answer is stale comes first, since that is what can be mended.
        (at("2026-09-19T09:00:00"), "pki.ocsp.stale"),
    ):
        with pytest.raises(CannotDecideError) as caught:
            check(time)
        assert caught.value.code == code


LEAVES = {
    "milan-v2-gosevguest.vcek.der": ("milan", "amd-vcek"),
    "milan-trustee.vcek.der": ("milan", "amd-vcek"),
    "milan-v5-gcp-teekit.vcek.pem": ("milan", "amd-vcek"),
    "azure-trustee.vcek.pem": ("milan", "amd-vcek"),
    "azure-kinvolk.certs.pem": ("milan", "amd-vcek"),
    "genoa-siena-v3-trustee.vcek.der": ("genoa", "amd-vcek"),
    "turin-azure.vcek.der": ("turin", "amd-vcek"),
    "turin-virtee.vcek.der": ("turin", "amd-vcek"),
    "milan-vlek-trustee.vlek.der": ("milan", "amd-vlek"),
}


@pytest.fixture
def verify_corpus_leaf(corpus):
    def verify(name, product, kind, time):
        ask, ark = load_certificates((corpus / f"sev-snp/roots-{product}.{kind}.cert_chain.pem").read_bytes(), product, most=2)
        leaf = load_leaf((corpus / "sev-snp" / name).read_bytes())
        return verify_snp(leaf, ask, ark, time, Role(f"amd-ark-{product}"))

    return verify


@pytest.mark.corpus
@pytest.mark.parametrize("name", LEAVES)
def test_corpus_amd_leaves(verify_corpus_leaf, name):
    product, profile = LEAVES[name]
    kind = profile.removeprefix("amd-")
    time = at("2026-11-01") if kind == "vcek" else at("2025-11-01")
    assert verify_corpus_leaf(name, product, kind, time).profile == profile
    other_kind = "vlek" if kind == "vcek" else "vcek"
    assert code_of(lambda: verify_corpus_leaf(name, product, other_kind, time)) == "pki.amd.name"
    for other in {"milan", "genoa", "turin"} - {product}:
        assert code_of(lambda: verify_corpus_leaf(name, other, kind, time)) == "pki.chain.link"  # noqa: B023


@pytest.mark.corpus
def test_corpus_vlek_has_expired(verify_corpus_leaf):
    end = at("2025-12-10T22:14:21")
    assert verify_corpus_leaf("milan-vlek-trustee.vlek.der", "milan", "vlek", end).not_after == end
    code = code_of(lambda: verify_corpus_leaf("milan-vlek-trustee.vlek.der", "milan", "vlek", end + SECOND))
    assert code == "pki.chain.expired"


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["trustee.vcek-invalid-legacy.der", "trustee.vcek-invalid-new.der"])
def test_corpus_altered_leaves(verify_corpus_leaf, name):
    with pytest.raises(NotAuthenticError) as caught:
        verify_corpus_leaf(name, "milan", "vcek", at("2025-11-01"))
    assert caught.value.code == "pki.chain.signature"
