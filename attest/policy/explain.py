"""Why a policy says no: every condition that does not hold, found by asking the engine about each one alone.

There is no second copy of the logic. Each condition of each rule becomes a rule of its own; the engine says which of them hold, and
the others are told with the claim, what was found, what is expected, where it stands in the evidence, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from attest.decision import Action
from attest.errors import Outcome, Reason
from attest.policy.engine import Engine, Question, Verdict
from attest.policy.finding import REFERENCE
from attest.policy.lint import FIX_FOR, UNKNOWN
from attest.policy.rule import (
    FORBID,
    PERMIT,
    Binary,
    Claim,
    Condition,
    Expression,
    Literal,
    Member,
    Reference,
    Rule,
    SetOf,
    Unary,
    claims_of,
)
from attest.policy.schema import ClaimType, Vocabulary
from attest.wire import Json

_MOST_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the policy: about the device labelled ``subject``, or the workload. ``claims`` as the mapper made them."""

    action: Action
    subject: str
    principal: str
    claims: Mapping[str, object]


class Explainer:
    """Explains the refusals of one policy."""

    def __init__(self, engine: Engine, rules: Sequence[Rule], vocabulary: Vocabulary) -> None:
        self._engine: Final = engine
        self._rules: Final = tuple(rules)
        self._vocabulary: Final = vocabulary

    @cached_property
    def _parts(self) -> Engine:
        """Every condition as a rule of its own, called RULE.CONDITION by their positions."""
        parts: dict[str, Json] = {}
        for number, rule in enumerate(self._rules):
            for index, condition in enumerate(rule.conditions):
                conditions: list[Json] = [{"kind": "when", "body": condition.json}]
                parts[f"{number}.{index}"] = {"effect": PERMIT, **rule.scope_json, "conditions": conditions}
        return self._engine.taken_apart({"templates": {}, "staticPolicies": parts, "templateLinks": []})

    def explain(self, refused: Sequence[tuple[Request, Question, Verdict]], *, key: str) -> tuple[tuple[Reason, ...], ...]:
        """Reasons for each refused request, in order; never an empty tuple."""
        holding = self._parts.ask([question for _, question, _ in refused], key=key)
        return tuple(
            tuple(self._reasons(request, verdict, set(parts.rules), key))
            for (request, _, verdict), parts in zip(refused, holding, strict=True)
        )

    def _reasons(self, request: Request, verdict: Verdict, holding: set[str], key: str) -> Iterator[Reason]:
        if verdict.malformed:
            yield malformed(request.subject, verdict.malformed)
            return
        for error in verdict.errors:
            yield Reason(
                "policy.error", Outcome.REFUSED, "a rule could not be evaluated, so none is relied on", subject=request.subject, found=error
            )
        told = bool(verdict.errors)
        permits = 0
        for number, rule in enumerate(self._rules):
            if not rule.asks(request.principal, request.action.value, key):
                continue
            if rule.effect == FORBID and rule.id in verdict.rules:
                told = True
                yield self._forbidden(request, rule)
            permits += rule.effect == PERMIT
            for index, condition in enumerate(rule.conditions):
                if rule.effect == PERMIT and f"{number}.{index}" not in holding:
                    told = True
                    yield self._failed(request, rule, condition)
        if not permits:
            yield _no_rule(request, f"no rule permits {request.principal} to {request.action.value}", key)
        elif not told:
            yield Reason("policy.refused", Outcome.REFUSED, "the policy does not permit this", subject=request.subject)

    def _failed(self, request: Request, rule: Rule, condition: Condition) -> Reason:
        claims = claims_of(condition.expression)
        names = " and ".join(claim.name for claim in claims)
        unknown = [claim.name for claim in claims if self._is_unknown(request, claim)]
        many = "s" if len(claims) > 1 else ""
        if unknown:
            message = f"claim {' and '.join(unknown)} is not known, and rule {rule.id} asks for it"
        elif claims:
            message = f"claim{many} {names} do{'' if many else 'es'} not satisfy rule {rule.id}"
        else:
            message = f"the reference data does not satisfy rule {rule.id}"
        return Reason(
            "policy.unknown" if unknown else "policy.refused",
            Outcome.CANNOT_DECIDE if unknown else Outcome.REFUSED,
            message,
            subject=request.subject,
            where=self._where(request, claims),
            found=self._found(request, claims),
            expected=self._expected(condition.expression),
            fix=next(
                (rule.annotations[FIX_FOR + c.name] for c in claims if FIX_FOR + c.name in rule.annotations),
                rule.annotations.get("fix", ""),
            ),
            rule=rule.id,
        )

    def _forbidden(self, request: Request, rule: Rule) -> Reason:
        claims = tuple({claim.name: claim for part in rule.conditions for claim in claims_of(part.expression)}.values())
        return Reason(
            "policy.forbidden",
            Outcome.REFUSED,
            f"rule {rule.id} forbids this: {rule.annotations.get('description', '')}",
            subject=request.subject,
            where=self._where(request, claims),
            found=", ".join(f"{claim.name} = {self._human(request, claim.name)}" for claim in claims),
            fix=next(
                (rule.annotations[FIX_FOR + c.name] for c in claims if FIX_FOR + c.name in rule.annotations),
                rule.annotations.get("fix", ""),
            ),
            rule=rule.id,
        )

    # -- claims of the request ----------------------------------------------------------------------------------------

    def _type(self, request: Request, name: str) -> ClaimType:
        return self._vocabulary.principals[request.principal][name]

    def _is_unknown(self, request: Request, claim: Claim) -> bool:
        return self._type(request, claim.name).closed and request.claims[claim.name] == UNKNOWN

    def _human(self, request: Request, name: str) -> str:
        """A claim's value as a person writes it; a packed version through the text claim that spells it."""
        spelled = self._type(request, name).info.version
        value = request.claims[spelled] if spelled else request.claims[name]
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, frozenset):
            return _listed(sorted(str(item) for item in value))
        return str(value) if value != "" else "(empty)"

    def _found(self, request: Request, claims: Sequence[Claim]) -> str:
        if len(claims) == 1:
            return self._human(request, claims[0].name)
        return ", ".join(f"{claim.name} = {self._human(request, claim.name)}" for claim in claims)

    def _where(self, request: Request, claims: Sequence[Claim]) -> str:
        places = []
        for claim in claims:
            info = self._type(request, claim.name).info
            places.append(f"{info.where} (vendor claim {info.vendor})" if info.vendor else info.where)
        return "; ".join(dict.fromkeys(places))

    # -- what a condition expects -------------------------------------------------------------------------------------

    def _expected(self, expression: Expression, *, holds: bool = True) -> str:
        """What the claim must be for the condition to hold (or, with ``holds`` false, not to)."""
        if isinstance(expression, Claim):
            return "true" if holds else "false"
        if isinstance(expression, Unary) and expression.operator == "!":
            return self._expected(expression.operand, holds=not holds)
        if isinstance(expression, Unary) and expression.operator == "isEmpty":
            return "nothing" if holds else "something"
        if isinstance(expression, Binary):
            if isinstance(expression.left, Claim) and not isinstance(expression.right, Claim):
                return self._compared(expression.operator, expression.right, holds=holds) or self._spelled(expression, holds=holds)
            if isinstance(expression.right, Claim) and not isinstance(expression.left, Claim):
                turned = _TURNED.get(expression.operator, "")
                return self._compared(turned, expression.left, holds=holds) or self._spelled(expression, holds=holds)
        return self._spelled(expression, holds=holds)

    def _compared(self, operator: str, other: Expression, *, holds: bool) -> str:
        """Words for "claim OPERATOR other"; empty when there are none."""
        words = _WORDS.get(operator if holds else _OPPOSITE.get(operator, ""))
        value = self._value(other)
        return f"{words} {value}".strip() if words is not None and value else ""

    def _value(self, expression: Expression) -> str:
        if isinstance(expression, Member):
            return expression.value
        if isinstance(expression, Literal):
            return str(expression) if not isinstance(expression.value, str) else expression.value or "(empty)"
        if isinstance(expression, SetOf):
            return _listed([self._value(item) for item in expression.items])
        if isinstance(expression, Reference):
            value = self._vocabulary.references[expression.name]
            human = _listed(value.value) if isinstance(value.value, tuple) else value.human
            return f"{human} ({REFERENCE}: {expression.name})"
        return ""

    def _spelled(self, expression: Expression, *, holds: bool) -> str:
        return str(expression) if holds else f"not ({expression})"


# Words for "claim OPERATOR value"; "in" stands for value.contains(claim), "has" for claim.contains(value).
_WORDS: Final = {
    "==": "",
    "!=": "anything but",
    ">=": "at least",
    ">": "more than",
    "<=": "at most",
    "<": "less than",
    "in": "one of",
    "not in": "none of",
    "within": "nothing but",
    "not within": "something else than",
    "contains": "with",
    "not contains": "without",
    "containsAll": "with all of",
    "containsAny": "with any of",
    "not containsAny": "with none of",
}
_OPPOSITE: Final = {
    "==": "!=", "!=": "==", ">=": "<", "<": ">=", ">": "<=", "<=": ">", "in": "not in", "within": "not within",
    "contains": "not contains", "containsAny": "not containsAny",
}  # fmt: skip
_TURNED: Final = {
    "==": "==", "!=": "!=", ">=": "<=", "<=": ">=", ">": "<", "<": ">",
    "contains": "in", "containsAll": "within", "containsAny": "containsAny",
}  # fmt: skip


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_MOST_SHOWN])
    if len(items) > _MOST_SHOWN:
        return f"{shown} and {len(items) - _MOST_SHOWN} more"
    return shown or "(nothing)"


def _no_rule(request: Request, message: str, key: str) -> Reason:
    return Reason(
        "policy.no-rule",
        Outcome.REFUSED,
        message,
        subject=request.subject,
        found=request.principal,
        expected=f"a rule that permits it for key {key}",
        fix="write a rule for it, or ask with another policy",
    )


def foreign(subject: str, kind: str, known: Sequence[str]) -> Reason:
    """The reason against a device of a kind that the policy's topology does not name."""
    return Reason(
        "policy.no-rule",
        Outcome.REFUSED,
        "the policy has no place for this kind of device",
        subject=subject,
        found=kind,
        expected=", ".join(known),
        fix="remove the evidence, or name the kind in the topology of the policy and write a rule for it",
    )


def malformed(subject: str, found: str) -> Reason:
    """The reason against claims that cannot be asked about."""
    return Reason(
        "policy.malformed",
        Outcome.MALFORMED,
        "the claims do not fit the schema of the policy",
        subject=subject,
        found=found,
        expected="exactly the claims of its kind",
    )
