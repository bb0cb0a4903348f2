"""The broker's records on disk: one immutable file each, named by the digest of its ledger entry."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attest import limits
from attest.ledger.files import DurableFolder, read_file
from attest.release.checks import STORE
from attest.release.record import Record

_MODE: Final = 0o600  # records hold evidence, which says which machines there are


class Archive:
    """A folder of records without receipts: ``ab/abcdef....json``. May be shared by threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    @classmethod
    def create(cls, folder: Path) -> Archive:
        """Make the folder. Raises the failure of ``release.store``."""
        with _storage(folder):
            folder.mkdir(mode=0o700, parents=True)
        return cls(folder)

    def put(self, record: Record) -> None:
        """Write a record; it is on the disk when this returns. Raises the failure of ``release.store``."""
        data = record.to_bytes()
        # Room for the receipt, which is not there yet: a record that is too long to be audited must not be released on.
        most = limits.MAX_RECORD_BYTES - 2 * limits.MAX_CHECKPOINT_BYTES
        STORE.require(len(data) <= most, found=f"a record of {len(data)} bytes", expected=f"at most {most} bytes", where=str(self._folder))
        with _storage(self._folder):
            # A temporary name of its own: several processes write at once.
            files = DurableFolder(self._folder, temporary=f"new-{os.getpid()}-{secrets.token_hex(8)}")
            files.put(_path(record.digest), data, mode=_MODE)

    def get(self, digest: str) -> Record:
        """The record of a ledger entry (hex SHA-256). Raises the failure of ``release.store`` when it is missing or another one."""
        with _storage(self._folder):
            data = read_file(self._folder / _path(digest), limits.MAX_RECORD_BYTES)
        if data is None:
            raise STORE.failure(found="no record", expected=_path(digest), where=str(self._folder))
        record = Record.from_bytes(data, _path(digest))
        STORE.require(record.digest == digest, found=f"the record {record.digest}", expected=digest, where=str(self._folder))
        return record

    def digests(self) -> Iterator[str]:
        """Names of all records, sorted."""
        with _storage(self._folder):
            paths = sorted(self._folder.glob("??/*.json"))
        for path in paths:
            yield path.stem


def _path(digest: str) -> str:
    return f"{digest[:2]}/{digest}.json"


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise STORE.failure(found=error.strerror or type(error).__name__, expected="the broker's records", where=str(folder)) from error
