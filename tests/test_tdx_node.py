"""A node of eight GPUs and a TDX guest: from a challenge to a permission under the shipped policy, and what stands against one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from attest.appraisal import KeyUse
from attest.binding import Binding, device_field, workload_field
from attest.bundle import Bundle, BundleOrigin
from attest.dcap.simulate_pki import SimulatedIntel
from attest.dcap.status import TcbStatus
from attest.decision import Deny, Permit
from attest.evidence import ClaimValue, Collateral
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.nvidia_gpu.simulate import SimulatedGpu
from attest.kinds.nvidia_gpu.simulate import simulate as simulate_gpu
from attest.kinds.nvidia_gpu.simulate_pki import SimulatedNvidia
from attest.kinds.tdx.simulate import default_guest, simulate, with_claims
from attest.policy.bundle import Policy
from attest.policy.shipped import shipped_policy
from attest.recipient import Kem, Recipient
from attest.trust import Origin, TrustStore
from attest.verifier import Judgement, judge

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NONCE = bytes(range(32))
RECIPIENT = Recipient(Kem.X25519, b"\x07" * 32)


@pytest.fixture(scope="module")
def intel() -> SimulatedIntel:
    return SimulatedIntel.create(at=AT)


@pytest.fixture(scope="module")
def nvidia() -> SimulatedNvidia:
    return SimulatedNvidia.create(at=AT, gpus=8)


@pytest.fixture(scope="module")
def gpus(nvidia):
    return [simulate_gpu(nvidia, SimulatedGpu(gpu=number), nonce=device_field(NONCE, RECIPIENT), at=AT) for number in range(8)]


def session(intel, nvidia, gpus, *, changes: Mapping[str, ClaimValue] | None = None, bound: int = 8, use=KeyUse.TEST_ONLY) -> Judgement:
    guest = with_claims(default_guest(), changes or {}, pki=intel, at=AT)
    statements = [NVIDIA_GPU.statement(evidence) for evidence, _ in gpus][:bound]
    cpu, items = simulate(intel, guest, report_data=workload_field(NONCE, RECIPIENT, statements), at=AT)
    collateral = {(item.type, item.name): item for _, own in gpus for item in own} | {(item.type, item.name): item for item in items}
    bundle = Bundle.of(
        nonce=NONCE, recipient=RECIPIENT, binding=Binding.ATTEST_1, evidence=(*(evidence for evidence, _ in gpus), cpu),
        collateral=Collateral(tuple(collateral.values())), recorded_at=AT, origin=BundleOrigin.SIMULATED,
    )  # fmt: skip
    assert Bundle.from_bytes(bundle.to_bytes()).digest == Bundle.from_files(bundle.to_files()).digest == bundle.digest
    trust = TrustStore.of("simulation", Origin.SIMULATED, (*nvidia.anchors(), *intel.anchors()))
    policy = Policy.load(shipped_policy("tdx-h100x8"))
    return judge(bundle, trust=trust, at=AT, policy=policy, key="weights", use=use, nonce=NONCE)


def test_a_sound_node_is_permitted(intel, nvidia, gpus):
    judged = session(intel, nvidia, gpus)
    assert isinstance(judged.decision, Permit), judged.reasons


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"tcb_status": TcbStatus.OUT_OF_DATE}, "policy.refused", "tcb_status"),
        ({"tcb_status": TcbStatus.TD_RELAUNCH_ADVISED}, "policy.refused", "tcb_status"),
        ({"advisories": frozenset({"INTEL-SA-00837"})}, "policy.refused", "advisories"),
        ({"sept_ve_disabled": False}, "policy.refused", "sept_ve_disabled"),
        ({"mr_td": "ab" * 48}, "policy.refused", "mr_td"),
        ({"service_td": True}, "policy.refused", "service_td"),
        ({"collateral_age": 400}, "policy.refused", "collateral_age"),
    ],
)
def test_a_guest_that_falls_short_is_refused_by_name(intel, nvidia, gpus, changes, code, words):
    judged = session(intel, nvidia, gpus, changes=changes)
    assert isinstance(judged.decision, Deny)
    assert {(reason.code, reason.subject) for reason in judged.reasons} == {(code, "cpu")}
    assert any(words in reason.message for reason in judged.reasons)


def test_the_floor_stands_under_the_policy(intel, nvidia, gpus):
    assert {reason.code for reason in session(intel, nvidia, gpus, use=KeyUse.PRODUCTION).reasons} == {"floor.genuine"}
    debugged = session(intel, nvidia, gpus, changes={"debug": "on"}, use=KeyUse.PRODUCTION)
    assert "floor.debug" in {reason.code for reason in debugged.reasons}
    assert "floor.bound" in {reason.code for reason in session(intel, nvidia, gpus, bound=7).reasons}
