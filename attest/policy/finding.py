"""What is wrong with a policy, and where: the results of checking one.

Codes are stable. P1xx are errors: a policy that has one is never loaded. P2xx are warnings. docs/policies.md lists all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.errors import Outcome, Reason

RULES: Final = "rules.cedar"
REFERENCE: Final = "reference.json"
MANIFEST: Final = "policy.json"


class Severity(StrEnum):
    """Whether a finding keeps the policy from being loaded."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text: line and column, both counted from 1, columns in characters. Line 0 means the file as a whole."""

    line: int = 0
    column: int = 0


NOWHERE: Final = Position()

CODES: Final = {
    "P100": "file missing, or not part of a policy",
    "P101": "text refused before parsing: size, encoding, hidden characters, nesting",
    "P102": "claim does not exist",
    "P103": "value is not in the vocabulary of its claim",
    "P104": "reference value does not exist",
    "P105": "entity type or action does not exist, or is no part of this policy",
    "P106": "types do not fit",
    "P107": "syntax error",
    "P108": "outside the language subset",
    "P109": "annotation missing",
    "P110": "two rules with one id",
    "P111": "unknown annotation",
    "P112": "rule names a device by its label",
    "P113": "condition can never hold",
    "P114": "same condition twice",
    "P115": "refused by the validator of the engine",
    "P116": "no rule can say yes",
    "P120": "policy.json is not a manifest",
    "P121": "reference.json is not reference data",
    "P122": "reference value is empty without a reason",
    "P123": "reference value can never match",
    "P201": "permit without a condition",
    "P202": "several permits for one question",
    "P203": "age without a lower bound",
    "P204": "reference value is not used",
    "P205": "negative requirement",
    "P206": "common claim is not looked at",
    "P207": "packed version compared with a bare number",
}
"""Every code and what it stands for; the table in docs/policies.md is checked against this one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a policy.

    ``file`` is its name inside the policy; ``found`` is the text in question; ``meant`` the likely intention and the next step.
    """

    code: str
    message: str
    file: str
    position: Position = NOWHERE
    rule: str = ""
    found: str = ""
    meant: str = ""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise AssertionError(f"{self.code} is not a known code")

    @property
    def severity(self) -> Severity:
        """Follows from the code."""
        return Severity.WARNING if self.code.startswith("P2") else Severity.ERROR

    @property
    def where(self) -> str:
        """ "rules.cedar:14:9", or the file alone."""
        return f"{self.file}:{self.position.line}:{self.position.column}" if self.position.line else self.file

    def reason(self) -> Reason:
        """The reason that a refusal to load carries."""
        return Reason(self.code, Outcome.MALFORMED, self.message, where=self.where, found=self.found, fix=self.meant, rule=self.rule)

    def __str__(self) -> str:
        text = f"{self.severity} {self.code}  {self.where}  {self.message}"
        return f"{text}. {self.meant}" if self.meant else text


class FindingError(Exception):
    """Ends the reading of one file of a policy; the check of the policy turns it into its finding, so it never leaves this room."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding: Final = finding


def sort_key(finding: Finding) -> tuple[str, Position, str, str]:
    """Order of output: by place, then code."""
    return (finding.file, finding.position, finding.code, finding.message)


def did_you_mean(word: str, known: Iterable[str], *, label: str) -> str:
    """ "Did you mean 'debug'? claims: debug, simulated": the nearest known words, then all of them when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=2, cutoff=0.6) or difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    if not names:
        return f"There are no {label}"
    if len(names) <= 12:
        return f"{hint}{label}: {', '.join(names)}"
    return hint.rstrip() or f"there are {len(names)} {label}: see docs/claims.md"
