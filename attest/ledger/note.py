"""Signed notes (C2SP signed-note): text, a blank line, and signature lines; and the keys that make and check them.

Only Ed25519 (signature type 0x01) is spoken: a log key of any other type is refused, and signatures of other keys are ignored.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest import limits
from attest.checks import Check
from attest.crypto import sha256, verify_ed25519
from attest.errors import MalformedError
from attest.ledger.checks import (
    KEY_FILE,
    KEY_NAME,
    NOTE_CHARACTERS,
    NOTE_DUPLICATE,
    NOTE_FORM,
    NOTE_SIGNATURE,
    NOTE_SIZE,
    NOTE_UNSIGNED,
    VKEY_FORM,
    VKEY_ID,
    VKEY_TYPE,
)
from attest.wire import base64_bytes, utf8

ED25519: Final = 0x01
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}\Z")
_PRIVATE: Final = "PRIVATE+KEY+"


def base64_field(text: str, check: Check, *, where: str, size: int | None = None) -> bytes:
    """Strict base64, of exactly ``size`` bytes when given. Raises ``check``'s failure."""
    try:
        data = base64_bytes(text, where)
    except MalformedError as error:
        raise check.failure(found=error.reasons[0].found, expected="standard base64, padded", where=where) from None
    check.require(size is None or len(data) == size, found=f"{len(data)} bytes", expected=f"{size} bytes", where=where)
    return data


# -- keys -----------------------------------------------------------------------------------------------------------------


def check_key_name(name: str) -> None:
    """Refuse what is no key name: empty, over-long, or with a space, plus sign or control character."""
    bad = [
        character
        for character in name
        if character.isspace() or character == "+" or ord(character) < 0x20 or 0xD800 <= ord(character) < 0xE000
    ]
    KEY_NAME.require(
        bool(name) and not bad and len(name.encode("utf-8", "replace")) <= limits.MAX_KEY_NAME_BYTES,
        found=repr(name[:64]),
        expected="a name without spaces and plus signs",
    )


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([ED25519]) + public)[:4]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A log's public key: its name, its 4-byte id, and the 32-byte Ed25519 key. Text form: ``name+hex(id)+base64(type || key)``."""

    name: str
    key_id: bytes
    public: bytes

    @classmethod
    def of(cls, name: str, public: bytes) -> VerifierKey:
        """The key of that name. Raises the failure of ``ledger.key-name``."""
        check_key_name(name)
        return cls(name, _key_id(name, public), public)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read the text form. Raises the failure of ``ledger.vkey-form``, ``-type`` or ``-id``, or of ``ledger.key-name``."""
        # Split at the first two plus signs only: base64 can hold more of them.
        parts = text.split("+", 2)
        VKEY_FORM.require(
            len(parts) == 3 and bool(_KEY_ID.match(parts[1])), found=repr(text[:96]), expected="<name>+<8 hex digits>+<base64>"
        )
        name, key_id, encoded = parts
        data = base64_field(encoded, VKEY_FORM, where="verifier key")
        VKEY_TYPE.require(data[:1] == bytes([ED25519]), found=f"0x{data[:1].hex()}", expected="0x01 (Ed25519)")
        VKEY_FORM.require(len(data) == 33, found=f"{len(data) - 1} bytes of key", expected="32 bytes of key")
        key = cls.of(name, data[1:])
        VKEY_ID.require(key.key_id.hex() == key_id, found=key_id, expected=key.key_id.hex())
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([ED25519]) + self.public).decode()}"


class SigningKey:
    """A log's private key. Text form as in golang.org/x/mod/sumdb/note: ``PRIVATE+KEY+name+hex(id)+base64(type || seed)``."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private: Final = private
        self.verifier: Final = VerifierKey.of(name, private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"<SigningKey {self.verifier.name}>"

    def __reduce__(self) -> str:
        raise TypeError("a signing key cannot be copied or pickled")

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """A new key. Raises the failure of ``ledger.key-name``."""
        check_key_name(name)
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Read the text form. Raises the failure of ``ledger.key-file``, which never shows the key."""
        prefix, private, rest = text.partition(_PRIVATE)
        parts = rest.split("+", 2)
        KEY_FILE.require(not prefix and bool(private) and len(parts) == 3, found="other text", expected=f"{_PRIVATE}<name>+<id>+<base64>")
        try:
            data = base64_bytes(parts[2], "signing key")
        except MalformedError:
            raise KEY_FILE.failure(found="a key that is not base64", expected="33 bytes in base64") from None
        KEY_FILE.require(
            len(data) == 33 and data[0] == ED25519, found=f"{len(data)} bytes", expected="33 bytes, the first of them 0x01 (Ed25519)"
        )
        key = cls(parts[0], Ed25519PrivateKey.from_private_bytes(data[1:]))
        KEY_FILE.require(
            key.verifier.key_id.hex() == parts[1], found=f"key id {parts[1][:8]}", expected=f"key id {key.verifier.key_id.hex()}"
        )
        return key

    def to_text(self) -> str:
        """The text form: secret, for the key file and nothing else."""
        encoded = base64.b64encode(bytes([ED25519]) + self._private.private_bytes_raw()).decode()
        return f"{_PRIVATE}{self.verifier.name}+{self.verifier.key_id.hex()}+{encoded}"

    def sign_note(self, text: str) -> bytes:
        """A note of ``text`` (which ends in a newline) with this key's signature. Deterministic (RFC 8032)."""
        if not text.endswith("\n"):
            raise AssertionError("the text of a note ends in a newline")
        signature = base64.b64encode(self.verifier.key_id + self._private.sign(text.encode())).decode()
        return f"{text}\n— {self.verifier.name} {signature}\n".encode()


# -- notes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the key's name and 4-byte id, and the signature proper."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note. Untrusted until :func:`verify_note` says which text a known key signed."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Split text and signature lines. Raises the failure of ``ledger.note-size``, ``-characters`` or ``-form``."""
        NOTE_SIZE.require(
            len(data) <= limits.MAX_CHECKPOINT_BYTES, found=f"{len(data)} bytes", expected=f"at most {limits.MAX_CHECKPOINT_BYTES} bytes"
        )
        try:
            whole = utf8(data, "signed note")
        except MalformedError as error:
            raise NOTE_CHARACTERS.failure(found="bytes that are not UTF-8", expected="UTF-8", where=error.reasons[0].where) from None
        control = next((i for i, character in enumerate(whole) if ord(character) < 0x20 and character != "\n"), -1)
        NOTE_CHARACTERS.require(
            control < 0,
            found=f"U+{ord(whole[control]):04X}" if whole else "",
            expected="no control character but newline",
            where=f"character {control}",
        )
        # The last blank line separates: the text itself may hold blank lines.
        end = whole.rfind("\n\n")
        NOTE_FORM.require(end > 0 and whole.endswith("\n"), found="no blank line", expected="text, a blank line, signature lines")
        lines = whole[end + 2 :].split("\n")[:-1]
        NOTE_FORM.require(bool(lines), found="no signature line", expected="at least one signature line")
        return cls(whole[: end + 1], tuple(_signature(line, number) for number, line in enumerate(lines, 1)))


def _signature(line: str, number: int) -> NoteSignature:
    where = f"signature line {number}"
    parts = line.split(" ")
    NOTE_FORM.require(
        len(parts) == 3 and parts[0] == "—" and bool(parts[1]), found=repr(line[:64]), expected="— <name> <base64>", where=where
    )
    data = base64_field(parts[2], NOTE_FORM, where=where)
    NOTE_FORM.require(len(data) > 4, found=f"{len(data)} bytes", expected="a key id of 4 bytes and a signature", where=where)
    return NoteSignature(parts[1], data[:4], data[4:])


def verify_note(data: bytes, keys: Sequence[VerifierKey]) -> str:
    """The text of the note, when at least one of ``keys`` signed it and none of them signed it wrongly.

    Signatures by other keys are ignored, also when only the name or only the id is that of a known key (signed-note, Signatures).
    Raises the failure of ``ledger.note-signature``, ``-duplicate`` or ``-unsigned``, or those of :meth:`Note.parse`.
    """
    note = Note.parse(data)
    known = {(key.name, key.key_id): key for key in keys}
    verified: set[tuple[str, bytes]] = set()
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        where = f"signature of {line.name}"
        NOTE_DUPLICATE.require((line.name, line.key_id) not in verified, found="two signatures", expected="one signature", where=where)
        verify_ed25519(key.public, line.signature, note.text.encode(), NOTE_SIGNATURE, where=where)
        verified.add((line.name, line.key_id))
    NOTE_UNSIGNED.require(
        bool(verified),
        found=", ".join(f"{line.name}+{line.key_id.hex()}" for line in note.signatures[:4]),
        expected=" or ".join(f"{key.name}+{key.key_id.hex()}" for key in keys),
    )
    return note.text
