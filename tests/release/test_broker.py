"""The broker: every rule broken alone, and nothing spent or written by a refusal."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attest import limits
from attest.appraisal import KeyUse
from attest.bundle import Bundle
from attest.errors import AttestError, MalformedError, UsageError
from attest.ledger.merkle import leaf_hash
from attest.policy.bundle import Policy
from attest.recipient import Kem
from attest.release.broker import Broker, Configuration, Materials
from attest.release.checks import RELEASE_CHECKS
from attest.release.keystore.key import KeyState
from attest.release.recipient_key import RecipientPrivateKey
from attest.release.state import BrokerState
from attest.release.token import TYPE
from attest.release.wrap import unwrap
from attest.verifier import judge

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
KEY, OTHER_KEY = "weights/model-a", "weights/model-b"
BROKER = "broker.example/eu-1"


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(AttestError) as refused:
        work()
    reason = refused.value.reasons[0]
    assert reason.fix
    assert reason.found
    return refused.value.code


def resigned(make: Any, token: str, **changes: Any) -> str:
    """The token with other claims, signed by the right issuer: what only a faulty or hostile issuer would make."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) | changes
    signed: str = make.world.issuer.sign(json.dumps(claims).encode(), typ=TYPE)
    return signed


def wrapped_again(session: Any) -> bytes:
    key: bytes = unwrap(session.release().wrapped, session.private, token=session.token, key=KEY).expose()
    return key


def test_release(session) -> None:
    release = session.release()
    assert len(unwrap(release.wrapped, session.private, token=session.token, key=KEY).expose()) == 32
    index = session.broker.ledger.find(leaf_hash(release.record.entry))
    assert index == 0
    assert session.broker.ledger.entry(0) == release.record.entry
    stored = session.broker.records.get(release.record.digest)
    assert stored.receipt is None
    assert stored.contents == release.record.contents


def test_two_sessions_get_the_same_key_in_different_wraps(make, broker) -> None:
    one, two = make.session(broker), make.session(broker)
    assert wrapped_again(one) == wrapped_again(two)
    assert broker.ledger.size == 2


# -- refusals that need no state --------------------------------------------------------------------------------------------


def other_bundle(make: Any, session: Any, **changes: Any) -> Materials:
    bundle: Bundle = session.judgement.bundle
    members = {
        name: getattr(bundle, name) for name in ("nonce", "recipient", "binding", "evidence", "collateral", "recorded_at", "origin", "note")
    }
    return replace(session.materials, bundle=Bundle.of(**(members | changes)))


def other_policy(make: Any) -> Policy:
    files = dict(make.world.policy().files)
    return Policy.from_files(files | {"policy.json": files["policy.json"].replace(b'"serial": 1', b'"serial": 2')})


def _key(make: Any, session: Any) -> dict[str, Any]:
    return {"token": resigned(make, session.token, key=OTHER_KEY)}


CASES: dict[str, tuple[str, Callable[[Any, Any], dict[str, Any]]]] = {
    "token of somebody": ("release.token-form", lambda m, s: {"token": "a.b.c"}),
    "result instead of token": ("release.token-form", lambda m, s: {"token": s.ear}),
    "signature": ("release.token-signature", lambda m, s: {"token": s.token[:-4] + ("AAAA" if s.token[-4:] != "AAAA" else "BBBB")}),
    "other issuer": ("release.issuer", lambda m, s: {"token": resigned(m, s.token, iss="https://other.example")}),
    "other broker": ("release.audience", lambda m, s: {"token": resigned(m, s.token, aud="broker.example/eu-2")}),
    "expired": ("release.expired", lambda m, s: {"at": AT + timedelta(seconds=30)}),
    "expired yesterday": ("release.expired", lambda m, s: {"at": AT + timedelta(days=1)}),
    "not yet valid": ("release.not-yet-valid", lambda m, s: {"at": AT - timedelta(seconds=61)}),
    "lives for hours": ("release.token-life", lambda m, s: {"token": resigned(m, s.token, exp=int(AT.timestamp()) + 3600)}),
    "other key": ("release.key", _key),
    "unknown version": ("release.key-version", lambda m, s: {"token": resigned(m, s.token, key_version=7)}),
    "simulated": ("release.key-use", lambda m, s: {"token": resigned(m, s.token, key_use="production")}),
    "other recipient in the token": (
        "release.recipient",
        lambda m, s: {"token": resigned(m, s.token, cnf={"jwk": RecipientPrivateKey.generate(Kem.X25519).recipient.to_jwk()})},
    ),
    "other recipient in the bundle": (
        "release.recipient",
        lambda m, s: {"materials": other_bundle(m, s, recipient=RecipientPrivateKey.generate(Kem.X25519).recipient)},
    ),
    "no recipient in the bundle": ("release.recipient", lambda m, s: {"materials": other_bundle(m, s, recipient=None)}),
    "other policy in the token": ("release.policy", lambda m, s: {"token": resigned(m, s.token, policy_digest="00" * 32)}),
    "other policy in the materials": ("release.policy", lambda m, s: {"materials": replace(s.materials, policy=other_policy(m))}),
    "other bundle": ("release.evidence", lambda m, s: {"materials": other_bundle(m, s, note="another")}),
    "other bundle in the token": ("release.evidence", lambda m, s: {"token": resigned(m, s.token, bundle_digest="00" * 32)}),
    "other trust store": ("release.evidence", lambda m, s: {"token": resigned(m, s.token, trust_digest="00" * 32)}),
    "other nonce": ("release.evidence", lambda m, s: {"token": resigned(m, s.token, eat_nonce="A" * 42 + "E")}),
    "other result": ("release.evidence", lambda m, s: {"materials": replace(s.materials, ear=s.token)}),
    "decided long before": (
        "release.decision",
        lambda m, s: {
            "token": resigned(m, s.token, **{name: int(AT.timestamp()) + more for name, more in (("iat", 61), ("nbf", 61), ("exp", 91))}),
            "at": AT + timedelta(seconds=61),
        },
    ),
    "decided afterwards": (
        "release.decision",
        lambda m, s: {"token": resigned(m, s.token, iat=int(AT.timestamp()) - 1, nbf=int(AT.timestamp()) - 1)},
    ),
    "other decision": ("release.decision", lambda m, s: {"token": resigned(m, s.token, decision_digest="00" * 32)}),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_and_nothing_spent(make, name: str) -> None:
    broker = make.broker(keys=(KEY, OTHER_KEY))
    session = make.session(broker)
    code, change = CASES[name]
    request = {"token": session.token, "materials": session.materials, "at": session.at} | change(make, session)
    assert code_of(lambda: broker.release(request["token"], request["materials"], at=request["at"])) == code
    assert broker.ledger.size == 0
    assert list(broker.records.digests()) == []
    assert len(wrapped_again(session)) == 32  # the refusal spent neither nonce nor token


def test_a_permit_is_needed(session) -> None:
    with pytest.raises(TypeError):
        session.broker.release(session.token, replace(session.materials, permit=True), at=session.at)


def test_unknown_key(make, broker) -> None:
    session = make.session(broker, key="weights/none", nonce=broker.challenge(KEY, at=AT))
    assert code_of(session.release) == "release.key-unknown"


def test_disabled_key(make, broker) -> None:
    session = make.session(broker)
    broker.keystore.set_state(KEY, 1, KeyState.DISABLED)
    assert code_of(session.release) == "release.key-disabled"
    broker.keystore.set_state(KEY, 1, KeyState.ENABLED)
    session.release()


def test_every_enabled_version_can_be_released(make, broker) -> None:
    broker.keystore.rotate(KEY, at=AT)
    one, two = (wrapped_again(make.session(broker, version=version)) for version in (1, 2))
    assert one != two


def test_the_key_is_bound_to_another_policy(make, broker) -> None:
    session = make.session(broker)
    broker.keystore.approve(KEY, policy=other_policy(make).identity.digest)
    assert code_of(session.release) == "release.policy"


def test_simulated_evidence_never_opens_a_production_key(make) -> None:
    broker = make.broker(use=KeyUse.PRODUCTION)
    session = make.session(broker)
    assert code_of(session.release) == "release.simulated"
    # Also when the issuer lies about it: the broker's own permit says what it is.
    lie = replace(session, token=resigned(make, session.token, simulated=False))
    assert code_of(lie.release) == "release.simulated"
    lie = replace(session, token=resigned(make, session.token, simulated=False, key_use="production"))
    assert code_of(lie.release) == "release.simulated"


def test_simulated_evidence_is_never_permitted_for_production(make, broker) -> None:
    session = make.session(broker)
    judgement = judge(
        session.judgement.bundle,
        trust=make.world.trust,
        at=AT,
        policy=session.policy,
        key=KEY,
        use=KeyUse.PRODUCTION,
        nonce=session.nonce,
    )
    assert [reason.code for reason in judgement.reasons] == ["floor.genuine"] * 3


# -- nonce --------------------------------------------------------------------------------------------------------------


def test_nonce_of_nobody(make, broker) -> None:
    assert code_of(make.session(broker, nonce=bytes(range(32))).release) == "release.nonce-unknown"


def test_nonce_of_another_broker(make, broker) -> None:
    other = make.broker("other", broker="broker.example/eu-2")
    assert code_of(make.session(broker, nonce=other.challenge(KEY, at=AT)).release) == "release.nonce-unknown"


def test_one_nonce_for_two_tokens(make, broker) -> None:
    one = make.session(broker)
    two = make.session(broker, nonce=one.nonce)
    one.release()
    assert code_of(two.release) == "release.nonce-used"
    assert broker.ledger.size == 1


def test_nonce_for_another_key(make) -> None:
    broker = make.broker(keys=(KEY, OTHER_KEY))
    session = make.session(broker, nonce=broker.challenge(OTHER_KEY, at=AT))
    assert code_of(session.release) == "release.nonce-key"
    assert broker.ledger.size == 0


@pytest.mark.parametrize(("seconds", "code"), [(299, None), (300, "release.nonce-expired"), (-61, "release.nonce-expired"), (-60, None)])
def test_age_of_the_nonce(make, broker, seconds: int, code: str | None) -> None:
    """Nonces live for five minutes; a clock that was set back by more than the skew makes them unusable, never immortal."""
    nonce = broker.challenge(KEY, at=AT)
    at = AT + timedelta(seconds=seconds)
    session = replace(make.session(broker, nonce=nonce, at=at), at=at)
    if code is None:
        session.release()
    else:
        assert code_of(session.release) == code


def test_challenges(broker) -> None:
    assert len({broker.challenge(KEY, at=AT) for _ in range(50)}) == 50
    assert code_of(lambda: broker.challenge("weights/none", at=AT)) == "release.key-unknown"


def test_open_challenges_are_bounded(broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN_CHALLENGES", 3)
    for _ in range(3):
        broker.challenge(KEY, at=AT)
    assert code_of(lambda: broker.challenge(KEY, at=AT)) == "release.challenges"
    assert code_of(lambda: broker.challenge(KEY, at=AT + limits.CHALLENGE_LIFE)) == "release.challenges"
    broker.challenge(KEY, at=AT + limits.CHALLENGE_LIFE + timedelta(seconds=61))  # the old ones are forgotten by then


# -- second use -----------------------------------------------------------------------------------------------------------


def test_second_use(make, session) -> None:
    first = session.release()
    assert code_of(session.release) == "release.token-used"
    again = replace(session, broker=Broker.open(make.folder / "broker"))
    assert code_of(again.release) == "release.token-used"
    assert session.broker.ledger.size == 1
    assert [first.record.digest] == list(session.broker.records.digests())


def test_second_token_with_the_same_jti(make, broker) -> None:
    one, two = (make.session(broker, jti=bytes(range(16))) for _ in range(2))
    one.release()
    assert code_of(two.release) == "release.token-used"
    assert broker.ledger.size == 1


def test_second_token_with_the_jti_of_one_that_was_cut_off(make, broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release of the first can still be completed: by the first, and not by whoever has its number."""
    one, two = (make.session(broker, jti=bytes(range(16))) for _ in range(2))
    monkeypatch.setattr(type(broker), "_claim", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.release()
    monkeypatch.undo()
    assert code_of(two.release) == "release.token-used"
    assert one.release().wrapped.recipient == one.private.recipient.thumbprint


def test_another_spelling_of_the_signature_is_the_same_token(make, session) -> None:
    """ECDSA: (r, n-s) verifies too. The token is spent by its jti, not by its text."""
    from attest.crypto import P384_ORDER
    from attest.wire import base64url, base64url_bytes

    covered, _, encoded = session.token.rpartition(".")
    signature = base64url_bytes(encoded, "signature")
    other = signature[:48] + (P384_ORDER - int.from_bytes(signature[48:], "big")).to_bytes(48, "big")
    twin = replace(session, token=f"{covered}.{base64url(other)}")
    session.release()
    assert code_of(twin.release) == "release.token-used"


# -- what must be written first -------------------------------------------------------------------------------------------


def break_ledger(folder: Path) -> None:
    shutil.rmtree(folder / "ledger" / "public" / "tile", ignore_errors=True)
    (folder / "ledger" / "public" / "tile").write_text("no folder")


def test_no_ledger_no_key(make, session) -> None:
    break_ledger(make.folder / "broker")
    assert code_of(session.release) == "release.ledger"
    # After the repair the token stays spent: nobody can tell whether its ciphertext was seen.
    (make.folder / "broker" / "ledger" / "public" / "tile").unlink()
    repaired = Broker.open(make.folder / "broker")
    assert code_of(replace(session, broker=repaired).release) == "release.token-used"
    assert repaired.ledger.size == 0
    assert len(wrapped_again(make.session(repaired))) == 32


def test_no_room_for_records_no_key(make, session) -> None:
    records = make.folder / "broker" / "records"
    records.rmdir()
    records.write_text("no folder")
    assert code_of(session.release) == "release.store"
    assert session.broker.ledger.size == 0


def test_no_database_no_key(make, session) -> None:
    for path in (make.folder / "broker").glob("broker.db*"):
        path.unlink()
    assert code_of(session.release) == "release.store"
    assert session.broker.ledger.size == 0


def test_a_database_that_somebody_emptied(make, session) -> None:
    database = sqlite3.connect(make.folder / "broker" / "broker.db")
    with database:
        database.execute("DROP TABLE uses")
    database.close()
    assert code_of(session.release) == "release.store"


def test_entries_are_bounded(make, session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RELEASE_ENTRY_BYTES", 1000)
    assert code_of(session.release) == "release.entry-size"
    assert session.broker.ledger.size == 0
    assert list(session.broker.records.digests()) == []


def test_a_record_that_somebody_changed_is_not_completed(make, broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off behind the ledger, and the stored record edited before the second use: nothing is handed out."""
    session = make.session(broker)
    monkeypatch.setattr(type(broker), "_claim", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.release()
    monkeypatch.undo()
    (digest,) = broker.records.digests()
    path = make.folder / "broker" / "records" / digest[:2] / f"{digest}.json"
    path.write_bytes(path.read_bytes().replace(b"eu-1", b"eu-2"))
    assert code_of(session.release) == "release.store"
    path.unlink()
    assert code_of(session.release) == "release.store"


# -- what it is ---------------------------------------------------------------------------------------------------------


def test_configuration_round_trip(make, broker) -> None:
    configuration = broker.configuration
    assert Configuration.from_bytes(configuration.to_bytes()) == configuration
    for change in (
        {"format": "x"},
        {"extra": 1},
        {"issuer": {"name": "x"}},
        {"issuer": json.loads(configuration.to_bytes())["issuer"] | {"more": 1}},
    ):
        with pytest.raises(MalformedError):
            Configuration.from_bytes(json.dumps(json.loads(configuration.to_bytes()) | change).encode())


def test_creating_and_opening(make, broker, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        make.broker()
    with pytest.raises(UsageError):
        Broker.open(tmp_path / "nowhere")
    assert (make.folder / "broker").stat().st_mode & 0o777 == 0o700
    assert "broker.example" in repr(broker)


def test_no_secret_leaves_the_keystore(make, session, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """The key's bytes, as bytes, hex, base64 and escapes, in no file, log, output, repr or error."""
    caplog.set_level(0)
    release = session.release()
    key = unwrap(release.wrapped, session.private, token=session.token, key=KEY).expose()
    forms = (
        key,
        key.hex().encode(),
        base64.b64encode(key).rstrip(b"="),
        base64.urlsafe_b64encode(key).rstrip(b"="),
        repr(key)[2:-1].encode(),
    )
    with pytest.raises(AttestError) as refused:
        session.release()
    out, err = capfd.readouterr()
    shown = f"{release!r} {session.broker!r} {session.broker.keystore!r} {refused.value!r} {caplog.text} {out} {err}".encode()
    files = [path for path in make.folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    for data in (shown, release.record.to_bytes(), *(path.read_bytes() for path in files)):
        assert not any(form in data for form in forms)


def test_every_check_has_its_test() -> None:
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [check.id for check in RELEASE_CHECKS if f'"{check.id}"' not in texts] == []


def test_a_nonce_can_be_asked_about_without_spending_it(make) -> None:
    broker = make.broker(keys=(KEY, OTHER_KEY))
    session = make.session(broker)
    for _ in range(2):
        broker.expect(session.nonce, KEY, at=AT)
    for nonce, key, at, code in (
        (bytes(range(32)), KEY, AT, "release.nonce-unknown"),
        (session.nonce, OTHER_KEY, AT, "release.nonce-key"),
        (session.nonce, KEY, AT + limits.CHALLENGE_LIFE, "release.nonce-expired"),
    ):
        assert code_of(lambda nonce=nonce, key=key, at=at: broker.expect(nonce, key, at=at)) == code
    session.release()
    assert code_of(lambda: broker.expect(session.nonce, KEY, at=AT)) == "release.nonce-used"


def test_beaten_by_another_caller_between_look_and_reservation(session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.release()
    use, seen = BrokerState.use, []
    monkeypatch.setattr(BrokerState, "use", lambda self, jti: use(self, jti) if seen or seen.append(jti) else None)
    assert code_of(session.release) == "release.token-used"
    assert session.broker.ledger.size == 1


def test_beaten_by_another_caller_before_the_claim(session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else completed the release: he has the ciphertext, and this caller has not."""
    finish = BrokerState.finish

    def beaten(self: BrokerState, jti: str, *, entry: str) -> bool:
        assert finish(self, jti, entry=entry)
        return finish(self, jti, entry=entry)

    monkeypatch.setattr(BrokerState, "finish", beaten)
    assert code_of(session.release) == "release.token-used"
    assert session.broker.ledger.size == 1


def test_a_ledger_that_is_damaged_before_the_completion(make, session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broker, "_claim", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.release()
    monkeypatch.undo()
    (make.folder / "broker" / "ledger" / "public" / "checkpoint").unlink()
    assert code_of(session.release) == "release.ledger"
