"""The record of one release: everything that is needed to check it again, but for what the auditor brings himself.

One JSON document. ``contents`` is the evidence, the policy, the decision, the attestation result, the token, the wrapped key and what
the broker states. ``entry`` follows from the contents (:func:`entry_of`), and its canonical JSON is the leaf in the ledger: digests and
names, no evidence. ``receipt`` proves that the leaf is there. The auditor brings trust anchors, the ledger's verifier key and
the issuer's key.

What identifies hardware for ever (the digest of a chip's certificate) stands in the entry only as a salted commitment, so a
public ledger does not say which machine ran what. The salt is in the contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from attest import limits
from attest.bundle import Bundle
from attest.crypto import framed, sha256
from attest.errors import MalformedError
from attest.evidence import CollateralType
from attest.jose import IssuerKey
from attest.ledger.proof import Receipt
from attest.release.checks import RECORD_FORM
from attest.release.keystore.key import Custody
from attest.release.token import ReleaseToken
from attest.release.wrap import WrappedKey
from attest.wire import Fields, Json, bounded, canonical_json, format_time, json_value, utf8

FORMAT: Final = "attest-release-record/1"
ENTRY_FORMAT: Final = "attest-release-entry/1"
SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Statement:
    """What only the broker can say, and nobody can derive.

    ``challenged_at`` is when it issued the nonce, ``released_at`` when it wrapped the key; ``custody`` who could see the key then;
    ``software`` what it ran ("attest 0.1.0").
    """

    broker: str
    challenged_at: datetime
    released_at: datetime
    custody: Custody
    software: str

    def to_json(self) -> dict[str, Json]:
        """JSON form, read back by :meth:`from_json`."""
        return {
            "broker": self.broker,
            "challenged_at": format_time(self.challenged_at),
            "released_at": format_time(self.released_at),
            "custody": self.custody.value,
            "software": self.software,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Statement:
        """Read the JSON form. Raises MalformedError."""
        statement = cls(
            fields.text("broker"),
            fields.time("challenged_at"),
            fields.time("released_at"),
            fields.choice("custody", Custody),
            fields.text("software"),
        )
        fields.done()
        return statement


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a release rests on. Untrusted when read from a file: the audit checks every part against the others.

    bundle       the evidence
    policy       files of the policy: relative path to content
    decision     what the decision's digest covers
    ear          attestation result, compact JWS
    token        release token, compact JWS
    wrapped      the wrapped key
    issuer       name of the token's issuer, ``issuer_key`` its key
    salt         32 random bytes of this record's commitments
    statement    what the broker states
    """

    bundle: Bundle
    policy: Mapping[str, bytes]
    decision: Json
    ear: str
    token: str
    wrapped: WrappedKey
    issuer: str
    issuer_key: IssuerKey
    salt: bytes
    statement: Statement

    def to_json(self) -> dict[str, Json]:
        """JSON form, read back by :meth:`from_json`. Raises MalformedError for a policy file that is no UTF-8 text."""
        return {
            "bundle": json_value(self.bundle.to_bytes(), "bundle", limit=limits.MAX_RECORD_BYTES),
            "policy": {path: utf8(data, path) for path, data in self.policy.items()},
            "decision": self.decision,
            "ear": self.ear,
            "token": self.token,
            "wrapped_key": self.wrapped.to_json(),
            "issuer": {"name": self.issuer, "jwk": self.issuer_key.to_jwk()},
            "salt": self.salt.hex(),
            "statement": self.statement.to_json(),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Contents:
        """Read the JSON form. Raises MalformedError."""
        policy, issuer = fields.object("policy"), fields.object("issuer")
        contents = cls(
            bundle=Bundle.from_bytes(canonical_json(fields.value("bundle")), "bundle"),
            policy=MappingProxyType({path: policy.text(path).encode() for path in policy.names()}),
            decision=fields.value("decision"),
            ear=fields.text("ear"),
            token=fields.text("token"),
            wrapped=WrappedKey.from_json(fields.object("wrapped_key")),
            issuer=issuer.text("name"),
            issuer_key=IssuerKey.from_jwk(issuer.object("jwk")),
            salt=fields.hex("salt", size=SALT_BYTES),
            statement=Statement.from_json(fields.object("statement")),
        )
        policy.done()
        issuer.done()
        fields.done()
        return contents


def commitment(salt: bytes, value: str) -> str:
    """Salted commitment to an identifier of hardware: hex SHA-256 over salt and text, framed."""
    return sha256(framed("attest-commitment/1", [salt, value.encode()])).hex()


def entry_of(contents: Contents, token: ReleaseToken) -> dict[str, Json]:
    """The ledger entry of a release; follows from its contents alone. ``token`` is the verified ``contents.token``.

    Raises MalformedError when the decision is not one.
    """
    decision = Fields(contents.decision, "decision")
    statement = contents.statement
    devices: list[Json] = [
        {
            "subject": device.text("subject"),
            "kind": device.text("kind"),
            "statement": device.text("statement"),
            "certificate": commitment(contents.salt, device.texts("chain")[0] if device.items("chain") else ""),
        }
        for device in decision.objects("devices")
    ]
    return {
        "format": ENTRY_FORMAT,
        "type": "release",
        "broker": statement.broker,
        "jti": token.jti,
        "times": {
            "challenged": format_time(statement.challenged_at),
            "decided": decision.text("at"),
            "issued": format_time(token.issued_at),
            "released": format_time(statement.released_at),
        },
        "key": {"name": token.key, "version": token.key_version, "use": token.key_use.value, "custody": statement.custody.value},
        "recipient": {"algorithm": token.recipient.kem.value, "thumbprint": token.recipient.thumbprint},
        "nonce": token.nonce.hex(),
        "issuer": {"name": contents.issuer, "kid": contents.issuer_key.thumbprint},
        "devices": devices,
        "collateral": _collateral(contents),
        "policy": decision.value("policy"),
        "digests": {
            "bundle": contents.bundle.digest,
            "contents": sha256(canonical_json(contents.to_json())).hex(),
            "decision": sha256(canonical_json(contents.decision)).hex(),
            "ear": sha256(contents.ear.encode()).hex(),
            "policy": token.policy,
            "token": token.digest,
            "trust": token.trust,
            "wrapped_key": contents.wrapped.digest,
        },
        "simulated": token.simulated,
        "software": statement.software,
    }


def _collateral(contents: Contents) -> list[Json]:
    """Every piece by digest; certificates and OCSP answers name a chip, so they stand behind commitments."""
    pieces: list[Json] = []
    for piece in contents.bundle.collateral.items:
        open_piece = piece.type in (CollateralType.CRL, CollateralType.RIM)
        digest = {"sha256": piece.digest} if open_piece else {"commitment": commitment(contents.salt, piece.digest)}
        pieces.append({"type": piece.type.value, "fetched_at": format_time(piece.fetched_at), **digest})
    return pieces


@dataclass(frozen=True, slots=True)
class Record:
    """A release and its place in the ledger. Untrusted until it is audited.

    ``entry`` is the leaf of the ledger (canonical JSON); ``origin`` and ``vkey`` are what the ledger says about itself, ``receipt`` is None
    in the broker's own files, which were written before the ledger had the entry.
    """

    entry: bytes
    contents: Contents
    origin: str
    vkey: str
    receipt: Receipt | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the entry: names the record."""
        return sha256(self.entry).hex()

    def with_receipt(self, receipt: Receipt) -> Record:
        """The same record with its proof."""
        return replace(self, receipt=receipt)

    def to_bytes(self) -> bytes:
        """The file form: canonical JSON and a newline."""
        document: Json = {
            "format": FORMAT,
            "entry": json_value(self.entry, "entry"),
            "contents": self.contents.to_json(),
            "ledger": {"origin": self.origin, "vkey": self.vkey},
            "receipt": None if self.receipt is None else self.receipt.to_bytes().decode(),
        }
        return canonical_json(document) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "record") -> Record:
        """Read the file form; :meth:`to_bytes` gives the same values again. Raises MalformedError."""
        fields = Fields.parse(bounded(data, limits.MAX_RECORD_BYTES, name), name, limit=limits.MAX_RECORD_BYTES)
        RECORD_FORM.require(fields.text("format") == FORMAT, found=fields.text("format"), expected=FORMAT, where=name)
        ledger = fields.object("ledger")
        receipt = fields.optional("receipt", fields.text)
        record = cls(
            entry=canonical_json(fields.value("entry")),
            contents=Contents.from_json(fields.object("contents")),
            origin=ledger.text("origin"),
            vkey=ledger.text("vkey"),
            receipt=None if receipt is None else Receipt.from_bytes(receipt.encode()),
        )
        ledger.done()
        fields.done()
        if record.contents.to_json() != fields.value("contents"):
            raise MalformedError.at(
                RECORD_FORM.id, "the contents are not spelled in their one form", where=name, expected="lower-case hex", fix=RECORD_FORM.fix
            )
        return record
