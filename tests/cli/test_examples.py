"""Every example of every help text works when it is pasted, in the order in which the help lists the verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.swtpm import SoftwareTpm

# What does not end in 0, and must not: the first words of the line decide.
EXPECTED = {
    "attest verify fixtures/": 5,
    "attest verify lab/node": 5,
    "attest audit record lab/release/record.json --json": 6,
}
NEEDS_NETWORK = "attest collateral fetch"
WIDTH = 76


def expected(line: str) -> int:
    return next((code for start, code in EXPECTED.items() if line.startswith(start)), 0)


def test_the_story_of_the_help_works(story: tuple[Path, Mapping[str, Any]]) -> None:
    _, results = story
    assert len(results) == 7
    for line, result in results.items():
        assert result.code == expected(line), f"{line}\n{result.out}\n{result.err}"
    release = next(result for line, result in results.items() if line.startswith("attest release"))
    assert "RELEASED  demo version 1" in release.out


def test_every_verb_has_examples_that_fit_a_terminal(document_cli: ModuleType) -> None:
    for name, command in document_cli.commands():
        lines = document_cli.examples(command.help)
        assert lines, f"{name} --help has no example"
        assert any(name in line for line in lines), f"{name} --help does not show itself"
        for part in "\n".join(lines).split("\n"):
            assert len(part) <= WIDTH, f"{name} --help: {part}"


def test_every_example_works(
    lab: Path, document_cli: ModuleType, paste: Callable[[str], Any], swtpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPM2TOOLS_TCTI", swtpm.tcti)
    (lab / "lab/tpm-ca.pem").write_bytes(swtpm.authorities)
    ran = 0
    for name, command in document_cli.commands():
        for line in document_cli.examples(command.help):
            if line.startswith(NEEDS_NETWORK):
                continue
            result = paste(line)
            assert result.code == expected(line), f"{name} --help: {line}: exit {result.code}\n{result.out[-2000:]}\n{result.err}"
            ran += 1
    assert ran > 40


def test_generated_documentation_is_current(document_cli: ModuleType) -> None:
    assert document_cli.stale() == [], "run: python tools/document_cli.py"
