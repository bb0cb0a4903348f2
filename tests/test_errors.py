"""Errors carry reasons, and reasons decide the exit code."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import (
    EXIT_CODES,
    PRECEDENCE,
    AttestError,
    CannotDecideError,
    MalformedError,
    NotAuthenticError,
    Outcome,
    Reason,
    RefusedError,
    UsageError,
    error_for,
    worst,
)

CLASSES = {
    Outcome.MALFORMED: (MalformedError, 3),
    Outcome.NOT_AUTHENTIC: (NotAuthenticError, 4),
    Outcome.REFUSED: (RefusedError, 5),
    Outcome.CANNOT_DECIDE: (CannotDecideError, 6),
}
REASON = Reason("a.code", Outcome.REFUSED, "it failed", found="x", expected="y", fix="mend it")


@pytest.mark.parametrize("outcome", Outcome)
def test_class_and_exit_code_follow_from_the_outcome(outcome):
    error = error_for(Reason("a.code", outcome, "it failed"))
    cls, exit_code = CLASSES[outcome]
    assert type(error) is cls
    assert error.outcome is outcome
    assert error.exit_code == exit_code == EXIT_CODES[outcome]


def test_every_outcome_has_a_rank_and_an_exit_code_and_none_is_yes():
    assert set(PRECEDENCE) == set(EXIT_CODES) == set(Outcome)
    assert len(PRECEDENCE) == len(Outcome)
    assert not set(EXIT_CODES.values()) & {0, 1, 2}


@given(st.lists(st.sampled_from(Outcome), min_size=1, max_size=6))
def test_the_worst_reason_names_a_mixed_refusal(outcomes):
    error = error_for(*(Reason("a.code", outcome, "it failed") for outcome in outcomes))
    assert error.outcome is worst(outcomes)
    assert all(PRECEDENCE.index(error.outcome) <= PRECEDENCE.index(outcome) for outcome in outcomes)
    assert error.exit_code == EXIT_CODES[error.outcome]


def test_an_error_without_a_reason_is_a_bug():
    for cls in (AttestError, *(cls for cls, _ in CLASSES.values())):
        with pytest.raises(ValueError, match="without a reason"):
            cls()
    with pytest.raises(ValueError, match="empty"):
        worst([])


def test_text_of_a_reason():
    assert str(REASON) == "it failed: found x, expected y"
    assert str(REASON.about("gpu-3")) == "gpu-3: it failed: found x, expected y"
    assert str(Reason("a.code", Outcome.REFUSED, "it failed")) == "it failed"
    assert str(RefusedError(REASON, REASON.about("cpu"))) == "it failed: found x, expected y; cpu: it failed: found x, expected y"


def test_about_never_renames():
    assert REASON.about("gpu-3").about("gpu-4").subject == "gpu-3"
    error = RefusedError(REASON, REASON.about("cpu"))
    error.done = (("a", "passed", ""),)
    about = error.about("gpu-0")
    assert type(about) is RefusedError
    assert [reason.subject for reason in about.reasons] == ["gpu-0", "cpu"]
    assert about.done == error.done
    assert [reason.subject for reason in error.reasons] == ["", "cpu"]


def test_code_and_hint_are_those_of_the_first_reason_that_has_one():
    silent = Reason("first.code", Outcome.REFUSED, "it failed")
    error = RefusedError(silent, REASON)
    assert (error.code, error.hint) == ("first.code", "mend it")
    assert RefusedError(silent).hint == ""


def test_reasons_as_dictionaries():
    assert REASON.as_dict() == {
        "code": "a.code",
        "outcome": "refused",
        "message": "it failed",
        "subject": "",
        "where": "",
        "found": "x",
        "expected": "y",
        "fix": "mend it",
        "rule": "",
    }


def test_usage_is_neither_yes_nor_a_refusal():
    error = UsageError.of("no such file", fix="give one", found="x", expected="y")
    assert (error.exit_code, error.hint, error.code) == (2, "give one", "usage")
    assert error.about("gpu-0").exit_code == 2


def test_malformed_from_its_one_reason():
    error = MalformedError.at("wire.x", "it failed", where="offset 1", found="x", expected="y", fix="mend it")
    assert error.reasons == (Reason("wire.x", Outcome.MALFORMED, "it failed", "", "offset 1", "x", "y", "mend it"),)


@pytest.mark.parametrize("error", [RefusedError(REASON, REASON.about("cpu")), UsageError.of("no such file")])
def test_errors_survive_the_way_between_processes(error):
    error.done = (("a.check", "passed", "detail"),)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.reasons, again.done, again.exit_code, str(again)) == (error.reasons, error.done, error.exit_code, str(error))
