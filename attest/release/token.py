"""The key-release token: a permit, signed, for one key, one recipient, one broker and a few seconds.

JWT of type ``key-release+jwt`` (RFC 7519), ES384. Every claim is required and no other is allowed:

===================  =============================================================================================
``iss``              name of the issuer (the verifier)
``aud``              id of the one broker that may use it
``iat nbf exp``      seconds since the epoch; ``exp - iat`` is at most 60
``jti``              128 random bits, hex: a broker accepts it once
``cnf``              ``{"jwk": ...}``, the recipient's public key (RFC 7800 section 3.2)
``key key_version``  the key that may be released
``key_use``          ``production`` or ``test-only``: what the evidence was judged for
``wrap_alg``         HPKE suite
``eat_nonce``        the session's nonce, base64url
``*_digest``         hex SHA-256 of decision, policy identity, bundle, trust store, and attestation result (EAR)
``simulated``        whether the evidence came from the simulator
===================  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from attest import limits
from attest.appraisal import KeyUse
from attest.crypto import sha256
from attest.decision import Permit
from attest.errors import MalformedError
from attest.jose import IssuerKey, IssuerPrivateKey, form_failure, verify_jws
from attest.recipient import Recipient
from attest.release.checks import AUDIENCE, EXPIRED, ISSUER, NOT_YET_VALID, TOKEN_FORM, TOKEN_LIFE, TOKEN_SIGNATURE
from attest.release.suites import Suite
from attest.release.wrap import token_digest
from attest.wire import Fields, Json, base64url, canonical_json, format_time

TYPE: Final = "key-release+jwt"
JTI_BYTES: Final = 16
_LATEST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that a datetime can say
_SEAL: Final = object()


class ReleaseToken:
    """A token whose signature, issuer, audience and times were checked. Immutable; made only by :func:`verify_token`.

    text          the compact JWS, ``digest`` its hex SHA-256
    issuer        name of the issuer; ``audience`` the broker's id
    issued_at     and ``expires_at``
    jti           hex, 16 bytes
    recipient     public key that the release is for
    key           name, ``key_version`` and ``key_use``
    suite         HPKE suite
    nonce         the session's nonce
    decision      hex SHA-256 of the decision; likewise ``policy``, ``bundle``, ``trust`` and ``ear``
    simulated     whether the evidence came from the simulator
    """

    __slots__ = (
        "audience", "bundle", "decision", "digest", "ear", "expires_at", "issued_at", "issuer", "jti", "key", "key_use", "key_version",
        "nonce", "policy", "recipient", "simulated", "suite", "text", "trust",
    )  # fmt: skip

    text: str
    digest: str
    issuer: str
    audience: str
    issued_at: datetime
    expires_at: datetime
    jti: str
    recipient: Recipient
    key: str
    key_version: int
    key_use: KeyUse
    suite: Suite
    nonce: bytes
    decision: str
    policy: str
    bundle: str
    trust: str
    ear: str
    simulated: bool

    def __init__(self, seal: object, members: Mapping[str, object]) -> None:
        if seal is not _SEAL:
            raise TypeError("ReleaseToken is made by verify_token() only")
        for name in self.__slots__:
            object.__setattr__(self, name, members[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("ReleaseToken is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("ReleaseToken is immutable")

    def __reduce__(self) -> str:
        raise TypeError("ReleaseToken cannot be copied or pickled: verify again")

    def __repr__(self) -> str:
        return f"<ReleaseToken {self.jti} for {self.key}>"


def issue(
    permit: Permit,
    *,
    signer: IssuerPrivateKey,
    issuer: str,
    audience: str,
    key_version: int,
    issued_at: datetime,
    jti: bytes,
    ear: str,
) -> str:
    """Sign a token for what ``permit`` allows, and nothing else.

    issuer        name of the signer, as brokers know it
    audience      id of the broker that will release the key
    key_version   version of the permitted key
    issued_at     now; the permit must be at most :data:`limits.MAX_TOKEN_LIFE` old
    jti           16 bytes from a cryptographic random generator, never used before
    ear           the attestation result that goes with it (compact JWS)

    Raises ValueError for arguments that a correct caller does not give: a permit whose nonce nobody issued, whose time has fractions
    of a second (the decision could then not be replayed from the times that it states), that is too old or from the future, or a jti
    of another size.
    """
    if type(permit) is not Permit:
        raise TypeError("issue() takes a Permit")
    appraisal = permit.appraisal
    age = issued_at - appraisal.at
    if appraisal.recipient is None or not appraisal.workload.nonce_issued:
        raise ValueError("a token needs a recipient, and a nonce that was issued")
    if appraisal.at.microsecond or not timedelta(0) <= age <= limits.MAX_TOKEN_LIFE:
        raise ValueError("judge at a whole second, and issue at once")
    if len(jti) != JTI_BYTES or not any(jti):
        raise ValueError(f"jti has {JTI_BYTES} random bytes")
    now = int(issued_at.timestamp())
    claims: dict[str, Json] = {
        "iss": issuer,
        "aud": audience,
        "iat": now,
        "nbf": now,
        "exp": now + int(limits.TOKEN_LIFE.total_seconds()),
        "jti": jti.hex(),
        "cnf": {"jwk": appraisal.recipient.to_jwk()},
        "key": permit.key,
        "key_version": key_version,
        "key_use": appraisal.use.value,
        "wrap_alg": Suite.of(appraisal.recipient.kem).value,
        "eat_nonce": base64url(appraisal.nonce),
        "decision_digest": permit.digest,
        "policy_digest": permit.policy.digest,
        "bundle_digest": appraisal.bundle_digest,
        "trust_digest": appraisal.trust_digest,
        "ear_digest": sha256(ear.encode()).hex(),
        "simulated": appraisal.simulated,
    }
    return signer.sign(canonical_json(claims), typ=TYPE)


def verify_token(text: str, *, issuer_key: IssuerKey, issuer: str, audience: str, at: datetime) -> ReleaseToken:
    """Check a token at time ``at`` for the broker ``audience`` against the one issuer that it trusts.

    Steps: (1) form, header, algorithm and key id; (2) signature; (3) every claim there, of its type, and no other; (4) issuer;
    (5) audience; (6) life of at most 60 seconds; (7) not used before its time, a clock skew of :data:`limits.MAX_CLOCK_SKEW` allowed;
    (8) not expired, no skew allowed. Raises the failure of the first of ``release.token-form``, ``-token-signature``, ``-issuer``,
    ``-audience``, ``-token-life``, ``-not-yet-valid`` or ``-expired``.
    """
    payload = verify_jws(text, key=issuer_key, typ=TYPE, limit=limits.MAX_TOKEN_BYTES, form=TOKEN_FORM, signature=TOKEN_SIGNATURE)
    try:
        members, not_before = _claims(Fields.parse(payload, "release token"))
    except MalformedError as error:
        raise form_failure(TOKEN_FORM, error) from None
    token = ReleaseToken(_SEAL, members | {"text": text, "digest": token_digest(text)})
    TOKEN_FORM.require(
        token.suite is Suite.of(token.recipient.kem),
        found=token.suite,
        expected=Suite.of(token.recipient.kem),
        where="release token: wrap_alg",
    )
    ISSUER.require(token.issuer == issuer, found=token.issuer, expected=issuer)
    AUDIENCE.require(token.audience == audience, found=token.audience, expected=audience)
    life = token.expires_at - token.issued_at
    TOKEN_LIFE.require(
        token.issued_at <= not_before < token.expires_at and life <= limits.MAX_TOKEN_LIFE,
        found=f"{int(life.total_seconds())} seconds",
        expected=f"at most {int(limits.MAX_TOKEN_LIFE.total_seconds())} seconds, nbf between iat and exp",
    )
    NOT_YET_VALID.require(
        not_before - at <= limits.MAX_CLOCK_SKEW, found=f"valid from {format_time(not_before)}", expected=f"valid at {format_time(at)}"
    )
    EXPIRED.require(at < token.expires_at, found=f"expired at {format_time(token.expires_at)}", expected=f"valid at {format_time(at)}")
    return token


def _claims(fields: Fields) -> tuple[dict[str, object], datetime]:
    """All members but text and digest, and ``nbf``."""
    confirmation = fields.object("cnf")
    members: dict[str, object] = {
        "issuer": fields.text("iss"),
        "audience": fields.text("aud"),
        "issued_at": _time(fields, "iat"),
        "expires_at": _time(fields, "exp"),
        "jti": fields.hex("jti", size=JTI_BYTES).hex(),
        "recipient": Recipient.from_jwk(confirmation.object("jwk")),
        "key": fields.text("key"),
        "key_version": fields.integer("key_version", least=1, most=limits.MAX_KEY_VERSION),
        "key_use": fields.choice("key_use", KeyUse),
        "suite": fields.choice("wrap_alg", Suite),
        "nonce": fields.base64url("eat_nonce"),
        "simulated": fields.boolean("simulated"),
    }
    for name in ("decision", "policy", "bundle", "trust", "ear"):
        members[name] = fields.hex(f"{name}_digest", size=32).hex()
    not_before = _time(fields, "nbf")
    confirmation.done()
    fields.done()
    if not members["key"]:
        raise MalformedError.at(TOKEN_FORM.id, "the key has no name", expected="the name of a key")
    nonce = members["nonce"]
    if not isinstance(nonce, bytes) or len(nonce) != limits.NONCE_BYTES:
        raise MalformedError.at(TOKEN_FORM.id, "nonce has the wrong size", expected=f"{limits.NONCE_BYTES} bytes")
    return members, not_before


def _time(fields: Fields, key: str) -> datetime:
    return datetime.fromtimestamp(fields.integer(key, most=_LATEST), UTC)
