"""A check is one thing that is verified; a checklist makes sure that none is forgotten.

A kind declares its checks once. ``Checklist.close`` refuses to finish while any of them has no result, so a check that is skipped
by mistake is an internal error and never a yes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.errors import AttestError, Outcome, Reason, error_for


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is verified.

    ``id`` is also the reason code of its failure. ``title`` names what is looked at, and reads well after "check failed:" and alone in a
    list: lower case, no full stop. ``source`` is the specification and section that the rule comes from.
    ``limitation`` marks what the evidence can never show: it is always "not checked", is printed, and blocks nothing.
    """

    id: str
    title: str
    source: str
    outcome: Outcome = Outcome.NOT_AUTHENTIC
    fix: str = ""
    limitation: bool = False

    def reason(self, *, found: str = "", expected: str = "", where: str = "", fix: str = "", subject: str = "") -> Reason:
        """The reason for this check's failure."""
        return Reason(
            self.id,
            self.outcome,
            f"check failed: {self.title}",
            subject=subject,
            where=where,
            found=found,
            expected=expected,
            fix=fix or self.fix,
        )

    def failure(self, *, found: str = "", expected: str = "", where: str = "", fix: str = "") -> AttestError:
        """The error to raise when this check fails; its class follows from the outcome."""
        return error_for(self.reason(found=found, expected=expected, where=where, fix=fix))

    def require(self, condition: bool, *, found: str = "", expected: str = "", where: str = "", fix: str = "") -> None:
        """Raise :meth:`failure` unless ``condition`` is exactly ``True``."""
        if condition is not True:
            raise self.failure(found=found, expected=expected, where=where, fix=fix)


class Status(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"  # only for reference-value checks: authenticity failures raise instead
    NOT_CHECKED = "not-checked"  # the material was not there; the detail says what is missing


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check, what became of it, and what it rests on ("key 3f9c…", "RIM NV_GPU_DRIVER_GH100_550.90.07").

    ``reason`` is set exactly when the status is FAILED, or NOT_CHECKED for a check that is not a limitation.
    """

    check: Check
    status: Status
    detail: str = ""
    reason: Reason | None = None


# Every kind has one tuple of checks, made once and used for every device: known by identity, which is what keeps them alive here.
_TABLES: Final[dict[int, tuple[tuple[Check, ...], dict[str, Check]]]] = {}
_MOST_TABLES: Final = 64


def _by_id(checks: tuple[Check, ...]) -> dict[str, Check]:
    known = _TABLES.get(id(checks))
    if known is not None and known[0] is checks:
        return known[1]
    table = {check.id: check for check in checks}
    if len(table) != len(checks):
        raise AssertionError("duplicate check id")
    if len(_TABLES) < _MOST_TABLES:
        _TABLES[id(checks)] = (checks, table)
    return table


class Checklist:
    """Collects the results of one device's checks. Mutable, and never leaves the verification of that device.

    Used as ``with Checklist(...) as checks:`` it tells every error that ends the verification which checks were done before.
    """

    def __init__(self, subject: str, checks: tuple[Check, ...]) -> None:
        self.subject: Final = subject
        self._expected: Final = _by_id(checks)
        self._results: Final[dict[str, CheckResult]] = {}

    def __enter__(self) -> Checklist:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AttestError):
            error.done = tuple((name, result.status.value, result.detail) for name, result in self._results.items())

    def _put(self, result: CheckResult) -> None:
        if self._expected.get(result.check.id) is not result.check:
            raise AssertionError(f"{result.check.id} is not a check of this kind")
        if result.check.id in self._results:
            raise AssertionError(f"{result.check.id} has two results")
        self._results[result.check.id] = result

    def passed(self, check: Check, detail: str = "") -> None:
        """Record that ``check`` passed, and what it rests on."""
        self._put(CheckResult(check, Status.PASSED, detail))

    def require(
        self, check: Check, condition: bool, *, detail: str = "", found: str = "", expected: str = "", where: str = "", fix: str = ""
    ) -> None:
        """Record a pass, or raise the check's failure."""
        check.require(condition, found=found, expected=expected, where=where, fix=fix)
        self.passed(check, detail)

    @contextmanager
    def step(self, check: Check, detail: str = "") -> Iterator[None]:
        """Run a block that raises :class:`AttestError` when ``check`` fails; record the pass when it does not."""
        yield
        self.passed(check, detail)

    def adopt(self, results: tuple[CheckResult, ...]) -> None:
        """Record results that were found before over the very same bytes (see attest/dcap/cache.py)."""
        for result in results:
            self._put(result)

    def results(self) -> tuple[CheckResult, ...]:
        """What has been recorded so far, in that order."""
        return tuple(self._results.values())

    def failed(self, check: Check, reason: Reason) -> None:
        """Record a failure that does not end the verification: a reference value that does not match."""
        self._put(CheckResult(check, Status.FAILED, "", reason.about(self.subject)))

    def not_checked(self, check: Check, why: str, *, fix: str = "") -> None:
        """Record that the material for ``check`` is missing. Unless it is a limitation, the answer can then not be yes."""
        reason = None
        if not check.limitation:
            reason = Reason(
                check.id,
                Outcome.CANNOT_DECIDE,
                f"not checked: {check.title}",
                subject=self.subject,
                found=why,
                fix=fix or check.fix,
            )
        self._put(CheckResult(check, Status.NOT_CHECKED, why, reason))

    def close(self) -> tuple[CheckResult, ...]:
        """All results, in the order in which the kind declares its checks.

        Raises AssertionError when a check has no result: that is a bug of the verifier, never a property of the evidence.
        """
        if len(self._results) != len(self._expected):  # what is recorded is always expected, and only once
            missing = [name for name in self._expected if name not in self._results]
            raise AssertionError(f"checks without a result: {', '.join(missing)}")
        return tuple(map(self._results.__getitem__, self._expected))
