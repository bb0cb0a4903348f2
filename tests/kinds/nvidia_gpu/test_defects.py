"""Every defect is refused by its own check and by no other, with the bytes around it signed again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from attest.checks import Status
from attest.errors import AttestError, Outcome
from attest.evidence import CollateralItem, Debug, Evidence, Measurements, Revocation, Verified
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.defects import DEFECTS, Defect, Effect, defect_named
from attest.kinds.nvidia_gpu.reference import RIM_CHECKS
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu, simulate
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]

# What can no longer be decided when a manifest is not there to be judged.
_FOLLOW = {
    "nvidia-gpu.driver-rim": {"nvidia-gpu.driver-rim-revocation", "nvidia-gpu.rim-conflict", "nvidia-gpu.driver-measurements"},
    "nvidia-gpu.vbios-rim": {"nvidia-gpu.vbios-rim-revocation", "nvidia-gpu.rim-conflict", "nvidia-gpu.vbios-measurements"},
}


def _by(effect: Effect) -> list[Defect]:
    return [defect for defect in DEFECTS if defect.effect is effect]


def test_without_a_defect_everything_passes(healthy: Sent, verify: Verify) -> None:
    result = verify(*healthy)
    assert [r.check.id for r in result.checks if r.status is not Status.PASSED] == ["nvidia-gpu.ocsp-attestation-key"]
    claims = result.claims
    assert claims.debug is Debug.OFF
    assert claims.revocation is claims.rim_revocation is Revocation.GOOD
    assert claims.driver_measurements is claims.vbios_measurements is Measurements.MATCH


@pytest.mark.parametrize("defect", _by(Effect.REFUSED), ids=lambda defect: defect.name)
def test_refused(defect: Defect, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    evidence, items = simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=defect.apply)
    with pytest.raises(AttestError) as caught:
        verify(evidence, items)
    assert [(reason.code, reason.subject) for reason in caught.value.reasons] == [(defect.code, "gpu-0")]
    (reason,) = caught.value.reasons
    assert reason.found or reason.where
    assert reason.fix or defect.code.startswith("wire.")


@pytest.mark.parametrize("defect", _by(Effect.FAILED), ids=lambda defect: defect.name)
def test_failed(defect: Defect, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    result = verify(*simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=defect.apply))
    (failed,) = (r for r in result.checks if r.status is not Status.PASSED and not r.check.limitation)
    assert (failed.check.id, failed.status) == (defect.code, Status.FAILED)
    assert failed.reason is not None
    assert failed.reason.outcome is Outcome.REFUSED
    word = defect.code.removeprefix("nvidia-gpu.").removesuffix("-measurements")
    assert getattr(result.claims, f"{word}_measurements") is Measurements.MISMATCH
    assert result.claims.debug is Debug.UNKNOWN


@pytest.mark.parametrize("defect", _by(Effect.UNDECIDED), ids=lambda defect: defect.name)
def test_undecided(defect: Defect, pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    result = verify(*simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=defect.apply))
    open_ = [r for r in result.checks if r.status is not Status.PASSED and not r.check.limitation]
    assert {r.check.id for r in open_} == {defect.code} | _FOLLOW.get(defect.code, set())
    assert {r.status for r in open_} == {Status.NOT_CHECKED}
    assert all(r.reason is not None and r.reason.outcome is Outcome.CANNOT_DECIDE and r.reason.found for r in open_)
    claims = result.claims
    if defect.code in _FOLLOW:
        assert claims.debug is Debug.UNKNOWN
    expected = Revocation.UNKNOWN if defect.code.startswith("nvidia-gpu.ocsp-") else Revocation.GOOD
    assert claims.revocation is expected
    assert (claims.rim_revocation is Revocation.UNKNOWN) is (not defect.code.startswith("nvidia-gpu.ocsp-"))


def test_every_check_has_a_defect() -> None:
    """A check that nothing fails is not a check. The chain's failures carry the codes of attest.pki, and the rest has its own tests."""
    ids = {check.id for check in (*NVIDIA_GPU.checks, *RIM_CHECKS) if not check.limitation}
    assert ids - {defect.code for defect in DEFECTS} == {"nvidia-gpu.evidence", "nvidia-gpu.chain"}


def test_names_are_unique() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    assert defect_named("report-truncated").code == "nvidia-gpu.report-size"
    with pytest.raises(AttestError, match="no such defect"):
        defect_named("report-truncate")


@pytest.mark.parametrize("parts", [("report",), ("certificates",), ("report", "certificates", "more")])
def test_parts(parts: tuple[str, ...], healthy: Sent, verify: Verify) -> None:
    evidence = healthy[0]
    other = Evidence.of("nvidia-gpu", "gpu-0", {name: evidence.parts.get(name, b"") for name in parts})
    with pytest.raises(AttestError) as caught:
        verify(other, healthy[1])
    assert caught.value.code == "nvidia-gpu.evidence"


def test_an_error_tells_what_was_done_before(pki: SimulatedNvidia, nonce: bytes, at: datetime, verify: Verify) -> None:
    evidence, items = simulate(pki, SimulatedGpu(), nonce=nonce, at=at, change=defect_named("fwid-other-in-report").apply)
    with pytest.raises(AttestError) as caught:
        verify(evidence, items)
    done = [name for name, _, _ in caught.value.done]
    assert done == [check.id for check in NVIDIA_GPU.checks][: len(done)]
    assert done[-1] == "nvidia-gpu.signature"
