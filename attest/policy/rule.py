"""One rule as data: the language subset that release policies may use, read from the engine's own JSON form of it.

The subset is closed (host rule H9): claims of the principal, values of the reference data, members of closed vocabularies, literals,
and the operators below. No entity hierarchy, tags, templates, records, optional attributes, patterns or extension types: what is not
here is refused, not ignored. Cedar policy format: docs.cedarpolicy.com, "JSON policy format".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from attest.policy.finding import NOWHERE, RULES, Finding, FindingError, Position
from attest.policy.scan import Statement, TokenKind
from attest.wire import Json

PERMIT: Final = "permit"
FORBID: Final = "forbid"


@dataclass(frozen=True, slots=True)
class Claim:
    """``principal.name``."""

    name: str
    at: Position = NOWHERE

    def __str__(self) -> str:
        return f"principal.{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """``resource.name``: a value of the reference data."""

    name: str
    at: Position = NOWHERE

    def __str__(self) -> str:
        return f"resource.{self.name}"


@dataclass(frozen=True, slots=True)
class Member:
    """``Debug::"off"``: a member of a closed vocabulary."""

    vocabulary: str
    value: str
    at: Position = NOWHERE

    def __str__(self) -> str:
        return f'{self.vocabulary}::"{self.value}"'


@dataclass(frozen=True, slots=True)
class Literal:
    """true, 8 or "text"."""

    value: bool | int | str

    def __str__(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return str(self.value) if isinstance(self.value, int) else f'"{self.value}"'


@dataclass(frozen=True, slots=True)
class SetOf:
    """``[a, b]``."""

    items: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"[{', '.join(str(item) for item in self.items)}]"


@dataclass(frozen=True, slots=True)
class Unary:
    """``!x``, ``-x``, or ``x.isEmpty()``."""

    operator: str
    operand: Expression

    def __str__(self) -> str:
        operand = _wrapped(self.operand, _TIGHTEST)
        return f"{operand}.isEmpty()" if self.operator == "isEmpty" else f"{self.operator}{operand}"


@dataclass(frozen=True, slots=True)
class Binary:
    """Comparison, logic, arithmetic, or a set method (contains, containsAll, containsAny)."""

    operator: str
    left: Expression
    right: Expression

    def __str__(self) -> str:
        if self.operator in METHODS:
            return f"{_wrapped(self.left, _TIGHTEST)}.{self.operator}({self.right})"
        strength = _STRENGTH[self.operator]
        chained = self.operator not in EQUALITY | ORDER
        return f"{_wrapped(self.left, strength + (not chained))} {self.operator} {_wrapped(self.right, strength + 1)}"


Expression = Claim | Reference | Member | Literal | SetOf | Unary | Binary

EQUALITY: Final = frozenset({"==", "!="})
ORDER: Final = frozenset({"<", "<=", ">", ">="})
LOGIC: Final = frozenset({"&&", "||"})
ARITHMETIC: Final = frozenset({"+", "-", "*"})
METHODS: Final = frozenset({"contains", "containsAll", "containsAny"})
_BINARY: Final = EQUALITY | ORDER | LOGIC | ARITHMETIC | METHODS
_UNARY: Final = {"!": "!", "neg": "-", "isEmpty": "isEmpty"}


_STRENGTH: Final = {"||": 1, "&&": 2, **dict.fromkeys(EQUALITY | ORDER, 3), "+": 5, "-": 5, "*": 6}
_TIGHTEST: Final = 7


def _wrapped(part: Expression, least: int) -> str:
    """In brackets when it binds less tightly than ``least``."""
    return f"({part})" if isinstance(part, Binary) and _STRENGTH.get(part.operator, _TIGHTEST) < least else str(part)


@dataclass(frozen=True, slots=True)
class Condition:
    """One conjunct of a rule: it must hold for the rule to apply. ``json`` is the engine's form of it, for asking about it alone."""

    expression: Expression
    json: Json


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule is about: the principal's entity type (empty: any), the action, and the name of the one key (empty: any)."""

    principal: str
    action: str
    key: str
    principal_at: Position = NOWHERE
    action_at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``scope_json`` holds the engine's form of principal, action and resource."""

    effect: str
    scope: Scope
    conditions: tuple[Condition, ...]
    annotations: Mapping[str, str]
    at: Position
    scope_json: Mapping[str, Json]

    @property
    def id(self) -> str:
        """Value of ``@id``; empty when there is none, which is an error."""
        return self.annotations.get("id", "")

    def asks(self, principal: str, action: str, key: str) -> bool:
        """Whether the rule is about this question."""
        return self.scope.principal in ("", principal) and self.scope.action == action and self.scope.key in ("", key)


def leaves(expression: Expression) -> Iterator[Claim | Reference | Member | Literal]:
    """All leaves, in the order of the text."""
    if isinstance(expression, SetOf):
        for item in expression.items:
            yield from leaves(item)
    elif isinstance(expression, Unary):
        yield from leaves(expression.operand)
    elif isinstance(expression, Binary):
        yield from leaves(expression.left)
        yield from leaves(expression.right)
    else:
        yield expression


def claims_of(expression: Expression) -> tuple[Claim, ...]:
    """Claims that an expression reads, each name once."""
    found = {leaf.name: leaf for leaf in leaves(expression) if isinstance(leaf, Claim)}
    return tuple(found.values())


# -- reading --------------------------------------------------------------------------------------------------------------


class _Places:
    """Where words stand. The engine's JSON keeps the order of the text, so the n-th use of a word in one is the n-th in the other."""

    def __init__(self, statement: Statement) -> None:
        self.start: Final = statement.at
        self._places: Final[dict[tuple[str, str], list[Position]]] = {}
        tokens = statement.tokens
        for index in range(len(tokens) - 2):
            first, mark, last = tokens[index : index + 3]
            if first.kind is TokenKind.NAME and mark.text == "." and last.kind is TokenKind.NAME:
                self._places.setdefault((first.text, last.text), []).append(last.at)
            elif first.kind is TokenKind.NAME and mark.text in ("[", "::") and last.kind is TokenKind.STRING:
                self._places.setdefault((first.text, last.text[1:-1]), []).append(last.at)
        for places in self._places.values():
            places.reverse()
        self._words: Final = {token.text: token.at for token in reversed(tokens) if token.kind is TokenKind.NAME}

    def take(self, owner: str, word: str) -> Position:
        """Where the next use of the word stands."""
        places = self._places.get((owner, word))
        return places.pop() if places else self.start

    def of(self, word: str) -> Position:
        """Where a name first stands."""
        return self._words.get(word, self.start)


_OUTSIDE: Final = {
    "in": "entity hierarchy (`in`)",
    "like": "text patterns (`like`)",
    "has": 'optional attributes (`has`): every claim is always there, and what a device cannot say is "unknown"',
    "is": "entity types in conditions (`is`): name the type in the head of the rule, principal is NvidiaGpu",
    "hasTag": "entity tags",
    "getTag": "entity tags",
    "Slot": "templates",
    "Record": "records",
    "if-then-else": "if, then, else: write it with && and ||",
}


def read_rule(body: Json, statement: Statement) -> Rule:
    """Read one policy of the engine's JSON form. Raises :class:`FindingError` (P105, P108) for what is outside the subset."""
    members = body if isinstance(body, dict) else {}
    places = _Places(statement)
    annotations = members.get("annotations")
    conditions: list[Condition] = []
    scope = _scope(members, places)
    for clause in _list(members.get("conditions")):
        if not isinstance(clause, dict) or clause.get("kind") not in ("when", "unless"):
            raise _outside("an unknown kind of clause", places.start)
        inside = clause.get("body")
        conjuncts = _conjuncts(inside) if clause["kind"] == "when" else _denied(inside)
        conditions += [Condition(_expression(part, places), part) for part in conjuncts]
    return Rule(
        str(members.get("effect")),
        scope,
        tuple(conditions),
        {name: str(value) for name, value in annotations.items() if value} if isinstance(annotations, dict) else {},
        places.start,
        {name: members.get(name) for name in ("principal", "action", "resource")},
    )


def _scope(members: Mapping[str, Json], places: _Places) -> Scope:
    principal = _dict(members.get("principal"))
    action = _dict(members.get("action"))
    resource = _dict(members.get("resource"))
    if any(_dict(part).get("slot") for part in (principal, action, resource)):
        raise _outside("templates", places.start)
    if principal.get("op") == "==":
        raise FindingError(
            Finding(
                "P112",
                "the rule names one device by its label, which the sender of the evidence chooses",
                RULES,
                places.start,
                meant="compare principal.device_id, which the hardware signs",
            )
        )
    if "in" in principal or "in" in resource or "in" in (principal.get("op"), resource.get("op")):
        raise _outside(_OUTSIDE["in"], places.of("in"))
    entity = _dict(action.get("entity"))
    if action.get("op") != "==" or entity.get("type") != "Action":
        raise FindingError(
            Finding(
                "P105",
                "the rule does not name its one action",
                RULES,
                places.start,
                meant='write action == Action::"accept" or Action::"release"',
            )
        )
    key = _dict(resource.get("entity"))
    if resource.get("op") not in ("All", "is", "==") or str(key.get("type", resource.get("entity_type", "Key"))) != "Key":
        raise FindingError(
            Finding("P105", "the resource of a rule is a key", RULES, places.start, meant='write resource, or resource == Key::"name"')
        )
    kind, name = str(principal.get("entity_type", "")), str(entity.get("id"))
    return Scope(kind, name, str(key.get("id", "")), places.of(kind), places.take("Action", name))


def _conjuncts(body: Json) -> Iterator[Json]:
    """The parts of ``a && b && c``."""
    parts = body.get("&&") if isinstance(body, dict) else None
    if isinstance(parts, dict):
        yield from _conjuncts(parts.get("left"))
        yield from _conjuncts(parts.get("right"))
    else:
        yield body


def _denied(body: Json) -> Iterator[Json]:
    """The conjuncts of ``!(a || b)``: not a, and not b."""
    parts = body.get("||") if isinstance(body, dict) else None
    if isinstance(parts, dict):
        yield from _denied(parts.get("left"))
        yield from _denied(parts.get("right"))
    else:
        yield {"!": {"arg": body}}


def _expression(body: Json, places: _Places) -> Expression:
    if not isinstance(body, dict) or len(body) != 1:
        raise _outside("an unknown kind of expression", places.start)
    [(name, parts)] = body.items()
    if name == "Value":
        return _value(parts, places)
    if name == "Set":
        return SetOf(tuple(_expression(item, places) for item in _list(parts)))
    if name == "Var":
        raise _outside(f"{parts} without an attribute", places.start)
    if not isinstance(parts, dict):
        raise _outside(_OUTSIDE.get(name, "extension functions (ip, decimal, datetime, duration)"), places.of(name))
    if name == ".":
        return _attribute(parts, places)
    if name in _UNARY:
        return Unary(_UNARY[name], _expression(parts.get("arg"), places))
    if name in _BINARY:
        left = _expression(parts.get("left"), places)
        return Binary(name, left, _expression(parts.get("right"), places))
    raise _outside(_OUTSIDE.get(name, f"the construct {name}"), places.of(name))


def _attribute(parts: Mapping[str, Json], places: _Places) -> Claim | Reference:
    base, name = _dict(parts.get("left")).get("Var"), str(parts.get("attr"))
    if base == "principal":
        return Claim(name, places.take("principal", name))
    if base == "resource":
        return Reference(name, places.take("resource", name))
    if base == "context":
        raise FindingError(
            Finding(
                "P102",
                "there is no context: claims are principal.NAME, reference values resource.NAME",
                RULES,
                places.take("context", name),
            )
        )
    raise _outside("attributes of attributes", places.start)


def _value(value: Json, places: _Places) -> Member | Literal:
    if isinstance(value, bool | int | str):
        return Literal(value)
    entity = _dict(_dict(value).get("__entity"))
    if not entity:
        raise _outside("an unknown kind of literal", places.start)
    kind, member = str(entity.get("type")), str(entity.get("id"))
    return Member(kind, member, places.take(kind.split("::")[-1], member))


def _outside(what: str, at: Position) -> FindingError:
    return FindingError(
        Finding("P108", f"{what} cannot be used in a release policy", RULES, at, meant="docs/policies.md lists what a rule may say")
    )


def _dict(value: Json | Mapping[str, Json]) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
