"""A checklist forgets nothing, accepts nothing that is not its own, and tells an error what was done before it."""

from __future__ import annotations

import pytest

from attest.checks import Check, Checklist, Status
from attest.errors import MalformedError, NotAuthenticError, Outcome

FIRST = Check("test.first", "first thing", "here")
SECOND = Check("test.second", "second thing", "here", Outcome.MALFORMED, "mend it")
NEVER = Check("test.never", "what nothing shows", "here", limitation=True)


def checklist() -> Checklist:
    return Checklist("gpu-0", (FIRST, SECOND, NEVER))


def test_close_gives_all_results_in_declared_order() -> None:
    checks = checklist()
    checks.not_checked(NEVER, "no evidence")
    checks.require(SECOND, SECOND.fix != "", detail="two")
    checks.passed(FIRST, "one")
    assert [(item.check, item.status, item.detail) for item in checks.close()] == [
        (FIRST, Status.PASSED, "one"),
        (SECOND, Status.PASSED, "two"),
        (NEVER, Status.NOT_CHECKED, "no evidence"),
    ]


def test_close_refuses_a_forgotten_check() -> None:
    checks = checklist()
    checks.passed(FIRST)
    with pytest.raises(AssertionError, match=r"test\.second, test\.never"):
        checks.close()


def test_two_results_and_foreign_checks_are_bugs() -> None:
    checks = checklist()
    checks.passed(FIRST)
    with pytest.raises(AssertionError, match="two results"):
        checks.passed(FIRST)
    with pytest.raises(AssertionError, match="not a check of this kind"):
        checks.passed(Check("test.first", "first thing", "here"))


@pytest.mark.parametrize("value", [False, None, 1, "yes"])
def test_only_true_passes(value: object) -> None:
    with pytest.raises(NotAuthenticError) as caught:
        checklist().require(FIRST, value)  # type: ignore[arg-type]
    assert caught.value.code == "test.first"


def test_a_step_records_its_pass_only_when_nothing_was_raised() -> None:
    checks = checklist()
    with checks.step(FIRST, "detail"):
        pass
    with pytest.raises(MalformedError), checks.step(SECOND):
        raise SECOND.failure(found="x", expected="y")
    checks.passed(SECOND)  # would raise if the step had put a result


def test_not_checked_blocks_unless_it_is_a_limitation() -> None:
    checks = checklist()
    checks.not_checked(FIRST, "nothing there")
    checks.not_checked(NEVER, "no evidence")
    checks.failed(SECOND, SECOND.reason(found="a", expected="b"))
    first, second, never = checks.close()
    assert first.reason is not None
    assert (first.reason.outcome, first.reason.found, first.reason.subject) == (Outcome.CANNOT_DECIDE, "nothing there", "gpu-0")
    assert second.reason is not None
    assert (second.reason.outcome, second.reason.fix, second.reason.subject) == (Outcome.MALFORMED, "mend it", "gpu-0")
    assert never.reason is None


def test_an_error_tells_what_was_done() -> None:
    def verify() -> None:
        with checklist() as checks:
            checks.passed(FIRST, "key 3f9c")
            checks.not_checked(NEVER, "no evidence")
            checks.require(SECOND, SECOND.fix == "")

    with pytest.raises(MalformedError) as caught:
        verify()
    assert caught.value.done == (("test.first", "passed", "key 3f9c"), ("test.never", "not-checked", "no evidence"))
    assert caught.value.about("gpu-0").done == caught.value.done


def test_a_failed_and_an_undone_check_name_the_check_alike() -> None:
    assert str(SECOND.reason(found="x", expected="y")) == "check failed: second thing: found x, expected y"
    checks = checklist()
    checks.not_checked(FIRST, "no evidence")
    checks.not_checked(NEVER, "no evidence")
    checks.passed(SECOND)
    assert [str(item.reason) for item in checks.close() if item.reason] == ["gpu-0: not checked: first thing: found no evidence"]
