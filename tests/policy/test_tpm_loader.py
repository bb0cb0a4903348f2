"""The shipped policy for a loader that a TPM attests: every case beside it, every condition decides some case alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from attest.appraisal import WorkloadClaims
from attest.decision import Action, Answer
from attest.evidence import ClaimEnum, declared
from attest.kinds.tpm.claims import TpmClaims
from attest.policy.bundle import Policy, check_policy, read_files
from attest.policy.explain import Request
from attest.policy.rule import PERMIT
from attest.policy.shipped import shipped_policy

FOLDER = shipped_policy("tpm-loader")
POLICY = Policy.load(FOLDER)
SUITE: dict[str, Any] = json.loads((FOLDER / "tests" / "cases.json").read_text())
TYPES = {"tpm": (Action.ACCEPT, "Tpm", TpmClaims), "workload": (Action.RELEASE, "Workload", WorkloadClaims)}


def ask(subject: str, change: dict[str, Any]) -> Answer:
    action, principal, kind = TYPES[subject]
    given = SUITE["accepted"][subject] | change
    claims: dict[str, Any] = {}
    for name, (hint, _) in declared(kind).items():
        if name in given:
            claims[name] = frozenset(given[name]) if isinstance(given[name], list) else given[name]
        elif isinstance(hint, type) and issubclass(hint, ClaimEnum):
            claims[name] = next(iter(hint))
        else:
            claims[name] = {bool: False, int: 0, str: ""}.get(hint, frozenset())  # type: ignore[call-overload]
    assert set(given) <= set(claims)
    return POLICY.answer([Request(action, subject, principal, claims)], key="weights")[0]


def test_it_is_clean() -> None:
    assert check_policy(read_files(FOLDER)) == ()
    assert POLICY.topology == {"tpm": 1}


@pytest.mark.parametrize("subject", TYPES)
def test_accepted(subject: str) -> None:
    assert ask(subject, {}).allowed, ask(subject, {}).reasons


@pytest.mark.parametrize("case", SUITE["cases"], ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    answer = ask(case["subject"], case["set"])
    if "refused" not in case:
        assert answer.allowed, answer.reasons
        return
    (reason,) = answer.reasons
    assert reason.code == case["refused"]
    assert all((reason.rule, reason.found or case["set"], reason.expected, reason.fix))


def test_every_condition_decides_some_case_alone() -> None:
    deciding = set()
    for case in SUITE["cases"]:
        if "refused" in case:
            (reason,) = ask(case["subject"], case["set"]).reasons
            deciding.add((reason.rule, reason.message.split()[1], reason.expected))
    rules = POLICY._explainer._rules
    assert all(rule.effect == PERMIT for rule in rules)
    assert len(deciding) == sum(len(rule.conditions) for rule in rules), sorted(deciding)
