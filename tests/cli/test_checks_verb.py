"""`attest checks` knows every code that the library can refuse with."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from attest_cli.checks import FAMILIES, all_checks, everything

if TYPE_CHECKING:
    from conftest import Attest

ROOT = Path(__file__).resolve().parents[2]
_CODE = re.compile(
    r'(?:MalformedError\.at|Reason|Check|_fail|_malformed|failure_of)\(\s*(?:f?"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|P[12]\d\d)")'
)


def codes_in_the_source() -> set[str]:
    """Every code that stands as text in a call that makes a reason."""
    found: set[str] = set()
    for path in [*ROOT.glob("attest/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        found |= {match[1] for match in _CODE.finditer(path.read_text())}
    return found


def test_every_code_is_explained(attest: Attest) -> None:
    codes = codes_in_the_source()
    assert len(codes) > 150
    known = {item["id"] for item in everything()}
    assert {code for code in codes - known if code.partition(".")[0] not in FAMILIES} == set()
    for code in ["wire.truncated", "jose.key", "P102", "policy.refused", "nvidia-gpu.json", "floor.debug"]:
        assert attest(f"checks {code}", "--json", expect=0).document["checks"][0]["id"] == code


def test_every_check_of_every_kind_and_of_the_floor_is_listed() -> None:
    from attest.appraisal import FLOOR
    from attest.kinds import KINDS
    from attest.release.checks import RELEASE_CHECKS

    known = {check.id for check in all_checks()}
    wanted = {check.id for kind in KINDS for check in kind.checks} | {check.id for check in (*FLOOR, *RELEASE_CHECKS)}
    assert wanted <= known
    assert len(known) == len({item["id"] for item in everything()} & known)


def test_every_command_that_a_hint_names_exists(document_cli: ModuleType) -> None:
    """In the library's hints and in ours: a next step that cannot be taken is worse than none."""
    names = {name.removeprefix("attest ") for name, _ in document_cli.commands()}
    groups = {name.partition(" ")[0] for name in names if " " in name}
    wrong = []
    for path in [*ROOT.glob("attest/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or "\n" in node.value:
                continue
            for said in re.findall(r"(?:with|by|:|'|see) attest ([a-z][a-z -]*)", node.value):
                words = said.split()
                if (words[0] in groups and " ".join(words[:2]) not in names) or words[0] not in groups | names:
                    wrong.append(f"{path.name}:{node.lineno}: attest {said}")
    assert wrong == []


@pytest.mark.parametrize("field", ["title", "source"])
def test_every_code_says_what_it_is_and_where_the_rule_comes_from(field: str) -> None:
    assert [item["id"] for item in everything() if not item[field]] == []  # type: ignore[literal-required]


def test_titles_read_well_behind_check_failed() -> None:
    """Lower case, save for abbreviations and names, and no sentence of its own."""
    titles = [item["title"] for item in everything()]
    assert [
        title for title in titles if title[1:2] in " abcdefghijklmnopqrstuvwxyz" and title[0].isupper() and not title.startswith("Ed25519")
    ] == []
    assert [title for title in titles if title.endswith((".", " failed"))] == []


def test_a_limitation_says_so(attest: Attest) -> None:
    assert "no evidence can show it" in attest("checks floor.attached", expect=0).out


def test_explanations_of_one_and_lists_of_many(attest: Attest) -> None:
    one = attest("checks floor.debug", expect=0).out
    assert "failure is  refused (exit 5)" in one
    many = attest("checks floor.", expect=0).out
    assert "floor.bound" in many
    assert re.search(r"^\d+ codes$", many, re.MULTILINE)
