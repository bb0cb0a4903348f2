"""SQLite as this package uses it: durable when a transaction returns, one writer at a time, nothing kept open between calls."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_WAIT_SECONDS: Final = 30.0  # how long a writer waits for another one


def create_database(path: Path, schema: str) -> None:
    """Make a new database of mode 0600 in write-ahead mode. Raises sqlite3.Error or OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(schema)


@contextlib.contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode; a transaction that was left open is rolled back at the end.

    ``synchronous = FULL``: what was committed is on the disk (SQLite, PRAGMA synchronous). Raises sqlite3.Error, also when there is no
    such database.
    """
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        yield database
    finally:
        database.close()
