"""Formats that evidence comes in, and what is not believed of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime

import pytest

from attest.errors import AttestError, MalformedError
from attest.evidence import CollateralItem, Evidence, Verified
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.defects import defect_named
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu, simulate
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]


def device(evidence: Evidence, **more: object) -> dict[str, object]:
    return {
        "arch": "HOPPER",
        "nonce": "00" * 32,
        "evidence": base64.b64encode(evidence.parts["report"]).decode(),
        "certificate": base64.b64encode(evidence.parts["certificates"]).decode(),
    } | more


def text(*devices: dict[str, object]) -> bytes:
    return json.dumps(list(devices)).encode()


def test_several_devices_are_numbered(pki: SimulatedNvidia, nonce: bytes, at: datetime) -> None:
    sent = [simulate(pki, SimulatedGpu(gpu=number), nonce=nonce, at=at)[0] for number in range(2)]
    found = NVIDIA_GPU.recognise(text(*(device(evidence) for evidence in sent)))
    assert [evidence.label for evidence in found] == ["gpu-0", "gpu-1"]
    assert [evidence.digest for evidence in found] != [evidence.digest for evidence in reversed(sent)]
    assert [dict(evidence.parts) for evidence in found] == [dict(evidence.parts) for evidence in sent]
    assert [evidence.digest for evidence in found] == [evidence.digest for evidence in sent]


def test_what_nobody_signed_is_not_believed(healthy: Sent, nonce: bytes, verify: Verify) -> None:
    lies = device(healthy[0], nonce="ff" * 32, uuid="GPU-1", driver_version="1.2.3", vbios_version="00.00.00.00.00", version="9", claims={})
    (found,) = NVIDIA_GPU.recognise(text(lies))
    result = verify(found, healthy[1])
    assert result.freshness == nonce
    assert result.claims.driver_version == "580.95.05"
    assert result.claims.vbios_version == "96.00.A5.00.01"
    assert found.digest == healthy[0].digest


@pytest.mark.parametrize("arch", ["BLACKWELL", "LS10", "hopper", "", "RUBIN"])
def test_arch_must_be_that_of_the_certificate(arch: str, healthy: Sent) -> None:
    with pytest.raises(MalformedError) as caught:
        NVIDIA_GPU.recognise(text(device(healthy[0]), device(healthy[0], arch=arch)))
    assert caught.value.code == "nvidia-gpu.json-arch"
    assert caught.value.reasons[0].where == "evidence JSON, device 1"


def test_other_architectures_are_recognised_and_then_refused(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    for defect, arch, chip in (("chain-blackwell", "BLACKWELL", "GB100"), ("chain-switch", "LS10", "LS_10")):
        sent, items = simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=defect_named(defect).apply)
        (found,) = NVIDIA_GPU.recognise(text(device(sent, arch=arch)))
        with pytest.raises(AttestError) as caught:
            verify(found, items)
        assert caught.value.code == "nvidia-gpu.architecture"
        assert caught.value.reasons[0].found == f"architecture not supported: {chip}"
        assert caught.value.exit_code == 5


def test_bare_report(healthy: Sent, verify: Verify) -> None:
    report = healthy[0].parts["report"]
    for data in (report, report.hex().encode(), report.hex().upper().encode() + b"\r\n"):
        (found,) = NVIDIA_GPU.recognise(data)
        assert dict(found.parts) == {"report": report}
        assert found.label == "gpu-0"
    with pytest.raises(AttestError) as caught:
        verify(found)
    assert caught.value.code == "nvidia-gpu.evidence"


def test_a_broken_report_is_still_ours(healthy: Sent) -> None:
    (found,) = NVIDIA_GPU.recognise(healthy[0].parts["report"][:-1])
    with pytest.raises(MalformedError) as caught:
        NVIDIA_GPU.inspect(found)
    assert caught.value.code == "nvidia-gpu.report-size"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b'{"arch":1,"evidence":2,"certificate":3}',
        b"\x11\xe0",
        bytes(1184),
        b"ab" * 300,
        b"abc" * 301,
        b"\xff" * 5000,
    ],
)
def test_other_files_are_not_ours(data: bytes) -> None:
    assert NVIDIA_GPU.recognise(data) == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"evidence": "!"}, "wire.base64"),
        ({"evidence": 1}, "wire.json"),
        ({"certificate": ""}, "wire.pem"),
        ({"certificate": "AAAA"}, "wire.pem"),
        ({"arch": None}, "wire.json"),
    ],
)
def test_broken_json_is_refused(change: dict[str, object], code: str, healthy: Sent) -> None:
    with pytest.raises(MalformedError) as caught:
        NVIDIA_GPU.recognise(text(device(healthy[0]) | change))
    assert caught.value.code == code


def test_a_member_twice_is_refused(healthy: Sent) -> None:
    data = text(device(healthy[0])).replace(b'"arch"', b'"arch": "LS10", "arch"', 1)
    with pytest.raises(MalformedError) as caught:
        NVIDIA_GPU.recognise(data)
    assert caught.value.code == "wire.json"


def test_too_many_devices_are_refused(healthy: Sent) -> None:
    with pytest.raises(MalformedError) as caught:
        NVIDIA_GPU.recognise(text(*[device(healthy[0])] * 65))
    assert caught.value.code == "nvidia-gpu.json"
