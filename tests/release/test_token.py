"""The release token: every rule broken alone in a token that is correctly signed."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from attest import limits
from attest.errors import AttestError, Outcome
from attest.jose import IssuerPrivateKey
from attest.recipient import Kem
from attest.release.recipient_key import RecipientPrivateKey
from attest.release.token import TYPE, ReleaseToken, issue, verify_token
from attest.wire import base64url

BROKER = "broker.example/eu-1"
ISSUER = "https://verifier.example"
Claims = dict[str, Any]


def claims_of(token: str) -> Claims:
    payload = token.split(".")[1]
    claims: Claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@pytest.fixture
def verify(world, shared) -> Callable[..., ReleaseToken]:
    def check(
        text: str, *, at: datetime = shared.at, issuer: str = ISSUER, audience: str = BROKER, key=world.issuer.public
    ) -> ReleaseToken:
        return verify_token(text, issuer_key=key, issuer=issuer, audience=audience, at=at)

    return check


@pytest.fixture
def changed_token(world, shared) -> Callable[[Callable[[Claims], object]], str]:
    """The session's token with changed claims, signed again by the right issuer."""

    def change(work: Callable[[Claims], object]) -> str:
        claims = claims_of(shared.token)
        work(claims)
        signed: str = world.issuer.sign(json.dumps(claims).encode(), typ=TYPE)
        return signed

    return change


def test_claims_say_what_the_permit_says(shared, verify) -> None:
    token, permit = verify(shared.token), shared.permit
    appraisal = permit.appraisal
    assert (token.issuer, token.audience, token.key, token.key_version) == (ISSUER, BROKER, permit.key, 1)
    assert (token.decision, token.policy, token.bundle, token.trust) == (
        permit.digest,
        permit.policy.digest,
        appraisal.bundle_digest,
        appraisal.trust_digest,
    )
    assert token.recipient == shared.private.recipient
    assert token.nonce == shared.nonce
    assert token.simulated is True
    assert token.key_use is appraisal.use
    assert token.expires_at - token.issued_at == limits.TOKEN_LIFE <= limits.MAX_TOKEN_LIFE
    assert token.text == shared.token
    assert len(shared.token) < limits.MAX_TOKEN_BYTES


def test_the_largest_recipient_fits(make, broker, verify) -> None:
    session = make.session(broker, kem=Kem.MLKEM768_X25519)
    assert verify(session.token).recipient == session.private.recipient


CLAIMS = (
    "iss", "aud", "iat", "nbf", "exp", "jti", "cnf", "key", "key_version", "key_use", "wrap_alg", "eat_nonce",
    "decision_digest", "policy_digest", "bundle_digest", "trust_digest", "ear_digest", "simulated",
)  # fmt: skip


def test_the_list_of_claims_is_complete(shared) -> None:
    assert sorted(claims_of(shared.token)) == sorted(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_required(changed_token, verify, name: str) -> None:
    with pytest.raises(AttestError) as refused:
        verify(changed_token(lambda claims: claims.pop(name)))
    assert refused.value.code == "release.token-form"
    assert refused.value.reasons[0].outcome is Outcome.MALFORMED


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("value", [None, [], {}, True, -1, "", 1.5])
def test_every_claim_has_its_type(changed_token, verify, shared, name: str, value: object) -> None:
    if (name, value) == ("simulated", True):
        return
    with pytest.raises(AttestError) as refused:
        verify(changed_token(lambda claims: claims.update({name: value})))
    empty_text_is_another_name = {"iss": "release.issuer", "aud": "release.audience"} if value == "" else {}
    assert refused.value.code == empty_text_is_another_name.get(name, "release.token-form")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.update(extra=1), "release.token-form"),
        (lambda c: c.update(ear_status="affirming"), "release.token-form"),
        (lambda c: c["cnf"].update(kid="x"), "release.token-form"),
        (lambda c: c["cnf"].update(jwk={"kty": "oct", "k": "AAAA"}), "release.token-form"),
        (lambda c: c["cnf"]["jwk"].update(d="AAAA"), "release.token-form"),
        (lambda c: c["cnf"]["jwk"].update(x=base64url(bytes(32))), "release.token-form"),
        (lambda c: c.update(cnf={"jkt": "AAAA"}), "release.token-form"),
        (lambda c: c.update(jti=c["jti"] + "00"), "release.token-form"),
        (lambda c: c.update(jti=c["jti"][:-2]), "release.token-form"),
        (lambda c: c.update(aud=[BROKER]), "release.token-form"),
        (lambda c: c.update(aud=[BROKER, "other"]), "release.token-form"),
        (lambda c: c.update(aud="broker.example/eu-2"), "release.audience"),
        (lambda c: c.update(aud=BROKER.upper()), "release.audience"),
        (lambda c: c.update(iss=ISSUER + "/"), "release.issuer"),
        (lambda c: c.update(iss=ISSUER.replace("https", "http")), "release.issuer"),
        (lambda c: c.update(eat_nonce=base64url(bytes(31))), "release.token-form"),
        (lambda c: c.update(eat_nonce=base64url(bytes(33))), "release.token-form"),
        (lambda c: c.update(eat_nonce=[c["eat_nonce"]]), "release.token-form"),
        (lambda c: c.update(wrap_alg="hpke-p384-hkdf-sha384-aes256gcm"), "release.token-form"),
        (lambda c: c.update(wrap_alg="RSA1_5"), "release.token-form"),
        (lambda c: c.update(key_use="anything"), "release.token-form"),
        (lambda c: c.update(key_version=0), "release.token-form"),
        (lambda c: c.update(key_version=2**31), "release.token-form"),
        (lambda c: c.update(key_version="1"), "release.token-form"),
        (lambda c: c.update(simulated="false"), "release.token-form"),
        (lambda c: c.update(bundle_digest="00"), "release.token-form"),
        (lambda c: c.update(exp=str(c["exp"])), "release.token-form"),
        (lambda c: c.update(exp=float(c["exp"])), "release.token-form"),
        (lambda c: c.update(exp=253_402_300_800), "release.token-form"),
        (lambda c: c.update(exp=c["iat"] + 61), "release.token-life"),
        (lambda c: c.update(exp=c["iat"]), "release.token-life"),
        (lambda c: c.update(exp=c["iat"] - 1), "release.token-life"),
        (lambda c: c.update(nbf=c["iat"] - 1), "release.token-life"),
        (lambda c: c.update(nbf=c["exp"]), "release.token-life"),
    ],
)
def test_one_rule_at_a_time(changed_token, verify, change: Callable[[Claims], object], code: str) -> None:
    with pytest.raises(AttestError) as refused:
        verify(changed_token(change))
    assert refused.value.code == code


@pytest.mark.parametrize("life", [1, 30, 60])
def test_any_life_up_to_a_minute(changed_token, verify, life: int) -> None:
    token = verify(changed_token(lambda c: c.update(exp=c["iat"] + life)), at=datetime(2026, 11, 21, 8, 0, tzinfo=UTC))
    assert token.expires_at - token.issued_at == timedelta(seconds=life)


def test_duplicate_members(world, shared, verify) -> None:
    text = json.dumps(claims_of(shared.token))
    doubled = '{"key":"weights/other",' + text[1:]
    with pytest.raises(AttestError) as refused:
        verify(world.issuer.sign(doubled.encode(), typ=TYPE))
    assert refused.value.code == "release.token-form"


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"null", b"\xff", b'{"iss":', b'{"a":"\\ud800"}'])
def test_other_payloads(world, verify, payload: bytes) -> None:
    with pytest.raises(AttestError) as refused:
        verify(world.issuer.sign(payload, typ=TYPE))
    assert refused.value.code == "release.token-form"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (-61, "release.not-yet-valid"),
        (-60, None),
        (0, None),
        (29, None),
        (30, "release.expired"),
        (31, "release.expired"),
        (86_400, "release.expired"),
        (-86_400, "release.not-yet-valid"),
    ],
)
def test_times(shared, verify, seconds: int, code: str | None) -> None:
    """The clock of the issuer may run ahead by a minute; a token that has expired has expired."""
    at = datetime(2026, 11, 21, 8, 0, tzinfo=UTC) + timedelta(seconds=seconds)
    if code is None:
        verify(shared.token, at=at)
        return
    with pytest.raises(AttestError) as refused:
        verify(shared.token, at=at)
    assert refused.value.code == code


@pytest.mark.parametrize("at", [datetime(2038, 1, 20, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)])
def test_far_clocks(shared, verify, at: datetime) -> None:
    with pytest.raises(AttestError) as refused:
        verify(shared.token, at=at)
    assert refused.value.code in ("release.expired", "release.not-yet-valid")


def test_other_issuers_and_audiences(shared, verify) -> None:
    for changes, code in (
        ({"key": IssuerPrivateKey.generate().public}, "release.token-signature"),
        ({"issuer": "https://other.example"}, "release.issuer"),
        ({"audience": "broker.example/eu-2"}, "release.audience"),
    ):
        with pytest.raises(AttestError) as refused:
            verify(shared.token, **changes)
        assert refused.value.code == code


def test_a_result_is_not_a_token(shared, verify) -> None:
    """Both are signed by one issuer: only their type keeps them apart."""
    with pytest.raises(AttestError) as refused:
        verify(shared.ear)
    assert refused.value.code == "release.token-form"


def test_nobody_else_makes_a_token(shared, verify) -> None:
    token = verify(shared.token)
    with pytest.raises(TypeError):
        ReleaseToken(object(), {})
    with pytest.raises(AttributeError):
        token.key = "other"
    with pytest.raises(AttributeError):
        del token.key
    for work in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            work(token)
    assert shared.token not in repr(token)


# -- issuing --------------------------------------------------------------------------------------------------------------


def arguments(world, session, **changes: Any) -> dict[str, Any]:
    return {
        "signer": world.issuer,
        "issuer": ISSUER,
        "audience": BROKER,
        "key_version": 1,
        "issued_at": session.judgement.at,
        "jti": bytes(range(16)),
        "ear": session.ear,
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": bytes(16)},
        {"jti": b"short"},
        {"jti": bytes(range(17))},
        {"issued_at": datetime(2026, 11, 21, 8, 1, 1, tzinfo=UTC)},
        {"issued_at": datetime(2026, 11, 21, 7, 59, 59, tzinfo=UTC)},
    ],
)
def test_what_a_caller_must_not_ask_for(world, shared, changes: dict[str, Any]) -> None:
    issue(shared.permit, **arguments(world, shared))
    with pytest.raises(ValueError, match=r"\w"):
        issue(shared.permit, **arguments(world, shared, **changes))


def test_only_a_permit(world, shared) -> None:
    with pytest.raises(TypeError):
        issue(shared.judgement, **arguments(world, shared))


def test_a_replay_of_a_recording_gets_no_token(world, make, broker) -> None:
    """A nonce that nobody issued shows nothing: such a permit is for display."""
    from attest.decision import Permit
    from attest.verifier import judge

    at = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
    session = make.session(broker)
    lax = {name: data.replace(b" && principal.nonce_issued", b"") for name, data in world.policy().files.items()}
    policy = type(world.policy()).from_files(lax)
    judgement = judge(
        session.judgement.bundle,
        trust=world.trust,
        at=at,
        policy=policy,
        key="weights/model-a",
        use=session.permit.appraisal.use,
        nonce=None,
    )
    assert isinstance(judgement.decision, Permit)
    with pytest.raises(ValueError, match="nonce"):
        issue(judgement.decision, **arguments(world, session))


def test_a_decision_between_two_seconds_gets_no_token(world, shared) -> None:
    """The record states whole seconds, so a decision at another time could not be replayed."""
    from attest.decision import Permit
    from attest.verifier import judge

    at = shared.judgement.at + timedelta(microseconds=1)
    judgement = judge(
        shared.judgement.bundle,
        trust=world.trust,
        at=at,
        policy=shared.policy,
        key="weights/model-a",
        use=shared.permit.appraisal.use,
        nonce=shared.nonce,
    )
    assert isinstance(judgement.decision, Permit)
    with pytest.raises(ValueError, match="whole second"):
        issue(judgement.decision, **arguments(world, shared, issued_at=at))


def test_other_recipient_other_token(world, shared, changed_token, verify) -> None:
    other = RecipientPrivateKey.generate(Kem.X25519).recipient
    token = verify(changed_token(lambda c: c.update(cnf={"jwk": other.to_jwk()})))
    assert token.recipient == other  # signed by the issuer, so it is what he says; the broker compares it with the evidence
