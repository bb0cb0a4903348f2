"""Files that hold secrets: readable by their owner alone, never overwritten, and refused when anybody else may read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attest.checks import Check
from attest.errors import Outcome

_SOURCE: Final = "design, secrets"

EXISTS: Final = Check(
    "keyfile.exists",
    "key file is new",
    _SOURCE,
    Outcome.REFUSED,
    "choose another name, or move the old key away: a key is never overwritten",
)
MISSING: Final = Check("keyfile.missing", "key file is there", _SOURCE, Outcome.CANNOT_DECIDE, "check the path")
MODE: Final = Check(
    "keyfile.mode", "key file is private", _SOURCE, Outcome.REFUSED, "chmod 600 the file, and ask who has read it until now"
)
SIZE: Final = Check("keyfile.size", "key file has its size", _SOURCE, Outcome.MALFORMED, "restore the file from a backup")

KEYFILE_CHECKS: Final = (EXISTS, MISSING, MODE, SIZE)


def create_secret(path: Path, data: bytes | bytearray) -> None:
    """Write a new file of mode 0600, durable when this returns. Raises the failure of ``keyfile.exists``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise EXISTS.failure(found="a file", expected="none", where=str(path)) from None
    with open(descriptor, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_secret(path: Path, *, limit: int) -> bytearray:
    """The content, at most ``limit`` bytes, in memory that the caller can overwrite with zeros.

    Raises the failure of ``keyfile.missing``, of ``keyfile.mode`` when group or others have any right to the file, or of
    ``keyfile.size``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise MISSING.failure(found="no such file", expected="a key file", where=str(path)) from None
    with open(descriptor, "rb", buffering=0) as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        MODE.require(mode & 0o077 == 0, found=f"{mode:04o}", expected="0600", where=str(path))
        data = bytearray(limit + 1)
        size = 0
        while got := file.readinto(memoryview(data)[size:]):
            size += got
    SIZE.require(0 < size <= limit, found=f"{size} bytes or more", expected=f"1..{limit} bytes", where=str(path))
    del data[size:]
    return data
