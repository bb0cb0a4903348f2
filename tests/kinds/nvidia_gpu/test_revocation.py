"""Several OCSP answers for one certificate: the worst counts, and of good ones the one that lasts longest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography.x509 import ocsp

from attest.checks import Status
from attest.errors import AttestError
from attest.evidence import CollateralItem, CollateralType, Evidence, Revocation, Verified
from attest.kinds.nvidia_gpu.claims import NvidiaGpuClaims
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia, answer_form

Verify = Callable[..., Verified[NvidiaGpuClaims]]
Sent = tuple[Evidence, tuple[CollateralItem, ...]]


def answer(pki: SimulatedNvidia, name: str, at: datetime, begin: int, end: int, status: str = "GOOD") -> CollateralItem:
    form = answer_form(pki, name, at=at)
    form.this_update, form.next_update = at + timedelta(hours=begin), at + timedelta(hours=end)
    form.status = ocsp.OCSPCertStatus[status]
    return CollateralItem(CollateralType.OCSP, f"{name}-{begin}-{end}-{status}", form.encode(), at)


def without(items: tuple[CollateralItem, ...], name: str) -> tuple[CollateralItem, ...]:
    return tuple(item for item in items if item.name != name)


def result_of(verified: Verified[NvidiaGpuClaims], name: str) -> Status:
    return next(result.status for result in verified.checks if result.check.id == f"nvidia-gpu.{name}")


def test_the_longest_good_answer_counts(healthy: Sent, pki: SimulatedNvidia, at: datetime, verify: Verify) -> None:
    rest = tuple(item for item in healthy[1] if item.type is not CollateralType.OCSP)
    names = ("gpu-0-identity", "device-provisioner", "device-product", "rim-driver", "rim-vbios", "rim-l3", "rim-ca")
    long = tuple(answer(pki, name, at, -1, 20) for name in names)
    short = tuple(answer(pki, name, at, -1, 2) for name in names)
    for items in (long + short, short + long):
        result = verify(healthy[0], rest + items)
        assert result.claims.revocation is result.claims.rim_revocation is Revocation.GOOD
        assert result.valid_until == at + timedelta(hours=20)
        assert set(result.collateral) == {item.digest for item in rest + long}
    assert verify(healthy[0], rest + short).valid_until == at + timedelta(hours=2)


def test_a_stale_answer_beside_a_good_one_does_not_matter(healthy: Sent, pki: SimulatedNvidia, at: datetime, verify: Verify) -> None:
    stale = answer(pki, "device-product", at, -48, -24)
    for items in ((stale, *healthy[1]), (*healthy[1], stale)):
        result = verify(healthy[0], items)
        assert result_of(result, "ocsp-product") is Status.PASSED
        assert stale.digest not in result.collateral


@pytest.mark.parametrize(("begin", "end"), [(-1, 23), (-48, -24), (1, 25)])
def test_revoked_outweighs_good_whenever_it_was_said(
    begin: int, end: int, healthy: Sent, pki: SimulatedNvidia, at: datetime, verify: Verify
) -> None:
    revoked = answer(pki, "device-provisioner", at, begin, end, "REVOKED")
    for items in ((revoked, *healthy[1]), (*healthy[1], revoked)):
        with pytest.raises(AttestError) as caught:
            verify(healthy[0], items)
        assert caught.value.code == "pki.ocsp.revoked"


def test_every_problem_is_named(healthy: Sent, pki: SimulatedNvidia, at: datetime, verify: Verify) -> None:
    items = (answer(pki, "device-product", at, -48, -24), answer(pki, "device-product", at, 1, 25))
    result = verify(healthy[0], without(healthy[1], "device-product") + items)
    detail = next(r.detail for r in result.checks if r.check.id == "nvidia-gpu.ocsp-product")
    assert detail.count("judged at 2026-11-21T12:00:00Z") == 2
    assert result.claims.revocation is Revocation.UNKNOWN


def test_answers_of_another_simulation_do_not_count(healthy: Sent, at: datetime, verify: Verify) -> None:
    foreign = answer(SimulatedNvidia.create(at=at, gpus=1), "device-product", at, -1, 23)
    result = verify(healthy[0], (*without(healthy[1], "device-product"), foreign))
    assert result_of(result, "ocsp-product") is Status.NOT_CHECKED
