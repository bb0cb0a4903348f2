"""Quotes and collateral of the corpus, and one way to judge them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attest.evidence import Claims, Verified
from attest.trust import TrustStore
from tests.dcap import cases


@pytest.fixture(scope="session")
def quotes(corpus: Path) -> Path:
    return corpus / "tdx-sgx"


@pytest.fixture(scope="session")
def judge() -> Callable[..., Verified[Claims]]:
    return cases.judge


@pytest.fixture(scope="session")
def trust_in() -> Callable[[bytes], TrustStore]:
    return cases.trust_in
