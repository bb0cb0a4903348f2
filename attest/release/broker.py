"""The key broker: challenges, and releases that happen once, to one recipient, with an entry in the ledger before the key leaves.

Folder: ``broker.json`` (who it is, whom it trusts), ``broker.db`` (nonces and used tokens, :mod:`attest.release.state`), ``records/``,
and by default ``keystore/`` and ``ledger/``. Any number of threads and processes may use one folder.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attest import limits
from attest.appraisal import KeyUse
from attest.bundle import Bundle
from attest.crypto import sha256
from attest.decision import Permit
from attest.errors import AttestError, MalformedError, UsageError
from attest.jose import IssuerKey
from attest.keyfile import create_secret
from attest.ledger.merkle import leaf_hash
from attest.ledger.proof import Receipt
from attest.ledger.store import Ledger
from attest.release.archive import Archive
from attest.release.checks import (
    DECISION,
    ENTRY_SIZE,
    EVIDENCE,
    KEY,
    KEY_DISABLED,
    KEY_USE,
    LEDGER,
    POLICY,
    RECIPIENT,
    SIMULATED,
    STORE,
    TOKEN_USED,
)
from attest.release.keystore import open_keystore
from attest.release.keystore.key import KeyInfo, KeyState
from attest.release.keystore.local import LocalKeystore
from attest.release.record import SALT_BYTES, Contents, Record, Statement, entry_of
from attest.release.state import BrokerState, UseState
from attest.release.token import ReleaseToken, verify_token
from attest.release.wrap import WrappedKey, wrap_info
from attest.version import NAME, software_version
from attest.wire import Fields, Json, canonical_json, format_time, parse_time

if TYPE_CHECKING:
    from attest.policy.bundle import Policy

FORMAT: Final = "attest-broker/1"
_CONFIGURATION: Final = "broker.json"
_DATABASE: Final = "broker.db"
_RECORDS: Final = "records"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who a broker is and whom it trusts.

    ``broker`` is its id: the audience of its tokens. Tokens must be of ``issuer`` and signed by ``issuer_key``. ``keystore`` is a URI and
    ``ledger`` a folder, both relative to the broker's own folder.
    """

    broker: str
    issuer: str
    issuer_key: IssuerKey
    keystore: str
    ledger: str

    def to_bytes(self) -> bytes:
        """The file form, read back by :meth:`from_bytes`."""
        body: Json = {
            "format": FORMAT,
            "broker": self.broker,
            "issuer": {"name": self.issuer, "jwk": self.issuer_key.to_jwk()},
            "keystore": self.keystore,
            "ledger": self.ledger,
        }
        return canonical_json(body) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Configuration:
        """Read the file form. Raises MalformedError."""
        fields = Fields.parse(data, _CONFIGURATION, limit=64 << 10)
        if fields.text("format") != FORMAT:
            raise MalformedError.at("broker.format", "not a broker's configuration", found=fields.text("format"), expected=FORMAT)
        issuer = fields.object("issuer")
        configuration = cls(
            fields.text("broker"),
            issuer.text("name"),
            IssuerKey.from_jwk(issuer.object("jwk")),
            fields.text("keystore"),
            fields.text("ledger"),
        )
        issuer.done()
        fields.done()
        return configuration


@dataclass(frozen=True, slots=True)
class Materials:
    """What a token was issued for; goes into the record so that the release can be checked again.

    ``permit`` is the broker's own reason to release, ``bundle`` and ``policy`` what it was decided from, ``ear`` the attestation result.
    """

    permit: Permit
    bundle: Bundle
    policy: Policy
    ear: str


@dataclass(frozen=True, slots=True)
class Release:
    """A release that happened: its record with receipt, and the wrapped key for the recipient."""

    record: Record

    @property
    def wrapped(self) -> WrappedKey:
        """The wrapped key."""
        return self.record.contents.wrapped


class Broker:
    """An embedded key broker. Open it with :meth:`open` or :meth:`create`."""

    def __init__(self, folder: Path, configuration: Configuration, keystore: LocalKeystore, ledger: Ledger) -> None:
        self._state: Final = BrokerState(folder / _DATABASE)
        self.records: Final = Archive(folder / _RECORDS)
        self.configuration: Final = configuration
        self.keystore: Final = keystore
        self.ledger: Final = ledger

    def __repr__(self) -> str:
        return f"<Broker {self.configuration.broker}>"

    @classmethod
    def create(cls, folder: Path, *, broker: str, issuer: str, issuer_key: IssuerKey, origin: str) -> Broker:
        """Make a broker with a local keystore and a ledger named ``origin`` in an empty or missing folder.

        Raises UsageError when the folder is not empty, and what keystore and ledger raise.
        """
        if folder.exists() and any(folder.iterdir()):
            raise UsageError.of("the broker's folder is not empty", found=str(folder), expected="an empty or missing folder")
        configuration = Configuration(broker, issuer, issuer_key, "local:keystore", "ledger")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        LocalKeystore.create(folder / "keystore")
        Ledger.create(folder / "ledger", origin=origin)
        BrokerState.create(folder / _DATABASE)
        Archive.create(folder / _RECORDS)
        # The configuration comes last: a folder without it is no broker, so a creation that was cut off never serves.
        create_secret(folder / _CONFIGURATION, configuration.to_bytes())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Broker:
        """Open a broker; its ledger finishes what a crash cut off.

        Raises UsageError, MalformedError, and what keystore and ledger raise.
        """
        path = folder / _CONFIGURATION
        if not path.is_file():
            raise UsageError.of(
                "there is no broker", found=str(folder), fix="check the path; for a new broker, attest key create makes the folder too"
            )
        configuration = Configuration.from_bytes(path.read_bytes())
        keystore = open_keystore(configuration.keystore, base=folder)
        return cls(folder, configuration, keystore, Ledger.open(folder / configuration.ledger))

    # -- the two requests ---------------------------------------------------------------------------------------------

    def challenge(self, key: str, *, at: datetime) -> bytes:
        """A fresh nonce (32 random bytes) for a session that wants ``key``; valid for :data:`limits.CHALLENGE_LIFE`.

        Raises the failure of ``release.key-unknown`` or ``release.challenges``.
        """
        self.keystore.info(key)
        nonce = secrets.token_bytes(limits.NONCE_BYTES)
        self._state.challenge(nonce, key, at=at)
        return nonce

    def expect(self, nonce: bytes, key: str, *, at: datetime) -> None:
        """Check, before anything is judged, that this broker issued ``nonce`` for ``key`` and that it can still be spent; spends nothing.

        Raises the failure of ``release.nonce-unknown``, ``-used``, ``-key`` or ``-expired``.
        """
        self._state.expect(nonce, key, at=at)

    def release(self, token: str, materials: Materials, *, at: datetime) -> Release:
        """Release a key for a token, once.

        Steps: (1) every check that needs no state; (2) token and nonce are spent in one transaction; (3) the keystore wraps the key;
        (4) the record is on the disk; (5) the entry is in the ledger, on the disk; (6) the release is claimed; (7) the caller
        gets it. Killed after any step, nothing has left that is not in the ledger, and a second use is refused or, from
        step 5 on, completed for one caller with the very same ciphertext.

        Raises an AttestError whose first reason is one of RELEASE_CHECKS.
        """
        checked, key = self._check(token, materials, at)
        seen = self._state.use(checked.jti)
        if seen is None:
            challenged_at = self._reserve(checked, at)
            if challenged_at is not None:
                wrapped = self._wrap(checked, key)
                record = self._record(checked, materials, wrapped, challenged_at, at)
                self._store(checked, record)
                receipt = self._log(record)
                return self._claim(checked, record.with_receipt(receipt))
        return self._resume(checked)

    # -- step 1 -------------------------------------------------------------------------------------------------------

    def _check(self, text: str, materials: Materials, at: datetime) -> tuple[ReleaseToken, KeyInfo]:
        own, permit = self.configuration, materials.permit
        if type(permit) is not Permit:
            raise TypeError("a release needs a Permit")
        token = verify_token(text, issuer_key=own.issuer_key, issuer=own.issuer, audience=own.broker, at=at)
        appraisal = permit.appraisal
        KEY.require(token.key == permit.key, found=f"a permit for {permit.key}", expected=token.key)
        key = self.keystore.info(token.key, token.key_version)
        KEY_DISABLED.require(
            key.state is KeyState.ENABLED, found=key.state, expected=KeyState.ENABLED, where=f"{key.name} version {key.version}"
        )
        real = not (token.simulated or appraisal.simulated)
        SIMULATED.require(real or key.use is KeyUse.TEST_ONLY, found="simulated evidence", expected=f"real hardware for the key {key.name}")
        uses = {token.key_use, appraisal.use}
        KEY_USE.require(uses == {key.use}, found=", ".join(sorted(uses)), expected=key.use, where=key.name)
        for recipient in (appraisal.recipient, materials.bundle.recipient):
            RECIPIENT.require(
                recipient is not None and recipient == token.recipient,
                found=recipient.thumbprint if recipient else "no recipient",
                expected=token.recipient.thumbprint,
            )
        for policy in (token.policy, permit.policy.digest, materials.policy.identity.digest):
            POLICY.require(policy == key.policy, found=policy, expected=key.policy, where=key.name)
        for name, found, expected in (
            ("bundle", materials.bundle.digest, token.bundle),
            ("bundle of the permit", appraisal.bundle_digest, token.bundle),
            ("trust store", appraisal.trust_digest, token.trust),
            ("nonce", appraisal.nonce.hex(), token.nonce.hex()),
            ("attestation result", sha256(materials.ear.encode()).hex(), token.ear),
        ):
            EVIDENCE.require(found == expected, found=found, expected=expected, where=name)
        DECISION.require(permit.digest == token.decision, found=permit.digest, expected=token.decision)
        DECISION.require(
            timedelta(0) <= token.issued_at - appraisal.at <= limits.MAX_TOKEN_LIFE,
            found=f"decided at {format_time(appraisal.at)}",
            expected=f"decided just before {format_time(token.issued_at)}",
        )
        return token, key

    # -- steps 2 to 6, each of which a crash may cut off ---------------------------------------------------------------

    def _reserve(self, token: ReleaseToken, at: datetime) -> datetime | None:
        return self._state.reserve(token.jti, token=token.digest, nonce=token.nonce, key=token.key, at=at)

    def _wrap(self, token: ReleaseToken, key: KeyInfo) -> WrappedKey:
        info = wrap_info(token=token.digest, key=token.key, version=token.key_version, recipient=token.recipient)
        sealed = self.keystore.wrap(key, token.recipient, info=info)
        return WrappedKey(token.suite, token.recipient.thumbprint, token.digest, token.key, token.key_version, sealed)

    def _record(self, token: ReleaseToken, materials: Materials, wrapped: WrappedKey, challenged_at: datetime, at: datetime) -> Record:
        released_at = parse_time(format_time(at), "time")
        contents = Contents(
            bundle=materials.bundle,
            policy=materials.policy.files,
            decision=materials.permit.body(),
            ear=materials.ear,
            token=token.text,
            wrapped=wrapped,
            issuer=self.configuration.issuer,
            issuer_key=self.configuration.issuer_key,
            salt=secrets.token_bytes(SALT_BYTES),
            statement=Statement(
                self.configuration.broker, challenged_at, released_at, self.keystore.custody, f"{NAME} {software_version()}"
            ),
        )
        entry = canonical_json(entry_of(contents, token))
        ENTRY_SIZE.require(
            len(entry) <= limits.MAX_RELEASE_ENTRY_BYTES,
            found=f"{len(entry)} bytes",
            expected=f"at most {limits.MAX_RELEASE_ENTRY_BYTES} bytes",
        )
        return Record(entry, contents, self.ledger.origin, self.ledger.vkey)

    def _store(self, token: ReleaseToken, record: Record) -> None:
        self.records.put(record)
        self._state.recorded(token.jti, entry=record.digest)

    def _log(self, record: Record) -> Receipt:
        try:
            return self.ledger.append(record.entry)
        except AttestError as error:
            raise _no_entry(error) from error

    def _claim(self, token: ReleaseToken, record: Record) -> Release:
        if not self._state.finish(token.jti, entry=record.digest):
            raise TOKEN_USED.failure(found=f"token {token.jti}, completed by another caller", expected="a token that was never used")
        return Release(record)

    # -- a token that was seen before ---------------------------------------------------------------------------------

    def _resume(self, token: ReleaseToken) -> Release:
        """Complete a release that a crash cut off behind the ledger; refuse every other second use."""
        seen = self._state.use(token.jti)
        if seen is None:
            raise STORE.failure(found="a token that came and went", expected="its use in the database")
        if seen.token == token.digest and seen.state is UseState.RECORDED:
            record = self.records.get(seen.entry)
            try:
                index = self.ledger.find(leaf_hash(record.entry))
                receipt = None if index is None else self.ledger.receipt(index)
            except AttestError as error:
                raise _no_entry(error) from error
            if receipt is not None:
                return self._claim(token, record.with_receipt(receipt))
        raise TOKEN_USED.failure(found=f"token {token.jti}, {seen.state} before", expected="a token that was never used")


def _no_entry(error: AttestError) -> AttestError:
    reason = error.reasons[0]
    return LEDGER.failure(
        found=f"{reason.code}: {reason.message}: {reason.found}", expected="an entry that is on the disk", where=reason.where
    )
