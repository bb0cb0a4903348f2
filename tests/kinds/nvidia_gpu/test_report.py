"""The report: bytes to typed and back, what is tolerated, and what identifies a statement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.crypto import P384_ORDER, sha384
from attest.errors import AttestError, MalformedError
from attest.evidence import CollateralItem, Evidence, Verified
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.opaque import OpaqueType, gpu_info
from attest.kinds.nvidia_gpu.report import parse_report, signed_region, statement_digest
from attest.kinds.nvidia_gpu.simulate import Recipe, SimulatedGpu, recipe, simulate
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from tests.mutations import flips, resized

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]


@pytest.fixture(scope="module")
def data(healthy: Sent) -> bytes:
    return healthy[0].parts["report"]


def test_round_trip(data: bytes, nonce: bytes) -> None:
    report = parse_report(data)
    assert report.encode() == data
    assert report.nonce == nonce
    assert report.responder_nonce != nonce
    assert report.signature == data[-96:]
    assert len(report.measurements) == 64
    assert report.measurements[50] == bytes(48)


def test_freshness_is_the_requesters_nonce_and_never_the_responders(healthy: Sent, nonce: bytes, verify: Verify) -> None:
    assert verify(*healthy).freshness == nonce


def test_statement_is_the_signed_region_alone(data: bytes, healthy: Sent) -> None:
    assert signed_region(data) == data[:-96]
    assert statement_digest(data) == sha384(data[:-96]) == NVIDIA_GPU.statement(healthy[0])


def test_another_form_of_the_signature_is_the_same_statement(data: bytes, healthy: Sent, verify: Verify) -> None:
    """ECDSA is malleable: (r, n-s) is valid where (r, s) is. The evidence differs, the statement does not."""
    s = P384_ORDER - int.from_bytes(data[-48:], "big")
    other = Evidence.of("nvidia-gpu", "gpu-0", dict(healthy[0].parts) | {"report": data[:-48] + s.to_bytes(48, "big")})
    first, second = verify(*healthy), verify(other, healthy[1])
    assert first.statement == second.statement
    assert first.evidence_digest != second.evidence_digest


def test_unknown_opaque_fields_are_kept_and_named(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    def add(made: Recipe) -> None:
        made.opaque[3:3] = [(40, b"new"), (0xFFFE, b"")]

    evidence, items = simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=add)
    report = parse_report(evidence.parts["report"])
    assert report.opaque.unknown == (40, 0xFFFE)
    assert report.encode() == evidence.parts["report"]
    result = verify(evidence, items)
    assert next(r.detail for r in result.checks if r.check.id == "nvidia-gpu.report-opaque") == "unknown fields (40, 65534)"
    assert NVIDIA_GPU.inspect(evidence)["unknown opaque fields"] == "40, 65534"


def test_places_are_named(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_report(data[:2] + b"\0" + data[3:])
    assert caught.value.reasons[0].where == "GPU report offset 0x002"
    assert (caught.value.reasons[0].found, caught.value.reasons[0].expected) == ("param1 0x00", "0x01")


def test_switches_are_read_as_they_are_printed(pki: SimulatedNvidia, nonce: bytes, at: datetime) -> None:
    gpu = SimulatedGpu(switches=(bytes.fromhex("203EB31AD9ED0008"), bytes.fromhex("20FF02AE00C10001")))
    report = parse_report(recipe(pki, gpu, nonce=nonce, at=at).report())
    field = report.opaque.get(OpaqueType.SWITCH_PDIS)
    assert field is not None
    assert field.data.startswith(bytes.fromhex("0800EDD91AB33E20"))
    pdis = gpu_info(report.opaque).switch_pdis
    assert pdis is not None
    assert set(pdis) == set(gpu.switches)


def test_inspect_shows_an_unverified_report(healthy: Sent, nonce: bytes) -> None:
    shown = NVIDIA_GPU.inspect(healthy[0])
    assert shown["nonce"] == nonce.hex()
    assert shown["driver"] == "580.95.05"
    assert shown["model"] == "GH100 A01 GSP BROM"
    assert shown["certificates"] == "5"
    assert "measurement 21" in shown
    assert "measurement 50" not in shown
    without = Evidence.of("nvidia-gpu", "gpu-0", {"report": healthy[0].parts["report"]})
    assert "model" not in NVIDIA_GPU.inspect(without)


# -- nothing but the report itself is accepted ------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(8))
def test_every_flip_is_refused(part: int, data: bytes, healthy: Sent, verify: Verify) -> None:
    """One bit of every byte; `make flips` changes every bit."""
    for where, changed in list(flips(data, every_bit=False))[part::8]:
        evidence = Evidence.of("nvidia-gpu", "gpu-0", dict(healthy[0].parts) | {"report": changed})
        with pytest.raises(AttestError) as caught:
            verify(evidence, healthy[1])
        assert caught.value.code.startswith("nvidia-gpu."), where


def test_every_other_length_is_refused(data: bytes) -> None:
    for where, changed in resized(data):
        with pytest.raises(MalformedError) as caught:
            parse_report(changed)
        assert caught.value.code == "nvidia-gpu.report-size", where


@given(st.binary(max_size=400), st.integers(0, 4000))
def test_junk_is_a_typed_error(junk: bytes, at: int) -> None:
    base = bytes.fromhex("11e001ff") + bytes(33) + bytes.fromhex("1160000040c00d00") + bytes(3700)
    for candidate in (junk, base[:at] + junk + base[at + len(junk) :], base + junk):
        with pytest.raises(MalformedError):
            parse_report(candidate)
