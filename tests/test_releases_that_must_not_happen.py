"""Releases that verifiers of this field have been seen to make, each refused here by its own check, from session to broker's policy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest.appraisal import KeyUse
from attest.decision import Deny, Permit
from attest.errors import Reason
from attest.policy.bundle import Policy
from attest.policy.shipped import shipped_policy
from attest.recipient import Kem, Recipient
from attest.simulator import SimulatedNode, SimulatedVendors, simulate_session
from attest.verifier import judge

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NONCE = bytes(range(32))
RECIPIENT = Recipient(Kem.X25519, b"\x07" * 32)
TCB_ZERO = {f"cpu.{level}_{part}": "0" for level in ("reported", "committed", "launch") for part in ("bootloader", "snp", "microcode")}


@pytest.fixture(scope="module")
def vendors() -> SimulatedVendors:
    return SimulatedVendors.create(at=AT, gpus=2)


def refused(
    vendors: SimulatedVendors, *, policy: Policy | None = None, use: KeyUse = KeyUse.TEST_ONLY, **options: object
) -> tuple[Reason, ...]:
    """What stands against the release; empty when it is permitted."""
    node = SimulatedNode.of(gpus=1).with_claims(options.pop("claims", {}))  # type: ignore[arg-type]
    bundle = simulate_session(vendors, node, nonce=NONCE, recipient=RECIPIENT, at=AT, **options)  # type: ignore[arg-type]
    judged = judge(
        bundle, trust=vendors.trust(), at=AT, policy=policy or Policy.load(shipped_policy("h100-snp")), key="weights", use=use, nonce=NONCE
    )
    assert isinstance(judged.decision, Permit | Deny)
    return () if isinstance(judged.decision, Permit) else judged.decision.reasons


def test_a_sound_node_is_permitted(vendors: SimulatedVendors) -> None:
    """Otherwise the refusals below would show nothing."""
    assert refused(vendors) == ()


def test_guest_whose_policy_allows_debugging(vendors: SimulatedVendors) -> None:
    """Not even by a key that may go to debuggable guests: the shipped policy has its own rule; and for a real key the floor says it too."""
    by_policy = refused(vendors, claims={"cpu.debug": "on"})
    assert [(reason.code, reason.subject, reason.rule) for reason in by_policy] == [("policy.refused", "cpu", "snp-guest")]
    by_floor = refused(vendors, claims={"cpu.debug": "on"}, use=KeyUse.PRODUCTION)
    assert ("floor.debug", "cpu") in {(reason.code, reason.subject) for reason in by_floor}


def test_report_asked_for_by_a_less_privileged_layer(vendors: SimulatedVendors) -> None:
    (reason,) = refused(vendors, claims={"cpu.vmpl": "3"})
    assert (reason.code, reason.subject, reason.rule, reason.found) == ("policy.refused", "cpu", "snp-guest", "3")


def test_tcb_of_zero(vendors: SimulatedVendors) -> None:
    reasons = refused(vendors, claims=TCB_ZERO)
    assert {(reason.code, reason.subject, reason.rule) for reason in reasons} == {("policy.refused", "cpu", "snp-guest")}
    assert {part for reason in reasons for part in ("snp", "microcode") if part in reason.message} == {"snp", "microcode"}


def test_revoked_chip_under_another_name(vendors: SimulatedVendors) -> None:
    """A chip is named by what its certificate says, never by what the requester writes: a new label or note changes nothing."""
    folder = shipped_policy("h100-snp")
    sound = simulate_session(vendors, SimulatedNode.of(gpus=1), nonce=NONCE, recipient=RECIPIENT, at=AT)
    judged = judge(sound, trust=vendors.trust(), at=AT, policy=Policy.load(folder), key="weights", use=KeyUse.TEST_ONLY, nonce=NONCE)
    assert judged.appraisal is not None
    chips = [device.claims.device_id for device in judged.appraisal.devices]
    reference = json.loads((folder / "reference.json").read_text())
    for position, chip in enumerate(chips):
        reference["values"]["revoked_chips"] = {"type": "set", "value": [chip], "why": "stolen from the rack, 2026-11-20"}
        rules = (
            (folder / "rules.cedar").read_bytes()
            + b"""
@id("revoked-chips") @description("chips that were stolen or broken") @owner("security")
forbid(principal is NvidiaGpu, action == Action::"accept", resource) when { resource.revoked_chips.contains(principal.device_id) };
@id("revoked-hosts") @description("hosts that were stolen or broken") @owner("security")
forbid(principal is SevSnpGuest, action == Action::"accept", resource) when { resource.revoked_chips.contains(principal.device_id) };
"""
        )
        files = {
            "policy.json": (folder / "policy.json").read_bytes(),
            "rules.cedar": rules,
            "reference.json": json.dumps(reference).encode(),
        }
        policy = Policy.from_files(files)
        bundle = json.loads(sound.to_bytes())
        assert bundle["evidence"][position]["label"] in ("gpu-0", "cpu")
        bundle["note"] = "an entirely different machine"
        old = bundle["evidence"][position]["label"]
        bundle["evidence"][position]["label"] = "innocent"
        for part in bundle["evidence"][position]["parts"].values():
            part["path"] = part["path"].replace(f"/{old}/", "/innocent/")
        renamed = type(sound).from_bytes(json.dumps(bundle).encode())
        decision = judge(renamed, trust=vendors.trust(), at=AT, policy=policy, key="weights", use=KeyUse.TEST_ONLY, nonce=NONCE).decision
        assert isinstance(decision, Deny)
        assert [(reason.code, reason.subject) for reason in decision.reasons] == [("policy.forbidden", "innocent")]


def test_gpu_relayed_from_another_session(vendors: SimulatedVendors) -> None:
    """Only the nonce shared: the report was made for this nonce and another recipient."""
    reason, by_policy = refused(vendors, defect="session-gpu-relayed")
    assert (reason.code, reason.subject) == ("floor.bound", "gpu-0")
    assert "recipient_bound" in by_policy.message


def test_gpu_swapped_after_the_cpu_report(vendors: SimulatedVendors) -> None:
    """A report for this very nonce and recipient, of a GPU that the CPU report does not cover."""
    reason, by_policy = refused(vendors, defect="session-gpu-not-covered")
    assert (reason.code, reason.subject) == ("floor.bound", "cpu")
    assert "recipient_bound" in by_policy.message


def test_every_released_recording_of_another_verifier(fixtures: Path) -> None:
    """Real evidence without a recipient: authentic for everybody, and releasable to nobody."""
    from attest.bundle import Bundle
    from attest.trust import TrustStore

    for name in ("nvidia-gpu/h100-595.71.05", "sev-snp/azure-milan-v3"):
        decision = judge(
            Bundle.load(fixtures / name), trust=TrustStore.production(), at=datetime(2026, 9, 19, 12, tzinfo=UTC),
            policy=Policy.load(shipped_policy("h100-snp")), key="weights", use=KeyUse.TEST_ONLY, nonce=None,
        ).decision  # fmt: skip
        assert isinstance(decision, Deny)
        assert {"floor.bound", "floor.recipient", "floor.topology"} <= {reason.code for reason in decision.reasons}
