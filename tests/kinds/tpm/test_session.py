"""A TPM as the root of a session: what the floor asks of it, and what it binds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from attest.appraisal import KeyUse
from attest.binding import Binding, boot_field
from attest.bundle import Bundle, BundleOrigin
from attest.evidence import Collateral, Evidence
from attest.kinds.tpm.report import Selection
from attest.recipient import Kem, Recipient
from attest.release.recipient_key import RecipientPrivateKey
from attest.verifier import Judgement, judge
from tests.kinds.tpm.software import A, Session, boot_events, booted, oaep_key, policy_digest, rsa_key

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NONCE = bytes(range(32))
PCRS = (0, 4, 7)
RESIDENT = Recipient(Kem.RSA2048_OAEP, rsa_key(number=1).public_key().public_numbers().n.to_bytes(256, "big"))
ELSEWHERE = RecipientPrivateKey.generate(Kem.X25519).recipient


def session(recipient: Recipient, *, certified: bool = True, **changes: object) -> Session:
    made = booted(boot_events(), nonce=boot_field(NONCE, recipient, []))
    if certified:
        policy = (Selection(A.SHA256, PCRS),)
        key = oaep_key(policy=policy_digest(policy, [made.values[A.SHA256][pcr] for pcr in PCRS]))
        made = replace(made, recipient=key, policy=policy)
    return replace(made, **changes)  # type: ignore[arg-type]


def judged(*sessions: Session, recipient: Recipient = RESIDENT, nonce: bytes = NONCE) -> Judgement:
    evidence = tuple(Evidence.of("tpm", f"tpm-{number}", made.evidence().parts) for number, made in enumerate(sessions))
    bundle = Bundle.of(
        nonce=nonce, recipient=recipient, binding=Binding.ATTEST_1, evidence=evidence, collateral=Collateral(), recorded_at=AT,
        origin=BundleOrigin.RECORDED,
    )  # fmt: skip
    return judge(
        bundle, trust=sessions[0].trust(), at=AT, policy=None, key="", use=KeyUse.TEST_ONLY, nonce=NONCE, max_age=timedelta(minutes=5)
    )


def codes(judgement: Judgement) -> list[str]:
    assert judgement.appraisal is not None
    return [reason.code for reason in judgement.appraisal.findings]


def test_a_key_in_the_tpm() -> None:
    judgement = judged(session(RESIDENT))
    assert codes(judgement) == []
    assert judgement.appraisal is not None
    workload = judgement.appraisal.workload
    assert (workload.tpm_count, workload.cpu_count, workload.gpu_count, workload.recipient_bound) == (1, 0, 0, True)
    assert workload.recipient_algorithm.value == "rsa2048_oaep"


@pytest.mark.parametrize(
    ("made", "recipient", "expected"),
    [
        (session(ELSEWHERE), ELSEWHERE, ["floor.resident"]),  # bound by the quote, and not the key that is certified
        (session(RESIDENT, certified=False), RESIDENT, ["floor.resident"]),
        (session(RESIDENT), ELSEWHERE, ["floor.resident", "floor.bound"]),
        (session(RESIDENT, nonce=b""), RESIDENT, ["floor.bound"]),
        (session(RESIDENT, nonce=NONCE), RESIDENT, ["floor.bound"]),
        (session(RESIDENT, nonce=boot_field(NONCE, RESIDENT, [])[:31]), RESIDENT, ["floor.bound"]),
        (session(RESIDENT, nonce=boot_field(NONCE, RESIDENT, []) + bytes(32)), RESIDENT, ["floor.bound"]),
        (session(RESIDENT, nonce=boot_field(NONCE, RESIDENT, []).hex().encode()), RESIDENT, ["floor.bound"]),
        (session(RESIDENT, nonce=boot_field(bytes(32), RESIDENT, [])), RESIDENT, ["floor.bound"]),
        (session(RESIDENT, nonce=boot_field(NONCE, RESIDENT, [bytes(48)])), RESIDENT, ["floor.bound"]),
    ],
)
def test_refused(made: Session, recipient: Recipient, expected: list[str]) -> None:
    assert codes(judged(made, recipient=recipient)) == expected


def test_another_nonce_than_was_issued() -> None:
    assert codes(judged(session(RESIDENT), nonce=bytes(31) + b"\1")) == ["floor.nonce", "floor.bound"]


def test_two_tpms() -> None:
    other = session(RESIDENT, clock=bytes(8) + (2).to_bytes(4, "big") + bytes(4) + b"\1")
    assert codes(judged(session(RESIDENT), other))[0] == "floor.cpu-tee"


def test_without_a_log_debugging_is_not_excluded() -> None:
    made = session(RESIDENT)
    made.parts.pop("event-log")
    bundle = judged(made).bundle
    judgement = judge(
        bundle, trust=made.trust(), at=AT, policy=None, key="", use=KeyUse.PRODUCTION, nonce=NONCE, max_age=timedelta(minutes=5)
    )
    assert codes(judgement) == ["floor.debug", "floor.genuine"]
