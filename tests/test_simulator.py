"""Simulated nodes: sound ones are permitted to test-only keys, and every defect is refused by the check that it is for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attest.appraisal import KeyUse
from attest.bundle import Bundle
from attest.crypto import sha256
from attest.errors import UsageError
from attest.recipient import Kem, Recipient
from attest.simulator import SESSION_DEFECTS, SimulatedNode, SimulatedVendors, defects, simulate_session
from attest.trust import TrustStore
from attest.verifier import Judgement, judge

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NONCE = sha256(b"a challenge")
RECIPIENT = Recipient(Kem.X25519, b"\x07" * 32)


@pytest.fixture(scope="module")
def vendors() -> SimulatedVendors:
    return SimulatedVendors.create(at=AT, gpus=3)


def answer(vendors: SimulatedVendors, bundle: Bundle, *, use: KeyUse = KeyUse.TEST_ONLY, trust: TrustStore | None = None) -> Judgement:
    return judge(bundle, trust=trust or vendors.trust(), at=AT, policy=None, key="", use=use, nonce=NONCE, max_age=timedelta(minutes=5))


def session(vendors: SimulatedVendors, *, node: SimulatedNode | None = None, **options: str) -> Bundle:
    return simulate_session(vendors, node or SimulatedNode.of(gpus=2), nonce=NONCE, recipient=RECIPIENT, at=AT, **options)  # type: ignore[arg-type]


def test_a_sound_node_has_nothing_against_it_but_that_it_is_simulated(vendors: SimulatedVendors) -> None:
    bundle = session(vendors)
    assert answer(vendors, bundle).reasons == ()
    real = answer(vendors, bundle, use=KeyUse.PRODUCTION)
    assert {reason.code for reason in real.reasons} == {"floor.genuine"}
    assert [reason.subject for reason in real.reasons] == ["gpu-0", "gpu-1", "cpu"]


def test_simulated_evidence_is_not_authentic_under_production_roots(vendors: SimulatedVendors) -> None:
    refused = answer(vendors, session(vendors), trust=TrustStore.production())
    assert refused.appraisal is None
    assert {reason.code for reason in refused.reasons} == {"pki.chain.anchor"}


def test_authorities_can_be_kept(vendors: SimulatedVendors, tmp_path: Path) -> None:
    vendors.save(tmp_path)
    again = SimulatedVendors.load(tmp_path)
    assert again.trust() == vendors.trust()
    assert answer(vendors, session(again)).reasons == ()
    with pytest.raises(UsageError):
        SimulatedVendors.load(tmp_path / "nothing")


FIRST = {name: code for name, code in defects().items() if not name.startswith("session-")}
GPU_ONLY = {name: code for name, code in FIRST.items() if name.startswith("gpu-")}


@pytest.mark.parametrize("name", [name for name in SESSION_DEFECTS if name != "session-gpu-missing"])
def test_each_session_defect_is_refused_by_its_own_check(vendors: SimulatedVendors, name: str) -> None:
    codes = [reason.code for reason in answer(vendors, session(vendors, defect=name)).reasons]
    assert codes
    assert codes[0] == SESSION_DEFECTS[name].code
    # what is missing, or stands twice, is also not bound: nothing else may show up
    assert set(codes) <= {SESSION_DEFECTS[name].code, "floor.bound"}


@pytest.mark.parametrize("name", sorted(FIRST)[::4])
def test_a_defect_of_one_device_refuses_the_whole_session(vendors: SimulatedVendors, name: str) -> None:
    try:
        bundle = session(vendors, defect=name)
    except UsageError as other:
        assert "cannot have this defect" in str(other)  # noqa: PT017  (defects of other AMD products: tests/kinds has them)
        return
    codes = [reason.code for reason in answer(vendors, bundle).reasons]
    assert FIRST[name] in codes


def test_the_defective_device_is_named_wherever_it_stands(vendors: SimulatedVendors) -> None:
    node = SimulatedNode.of(gpus=3)
    for label in ("gpu-0", "gpu-1", "gpu-2"):
        reasons = answer(vendors, session(vendors, node=node, defect="gpu-report-signature-flipped", device=label)).reasons
        assert [(reason.code, reason.subject) for reason in reasons] == [("nvidia-gpu.signature", label)]


def test_claims_can_be_set(vendors: SimulatedVendors) -> None:
    changes = {
        "gpu-1.driver_version": "570.1.2", "gpu-*.mode": "ppcie", "gpu-0.vbios_measurements": "mismatch",
        "cpu.vmpl": "3", "cpu.debug": "on", "cpu.smt_allowed": "false",
    }  # fmt: skip
    judged = answer(vendors, session(vendors, node=SimulatedNode.of(gpus=2).with_claims(changes)))
    assert judged.appraisal is not None
    gpu0, gpu1, cpu = (device.claims.values() for device in judged.appraisal.devices)
    assert (gpu1["driver_version"], gpu0["mode"], gpu1["mode"]) == ("570.1.2", "ppcie", "ppcie")
    assert (gpu0["vbios_measurements"], gpu1["vbios_measurements"]) == ("mismatch", "match")
    assert (cpu["vmpl"], cpu["debug"], cpu["smt_allowed"]) == (3, "on", False)
    assert judged.appraisal.workload.same_firmware == "no"


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu-9.mode": "spt"},
        {"gpu-0.nothing": "1"},
        {"gpu-0.mode": "warp"},
        {"gpu-0.debug": "on"},  # follows from the measurements
        {"cpu.nothing": "1"},
        {"cpu.vmpl": "four"},
        {"cpu.vmpl": "99"},
        {"cpu.debug": "perhaps"},
        {"cpu.smt_allowed": "yes"},
        {"cpu.provisional_firmware": "true"},  # follows from the TCBs
    ],
)
def test_what_no_hardware_claims_cannot_be_set(changes: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        SimulatedNode.of(gpus=1).with_claims(changes)
    assert refused.value.exit_code == 2


def test_unknown_defects_and_devices_are_refused(vendors: SimulatedVendors) -> None:
    for options in ({"defect": "nothing"}, {"defect": "gpu-report-empty", "device": "gpu-7"}, {"defect": "cpu-vlek-as-vcek"}):
        with pytest.raises(UsageError):
            session(vendors, **options)
