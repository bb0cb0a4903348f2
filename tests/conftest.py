"""Fixtures that every test may use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.swtpm import SoftwareTpm, missing, software_tpm

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real evidence named by ATTEST_CORPUS; it is not part of this repository."""
    folder = Path(os.environ.get("ATTEST_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        pytest.skip(f"no corpus at {folder}: set ATTEST_CORPUS to the folder of real evidence")
    return folder


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The recorded evidence that ships with the project."""
    return ROOT / "fixtures"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long texts and bytes are named by their parameter: random keys in a test's name would differ from worker to worker."""
    return argname if isinstance(val, bytes | str) and len(val) > 24 else None


@pytest.fixture(scope="session")
def swtpm() -> Iterator[SoftwareTpm]:
    """A running software TPM that nobody else uses."""
    if lacking := missing():
        pytest.skip(f"no {lacking}: install swtpm, swtpm-tools and tpm2-tools")
    with tempfile.TemporaryDirectory(prefix="tpm-") as folder, software_tpm(Path(folder)) as tpm:
        yield tpm
