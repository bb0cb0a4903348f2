"""What has been verified before and depends on nothing but bytes: bounded, per process, keyed by digests of those very bytes.

A result is kept only when it is a pure function of its key: that a signature is by this key, that a chain leads to this root. Whatever
depends on the time, on revocation or on a policy is judged again on every call; so an entry can save work and never change an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_ALL: Final[list[Cache[object]]] = []

Key = tuple[str | bytes, ...]
"""Digests, names, and parts of a few hundred bytes."""


class Cache(Generic[T]):
    """The last ``size`` results. Safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._size: Final = size
        self._entries: Final[OrderedDict[Key, T]] = OrderedDict()
        self._lock: Final = Lock()
        _ALL.append(self)  # type: ignore[arg-type]  # only to be emptied

    def get(self, key: Key) -> T | None:
        """The result for ``key``, or None."""
        value = self._entries.get(key)
        if value is not None:
            try:
                self._entries.move_to_end(key)
            except KeyError:  # another thread has put it out meanwhile
                return value
        return value

    def put(self, key: Key, value: T) -> T:
        """Keep ``value``, and forget the one that was not asked for longest."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def clear_caches() -> None:
    """Forget everything that this process has verified: for measurements and tests."""
    for cache in _ALL:
        cache.clear()
