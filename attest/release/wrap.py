"""The wrapped key: a model key under a recipient's public key, good with one token only.

The HPKE ``info`` holds the digest of the token, so whoever puts the ciphertext beside another token, key name or recipient gets
nothing out of it: decryption fails. The token in turn names key, version, recipient, broker, nonce and decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from attest import limits
from attest.crypto import framed, same, sha256
from attest.recipient import Recipient
from attest.release.checks import WRAP_FORM, WRAP_KEY, WRAP_RECIPIENT, WRAP_TOKEN
from attest.release.suites import Suite
from attest.wire import Fields, Json, canonical_json

DATA_KEY_BYTES: Final = 32
"""Size of the keys that are released: AES-256."""

FORMAT: Final = "attest-wrapped-key/1"
_DOMAIN: Final = "attest-release/1"


def token_digest(token: str) -> str:
    """Hex SHA-256 over the token's text."""
    return sha256(token.encode()).hex()


def wrap_info(*, token: str, key: str, version: int, recipient: Recipient) -> bytes:
    """HPKE ``info``: token digest (hex text given, 32 bytes framed), key name, version in decimal, recipient thumbprint (32 bytes)."""
    return framed(_DOMAIN, [bytes.fromhex(token), key.encode(), str(version).encode(), bytes.fromhex(recipient.thumbprint)])


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """What a release hands out. Not secret: it opens only inside the TEE.

    suite        HPKE suite
    recipient    hex thumbprint of the recipient key
    token        hex SHA-256 of the token that it was released for
    key          name of the key, and its version
    ciphertext   ``enc || ciphertext || tag``
    """

    suite: Suite
    recipient: str
    token: str
    key: str
    version: int
    ciphertext: bytes

    def to_json(self) -> dict[str, Json]:
        """JSON form, read back by :meth:`from_json`."""
        return {
            "format": FORMAT,
            "suite": self.suite.value,
            "recipient": self.recipient,
            "token": self.token,
            "key": self.key,
            "version": self.version,
            "ciphertext": self.ciphertext.hex(),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> WrappedKey:
        """Read the JSON form. Raises MalformedError, or the failure of ``wrap.form`` for a wrong format or size."""
        WRAP_FORM.require(fields.text("format") == FORMAT, found=fields.text("format"), expected=FORMAT, where=fields.path)
        wrapped = cls(
            fields.choice("suite", Suite),
            fields.hex("recipient", size=32).hex(),
            fields.hex("token", size=32).hex(),
            fields.text("key"),
            fields.integer("version", least=1, most=limits.MAX_KEY_VERSION),
            fields.hex("ciphertext"),
        )
        fields.done()
        size = wrapped.suite.sealed_bytes(DATA_KEY_BYTES)
        WRAP_FORM.require(
            len(wrapped.ciphertext) == size,
            found=f"{len(wrapped.ciphertext)} bytes",
            expected=f"{size} bytes for {wrapped.suite}",
            where=fields.path,
        )
        return wrapped

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the canonical JSON form."""
        return sha256(canonical_json(self.to_json())).hex()


class DataKey:
    """A released key in the node's memory. ``expose`` is the only way to its bytes; printing shows none of them."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data: Final = data

    def __repr__(self) -> str:
        return f"<DataKey of {len(self._data)} bytes>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")

    def expose(self) -> bytes:
        """The key itself."""
        return self._data


class Opener(Protocol):
    """The private half of a recipient key, wherever it lives: in the TEE's memory, or inside a TPM."""

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        ...

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """What was sealed for it with ``info``. Raises the failure of ``wrap.open``."""
        ...


def unwrap(wrapped: WrappedKey, private: Opener, *, token: str, key: str) -> DataKey:
    """Open a wrapped key inside the TEE, for the token that released it and the key name that was asked for.

    Raises the failure of ``wrap.recipient``, ``-token``, ``-key``, ``-form`` or, when the ciphertext is another one, ``-open``.
    """
    recipient = private.recipient
    WRAP_RECIPIENT.require(
        same(wrapped.recipient.encode(), recipient.thumbprint.encode()), found=wrapped.recipient, expected=recipient.thumbprint
    )
    WRAP_FORM.require(wrapped.suite is Suite.of(recipient.kem), found=wrapped.suite, expected=Suite.of(recipient.kem))
    WRAP_TOKEN.require(same(wrapped.token.encode(), token_digest(token).encode()), found=wrapped.token, expected=token_digest(token))
    WRAP_KEY.require(wrapped.key == key, found=wrapped.key, expected=key)
    info = wrap_info(token=wrapped.token, key=wrapped.key, version=wrapped.version, recipient=recipient)
    return DataKey(private.open(wrapped.ciphertext, info=info))
