"""What a broker must not forget: the nonces that it issued, and the tokens that it has seen.

A token goes through these states, each written and on the disk before the next step begins:

=============  ================================================================  =============================================
state          what is certain                                                   a second use
=============  ================================================================  =============================================
(none)         never seen                                                        is the first use
``reserved``   token and nonce are spent; nothing was written elsewhere          refused: its release can never be completed
``recorded``   the record with the ciphertext is on the disk                     completed when the ledger has its entry:
                                                                                 the same ciphertext; otherwise refused
``released``   the entry is in the ledger, one caller was given the ciphertext   refused
=============  ================================================================  =============================================

``finish`` moves from ``recorded`` to ``released`` for exactly one caller, in whatever process.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from attest import limits
from attest.release.checks import CHALLENGES, NONCE_EXPIRED, NONCE_KEY, NONCE_UNKNOWN, NONCE_USED, STORE
from attest.release.database import connect, create_database
from attest.wire import format_time

_SCHEMA: Final = """
CREATE TABLE challenges (
  nonce BLOB PRIMARY KEY, key TEXT NOT NULL, issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_by TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX challenges_expiry ON challenges (expires_at);
CREATE TABLE uses (
  jti TEXT PRIMARY KEY, token TEXT NOT NULL, state TEXT NOT NULL, entry TEXT, challenged_at INTEGER NOT NULL, used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


class UseState(StrEnum):
    """How far the use of a token has come; see the table above."""

    RESERVED = "reserved"
    RECORDED = "recorded"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a token: its digest, how far it came, and the digest of its ledger entry ("" before it was recorded)."""

    jti: str
    token: str
    state: UseState
    entry: str


class BrokerState:
    """The broker's database. May be shared by threads and processes. Raises the failure of ``release.store`` on I/O errors."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    @classmethod
    def create(cls, path: Path) -> BrokerState:
        """Make a new database."""
        with _storage(path):
            create_database(path, _SCHEMA)
        return cls(path)

    # -- nonces -------------------------------------------------------------------------------------------------------

    def challenge(self, nonce: bytes, key: str, *, at: datetime) -> None:
        """Keep a nonce that is issued for ``key``, and forget expired ones. Raises the failure of ``release.challenges``."""
        now = int(at.timestamp())
        with self._change() as database:
            database.execute("DELETE FROM challenges WHERE expires_at < ?", (now - _skew(),))
            (number,) = database.execute("SELECT count(*) FROM challenges").fetchone()
            CHALLENGES.require(
                number < limits.MAX_OPEN_CHALLENGES, found=f"{number} open challenges", expected=f"fewer than {limits.MAX_OPEN_CHALLENGES}"
            )
            expires = now + int(limits.CHALLENGE_LIFE.total_seconds())
            database.execute("INSERT INTO challenges VALUES (?, ?, ?, ?, NULL)", (nonce, key, now, expires))

    def expect(self, nonce: bytes, key: str, *, at: datetime) -> None:
        """Check that a session with this nonce may still get ``key``; spends nothing, so only :meth:`reserve` is a promise.

        Raises the failure of ``release.nonce-unknown``, ``-used``, ``-key`` or ``-expired``.
        """
        with self._open() as database:
            _usable(database, nonce, key, at)

    # -- tokens -------------------------------------------------------------------------------------------------------

    def use(self, jti: str) -> Use | None:
        """The use of a token, if it was ever seen."""
        with self._open() as database:
            row = database.execute("SELECT jti, token, state, entry FROM uses WHERE jti = ?", (jti,)).fetchone()
        return None if row is None else Use(row[0], row[1], UseState(row[2]), row[3] or "")

    def reserve(self, jti: str, *, token: str, nonce: bytes, key: str, at: datetime) -> datetime | None:
        """Spend token and nonce together, in one transaction; the time at which the nonce was issued, or None when the token is taken.

        Raises the failure of ``release.nonce-unknown``, ``-used``, ``-key`` or ``-expired``; nothing is spent then.
        """
        now = int(at.timestamp())
        with self._change() as database:
            if database.execute("SELECT 1 FROM uses WHERE jti = ?", (jti,)).fetchone():
                return None
            issued = _usable(database, nonce, key, at)
            database.execute("UPDATE challenges SET used_by = ? WHERE nonce = ?", (jti, nonce))
            database.execute("INSERT INTO uses VALUES (?, ?, ?, NULL, ?, ?)", (jti, token, UseState.RESERVED.value, issued, now))
            return datetime.fromtimestamp(issued, UTC)

    def recorded(self, jti: str, *, entry: str) -> None:
        """The record is on the disk; ``entry`` is the hex SHA-256 of its ledger entry. Call once, after :meth:`reserve`."""
        if not self._move(jti, UseState.RESERVED, UseState.RECORDED, entry):
            raise AssertionError("a token is recorded once, by the one who reserved it")

    def finish(self, jti: str, *, entry: str) -> bool:
        """Claim the release: True for exactly one caller."""
        return self._move(jti, UseState.RECORDED, UseState.RELEASED, entry)

    def _move(self, jti: str, before: UseState, after: UseState, entry: str) -> bool:
        with self._change() as database:
            changed = database.execute(
                "UPDATE uses SET state = ?, entry = ? WHERE jti = ? AND state = ?", (after.value, entry, jti, before.value)
            )
            return changed.rowcount == 1

    # -- storage ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with _storage(self._path), connect(self._path) as database:
            yield database

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer runs beside."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


def _usable(database: sqlite3.Connection, nonce: bytes, key: str, at: datetime) -> int:
    """When a nonce was issued that may be spent on ``key`` now."""
    now = int(at.timestamp())
    row = database.execute("SELECT key, issued_at, expires_at, used_by FROM challenges WHERE nonce = ?", (nonce,)).fetchone()
    if row is None:
        raise NONCE_UNKNOWN.failure(found=nonce.hex(), expected="a nonce of this broker, issued a short time ago")
    own_key, issued, expires, used_by = row
    NONCE_USED.require(used_by is None, found=f"a nonce used by token {used_by}", expected="an unused nonce")
    NONCE_KEY.require(own_key == key, found=f"a nonce for {own_key}", expected=f"a nonce for {key}")
    NONCE_EXPIRED.require(
        issued - _skew() <= now < expires,
        found=f"valid from {_text(issued)} to {_text(expires)}",
        expected=f"valid at {format_time(at)}",
    )
    return int(issued)


def _skew() -> int:
    return int(limits.MAX_CLOCK_SKEW.total_seconds())


def _text(seconds: int) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise STORE.failure(found=f"{type(error).__name__}: {error}", expected="the broker's database", where=str(path)) from error
