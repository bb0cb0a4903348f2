"""What is wrong with rules that parse: names, types, and mistakes that the engine's validator lets pass.

The validator does not look behind a condition that it knows to be false, and takes a comparison of two vocabularies for such a
condition. So every expression is typed here too, wherever it stands, and a rule is loaded only when both agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attest.decision import Action
from attest.evidence import Claims, declared
from attest.policy.finding import REFERENCE, RULES, Finding, Position, did_you_mean
from attest.policy.rule import (
    ARITHMETIC,
    EQUALITY,
    LOGIC,
    METHODS,
    ORDER,
    PERMIT,
    Binary,
    Claim,
    Expression,
    Literal,
    Member,
    Reference,
    Rule,
    SetOf,
    Unary,
    claims_of,
    leaves,
)
from attest.policy.schema import BOOL, LONG, STRING, ClaimType, Vocabulary

ANNOTATIONS: Final = ("id", "description", "owner", "fix")
FIX_FOR: Final = "fix_"
"""``@fix_vmpl("...")`` says what to do when the condition about the claim ``vmpl`` fails."""

UNKNOWN: Final = "unknown"
COMMON: Final = tuple(name for name, (hint, _) in declared(Claims).items() if name in ("debug", "revocation"))


def lint(rules: Sequence[Rule], vocabulary: Vocabulary) -> Iterator[Finding]:
    """Everything wrong with the rules of one policy, in no particular order."""
    seen: dict[str, Rule] = {}
    for rule in rules:
        askers = _principals(rule, vocabulary)
        typed = _Typing(rule, askers if isinstance(askers, tuple) else (), vocabulary)
        if isinstance(askers, Finding):
            yield askers
        else:
            for condition in rule.conditions:
                typed.expect(condition.expression, BOOL)
        yield from typed.findings
        yield from _annotations(rule, seen, misspelt=any(finding.code == "P102" for finding in typed.findings))
        yield from _contradictions(rule)
        yield from _habits(rule)
    yield from _coverage(rules, vocabulary)
    yield from _unused(rules, vocabulary)


def _at(expression: Expression, rule: Rule) -> Position:
    """Where an expression stands: its first word with a known place."""
    return next((leaf.at for leaf in leaves(expression) if not isinstance(leaf, Literal) and leaf.at.line), rule.at)


# -- one rule -------------------------------------------------------------------------------------------------------------


def _annotations(rule: Rule, seen: dict[str, Rule], *, misspelt: bool) -> Iterator[Finding]:
    """With a claim ``misspelt`` in a condition, nobody knows which fix belongs to none."""
    for name in ("id", "description", "owner"):
        if not rule.annotations.get(name, "").strip():
            yield Finding("P109", f"the rule has no @{name}", RULES, rule.at, rule.id, meant=f'write @{name}("...") above it')
    if rule.id and seen.setdefault(rule.id, rule) is not rule:
        yield Finding("P110", f"another rule is called {rule.id!r} too", RULES, rule.at, rule.id, meant="give every rule its own @id")
    claims = {claim.name for condition in rule.conditions for claim in claims_of(condition.expression)}
    known = [*ANNOTATIONS, *(FIX_FOR + name for name in sorted(claims))]
    for name in rule.annotations:
        if name not in known and not (misspelt and name.startswith(FIX_FOR)):
            meant = did_you_mean(name, known, label="annotations")
            yield Finding("P111", f"unknown annotation @{name}", RULES, rule.at, rule.id, found=name, meant=meant)


def _principals(rule: Rule, vocabulary: Vocabulary) -> tuple[str, ...] | Finding:
    """Entity types that the rule can be about, or what is wrong with its head."""
    scope = rule.scope
    askers = vocabulary.actions.get(scope.action)
    if askers is None:
        meant = did_you_mean(scope.action, vocabulary.actions, label="actions")
        return Finding("P105", f"action {scope.action!r} does not exist", RULES, scope.action_at, rule.id, scope.action, meant)
    if scope.principal in ("", *askers):
        return askers if not scope.principal else (scope.principal,)
    message, meant = f"{scope.principal} is never asked for {scope.action}", f"principals: {', '.join(askers)}"
    if scope.principal not in vocabulary.principals:
        message = f"entity type {scope.principal} is no part of this policy"
        meant = did_you_mean(scope.principal, askers, label="principals of this policy's topology")
    return Finding("P105", message, RULES, scope.principal_at, rule.id, scope.principal, meant)


class _Typing:
    """Types of the expressions of one rule. An expression of unknown type has had its finding and is not complained about again."""

    def __init__(self, rule: Rule, askers: tuple[str, ...], vocabulary: Vocabulary) -> None:
        self.rule: Final = rule
        self.askers: Final = askers
        self.vocabulary: Final = vocabulary
        self.findings: Final[list[Finding]] = []

    def _found(self, code: str, message: str, at: Position, found: str, meant: str = "") -> None:
        finding = Finding(code, message, RULES, at, self.rule.id, found, meant)
        if finding not in self.findings:
            self.findings.append(finding)

    def expect(self, expression: Expression, wanted: str, within: Expression | None = None) -> None:
        """The expression must have this type; ``within`` is what it is part of, for the place of a literal."""
        kind = self.type_of(expression)
        if kind and kind != wanted:
            at = _at(expression, self.rule)
            if at == self.rule.at and within is not None:
                at = _at(within, self.rule)
            self._found("P106", f"{expression} is {_a(kind)}, not {_a(wanted)}", at, str(expression))

    def type_of(self, expression: Expression) -> str:
        """Its type; empty when it has none because of a finding."""
        if isinstance(expression, Claim):
            return self._claim(expression)
        if isinstance(expression, Reference):
            return self._reference(expression)
        if isinstance(expression, Member):
            return self._member(expression)
        if isinstance(expression, Literal):
            return BOOL if isinstance(expression.value, bool) else LONG if isinstance(expression.value, int) else STRING
        if isinstance(expression, SetOf):
            return self._set(expression)
        if isinstance(expression, Unary):
            return self._unary(expression)
        return self._binary(expression)

    def _claim(self, claim: Claim) -> str:
        types = set()
        for asker in self.askers:
            known = self.vocabulary.principals[asker]
            if claim.name not in known:
                meant = _by_vendor(claim.name, known) or did_you_mean(claim.name, known, label="claims")
                self._found("P102", f"claim {claim.name!r} does not exist for {asker}", claim.at, claim.name, meant)
                return ""
            types.add(known[claim.name].type)
        if len(types) > 1:
            self._found(
                "P106", f"{claim.name} has different types for {', '.join(self.askers)}", claim.at, claim.name, "write one rule for each"
            )
            return ""
        return types.pop() if types else ""

    def _reference(self, reference: Reference) -> str:
        if reference.name in self.vocabulary.references:
            return self.vocabulary.reference_type(reference.name)
        meant = did_you_mean(reference.name, self.vocabulary.references, label="reference values")
        self._found("P104", f"reference value {reference.name!r} does not exist", reference.at, reference.name, meant)
        return ""

    def _member(self, member: Member) -> str:
        known = self.vocabulary.enums.get(member.vocabulary)
        if known is None:
            meant = did_you_mean(member.vocabulary, self.vocabulary.enums, label="vocabularies")
            self._found("P105", f"vocabulary {member.vocabulary} does not exist", member.at, member.vocabulary, meant)
            return ""
        if member.value not in known:
            meant = did_you_mean(member.value, known, label="values")
            self._found("P103", f"{member.vocabulary} has no value {member.value!r}: it would never match", member.at, member.value, meant)
        return member.vocabulary

    def _set(self, items: SetOf) -> str:
        types = [self.type_of(item) for item in items.items]
        if not types:
            self._found("P106", "an empty set", self.rule.at, "[]", "remove the condition, or name the values")
            return ""
        for item, kind in zip(items.items, types, strict=True):
            if kind and types[0] and kind != types[0]:
                self._found("P106", f"{item} is {_a(kind)} in a set of {types[0]}", _at(item, self.rule), str(item))
                return ""
        return f"Set<{types[0]}>" if types[0] else ""

    def _unary(self, unary: Unary) -> str:
        if unary.operator == "isEmpty":
            kind = self.type_of(unary.operand)
            if kind and not kind.startswith("Set<"):
                self._found("P106", f"{unary.operand} is {_a(kind)}, not a set", _at(unary, self.rule), str(unary.operand))
            return BOOL
        wanted = BOOL if unary.operator == "!" else LONG
        self.expect(unary.operand, wanted)
        return wanted

    def _binary(self, binary: Binary) -> str:
        name = binary.operator
        if name in LOGIC:
            self.expect(binary.left, BOOL, binary)
            self.expect(binary.right, BOOL, binary)
            return BOOL
        if name in ORDER | ARITHMETIC:
            self.expect(binary.left, LONG, binary)
            self.expect(binary.right, LONG, binary)
            self._versions(binary)
            return BOOL if name in ORDER else LONG
        left, right = self.type_of(binary.left), self.type_of(binary.right)
        if not left or not right:
            return BOOL
        if name in EQUALITY:
            self._versions(binary)
            self._same(binary, left, right)
        elif not left.startswith("Set<"):
            self._found("P106", f"{binary.left} is {_a(left)}, not a set", _at(binary.left, self.rule), str(binary.left))
        else:
            self._same(binary, left if name != "contains" else left[4:-1], right)
        return BOOL

    def _same(self, binary: Binary, left: str, right: str) -> None:
        if left != right:
            message = f"{binary} compares {_a(left)} with {_a(right)}"
            self._found("P106", message, _at(binary, self.rule), str(binary), self._spelling(binary, left, right))

    def _spelling(self, binary: Binary, left: str, right: str) -> str:
        """What a comparison of a vocabulary with text probably means."""
        for kind, other in ((left, binary.right), (right, binary.left)):
            if kind in self.vocabulary.enums and isinstance(other, Literal | Member):
                word = str(other.value)
                members = self.vocabulary.enums[kind]
                return f'write {kind}::"{word}"' if word in members else did_you_mean(word, members, label=f"values of {kind}")
        return ""

    def _versions(self, binary: Binary) -> None:
        """A packed version is compared with a version of the same form, so that both are packed alike."""
        for side, other in ((binary.left, binary.right), (binary.right, binary.left)):
            if not isinstance(side, Claim) or side.name not in self.vocabulary.principals[self.askers[0]]:
                continue
            form = self.vocabulary.principals[self.askers[0]][side.name].info.form
            value = self.vocabulary.references.get(other.name) if isinstance(other, Reference) else None
            if value is not None and value.form != form:
                wanted = f"a version like {form.example}" if form else "a plain number"
                self._found(
                    "P106", f"{side.name} is compared with {other}, which is {value.human}", _at(other, self.rule), str(other), wanted
                )
            elif form and isinstance(other, Literal):
                self._found(
                    "P207", f"{side.name} is a packed version, and {other} says nothing to a reader", side.at, str(other),
                    f'put it into reference.json as a version like "{form.example}"',
                )  # fmt: skip


def _by_vendor(word: str, known: Mapping[str, ClaimType]) -> str:
    """Which claim the vendor's own name stands for."""
    for name, claim in known.items():
        names = claim.info.vendor.replace(".", ", ").lower().split(", ")
        if word.lower() in (*names, claim.info.vendor.lower()):
            return f"Did you mean {name!r}? That is what {claim.info.vendor} is called here"
    return ""


def _a(kind: str) -> str:
    names = {BOOL: "true or false", LONG: "a number", STRING: "a text"}
    return names.get(kind, f"a set of {kind[4:-1]}" if kind.startswith("Set<") else f"a value of {kind}")


def _contradictions(rule: Rule) -> Iterator[Finding]:
    """Conditions that cannot hold together, or say the same twice: the marks of a word mistaken for its neighbour."""
    equal: dict[str, str] = {}
    seen: set[str] = set()
    for condition in rule.conditions:
        expression = condition.expression
        text = str(expression)
        if text in seen:
            yield Finding(
                "P114", f"the condition {text} stands here twice", RULES, _at(expression, rule), rule.id, text, "was another claim meant?"
            )
        seen.add(text)
        if isinstance(expression, Literal) and expression.value is False:
            yield Finding("P113", "the condition is always false", RULES, rule.at, rule.id, text)
        if isinstance(expression, Binary) and expression.operator == "==":
            for side, other in ((expression.left, expression.right), (expression.right, expression.left)):
                if (
                    isinstance(side, Claim)
                    and isinstance(other, Literal | Member)
                    and equal.setdefault(side.name, str(other)) != str(other)
                ):
                    message = f"{side.name} cannot be {equal[side.name]} and {other}"
                    yield Finding("P113", message, RULES, side.at, rule.id, text, "was another claim meant?")


def _habits(rule: Rule) -> Iterator[Finding]:
    """Mistakes in what is allowed but rarely meant (H10, H13). Only rules that permit can be too generous."""
    if rule.effect != PERMIT:
        return
    looked_at = [condition for condition in rule.conditions if claims_of(condition.expression)]
    if not looked_at:
        yield Finding("P201", "the rule permits without looking at any claim", RULES, rule.at, rule.id, meant="state what must hold")
    bounds: dict[str, set[str]] = {}
    for condition in looked_at:
        expression = condition.expression
        yield from _negative(rule, expression)
        if isinstance(expression, Binary) and expression.operator in ORDER:
            for side, low in ((expression.left, ">"), (expression.right, "<")):
                if isinstance(side, Claim) and side.name.endswith("_age"):
                    bounds.setdefault(side.name, set()).add("low" if expression.operator.startswith(low) else "high")
    for name, ends in bounds.items():
        if "low" not in ends:
            at = next(claim.at for condition in looked_at for claim in claims_of(condition.expression) if claim.name == name)
            meant = f"evidence dated in the future would pass: add principal.{name} >= 0"
            yield Finding("P203", f"{name} has an upper bound only", RULES, at, rule.id, name, meant)


def _negative(rule: Rule, expression: Expression) -> Iterator[Finding]:
    """``!=`` in a permit accepts every other value, also one that means "could not be told"."""
    negated = isinstance(expression, Unary) and expression.operator == "!"
    inner = expression.operand if isinstance(expression, Unary) and negated else expression
    unequal = isinstance(inner, Binary) and inner.operator == ("==" if negated else "!=")
    listed = negated and isinstance(inner, Binary) and inner.operator in METHODS
    members = any(isinstance(leaf, Member) for leaf in leaves(inner))
    if (unequal or listed) and members:
        meant = f"it also accepts {UNKNOWN!r} and whatever comes later: name the values that are good"
        yield Finding("P205", f"{expression} says what must not be", RULES, _at(expression, rule), rule.id, str(expression), meant)


# -- all rules together ---------------------------------------------------------------------------------------------------


def _coverage(rules: Sequence[Rule], vocabulary: Vocabulary) -> Iterator[Finding]:
    for action, askers in vocabulary.actions.items():
        for asker in askers:
            permits = [
                rule for rule in rules if rule.effect == PERMIT and rule.scope.action == action and rule.scope.principal in ("", asker)
            ]
            if not permits:
                head = f'permit(principal is {asker}, action == Action::"{action}", resource)'
                yield Finding("P116", f"no rule permits {asker} to {action}: the policy can never say yes", RULES, meant=f"write {head}")
            elif len([rule for rule in permits if not rule.scope.key]) > 1:
                names = ", ".join(rule.id for rule in permits)
                meant = "each of them suffices: put all requirements into one"
                yield Finding(
                    "P202", f"several rules permit {asker} to {action}: {names}", RULES, permits[1].at, permits[1].id, names, meant
                )
            if action == Action.ACCEPT:
                for rule in permits:
                    yield from _forgotten(rule, rules, asker)


def _forgotten(rule: Rule, rules: Sequence[Rule], asker: str) -> Iterator[Finding]:
    related = [rule, *(other for other in rules if other.effect != PERMIT and other.scope.principal in ("", asker))]
    looked_at = {claim.name for part in related for condition in part.conditions for claim in claims_of(condition.expression)}
    for name in COMMON:
        if looked_at and name not in looked_at:
            meant = "the floor covers production keys only: state it in the rule"
            yield Finding("P206", f"the rule accepts {asker} without looking at {name}", RULES, rule.at, rule.id, name, meant)


def _unused(rules: Sequence[Rule], vocabulary: Vocabulary) -> Iterator[Finding]:
    used = {
        leaf.name for rule in rules for condition in rule.conditions for leaf in leaves(condition.expression) if isinstance(leaf, Reference)
    }
    for name in vocabulary.references:
        if name not in used:
            yield Finding(
                "P204",
                f"no rule uses {name}",
                REFERENCE,
                found=name,
                meant="a value that is not compared protects nothing: use or remove it",
            )
