"""The audit of a record: what is sound is proved, and every link breaks alone when its own fact is false."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import attest.policy.bundle
from attest.audit import AuditReport, LinkStatus, audit_record
from attest.audit.checks import LINKS
from attest.binding import Binding
from attest.bundle import Bundle
from attest.errors import MalformedError, Outcome
from attest.jose import IssuerPrivateKey
from attest.ledger.store import Ledger
from attest.recipient import Kem
from attest.release.recipient_key import RecipientPrivateKey
from attest.release.record import Contents, Record, entry_of
from attest.release.suites import seal
from attest.release.token import TYPE, verify_token
from attest.release.wrap import WrappedKey, token_digest, wrap_info
from attest.trust import Origin, TrustStore
from attest.wire import Json, canonical_json

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
KEY = "weights/model-a"
ISSUER = "https://verifier.example"


def audit(make: Any, record: Record | bytes, **changes: Any) -> AuditReport:
    pins = {"trust": make.world.trust, "ledger_vkey": None, "issuer_key": make.world.issuer.public} | changes
    return audit_record(record if isinstance(record, bytes) else record.to_bytes(), **pins)


def broken(report: AuditReport) -> set[str]:
    """Links that are not proved, without the prefix that all share; those that could not be checked in brackets."""
    return {
        link.check.id.removeprefix("audit.") if link.status is LinkStatus.BROKEN else f"({link.check.id.removeprefix('audit.')})"
        for link in report.links
        if link.status is not LinkStatus.PROVED
    }


# -- sound ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_proved(make, gpus: int) -> None:
    broker = make.broker()
    broker.keystore.approve(KEY, policy=make.world.policy(gpus).identity.digest)
    session = make.session(broker, gpus=gpus)
    record = session.release().record
    report = audit(make, record, ledger_vkey=broker.ledger.vkey)
    assert report.proved, report.reasons
    assert (report.outcome, report.exit_code, report.reasons) == (None, 0, ())
    assert [link.check for link in report.links] == list(LINKS)
    assert all(link.rests_on and link.detail and link.reason is None for link in report.links)
    assert (report.key, report.version, report.broker) == (KEY, 1, "broker.example/eu-1")
    assert report.recipient == session.private.recipient.thumbprint
    assert report.record == record.digest
    assert report.simulated


def test_residual_risks_are_said(make, session) -> None:
    report = audit(make, session.release().record)
    risks = {risk.id for risk in report.risks}
    assert risks >= {
        "simulated", "test-only", "relay", "vendor-key", "ciphertext", "custody", "other-copies", "clock", "nonce", "witnesses",
        "not-checked:nvidia-gpu.ocsp-attestation-key",
    }  # fmt: skip
    assert len(report.risks) == len(risks)
    assert all(risk.text for risk in report.risks)


@pytest.mark.parametrize(
    ("ledger", "issuer", "missing"),
    [(False, True, {"(ledger-key)"}), (True, False, {"(issuer-key)"}), (False, False, {"(ledger-key)", "(issuer-key)"})],
)
def test_without_pinned_keys_nothing_is_proved(make, broker, session, ledger: bool, issuer: bool, missing: set[str]) -> None:
    """The record's own keys prove that it hangs together, not whose it is."""
    report = audit(
        make,
        session.release().record,
        ledger_vkey=broker.ledger.vkey if ledger else None,
        issuer_key=make.world.issuer.public if issuer else None,
    )
    assert broken(report) == missing
    assert not report.proved
    assert report.outcome is Outcome.CANNOT_DECIDE
    assert report.exit_code == 6
    assert all("pinned" in reason.found for reason in report.reasons)


def test_a_newer_receipt_proves_too(make, broker) -> None:
    session = make.session(broker)
    record = session.release().record
    for _ in range(5):
        make.session(broker).release()
    fresh = record.with_receipt(broker.ledger.receipt(0))
    assert fresh.receipt != record.receipt
    assert audit(make, fresh, ledger_vkey=broker.ledger.vkey).proved
    assert audit(make, record, ledger_vkey=broker.ledger.vkey).proved


def test_the_stored_record_says_that_it_has_no_receipt(make, broker, session) -> None:
    stored = broker.records.get(session.release().record.digest)
    report = audit(make, stored, ledger_vkey=broker.ledger.vkey)
    assert broken(report) == {"(inclusion)", "(checkpoint)"}
    assert report.exit_code == 6


# -- what the auditor brings ------------------------------------------------------------------------------------------------


def test_another_issuer_key(make, broker, session) -> None:
    report = audit(make, session.release().record, ledger_vkey=broker.ledger.vkey, issuer_key=IssuerPrivateKey.generate().public)
    assert broken(report) >= {"issuer-key", "token"}
    assert report.exit_code == 4


def test_another_ledger_key(make, broker, session, tmp_path) -> None:
    other = Ledger.create(tmp_path / "other", origin=broker.ledger.origin)
    report = audit(make, session.release().record, ledger_vkey=other.vkey)
    assert broken(report) == {"ledger-key", "inclusion", "checkpoint"}
    assert report.exit_code == 4


def test_a_ledger_key_that_is_none(make, session) -> None:
    assert {"ledger-key", "inclusion", "checkpoint"} <= broken(audit(make, session.release().record, ledger_vkey="nonsense"))


def test_simulated_records_are_never_proved_under_production_roots(make, broker, session) -> None:
    report = audit(make, session.release().record, trust=TrustStore.production(), ledger_vkey=broker.ledger.vkey)
    assert {"root", "certificate", "report", "binding", "decision", "result"} <= broken(report)
    assert report.exit_code == 4


def test_other_roots_of_the_same_kind(make, broker, session) -> None:
    anchors = tuple((role, replace(anchor, spki_sha256="00" * 32)) for role, anchor in make.world.trust.anchors)
    report = audit(make, session.release().record, trust=TrustStore.of("other", Origin.SIMULATED, anchors), ledger_vkey=broker.ledger.vkey)
    assert {"root", "certificate", "report"} <= broken(report)


def test_a_trust_store_that_has_grown_since_still_proves(make, broker, session) -> None:
    """Years later the auditor pins more roots than the verifier knew: every device is verified under his own."""
    role, anchor = make.world.trust.anchors[0]
    grown = TrustStore.of("grown", Origin.SIMULATED, (*make.world.trust.anchors, (role, replace(anchor, spki_sha256="11" * 32))))
    assert grown.digest != make.world.trust.digest
    report = audit(make, session.release().record, trust=grown, ledger_vkey=broker.ledger.vkey)
    assert report.proved, report.reasons
    assert "checked under yours" in report.links[0].detail


def test_another_engine_cannot_decide(make, broker, session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules by another evaluator: no proof, and no accusation either."""
    record = session.release().record
    monkeypatch.setattr(attest.policy.bundle, "engine_name", lambda: "cedar 99.0")
    report = audit(make, record, ledger_vkey=broker.ledger.vkey)
    assert broken(report) == {"(policy)", "(decision)", "(result)"}
    assert report.exit_code == 6
    assert "audit with attest" in report.reasons[0].fix


# -- one false fact at a time -----------------------------------------------------------------------------------------------


@dataclass
class Forger:
    """A verifier and a broker that conspire: everything is signed and logged, and fits together, but for the one changed fact."""

    make: Any
    broker: Any
    session: Any

    released: Contents | None = None

    def contents(self) -> Contents:
        if self.released is None:
            self.released = self.session.release().record.contents
        return self.released

    def token(self, contents: Contents, **claims: Any) -> str:
        payload = contents.token.split(".")[1]
        body = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(self.make.world.issuer.sign(json.dumps(body | claims).encode(), typ=TYPE))

    def record(self, contents: Contents, *, entry: bytes | None = None) -> Record:
        token = verify_token(
            contents.token,
            issuer_key=self.make.world.issuer.public,
            issuer=contents.issuer,
            audience=contents.statement.broker,
            at=self.session.at,
        )
        data = canonical_json(entry_of(contents, token)) if entry is None else entry
        receipt = self.broker.ledger.append(data)
        return Record(data, contents, self.broker.ledger.origin, self.broker.ledger.vkey, receipt)

    def decided(self, contents: Contents, change: Callable[[dict[str, Any]], object], **claims: Any) -> Contents:
        """Another decision, with a token and a wrapped key that name it."""
        body = json.loads(json.dumps(contents.decision))
        change(body)
        return self.reissued(replace(contents, decision=body), decision_digest=_digest(body), **claims)

    def reissued(self, contents: Contents, **claims: Any) -> Contents:
        """Another token, and a wrapped key that names it."""
        text = self.token(contents, **claims)
        return replace(contents, token=text, wrapped=replace(contents.wrapped, token=token_digest(text)))


def _digest(value: Json) -> str:
    from attest.crypto import sha256

    return sha256(canonical_json(value)).hex()


@pytest.fixture
def forger(make, broker, session) -> Forger:
    return Forger(make, broker, session)


def verdict(forger: Forger, record: Record) -> set[str]:
    report = audit(forger.make, record, ledger_vkey=forger.broker.ledger.vkey)
    found = broken(report)
    assert report.proved is (not found)
    assert (report.exit_code in (3, 4, 5, 6)) is bool(found)
    return found


def test_the_forger_can_be_honest(forger) -> None:
    assert verdict(forger, forger.record(forger.contents())) == set()
    assert verdict(forger, forger.record(forger.reissued(forger.contents()))) == set()
    assert verdict(forger, forger.record(forger.decided(forger.contents(), lambda _: None))) == set()


def test_wrapped_to_somebody_else(forger) -> None:
    """The attack that matters most: evidence of a good node, key for another recipient."""
    contents = forger.contents()
    thief = RecipientPrivateKey.generate(Kem.X25519).recipient
    text = forger.token(contents, cnf={"jwk": thief.to_jwk()})
    info = wrap_info(token=token_digest(text), key=KEY, version=1, recipient=thief)
    wrapped = WrappedKey(contents.wrapped.suite, thief.thumbprint, token_digest(text), KEY, 1, seal(bytes(32), thief, info=info))
    assert verdict(forger, forger.record(replace(contents, token=text, wrapped=wrapped))) == {"recipient"}


def test_wrapped_to_somebody_else_and_the_bundle_says_so(forger) -> None:
    """The bundle's recipient is rewritten too: then the reports do not bind it."""
    contents = forger.contents()
    thief = RecipientPrivateKey.generate(Kem.X25519).recipient
    old = contents.bundle
    bundle = Bundle.of(
        nonce=old.nonce,
        recipient=thief,
        binding=old.binding,
        evidence=old.evidence,
        collateral=old.collateral,
        recorded_at=old.recorded_at,
        origin=old.origin,
        note=old.note,
    )
    forged = forger.decided(
        replace(contents, bundle=bundle, wrapped=replace(contents.wrapped, recipient=thief.thumbprint)),
        lambda body: body.update(recipient=thief.thumbprint, bundle=bundle.digest),
        cnf={"jwk": thief.to_jwk()},
        bundle_digest=bundle.digest,
    )
    assert verdict(forger, forger.record(forged)) == {"binding", "decision", "result"}


def test_the_decision_names_the_thief(forger) -> None:
    """Token, wrapped key and decision agree on him; the evidence does not."""
    contents = forger.contents()
    thief = RecipientPrivateKey.generate(Kem.X25519).recipient
    forged = forger.decided(
        replace(contents, wrapped=replace(contents.wrapped, recipient=thief.thumbprint)),
        lambda body: body.update(recipient=thief.thumbprint),
        cnf={"jwk": thief.to_jwk()},
    )
    assert verdict(forger, forger.record(forged)) == {"recipient", "decision"}


@pytest.mark.parametrize("change", [{"recipient": None}, {"nonce": None}, {"binding": Binding.RAW_NONCE}])
def test_a_bundle_that_binds_nothing(forger, change: dict[str, Any]) -> None:
    contents = forger.contents()
    members = ("nonce", "recipient", "binding", "evidence", "collateral", "recorded_at", "origin", "note")
    bundle = Bundle.of(**({name: getattr(contents.bundle, name) for name in members} | change))
    forged = forger.decided(replace(contents, bundle=bundle), lambda body: body.update(bundle=bundle.digest), bundle_digest=bundle.digest)
    assert {"binding", "decision"} <= verdict(forger, forger.record(forged))


def test_another_engine_excuses_no_other_decision(forger, monkeypatch: pytest.MonkeyPatch) -> None:
    record = forger.record(forger.decided(forger.contents(), lambda body: body["answers"].pop()))
    monkeypatch.setattr(attest.policy.bundle, "engine_name", lambda: "cedar 99.0")
    assert "decision" in verdict(forger, record)


def test_released_although_reference_values_were_missing(forger) -> None:
    """Authentic reports, and a check that nobody could do: the link of the reports says so, whatever was decided."""
    contents = forger.contents()
    private = contents.bundle.recipient
    bundle = forger.make.world.bundle(contents.bundle.nonce, private, gpu={"manifests": False})
    forged = forger.decided(replace(contents, bundle=bundle), lambda body: body.update(bundle=bundle.digest), bundle_digest=bundle.digest)
    found = verdict(forger, forger.record(forged))
    assert {"(report)", "decision"} <= found
    assert not {"root", "binding", "recipient", "token", "entry"} & found


@pytest.mark.parametrize("change", [{"recipient": "00" * 32}, {"token": "00" * 32}, {"key": "weights/model-b"}, {"version": 2}])
def test_label_of_the_wrapped_key(forger, change: dict[str, Any]) -> None:
    contents = forger.contents()
    assert verdict(forger, forger.record(replace(contents, wrapped=replace(contents.wrapped, **change)))) == {"wrapped-key"}


@pytest.mark.parametrize(
    ("name", "also"),
    [("bundle_digest", set()), ("trust_digest", set()), ("decision_digest", {"decision"})],
)
def test_token_for_other_evidence(forger, name: str, also: set[str]) -> None:
    assert verdict(forger, forger.record(forger.reissued(forger.contents(), **{name: "00" * 32}))) == {"token"} | also


def test_token_for_another_policy(forger) -> None:
    assert verdict(forger, forger.record(forger.reissued(forger.contents(), policy_digest="00" * 32))) == {"policy"}


def test_token_for_another_result(forger) -> None:
    assert verdict(forger, forger.record(forger.reissued(forger.contents(), ear_digest="00" * 32))) == {"result"}


def test_token_that_had_expired(forger) -> None:
    contents = forger.contents()
    late = replace(contents.statement, released_at=AT + timedelta(seconds=31))
    found = verdict(forger, forger.record(replace(contents, statement=late)))
    assert found == {"token", "(recipient)", "(wrapped-key)", "(policy)", "(decision)", "(result)", "(times)", "(entry)"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["devices"][0].update(chain=["00" * 32] * 5), {"certificate", "decision"}),
        (lambda d: d["devices"][0].update(statement="00" * 48), {"report", "decision"}),
        (lambda d: d["devices"].append(d["devices"][0] | {"subject": "gpu-9"}), {"report", "decision"}),
        (lambda d: d["devices"].pop(), {"certificate", "report", "decision"}),
        (lambda d: d.update(recipient="00" * 32), {"recipient", "decision"}),
        (lambda d: d.update(nonce="00" * 32), {"token", "decision"}),
        (lambda d: d.update(bundle="00" * 32), {"token", "decision"}),
        (lambda d: d.update(key="weights/model-b"), {"token", "decision"}),
        (lambda d: d["answers"].pop(), {"decision"}),
        (lambda d: d["answers"][0].update(rules=["other"]), {"decision"}),
        (lambda d: d.update(simulated=False), {"decision"}),
        (lambda d: d.update(decision="deny"), {"decision"}),
        (lambda d: d.update(extra=1), {"decision"}),
        (lambda d: d["policy"].update(name="other"), {"policy", "decision", "result"}),
        (lambda d: d["policy"].update(rules="00" * 32), {"policy", "decision", "result"}),
    ],
)
def test_another_decision(forger, change: Callable[[dict[str, Any]], object], expected: set[str]) -> None:
    """Signed, logged, and not what judging again gives."""
    found = verdict(forger, forger.record(forger.decided(forger.contents(), change)))
    assert found - {"result", "(result)"} == expected - {"result"}


def test_a_decision_at_another_time(forger) -> None:
    contents = forger.contents()
    forged = forger.decided(contents, lambda d: d.update(at="2026-11-21T07:00:00Z"))
    assert "times" in verdict(forger, forger.record(forged))


def test_another_policy(forger) -> None:
    """The files of a laxer policy, under the name of the one that decided."""
    contents = forger.contents()
    files = dict(contents.policy) | {"rules.cedar": contents.policy["rules.cedar"].replace(b"principal.vmpl == 0 && ", b"")}
    assert verdict(forger, forger.record(replace(contents, policy=files))) >= {"policy", "decision"}


def test_a_policy_that_does_not_load(forger) -> None:
    contents = forger.contents()
    files = dict(contents.policy) | {"rules.cedar": b"permit (principal, action, resource);"}
    found = verdict(forger, forger.record(replace(contents, policy=files)))
    assert found >= {"policy", "(decision)"}


def test_a_result_that_flatters(forger) -> None:
    contents = forger.contents()
    payload = contents.ear.split(".")[1]
    body = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    body["submods"]["cpu"]["ear_attester_claims"]["vmpl"] = 1
    ear = forger.make.world.issuer.sign(json.dumps(body).encode(), typ="eat+jwt")
    from attest.crypto import sha256

    forged = forger.reissued(replace(contents, ear=ear), ear_digest=sha256(ear.encode()).hex())
    assert verdict(forger, forger.record(forged)) == {"result"}


def test_a_result_of_another_issuer(forger) -> None:
    from attest.crypto import sha256

    contents = forger.contents()
    payload = contents.ear.split(".")[1]
    ear = IssuerPrivateKey.generate().sign(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), typ="eat+jwt")
    forged = forger.reissued(replace(contents, ear=ear), ear_digest=sha256(ear.encode()).hex())
    assert verdict(forger, forger.record(forged)) == {"result"}


@pytest.mark.parametrize(
    "change",
    [
        {"challenged_at": AT + timedelta(minutes=2)},
        {"challenged_at": AT - timedelta(minutes=5)},
        {"released_at": AT - timedelta(minutes=1), "challenged_at": AT + timedelta(seconds=1)},
    ],
)
def test_times_out_of_order(forger, change: dict[str, Any]) -> None:
    contents = forger.contents()
    forged = replace(contents, statement=replace(contents.statement, **change))
    assert verdict(forger, forger.record(forged)) == {"times"}


def test_logged_something_else(forger) -> None:
    """The ledger has an entry, but not the one that the contents give."""
    contents = forger.contents()
    honest = forger.record(contents)
    other = json.loads(honest.entry) | {"simulated": False}
    assert verdict(forger, forger.record(contents, entry=canonical_json(other))) == {"entry"}


def test_receipt_of_another_entry(forger) -> None:
    contents = forger.contents()
    one = forger.record(contents)
    other = forger.record(replace(contents, salt=bytes(32)))
    assert other.receipt is not None
    assert verdict(forger, one.with_receipt(other.receipt)) == {"inclusion"}


def test_receipt_of_another_ledger(forger, tmp_path) -> None:
    record = forger.record(forger.contents())
    other = Ledger.create(tmp_path / "other", origin=forger.broker.ledger.origin)
    assert verdict(forger, record.with_receipt(other.append(record.entry))) == {"inclusion", "checkpoint"}


def test_another_origin(forger) -> None:
    record = replace(forger.record(forger.contents()), origin="example.com/another")
    assert verdict(forger, record) == {"checkpoint"}


def test_another_vkey_in_the_record(forger, tmp_path) -> None:
    other = Ledger.create(tmp_path / "other", origin=forger.broker.ledger.origin)
    record = replace(forger.record(forger.contents()), vkey=other.vkey)
    assert verdict(forger, record) == {"ledger-key"}


def test_another_issuer_name(forger) -> None:
    """The name stands in the token too."""
    contents = replace(forger.contents(), issuer="https://other.example")
    data = forger.record(forger.contents()).entry
    receipt = forger.broker.ledger.append(data)
    record = Record(data, contents, forger.broker.ledger.origin, forger.broker.ledger.vkey, receipt)
    assert "token" in verdict(forger, record)


# -- what is no record ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[]", b"\xff", b'{"format":"attest-release-record/1"}'])
def test_no_record(make, data: bytes) -> None:
    with pytest.raises(MalformedError):
        audit(make, data)
