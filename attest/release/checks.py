"""Every check between a permit and a key: one row per thing that is refused, whose id is the reason code."""

from __future__ import annotations

from typing import Final

from attest.checks import Check
from attest.errors import Outcome

_OURS: Final = "design, invariants 2-4, 7"
_JWT: Final = "RFC 7519; RFC 8725 (JWT best current practices)"
_AGAIN: Final = "ask the broker for a new challenge and start again"

# -- token ----------------------------------------------------------------------------------------------------------------
TOKEN_FORM: Final = Check(
    "release.token-form", "form of the release token", _JWT, Outcome.MALFORMED, "send the token exactly as it was issued"
)
TOKEN_SIGNATURE: Final = Check(
    "release.token-signature",
    "signature of the release token",
    "RFC 7515 section 5.2",
    fix="use a token of the issuer that this broker trusts",
)
ISSUER: Final = Check(
    "release.issuer", "issuer of the token", "RFC 7519 section 4.1.1", Outcome.REFUSED, "use a token of this broker's issuer"
)
AUDIENCE: Final = Check(
    "release.audience",
    "broker that the token is for",
    "RFC 7519 section 4.1.3",
    Outcome.REFUSED,
    "send the token to the broker that it names",
)
EXPIRED: Final = Check("release.expired", "token still valid", "RFC 7519 section 4.1.4", Outcome.REFUSED, _AGAIN)
NOT_YET_VALID: Final = Check(
    "release.not-yet-valid", "token already valid", "RFC 7519 section 4.1.5", Outcome.REFUSED, "compare the clocks of issuer and broker"
)
TOKEN_LIFE: Final = Check(
    "release.token-life", "life of the token", _OURS, Outcome.REFUSED, "issue tokens that live for seconds: they are used at once"
)
TOKEN_USED: Final = Check("release.token-used", "first use of the token", "RFC 7519 section 4.1.7", Outcome.REFUSED, _AGAIN)

# -- what the token is about ----------------------------------------------------------------------------------------------
KEY: Final = Check("release.key", "key that the permit is about", _OURS, Outcome.REFUSED, "ask for the key that the policy was asked about")
KEY_UNKNOWN: Final = Check("release.key-unknown", "key in this keystore", _OURS, Outcome.REFUSED, "see the keys: attest key list")
KEY_VERSION: Final = Check(
    "release.key-version", "version of the key", _OURS, Outcome.REFUSED, "see the versions of the key: attest key show"
)
KEY_DISABLED: Final = Check(
    "release.key-disabled", "key version enabled", _OURS, Outcome.REFUSED, "use an enabled version, or have this one enabled by its owner"
)
KEY_USE: Final = Check(
    "release.key-use",
    "use that the evidence was judged for",
    _OURS,
    Outcome.REFUSED,
    "judge the evidence for the use that the key is marked with",
)
SIMULATED: Final = Check(
    "release.simulated",
    "real hardware for a production key",
    _OURS,
    Outcome.REFUSED,
    "use real hardware, or a key that is marked test-only",
)
RECIPIENT: Final = Check(
    "release.recipient", "recipient of the key", "RFC 7800 section 3.2", Outcome.REFUSED, "send the evidence that the token was issued for"
)
POLICY: Final = Check(
    "release.policy",
    "policy that the key is bound to",
    _OURS,
    Outcome.REFUSED,
    "judge by the policy that the key names, or have its owner approve this one: attest key approve",
)
EVIDENCE: Final = Check(
    "release.evidence",
    "evidence that the token was issued for",
    _OURS,
    Outcome.REFUSED,
    "send the bundle and the attestation result of the token",
)
DECISION: Final = Check(
    "release.decision", "decision that the token was issued for", _OURS, Outcome.REFUSED, "judge the bundle of this token, at its time"
)

# -- nonce ----------------------------------------------------------------------------------------------------------------
NONCE_UNKNOWN: Final = Check("release.nonce-unknown", "nonce issued by this broker", "RFC 9334 section 10.2", Outcome.REFUSED, _AGAIN)
NONCE_USED: Final = Check("release.nonce-used", "nonce unused", "RFC 9334 section 10.2", Outcome.REFUSED, _AGAIN)
NONCE_EXPIRED: Final = Check("release.nonce-expired", "nonce still valid", "RFC 9334 section 10.2", Outcome.REFUSED, _AGAIN)
NONCE_KEY: Final = Check(
    "release.nonce-key",
    "key that the nonce was issued for",
    "RFC 9334 section 10.2",
    Outcome.REFUSED,
    "ask for a challenge for this very key",
)
CHALLENGES: Final = Check(
    "release.challenges",
    "room for another challenge",
    _OURS,
    Outcome.REFUSED,
    "wait until open challenges expire, and ask who makes so many",
)

# -- what must be written before the key leaves ---------------------------------------------------------------------------
ENTRY_SIZE: Final = Check(
    "release.entry-size", "size of the ledger entry", "C2SP tlog-tiles, Log entries", Outcome.REFUSED, "use fewer devices"
)
LEDGER: Final = Check(
    "release.ledger", "entry in the ledger", _OURS, Outcome.REFUSED, "no key leaves without an entry: repair the ledger, then start again"
)
STORE: Final = Check(
    "release.store", "broker's own storage", _OURS, Outcome.REFUSED, "no key leaves without a record: repair the storage, then start again"
)

RELEASE_CHECKS: Final = (
    TOKEN_FORM, TOKEN_SIGNATURE, ISSUER, AUDIENCE, EXPIRED, NOT_YET_VALID, TOKEN_LIFE, TOKEN_USED,
    KEY, KEY_UNKNOWN, KEY_VERSION, KEY_DISABLED, KEY_USE, SIMULATED, RECIPIENT, POLICY, EVIDENCE, DECISION,
    NONCE_UNKNOWN, NONCE_USED, NONCE_EXPIRED, NONCE_KEY, CHALLENGES,
    ENTRY_SIZE, LEDGER, STORE,
)  # fmt: skip

# -- record and wrapped key -----------------------------------------------------------------------------------------------
RECORD_FORM: Final = Check("record.form", "form of the record", _OURS, Outcome.MALFORMED, "take the record again from where it is kept")

RECORD_CHECKS: Final = (RECORD_FORM,)

WRAP_FORM: Final = Check(
    "wrap.form", "form of the wrapped key", "RFC 9180 section 7.1", Outcome.MALFORMED, "send the wrapped key as it was made"
)
WRAP_RECIPIENT: Final = Check(
    "wrap.recipient", "recipient of the wrapped key", _OURS, Outcome.REFUSED, "unwrap with the private key of the recipient that it names"
)
WRAP_TOKEN: Final = Check(
    "wrap.token", "token that the key was wrapped for", _OURS, Outcome.REFUSED, "unwrap with the token that released the key"
)
WRAP_KEY: Final = Check("wrap.key", "key that was asked for", _OURS, Outcome.REFUSED, "ask for the key that the token names")
WRAP_OPEN: Final = Check(
    "wrap.open", "HPKE decryption", "RFC 9180 section 5.2", fix="the wrapped key was changed, or made for another token or recipient"
)
RECIPIENT_FILE: Final = Check(
    "wrap.recipient-file", "form of the recipient's key file", _OURS, Outcome.MALFORMED, "create one with: attest recipient create"
)
WRAP_CHECKS: Final = (WRAP_FORM, WRAP_RECIPIENT, WRAP_TOKEN, WRAP_KEY, WRAP_OPEN, RECIPIENT_FILE)

# -- keystore -------------------------------------------------------------------------------------------------------------
KEYSTORE_SCHEME: Final = Check("keystore.scheme", "kind of keystore", _OURS, Outcome.REFUSED, "use one of the schemes that are listed")
KEYSTORE_MISSING: Final = Check("keystore.missing", "keystore is there", _OURS, Outcome.CANNOT_DECIDE, "create it, or check the path")
KEYSTORE_EXISTS: Final = Check("keystore.exists", "keystore or key is new", _OURS, Outcome.REFUSED, "choose another name")
KEYSTORE_NAME: Final = Check(
    "keystore.name",
    "name of the key",
    _OURS,
    Outcome.MALFORMED,
    "use letters, digits and . _ / -, at most 128, beginning with a letter or digit",
)
KEYSTORE_INTACT: Final = Check(
    "keystore.intact",
    "stored key and its properties are as they were written",
    "NIST SP 800-38D (AES-GCM, properties as associated data)",
    fix="somebody changed the keystore's database, or its key-encryption key is another one: restore both from a backup",
)
KEYSTORE_STORAGE: Final = Check(
    "keystore.storage", "keystore's storage", _OURS, Outcome.CANNOT_DECIDE, "check folder, disk and permissions"
)
KEYSTORE_CHECKS: Final = (
    KEYSTORE_SCHEME, KEYSTORE_MISSING, KEYSTORE_EXISTS, KEYSTORE_NAME, KEYSTORE_INTACT, KEYSTORE_STORAGE,
)  # fmt: skip
