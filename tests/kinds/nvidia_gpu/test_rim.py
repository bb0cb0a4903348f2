"""Manifests: what is remembered and what is judged every time, what a mismatch says, and which code is loaded when."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from attest.checks import Status
from attest.errors import AttestError, Outcome
from attest.evidence import CollateralItem, CollateralType, Evidence, Measurements, Verified
from attest.kinds.nvidia_gpu import rim
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.defects import defect_named
from attest.kinds.nvidia_gpu.reference import Manifest, Mismatch, advice, compare
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu, simulate
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from attest.kinds.nvidia_gpu.simulate_rim import ACTIVE, golden, manifest_form
from attest.trust import Role, TrustStore
from tests.mutations import flips

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]


@pytest.fixture(scope="module")
def data(pki: SimulatedNvidia) -> bytes:
    return manifest_form(pki, "driver", "580.95.05").encode()


@pytest.fixture(scope="module")
def judged(data: bytes, trust: TrustStore) -> Manifest:
    return rim.judge(data, trust.for_role(Role.NVIDIA_RIM))


# -- reading ----------------------------------------------------------------------------------------------------------------


def test_content(judged: Manifest, data: bytes) -> None:
    assert judged.version == "580.95.05"
    assert sorted(judged.golden) == sorted(ACTIVE["driver"])
    assert len(judged.golden[35]) == 4
    assert golden("driver", "580.95.05", 35) in judged.golden[35]


def test_xml_declaration_is_allowed(data: bytes, judged: Manifest, trust: TrustStore) -> None:
    again = rim.judge(b'<?xml version="1.0" encoding="UTF-8"?>\n' + data, trust.for_role(Role.NVIDIA_RIM))
    assert again.golden == judged.golden
    assert again.digest != judged.digest


def test_utf16_is_refused(data: bytes) -> None:
    with pytest.raises(AttestError) as caught:
        rim.read(data.decode().encode("utf-16"))
    assert caught.value.code == "wire.utf8"


def test_flips_are_refused_or_change_nothing(data: bytes, judged: Manifest, trust: TrustStore) -> None:
    """One bit of every 25th byte of the signed XML. What is still accepted differs outside the signed octets, as white space in markup."""
    anchors = trust.for_role(Role.NVIDIA_RIM)
    accepted = []
    for where, changed in list(flips(data, every_bit=False))[::25]:
        try:
            manifest = rim.judge(changed, anchors)
        except AttestError:
            continue
        accepted.append(where)
        assert (manifest.golden, manifest.version) == (judged.golden, judged.version), where
    assert len(accepted) < 5


@pytest.mark.parametrize("inner", ["<ds:a/>" * 30_000, "<ds:a>" * 200 + "</ds:a>" * 200, "<ds:X509Certificate/>" * 9])
def test_large_signatures_are_refused_quickly(inner: str, data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(AttestError) as caught:
        rim.read(data.replace(b"<ds:KeyInfo>", b"<ds:KeyInfo>" + inner.encode()))
    assert caught.value.code == "nvidia-gpu.rim-xml"
    assert time.perf_counter() - start < 1


@given(st.text(max_size=200))
def test_junk_is_a_typed_error(text: str) -> None:
    for candidate in (text, f"<SoftwareIdentity>{text}</SoftwareIdentity>"):
        with pytest.raises(AttestError):
            rim.read(candidate.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("signed", "code"),
    [
        ("<SoftwareIdentity/>", "nvidia-gpu.rim-schema"),
        ("other version", "nvidia-gpu.rim-schema"),
        ("not XML", "nvidia-gpu.rim-signature"),
        ("several", "nvidia-gpu.rim-signature"),
    ],
)
def test_only_what_the_library_says_was_signed_is_read(
    signed: str, code: str, pki: SimulatedNvidia, trust: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = manifest_form(pki, "driver", "580.95.05").encode()
    real = rim.XMLVerifier.verify

    def verify(self: rim.XMLVerifier, *args: object, **kwargs: object) -> object:
        result = real(self, *args, **kwargs)
        if signed == "several":
            return [result]
        root = None
        if signed == "other version":
            root = etree.fromstring(result.signed_data.replace(b"580.95.05", b"580.95.06"))
        elif signed != "not XML":
            root = etree.fromstring(signed)
        return dataclasses.replace(result, signed_xml=root)

    monkeypatch.setattr(rim.XMLVerifier, "verify", verify)
    with pytest.raises(AttestError) as caught:
        rim.judge(data, trust.for_role(Role.NVIDIA_RIM))
    assert caught.value.code == code


# -- what is remembered -----------------------------------------------------------------------------------------------------


def test_remembered_for_these_anchors_only(data: bytes, judged: Manifest, trust: TrustStore) -> None:
    assert rim.judge(data, trust.for_role(Role.NVIDIA_RIM)) is judged
    for anchors in ((), trust.for_role(Role.NVIDIA_DEVICE), TrustStore.production().for_role(Role.NVIDIA_RIM)):
        with pytest.raises(AttestError) as caught:
            rim.judge(data, anchors)
        assert caught.value.code == "pki.chain.anchor"


def test_validity_is_judged_every_time(healthy: Sent, pki: SimulatedNvidia, verify: Verify, at: datetime) -> None:
    """The signature is remembered; the time is not."""
    end = pki["rim-driver"].certificate.not_valid_after_utc
    for moment, expected in ((at, Measurements.MATCH), (end, Measurements.MATCH), (end + timedelta(seconds=1), Measurements.UNKNOWN)):
        result = verify(healthy[0], tuple(item for item in healthy[1] if item.type is CollateralType.RIM), at=moment)
        assert result.claims.driver_measurements is expected
    (reason,) = (r.reason for r in result.checks if r.check.id == "nvidia-gpu.driver-rim")
    assert reason is not None
    assert reason.outcome is Outcome.CANNOT_DECIDE
    assert "--at TIME" in reason.fix


def test_revocation_is_judged_every_time(healthy: Sent, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    verify(*healthy)
    _, items = simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=defect_named("ocsp-rim-ca-revoked").apply)
    spoilt = tuple(item for item in items if item.name == "rim-ca")
    with pytest.raises(AttestError) as caught:
        verify(healthy[0], tuple(item for item in healthy[1] if item.name != "rim-ca") + spoilt)
    assert caught.value.code == "pki.ocsp.revoked"


def test_identical_copies_are_one_manifest(healthy: Sent, verify: Verify) -> None:
    copies = tuple(
        CollateralItem(item.type, f"copy-{item.name}", item.data, item.fetched_at) for item in healthy[1] if item.type is CollateralType.RIM
    )
    assert verify(healthy[0], healthy[1] + copies).claims.driver_measurements is Measurements.MATCH


def test_manifests_of_other_versions_do_not_matter(healthy: Sent, pki: SimulatedNvidia, verify: Verify, at: datetime) -> None:
    """They are another device's; even a forged one is not looked at beyond its form."""
    other = manifest_form(pki, "driver", "590.12")
    other.key = pki["rim-l3"].key
    item = CollateralItem(CollateralType.RIM, "other", other.encode(), at)
    result = verify(healthy[0], (*healthy[1], item))
    assert result.claims.driver_measurements is Measurements.MATCH
    assert item.digest not in result.collateral


# -- comparison -------------------------------------------------------------------------------------------------------------


def test_every_mismatch_is_listed_with_both_values(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    wrong = {7: b"\1" * 48, 9: b"\2" * 48, 35: b"\3" * 48, 50: b"\4" * 48}
    result = verify(*simulate(pki, SimulatedGpu(measurements=wrong), nonce=nonce, at=at))
    failed = {r.check.id: r.reason for r in result.checks if r.status is Status.FAILED}
    driver, vbios = failed["nvidia-gpu.driver-measurements"], failed["nvidia-gpu.vbios-measurements"]
    assert driver is not None
    assert vbios is not None
    assert driver.where == "2 of 21 compared measurements"
    assert driver.found == f"index 7: {'01' * 48}; index 35: {'03' * 48}"
    assert driver.expected.count(" or ") == 3
    assert golden("driver", "580.95.05", 7).hex() in driver.expected
    assert vbios.found == f"index 9: {'02' * 48}"
    assert "another issue" in vbios.fix
    assert "another issue" not in driver.fix


def test_any_alternative_matches(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    for number in range(4):
        value = golden("driver", "580.95.05", 35, number)
        claims = verify(*simulate(pki, SimulatedGpu(measurements={35: value}), nonce=nonce, at=at)).claims
        assert claims.driver_measurements is Measurements.MATCH


def test_a_measurement_that_is_not_there_is_a_mismatch(judged: Manifest) -> None:
    values = [golden("driver", "580.95.05", index) for index in range(30)]
    missing = compare(values, judged)
    assert [mismatch.index for mismatch in missing] == list(range(30, 41))
    assert missing[0].found == "index 30: missing"


def test_a_value_of_another_length_is_a_mismatch(judged: Manifest) -> None:
    values = [golden("driver", "580.95.05", index) for index in range(64)]
    assert compare(values, judged) == ()
    values[21] = values[21][:47]
    assert [mismatch.index for mismatch in compare(values, judged)] == [21]


def test_advice_knows_the_indices_that_users_ask_about() -> None:
    assert "restarting the host" in advice([Mismatch(52, (b"",), b"")])
    assert "another issue" in advice([Mismatch(9, (b"",), b"")])
    assert advice([Mismatch(1, (b"",), b"")]).startswith("check that driver and VBIOS")


# -- loading ----------------------------------------------------------------------------------------------------------------


def test_xml_libraries_are_loaded_only_for_a_manifest() -> None:
    code = "import sys, attest.kinds; sys.exit(any(name in sys.modules for name in ('lxml', 'signxml', 'attest.kinds.nvidia_gpu.rim')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
