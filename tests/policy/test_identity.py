"""What identifies a policy: the meaning of its rules, its reference data and its schema; not its layout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.policy.engine import formatted

if TYPE_CHECKING:
    from conftest import Kit

ROOT = Path(__file__).resolve().parents[2]


def digest(kit: Kit, rules: str) -> str:
    return kit.load(kit.files(rules)).identity.rules_digest


@pytest.mark.parametrize(
    "same",
    [
        lambda rules: formatted(rules),
        lambda rules: rules.replace("\n", " "),
        lambda rules: "// a comment\n" + rules.replace("&&", "&& // and\n"),
        lambda rules: rules.replace("\n", "\r\n"),
        lambda rules: re.sub(r"\b(principal\.\w+ >= \d)", r"(\1)", rules),
        lambda rules: "".join(reversed(re.findall(r"@id.*?\};\n", rules, re.DOTALL))),
    ],
    ids=["formatted", "one line", "comments", "line ends", "parentheses", "order of rules"],
)
def test_layout_does_not_matter(kit: Kit, same: object) -> None:
    changed = same(kit.rules)  # type: ignore[operator]
    assert changed != kit.rules
    assert digest(kit, changed) == digest(kit, kit.rules)


EDITS = [
    (">= 5", "> 5"), (">= 5", ">= 4"), ('Debug::"off"', 'Debug::"on"'), (', Colour::"green"', ""), ("principal.nonce_issued && ", ""),
    ("!principal.simulated", "principal.simulated"), ("resource.min_level", "3"), ("containsAll", "containsAny"),
    ('"release", resource)', '"release", resource == Key::"k")'), ("principal.gpu_count == 2", "principal.gpu_count == 3"),
    ('@id("chip")', '@id("chip2")'), ("A board that may be used", "A board"), ("== 1 &&", "== 1 || true &&"),
    ("principal.level >= 5 && principal.level <= 9", "principal.level <= 9 && principal.level >= 5"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_every_edit_of_the_meaning_changes_the_digest(kit: Kit, old: str, new: str) -> None:
    changed = kit.rules.replace(old, new, 1)
    assert changed != kit.rules
    assert digest(kit, changed) != digest(kit, kit.rules)


def test_numbers_beyond_exact_json_have_a_digest(kit: Kit) -> None:
    digests = {digest(kit, kit.rules.replace("principal.level <= 9", f"principal.level <= {2**63 - 1 - more}")) for more in (0, 1, 2)}
    assert len(digests) == 3


def test_reference_data_has_its_own_digest(kit: Kit) -> None:
    usual = kit.load(kit.files()).identity
    more = kit.load(kit.files(data=kit.reference(min_level={"type": "long", "value": 2, "why": "level of the fleet, 2026-01"}))).identity
    assert more.reference_digest != usual.reference_digest
    assert (more.rules_digest, more.schema_digest) == (usual.rules_digest, usual.schema_digest)
    why = kit.load(kit.files(data=kit.reference(min_level={"type": "long", "value": 3, "why": "another reason, 2026-02"}))).identity
    assert why.reference_digest != usual.reference_digest


def test_layout_of_reference_data_does_not_matter(kit: Kit) -> None:
    files = kit.files()
    spaced = json.dumps(kit.reference(), indent=3).encode()
    assert spaced != files["reference.json"]
    assert kit.load({**files, "reference.json": spaced}).identity == kit.load(files).identity


def test_the_schema_follows_the_topology(kit: Kit) -> None:
    alone = kit.load(kit.files(kit.rule_chip + kit.rule_release, data={**kit.reference(), "topology": {"chip": 1}}))
    both = kit.load(kit.files())
    assert "entity Board" in both.schema
    assert "entity Board" not in alone.schema
    assert alone.identity.schema_digest != both.identity.schema_digest


def test_the_files_are_all_that_is_needed(kit: Kit) -> None:
    policy = kit.load({**kit.files()})
    again = kit.load(policy.files)
    assert again.identity == policy.identity
    assert again.answer(kit.requests(), key="k") == policy.answer(kit.requests(), key="k")


CHILD = """
import sys
sys.path.insert(0, "tests/policy")
import conftest
policy = conftest.load(conftest.files_of())
bad = conftest.requests(board={**conftest.BOARD, "debug": "on", "level": 1, "advisories": frozenset({"B", "C", "D"})})
print(policy.identity, policy.schema, [policy.answer(bad, key="k") for _ in range(50)] == [policy.answer(bad, key="k")] * 50)
print(policy.answer(bad, key="k"))
"""


def test_the_same_input_gives_the_same_output_in_every_process() -> None:
    outputs = set()
    for seed in ("0", "1", "17"):
        done = subprocess.run(
            [sys.executable, "-c", CHILD],
            capture_output=True, text=True, timeout=60, cwd=ROOT, check=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        )  # fmt: skip
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert "True" in outputs.pop()


def test_the_engine_is_loaded_when_a_policy_is_and_not_before() -> None:
    child = "import sys, attest.policy.bundle, attest.policy.check; sys.exit('cedarpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", child], cwd=ROOT, check=False).returncode == 0
