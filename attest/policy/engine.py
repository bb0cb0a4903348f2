"""The one door to Cedar. Everything that makes it fail closed is here (host rules H2, H3, H4).

A :class:`Engine` exists only for rules that were parsed and validated against their schema, and asks every question with that schema.
Yes is a decision that is exactly Allow, with no evaluation error: Cedar skips a rule that errs, so a forbid that errs would
otherwise be as good as absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Final

from attest import limits
from attest.wire import Json

if TYPE_CHECKING:
    import cedarpy

KEY_TYPE: Final = "Key"


@cache
def _cedar() -> ModuleType:
    """The binding, loaded when first used: commands that decide nothing start without it."""
    import cedarpy

    return cedarpy


@cache
def engine_name() -> str:
    """ "cedar 4.12 via cedarpy 4.12.2": the binding's major and minor version are the engine's."""
    binding = version("cedarpy")
    return f"cedar {'.'.join(binding.split('.')[:2])} via cedarpy {binding}"


class EngineError(Exception):
    """Cedar refuses a text; the message is its own."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request: may ``principal`` (an entity of type ``type``, with ``attributes``) do ``action``?"""

    action: str
    type: str
    attributes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The engine's answer. ``rules`` determined it; ``errors`` came up while evaluating; ``malformed`` says why it could not be asked."""

    allowed: bool
    rules: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    malformed: str = ""


def parse(text: str) -> Json:
    """The engine's own JSON form of rules (text already bounded by :func:`attest.policy.scan.scan`). Raises :class:`EngineError`."""
    try:
        form: Json = json.loads(_cedar().policies_to_json_str(text))
    except ValueError as error:
        raise EngineError(str(error)) from None
    return form


def formatted(text: str) -> str:
    """Rules in the engine's own layout, comments kept (text already bounded by :func:`attest.policy.scan.scan`). Raises
    :class:`EngineError`.
    """
    try:
        return str(_cedar().format_policies(text, 120, 4))
    except ValueError as error:
        raise EngineError(str(error)) from None


def validate(text: str, schema: str) -> tuple[tuple[int, str], ...]:
    """What the engine's validator refuses: position of the rule in the text, and message. Empty when nothing is."""
    cedar = _cedar()
    handle = _schema(schema)
    result = cedar.validate_policies(text, handle)
    if result.validation_passed is not True or result.errors:
        return tuple((_index(error.policy_id), error.error) for error in result.errors) or ((0, "refused without a message"),)
    # A validator that runs out of stack may say yes. It must refuse the deepest rule that could have been written, with a word that
    # does not exist, or its yes means nothing here.
    depth = limits.MAX_POLICY_DEPTH + limits.MAX_POLICY_NESTING
    canary = "permit(principal, action, resource) when { principal.no_such_claim" + " && true" * depth + " };"
    if cedar.validate_policies(canary, handle).validation_passed is not False:
        raise RuntimeError("too little stack to validate a policy: load policies in a thread with at least 1 MiB of stack")
    return ()


class Engine:
    """Validated rules with their schema and the reference data of the key. Immutable; safe to share between threads."""

    __slots__ = ("_key_attributes", "_key_name", "_policies", "_schema")

    def __init__(self, rules: str, schema: str, key_attributes: Mapping[str, Json]) -> None:
        """Raises :class:`EngineError` unless :func:`validate` has no objection to the rules (H2)."""
        if validate(rules, schema):
            raise EngineError("the rules are not valid")
        self._policies: cedarpy.PolicySet = _cedar().PolicySet.from_str(rules)
        self._schema = _schema(schema)
        self._key_attributes = dict(key_attributes)

    def taken_apart(self, parts: Json) -> Engine:
        """The same engine with other rules: parts of its own, each in the engine's JSON form as a rule for itself.

        Only for explaining a refusal; a verdict of this engine permits nothing.
        """
        other = object.__new__(Engine)
        other._policies = _cedar().PolicySet.from_json_str(json.dumps(parts))
        other._schema = self._schema
        other._key_attributes = self._key_attributes
        return other

    def ask(self, questions: Sequence[Question], *, key: str) -> tuple[Verdict, ...]:
        """One verdict per question, in order; ``key`` is the name of the key that is asked for.

        A question whose attributes do not fit the schema exactly is malformed, and spoils no other.
        """
        verdicts = self._batch(questions, key)
        if len(questions) > 1 and any(verdict.malformed for verdict in verdicts):
            return tuple(self._batch([question], key)[0] for question in questions)
        return verdicts

    def _batch(self, questions: Sequence[Question], key: str) -> tuple[Verdict, ...]:
        requests = [
            {
                "principal": {"type": question.type, "id": str(index)},
                "action": {"type": "Action", "id": question.action},
                "resource": {"type": KEY_TYPE, "id": key},
                "context": "{}",
                "correlation_id": str(index),
            }
            for index, question in enumerate(questions)
        ]
        entities = [
            {"uid": request["principal"], "attrs": question.attributes, "parents": []}
            for request, question in zip(requests, questions, strict=True)
        ]
        entities.append({"uid": {"type": KEY_TYPE, "id": key}, "attrs": self._key_attributes, "parents": []})
        try:
            text = json.dumps(entities)
        except (TypeError, ValueError) as error:  # a claim that is not even a JSON value
            return tuple(Verdict(allowed=False, malformed=f"a claim has an impossible type: {error}") for _ in questions)
        results = _cedar().is_authorized_batch(requests, self._policies, text, self._schema)
        if len(results) != len(requests):
            raise AssertionError("the engine lost a question")
        return tuple(_verdict(result, str(index)) for index, result in enumerate(results))


def _verdict(result: cedarpy.AuthzResult, correlation: str) -> Verdict:
    decision = _cedar().Decision
    diagnostics = result.diagnostics
    if result.decision not in (decision.Allow, decision.Deny) or result.correlation_id != correlation:
        return Verdict(allowed=False, malformed="; ".join(_last_part(error) for error in diagnostics.errors) or "no decision")
    names = diagnostics.id_annotations_by_reason
    rules = tuple(sorted(names.get(reason, reason) for reason in diagnostics.reasons))
    errors = tuple(diagnostics.errors)
    return Verdict(allowed=result.decision is decision.Allow and not errors, rules=rules, errors=errors)


@cache
def _schema(text: str) -> cedarpy.Schema:
    handle: cedarpy.Schema = _cedar().Schema.from_str(text)
    return handle


def _index(policy_id: str) -> int:
    """Position of a rule: the engine calls rules policy0, policy1 and so on, in the order of the text."""
    digits = policy_id.removeprefix("policy")
    return int(digits) if digits.isdecimal() else 0


def _last_part(error: str) -> str:
    """The engine quotes all entities before it says what is wrong with one."""
    return error.rpartition("}]: ")[2]
