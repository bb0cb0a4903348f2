"""The one error tree: what went wrong, where, and what to do about it.

Every refusal is an :class:`AttestError` that carries one :class:`Reason` per thing that was wrong. The exit code of a
command follows from the outcome class of its reasons, so a caller can tell "the input is broken" from "the hardware lied"
from "you are not allowed" from "I cannot know".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final


class Outcome(StrEnum):
    """Why an answer is not yes. The order of :data:`PRECEDENCE` decides which one names a mixed refusal."""

    MALFORMED = "malformed"  # the input cannot be read
    NOT_AUTHENTIC = "not-authentic"  # a signature, chain or revocation check failed
    REFUSED = "refused"  # authentic, but the floor or the policy says no
    CANNOT_DECIDE = "cannot-decide"  # collateral or reference values are missing or stale


EXIT_CODES: Final = {
    Outcome.MALFORMED: 3,
    Outcome.NOT_AUTHENTIC: 4,
    Outcome.REFUSED: 5,
    Outcome.CANNOT_DECIDE: 6,
}

PRECEDENCE: Final = (Outcome.MALFORMED, Outcome.NOT_AUTHENTIC, Outcome.REFUSED, Outcome.CANNOT_DECIDE)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that was wrong.

    ``code`` is stable across versions (docs/checks.md lists all). ``subject`` names the device or object ("gpu-3", "cpu"),
    ``where`` the place in the evidence ("report offset 0x008", "opaque field 6"), ``found`` and ``expected`` are in the words a
    person would use, ``fix`` is the next step. Empty text means "does not apply".
    """

    code: str
    outcome: Outcome
    message: str
    subject: str = ""
    where: str = ""
    found: str = ""
    expected: str = ""
    fix: str = ""
    rule: str = ""

    def about(self, subject: str) -> Reason:
        """The same reason, naming ``subject`` unless it already names one."""
        return self if self.subject else replace(self, subject=subject)

    def as_dict(self) -> dict[str, str]:
        """All members as text, for ``--json``; the names are part of the output schema."""
        return {
            "code": self.code,
            "outcome": self.outcome.value,
            "message": self.message,
            "subject": self.subject,
            "where": self.where,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
            "rule": self.rule,
        }

    def __str__(self) -> str:
        text = f"{self.subject}: {self.message}" if self.subject else self.message
        if self.found:
            text += f": found {self.found}"
        if self.expected:
            text += f", expected {self.expected}"
        return text


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome that names a refusal with several reasons.

    Raises ValueError for an empty sequence: a refusal without a reason is a bug.
    """
    return min(outcomes, key=PRECEDENCE.index)


class AttestError(Exception):
    """Base of every error that `attest` raises on purpose. Always has at least one reason.

    ``done`` are the checks of the device that had a result before this error ended its verification, in order: id, status, detail.
    """

    outcome: ClassVar[Outcome | None] = None

    def __init__(self, *reasons: Reason) -> None:
        if not reasons:
            raise ValueError("an error without a reason")
        self.reasons: tuple[Reason, ...] = reasons
        self.done: tuple[tuple[str, str, str], ...] = ()
        super().__init__("; ".join(str(reason) for reason in reasons))

    def __reduce__(self) -> tuple[type[AttestError], tuple[Reason, ...], dict[str, object]]:
        # Errors cross process boundaries when many records are replayed at once; the default would lose the reasons.
        return type(self), self.reasons, {"done": self.done}

    @property
    def code(self) -> str:
        """Stable code of the first reason."""
        return self.reasons[0].code

    @property
    def exit_code(self) -> int:
        """Process exit status that this error stands for (docs/architecture.md, exit codes)."""
        return EXIT_CODES[worst([reason.outcome for reason in self.reasons])]

    @property
    def hint(self) -> str:
        """The next step, as the first reason that has one states it."""
        return next((reason.fix for reason in self.reasons if reason.fix), "")

    def about(self, subject: str) -> AttestError:
        """The same error, its reasons naming ``subject`` where they named nothing."""
        error = type(self)(*(reason.about(subject) for reason in self.reasons))
        error.done = self.done
        return error


class MalformedError(AttestError):
    """The bytes do not have the form that their format demands."""

    outcome = Outcome.MALFORMED

    @classmethod
    def at(cls, code: str, message: str, *, where: str = "", found: str = "", expected: str = "", fix: str = "") -> MalformedError:
        """Build the error from its one reason."""
        return cls(Reason(code, Outcome.MALFORMED, message, where=where, found=found, expected=expected, fix=fix))


class NotAuthenticError(AttestError):
    """A signature, certificate chain or revocation check failed."""

    outcome = Outcome.NOT_AUTHENTIC


class RefusedError(AttestError):
    """Authentic, and still refused: by the floor, by the policy, or by the broker's own rules."""

    outcome = Outcome.REFUSED


class CannotDecideError(AttestError):
    """Something that is needed to decide is missing or stale."""

    outcome = Outcome.CANNOT_DECIDE


class UsageError(AttestError):
    """The caller asked for something that cannot be meant: a bad argument, a missing file."""

    @classmethod
    def of(cls, message: str, *, fix: str = "", found: str = "", expected: str = "") -> UsageError:
        """Build the error from one sentence."""
        return cls(Reason("usage", Outcome.REFUSED, message, found=found, expected=expected, fix=fix))

    @property
    def exit_code(self) -> int:
        return 2


_BY_OUTCOME: Final[dict[Outcome, type[AttestError]]] = {
    Outcome.MALFORMED: MalformedError,
    Outcome.NOT_AUTHENTIC: NotAuthenticError,
    Outcome.REFUSED: RefusedError,
    Outcome.CANNOT_DECIDE: CannotDecideError,
}


def error_for(*reasons: Reason) -> AttestError:
    """The error class that matches the worst of ``reasons``."""
    return _BY_OUTCOME[worst([reason.outcome for reason in reasons])](*reasons)
