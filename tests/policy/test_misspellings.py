"""Every misspelling by one letter, of every claim name and every value in the shipped rules, is caught when the policy is loaded.

The suite takes a sample of each word's misspellings; ``python tests/policy/test_misspellings.py`` takes all of them and prints the counts.
"""

from __future__ import annotations

import random
import re
import string
import sys
from collections.abc import Iterator

import pytest

from attest.appraisal import WorkloadClaims
from attest.kinds import KINDS
from attest.policy.bundle import read_files
from attest.policy.check import examine
from attest.policy.finding import RULES
from attest.policy.shipped import shipped_names, shipped_policy

WORD = re.compile(r'principal\.([a-z0-9_]+)|[A-Za-z]+::"([a-z0-9_]+)"|resource\.([a-z0-9_]+)')
LETTERS = string.ascii_lowercase + string.digits + "_"


def misspelt(word: str) -> Iterator[str]:
    """A letter dropped, two swapped, one replaced."""
    for index in range(len(word)):
        yield word[:index] + word[index + 1 :]
        yield word[:index] + word[index : index + 2][::-1] + word[index + 2 :]
        for letter in LETTERS:
            yield word[:index] + letter + word[index + 1 :]


def mutants(text: str) -> list[list[tuple[str, str, str]]]:
    """For every place of a name or value in the text: (word, misspelling, text with it), each misspelling once."""
    places = []
    for match in WORD.finditer(text):
        group = match.lastindex or 0
        start, end = match.span(group)
        word = match[group]
        wrong = sorted(set(misspelt(word)) - {word, ""})
        places.append([(word, other, text[:start] + other + text[end:]) for other in wrong])
    return places


def survivors(name: str, share: int | None) -> tuple[int, list[tuple[str, str]]]:
    """How many misspellings of a shipped policy were tried, and those that load without an error. ``share``: that many per place."""
    files = read_files(shipped_policy(name))
    choice = random.Random(name)
    tried, alive = 0, []
    for place in mutants(files[RULES].decode()):
        for word, other, text in place if share is None else choice.sample(place, share):
            tried += 1
            if examine({**files, RULES: text.encode()}, KINDS, WorkloadClaims).sound is not None:
                alive.append((word, other))
    return tried, alive


def another_word(word: str, other: str) -> bool:
    """Whether the misspelling is itself a value of that vocabulary, which no check of spelling can see.

    The cases beside the policy see it: test_shipped.py.
    """
    return (word, other) in {("spt", "mpt"), ("vcek", "vlek")}


@pytest.mark.parametrize("name", shipped_names())
def test_misspellings_are_caught(name: str) -> None:
    tried, alive = survivors(name, 3)
    assert tried > 100
    assert [pair for pair in alive if not another_word(*pair)] == []


def main() -> int:
    """Try all, print the counts, and fail when one survives."""
    bad = 0
    for name in shipped_names():
        tried, alive = survivors(name, None)
        other = [pair for pair in alive if another_word(*pair)]
        bad += len(alive) - len(other)
        print(f"{name}: {tried} misspellings, {tried - len(alive)} caught, {len(other)} are another value: {sorted(set(other))}")
        for pair in alive:
            if pair not in other:
                print("  survived:", *pair)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
