"""Keystore in one folder: SQLite, every key encrypted under a key-encryption key that lies in a file beside it.

Layout: ``keys.db``, and ``kek`` (32 random bytes, mode 0600). A key is stored as AES-256-GCM with random 96-bit nonces, and all its
properties (name, version, state, use, policy, time) are associated data: who can write the database but does not know the
key-encryption key cannot mark a production key test-only, bind it to another policy, enable it again, or swap two keys. He can put
back an older copy of a row. Whoever reads both files has the keys: this keystore is for development and single nodes, and
says so in every record (``custody: broker-memory``).

What is wiped: the plain key and the key-encryption key are held in byte arrays and overwritten with zeros after use. What cannot
be: copies that OpenSSL makes while it works, and what the operating system swaps or dumps.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attest.appraisal import KeyUse
from attest.crypto import framed
from attest.errors import AttestError
from attest.keyfile import create_secret, read_secret
from attest.recipient import Recipient
from attest.release.checks import (
    KEY_DISABLED,
    KEY_UNKNOWN,
    KEY_VERSION,
    KEYSTORE_EXISTS,
    KEYSTORE_INTACT,
    KEYSTORE_MISSING,
    KEYSTORE_STORAGE,
)
from attest.release.database import connect, create_database
from attest.release.keystore.key import Custody, KeyInfo, KeyState, check_name
from attest.release.suites import seal
from attest.release.wrap import DATA_KEY_BYTES
from attest.wire import format_time, hex_bytes, parse_time

_KEK: Final = "kek"
_DATABASE: Final = "keys.db"
_KEK_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SCHEMA: Final = """
CREATE TABLE keys (
  name TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL, use TEXT NOT NULL, policy TEXT NOT NULL, created_at TEXT NOT NULL,
  nonce BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
"""
_COLUMNS: Final = "name, version, state, use, policy, created_at, nonce, sealed"
_Row = tuple[str, int, str, str, str, str, bytes, bytes]


class LocalKeystore:
    """Keys in a folder. May be shared by threads and processes. Every method raises the failure of ``keystore.storage`` on I/O errors."""

    custody: Final = Custody.BROKER_MEMORY

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def __repr__(self) -> str:
        return f"<LocalKeystore {self._folder}>"

    @classmethod
    def create(cls, folder: Path) -> LocalKeystore:
        """Make a keystore in an empty or missing folder. Raises the failure of ``keystore.exists``."""
        with _storage(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            KEYSTORE_EXISTS.require(not any(folder.iterdir()), found="a folder with files", expected="an empty folder", where=str(folder))
            kek = _random(_KEK_BYTES)
            try:
                create_secret(folder / _KEK, kek)
            finally:
                _wipe(kek)
            create_database(folder / _DATABASE, _SCHEMA)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> LocalKeystore:
        """Open a keystore. Raises the failure of ``keystore.missing`` or of ``keyfile.mode``."""
        KEYSTORE_MISSING.require((folder / _DATABASE).is_file(), found="no keystore", expected=_DATABASE, where=str(folder))
        with _storage(folder):
            _wipe(read_secret(folder / _KEK, limit=_KEK_BYTES))
        return cls(folder)

    # -- keys ---------------------------------------------------------------------------------------------------------

    def add(self, name: str, *, use: KeyUse, policy: str, at: datetime) -> KeyInfo:
        """Make a new key: version 1, enabled. Raises the failure of ``keystore.name`` or ``-exists``."""
        check_name(name)
        info = KeyInfo(name, 1, KeyState.ENABLED, use, _digest(policy), _whole(at), self.custody)
        with self._change() as database:
            KEYSTORE_EXISTS.require(not _rows(database, name), found=f"a key named {name}", expected="a new name")
            self._insert(database, info)
        return info

    def rotate(self, name: str, *, at: datetime) -> KeyInfo:
        """Make the next version of a key, enabled; earlier versions stay as they are. Raises the failure of ``release.key-unknown``."""
        with self._change() as database:
            last = self._infos(database, name)[-1]
            info = KeyInfo(name, last.version + 1, KeyState.ENABLED, last.use, last.policy, _whole(at), self.custody)
            self._insert(database, info)
        return info

    def set_state(self, name: str, version: int, state: KeyState) -> KeyInfo:
        """Enable or disable a version. Raises the failure of ``release.key-unknown``, ``-key-version`` or ``keystore.intact``."""
        with self._change() as database:
            row = _row(database, name, version)
            return self._reseal(database, row, state=state, policy=row[4])

    def approve(self, name: str, *, policy: str) -> tuple[KeyInfo, ...]:
        """Bind all versions of a key to another policy identity. Raises the failure of ``release.key-unknown`` or ``keystore.intact``."""
        digest = _digest(policy)
        with self._change() as database:
            self._infos(database, name)
            return tuple(self._reseal(database, row, state=KeyState(row[2]), policy=digest) for row in _rows(database, name))

    def info(self, name: str, version: int | None = None) -> KeyInfo:
        """A version of a key, the newest when none is named. Raises the failure of ``release.key-unknown`` or ``-key-version``."""
        with self._read() as database:
            return _info(_row(database, name, version)) if version is not None else self._infos(database, name)[-1]

    def versions(self, name: str) -> tuple[KeyInfo, ...]:
        """All versions of a key, oldest first. Raises the failure of ``release.key-unknown``."""
        with self._read() as database:
            return self._infos(database, name)

    def names(self) -> tuple[str, ...]:
        """Names of all keys."""
        with self._read() as database:
            return tuple(str(row[0]) for row in database.execute("SELECT DISTINCT name FROM keys ORDER BY name"))

    # -- use ----------------------------------------------------------------------------------------------------------

    def wrap(self, key: KeyInfo, recipient: Recipient, *, info: bytes) -> bytes:
        """HPKE-wrap a key to ``recipient`` under ``info``.

        ``key`` is what the caller checked. Raises the failure of ``keystore.intact`` when the stored key or its properties are not
        what was written, of ``release.key-disabled``, or of ``release.key-version`` when they have changed since the caller looked.
        """
        with self._read() as database:
            row = _row(database, key.name, key.version)
            plain = bytearray(DATA_KEY_BYTES)
            try:
                self._open(row, plain)
                current = _info(row)
                KEY_DISABLED.require(current.state is KeyState.ENABLED, found=current.state, expected=KeyState.ENABLED, where=key.name)
                KEY_VERSION.require(current == key, found="a key that was changed a moment ago", expected="the key that was checked")
                return seal(plain, recipient, info=info)
            finally:
                _wipe(plain)

    # -- storage ------------------------------------------------------------------------------------------------------

    def _infos(self, database: sqlite3.Connection, name: str) -> tuple[KeyInfo, ...]:
        rows = _rows(database, name)
        KEY_UNKNOWN.require(bool(rows), found=name[:128], expected="a key of this keystore")
        return tuple(_info(row) for row in rows)

    def _insert(self, database: sqlite3.Connection, info: KeyInfo) -> None:
        plain = _random(DATA_KEY_BYTES)
        try:
            nonce, sealed = self._seal(info, plain)
        finally:
            _wipe(plain)
        database.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*_members(info), nonce, sealed))  # noqa: S608

    def _reseal(self, database: sqlite3.Connection, row: _Row, *, state: KeyState, policy: str) -> KeyInfo:
        old = _info(row)
        info = KeyInfo(old.name, old.version, state, old.use, policy, old.created_at, old.custody)
        plain = bytearray(DATA_KEY_BYTES)
        try:
            self._open(row, plain)
            nonce, sealed = self._seal(info, plain)
        finally:
            _wipe(plain)
        database.execute(
            "UPDATE keys SET state = ?, policy = ?, nonce = ?, sealed = ? WHERE name = ? AND version = ?",
            (info.state.value, info.policy, nonce, sealed, info.name, info.version),
        )
        return info

    def _seal(self, info: KeyInfo, plain: bytearray) -> tuple[bytes, bytes]:
        nonce = os.urandom(_NONCE_BYTES)
        with self._cipher() as cipher:
            return nonce, cipher.encrypt(nonce, plain, _associated(*_members(info)))

    def _open(self, row: _Row, plain: bytearray) -> None:
        nonce, sealed = row[6], row[7]
        try:
            with self._cipher() as cipher:
                cipher.decrypt_into(nonce, sealed, _associated(*row[:6]), plain)
        except (InvalidTag, ValueError):
            raise KEYSTORE_INTACT.failure(
                found="a row that does not open", expected="key and properties as written", where=f"{row[0]} version {row[1]}"
            ) from None

    @contextlib.contextmanager
    def _cipher(self) -> Iterator[AESGCM]:
        kek = read_secret(self._folder / _KEK, limit=_KEK_BYTES)
        try:
            yield AESGCM(kek)
        finally:
            _wipe(kek)

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with _storage(self._folder), connect(self._folder / _DATABASE) as database:
            yield database

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer runs beside."""
        with self._read() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


def _rows(database: sqlite3.Connection, name: str) -> list[_Row]:
    return database.execute(f"SELECT {_COLUMNS} FROM keys WHERE name = ? ORDER BY version", (name,)).fetchall()  # noqa: S608


def _row(database: sqlite3.Connection, name: str, version: int) -> _Row:
    rows = _rows(database, name)
    KEY_UNKNOWN.require(bool(rows), found=name[:128], expected="a key of this keystore")
    row = next((row for row in rows if row[1] == version), None)
    if row is None:
        raise KEY_VERSION.failure(found=f"version {version}", expected=f"a version from 1 to {rows[-1][1]}", where=name)
    return row


def _info(row: _Row) -> KeyInfo:
    try:
        return KeyInfo(row[0], row[1], KeyState(row[2]), KeyUse(row[3]), row[4], parse_time(row[5], "created_at"), LocalKeystore.custody)
    except (ValueError, AttestError):
        raise KEYSTORE_INTACT.failure(found="unknown properties", expected="properties as written", where=f"{row[0]}") from None


def _members(info: KeyInfo) -> tuple[str, int, str, str, str, str]:
    return info.name, info.version, info.state.value, info.use.value, info.policy, format_time(info.created_at)


def _associated(*members: str | int) -> bytes:
    return framed("attest-local-key/1", [str(member).encode() for member in members])


def _whole(at: datetime) -> datetime:
    return parse_time(format_time(at), "time")


def _digest(policy: str) -> str:
    return hex_bytes(policy, "policy digest", size=32).hex()


def _random(size: int) -> bytearray:
    """Random bytes that were never in memory that cannot be wiped."""
    data = bytearray(size)
    with open("/dev/urandom", "rb", buffering=0) as source:
        if source.readinto(data) != size:
            raise AssertionError("the system's random generator gave too few bytes")
    return data


def _wipe(data: bytearray) -> None:
    data[:] = bytes(len(data))


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Turn what the operating system or the database refuses into the failure of ``keystore.storage``."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise KEYSTORE_STORAGE.failure(found=f"{type(error).__name__}: {error}", expected="a keystore", where=str(folder)) from error
