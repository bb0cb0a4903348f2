"""Files that stay: every write below one folder is whole and on the disk when it returns, or did not happen.

Writing goes temporary file, fsync, rename, fsync of the directory. A reader never sees half a file, and a power cut never leaves one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Final


def read_file(path: Path, limit: int) -> bytes | None:
    """A file's content, ``limit`` bytes and one more at most (so that a longer file shows); None when there is none.

    Raises OSError, also for a pipe or a device: a folder that somebody else made must not keep its reader waiting.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with open(descriptor, "rb") as file:
        return file.read(limit + 1)


class DurableFolder:
    """A folder with one writer at a time (the caller holds the lock). Paths are relative, with slashes."""

    def __init__(self, root: Path, *, temporary: str) -> None:
        self.root: Final = root
        self._temporary: Final = root / temporary
        self._durable: Final[set[Path]] = {root}

    def make_root(self) -> None:
        """Make the folder itself where it is missing. Raises OSError."""
        missing = [directory for directory in (self.root, *self.root.parents) if not directory.exists()]
        for directory in reversed(missing):
            os.mkdir(directory)
        for directory in missing or [self.root]:
            _sync(directory.parent)

    def make_directory(self, path: str, *, mode: int = 0o777) -> None:
        """Make a directory, and those above it, where missing. Raises OSError."""
        directory = self.root
        for part in Path(path).parts:
            parent, directory = directory, directory / part
            if directory in self._durable:
                continue
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, mode)
            # Also when it was there: whoever made it may have died before this.
            _sync(parent)
            self._durable.add(directory)

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, replacing what is there. Raises OSError."""
        target = self.root / path
        self.make_directory(str(Path(path).parent))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(self._temporary, target)
        _sync(target.parent)

    def read(self, path: str, limit: int) -> bytes | None:
        """As :func:`read_file`, below this folder."""
        return read_file(self.root / path, limit)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        return (self.root / path).exists()

    def drop_directory(self, path: str) -> None:
        """Remove a directory that is no longer needed, if that can be done now."""
        self._durable.discard(self.root / path)
        shutil.rmtree(self.root / path, ignore_errors=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
