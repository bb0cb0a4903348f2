"""The list of rules is complete, and each rule has a test that names it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import attest.pki
from attest.checks import Check
from attest.errors import Outcome
from attest.pki import PKI_CHECKS


def test_every_check_of_the_package_is_listed_once():
    found = []
    for module in pkgutil.iter_modules(attest.pki.__path__):
        members = vars(importlib.import_module(f"attest.pki.{module.name}")).values()
        found += [member for member in members if isinstance(member, Check)]
    assert {check.id for check in found} == {check.id for check in PKI_CHECKS}
    assert len({check.id for check in PKI_CHECKS}) == len(PKI_CHECKS)


@pytest.mark.parametrize("check", PKI_CHECKS, ids=lambda check: check.id)
def test_every_check_says_what_it_is_and_has_a_failing_example(check):
    assert check.id.startswith("pki.")
    assert any(word in check.source for word in ("RFC", "AMD", "TCG"))
    assert check.fix
    assert not check.limitation
    assert check.outcome is not Outcome.REFUSED
    tests = [path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name]
    assert any(f'"{check.id}"' in text for text in tests)
