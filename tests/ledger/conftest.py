"""What the ledger's tests share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.ledger.store import Ledger


@pytest.fixture(scope="session")
def code_of() -> Callable[[Callable[[], object]], str]:
    """Runs something that must be refused, and gives the one reason code."""

    def run(call: Callable[[], object]) -> str:
        with pytest.raises(AttestError) as caught:
            call()
        (code,) = {reason.code for reason in caught.value.reasons}
        return code

    return run


@pytest.fixture(scope="session")
def memory_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: most tests write a lot, and do not ask whether fsync reaches a disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def memory(memory_root: Path) -> Iterator[Path]:
    """As :func:`memory_root`, for one test."""
    with tempfile.TemporaryDirectory(dir=memory_root) as folder:
        yield Path(folder)


@pytest.fixture
def ledger(memory: Path) -> Ledger:
    """An empty ledger."""
    return Ledger.create(memory / "ledger", origin="example.com/log")


@pytest.fixture(scope="session")
def grown(memory_root: Path) -> Ledger:
    """A ledger of 300 entries, ``entry 0`` to ``entry 299``, for tests that only read."""
    ledger = Ledger.create(memory_root / "grown", origin="example.com/log")
    for index in range(300):
        ledger.append(f"entry {index}".encode())
    return ledger
