"""The claims of one request, on their way to the engine: exactly those that the schema has, of exactly its types.

A request with a claim too few, too many or of another type is malformed, whether or not a rule reads that claim. The engine is then
given the claims that the rules read, with a schema that has these and no other, and holds them against it once more (host rule H3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attest.policy.rule import Rule, claims_of
from attest.policy.schema import BOOL, LONG, STRING, ClaimType, Vocabulary, schema_text
from attest.wire import Json

_LONGS: Final = range(-(2**63), 2**63)


class MisfitError(Exception):
    """The claims are not those of the schema; the message says which one, and how."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What to do with one claim. ``members`` is set for a closed vocabulary: value to the engine's form of it."""

    name: str
    type: str
    members: Mapping[str, Json] | None
    read: bool


class Projection:
    """What the rules of one policy read of the vocabulary. ``schema`` has nothing else."""

    def __init__(self, rules: Sequence[Rule], vocabulary: Vocabulary) -> None:
        read: dict[str, set[str]] = {principal: set() for principal in vocabulary.principals}
        for rule in rules:
            askers = vocabulary.actions[rule.scope.action]
            for asker in (rule.scope.principal,) if rule.scope.principal else askers:
                read[asker] |= {claim.name for condition in rule.conditions for claim in claims_of(condition.expression)}
        used = {
            principal: {name: claim for name, claim in claims.items() if name in read[principal]}
            for principal, claims in vocabulary.principals.items()
        }
        self.schema: Final = schema_text(used, vocabulary.enums, vocabulary.references, vocabulary.actions)
        self._steps: Final = {
            principal: tuple(_step(claim, vocabulary, read=name in read[principal]) for name, claim in claims.items())
            for principal, claims in vocabulary.principals.items()
        }

    def attributes(self, principal: str, claims: Mapping[str, object]) -> dict[str, object]:
        """The claims that rules read, in the engine's JSON form. Raises :class:`MisfitError` unless all claims fit exactly."""
        steps = self._steps[principal]
        form: dict[str, object] = {}
        for step in steps:
            if step.name not in claims:
                raise MisfitError(f"claim {step.name} is missing")
            value = _checked(step, claims[step.name])
            if step.read:
                form[step.name] = value
        if len(claims) != len(steps):
            surplus = sorted(set(claims) - {step.name for step in steps})
            raise MisfitError(f"{principal} has no claim {', '.join(surplus)}")
        return form


def _step(claim: ClaimType, vocabulary: Vocabulary, *, read: bool) -> _Step:
    members: dict[str, Json] | None = None
    if claim.closed:
        members = {value: {"type": claim.type, "id": value} for value in vocabulary.enums[claim.type]}
    return _Step(claim.name, claim.type, members, read)


def _checked(step: _Step, value: object) -> object:
    """The engine's form of one claim. Raises :class:`MisfitError`."""
    if step.members is not None:
        if isinstance(value, str) and value in step.members:
            return step.members[value]
        raise MisfitError(f"claim {step.name} is {value!r}, which is not a value of {step.type}")
    if step.type == BOOL:
        fits = value is True or value is False
    elif step.type == LONG:
        fits = type(value) is int and value in _LONGS
    elif step.type == STRING:
        fits = type(value) is str
    elif type(value) is frozenset and all(type(item) is str for item in value):
        return sorted(value)
    else:
        fits = False
    if not fits:
        raise MisfitError(f"claim {step.name} is {value!r}, which is not of type {step.type}")
    return value
